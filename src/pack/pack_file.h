// The pack: the one file that holds superblocks, root slots, chunks and records.
//
// Reading checks everything that is handed out; writing is plain: what makes it atomic is the order
// of steps in store/commit.cc.
#pragma once

#include "format/index.h"
#include "format/layout.h"
#include "format/record.h"
#include "format/root.h"
#include "format/slot.h"
#include "format/superblock.h"
#include "io/aligned_buffer.h"
#include "io/buffer_pool.h"
#include "io/file.h"

#include <cairn/error.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::pack {

/// The slots as they stand in the pack.
struct SlotTable {
  std::array<std::optional<format::Slot>, format::kSlotCount> slots{};
  std::array<std::string, format::kSlotCount> errors{};  // why a written slot could not be read

  /// The slot of a commit, or null.
  const format::Slot* find(std::uint64_t sequence) const noexcept;
  /// Sequences of readable slots, newest first.
  std::vector<const format::Slot*> newest_first() const;
  std::uint64_t highest_sequence() const noexcept;  // 0 when none is readable
};

/// One extent to write: `fill` gets exactly `bytes` bytes to fill.
/// Threads: fills run on several threads at once.
struct ExtentWrite {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::function<void(std::span<std::byte>)> fill{};
};

/// The write of a record, header and payload. Lifetime: `payload` must outlive the write.
ExtentWrite record_write(format::RecordType type, const format::Extent& extent,
                         std::uint64_t sequence, const format::Uuid& uuid,
                         std::span<const std::byte> payload);

/// One chunk to read, and what its bytes are wanted for: `into`, exactly as long as the chunk, gets
/// them; if it is empty, `use` is called with them, if there is one. Damage goes to `damaged`.
/// Threads: `use` and `damaged` run on several threads at once, for one chunk after the other.
struct ChunkRead {
  const format::ChunkRef* chunk = nullptr;
  std::span<std::byte> into{};
  std::size_t tag = 0;  // the caller's own, handed to `use` and `damaged`
};
struct ChunkReader {
  std::function<void(std::size_t tag, std::span<const std::byte> plain)> use{};
  std::function<void(std::size_t tag, const Error& error)> damaged{};
};

/// A record found by a scan.
struct FoundRecord {
  format::RecordHeader header{};
  format::Extent extent{};
};

class PackFile {
 public:
  /// Writes superblocks, an empty root of sequence 1 and its slot into a new file, and flushes it.
  static void create(const std::filesystem::path& file, const format::Superblock& superblock);

  /// Opens a pack and reads its superblock, the second copy when the first is bad. Unless told not
  /// to, asks the file system for direct transfers.
  /// Errors: not_found; truncated; damaged (no copy is good); unsupported_version; io.
  static PackFile open(const std::filesystem::path& path, io::File::Access access,
                       bool allow_direct = true);

  /// The same for a pack of which neither superblock is good: the UUID that its slots carry, or
  /// else its records, and the chunk size that its indexes show (if none does, the default, or what
  /// its largest chunk needs). Features are taken to be none; a repair
  /// adds what the indexes turn out to need. `how` says what was done, when it was.
  /// Errors: as `open`, also when neither slots nor records tell.
  static PackFile open_to_rescue(const std::filesystem::path& path, io::File::Access access,
                                 std::string& how);

  const io::File& file() const noexcept { return file_; }
  const std::filesystem::path& path() const noexcept { return file_.path(); }
  /// As it was when the pack was opened, and with what `renew_superblocks` added since.
  const format::Superblock& superblock() const noexcept { return superblock_; }
  /// The same with the features that a writer has added since. Errors: io.
  format::Superblock current_superblock() const;
  const format::Uuid& uuid() const noexcept { return superblock_.uuid; }
  /// What is wrong with either copy; empty strings for good ones. Errors: io.
  std::array<std::string, 2> superblock_errors() const;
  /// What they say of a copy that only lacks features that the other one has.
  static constexpr std::string_view kLacksFeatures = "it lacks features that the other copy has";
  void rewrite_superblock(std::size_t copy) const;
  /// Writes anew each copy of the superblock that is bad, or lacks one of these `incompat`
  /// features, durably and one after the other, so that a crash leaves the other one whole. Returns
  /// what was wrong with them; nothing when nothing was written, as where it has `compat` features
  /// that this version does not know: what they keep there would be lost.
  /// Errors: unsupported_version for such a one that would get another feature; no_space; io.
  std::vector<std::string> renew_superblocks(std::uint64_t incompat);

  SlotTable read_slots() const;
  void write_slot(const format::Slot& slot) const;

  /// One copy of a root. Errors: damaged; truncated; unsupported_version; io.
  format::Root read_root_copy(const format::Extent& copy, const format::ChunkId& digest,
                              std::uint64_t data_end) const;
  /// Only whether its bytes are those of the digest. Errors: as `read_root_copy`.
  void check_root_copy(const format::Extent& copy, const format::ChunkId& digest) const;
  /// The first copy that is good. Errors: those of the second copy when both are bad.
  format::Root read_root(const format::RootLocation& root, std::uint64_t data_end) const;
  /// An index. `data_end` bounds its extents. Errors: damaged; truncated; unsupported_version; io.
  format::Index read_index(const format::Extent& record, const format::ChunkId& digest,
                           std::uint64_t data_end) const;

  /// Reads a chunk's plain bytes into `out`, which is exactly so long, and checks them there.
  /// Errors: damaged; truncated; io; each with the chunk's offset.
  void read_chunk(const format::ChunkRef& chunk, std::span<std::byte> out) const;
  /// The same for a chunk's bytes as they are stored, compressed perhaps.
  void read_stored(const format::ChunkRef& chunk, std::span<std::byte> out) const;

  /// Reads and checks many chunks: neighbours in one request, several requests on their way at
  /// once.
  ///
  /// A request goes past the page cache if all chunks together have a mebibyte or more, the file
  /// system allows it, and a page of the request is not in the cache: then the bytes are checked in
  /// a buffer and copied into `into`. Else they are read through the cache, straight into `into`,
  /// and checked there (docs/decisions/0020).
  /// Errors: io, and what `use` and `damaged` throw. Damage of a chunk is no error of the call.
  void read_chunks(std::vector<ChunkRead> reads, const ChunkReader& reader) const;

  /// Writes extents, zeros behind each up to the next multiple of kAlignment; neighbours go in one
  /// request, and several requests are on their way at once. Nothing is durable before `sync`.
  /// Large amounts go past the page cache where the file system allows it (docs/decisions/0020).
  void write_extents(std::vector<ExtentWrite> writes) const;

  void sync() const { file_.sync(); }

  /// Every record of one type whose header is good, in order of offset: reads the whole file.
  std::vector<FoundRecord> scan(format::RecordType type) const;

 private:
  PackFile(io::File file, const format::Superblock& superblock);

  std::uint64_t chunk_bytes_of_indexes() const;
  /// Either copy, or why it cannot be read.
  std::array<std::optional<format::Superblock>, 2> read_superblocks(
      std::array<std::string, 2>& errors) const;

  /// The payload of a record, checked, at a multiple of 8 bytes inside `storage`.
  std::span<const std::byte> read_record(const format::Extent& extent, format::RecordType type,
                                         const format::ChunkId& digest, io::AlignedBuffer& storage,
                                         std::uint64_t* sequence = nullptr) const;

  /// The plain bytes of a compressed chunk, checked.
  void decode_chunk(const format::ChunkRef& chunk, std::span<const std::byte> stored,
                    std::span<std::byte> out) const;

  /// Kept from save to save and from load to load. Apart, because filling an extent may read
  /// another, and what is read may have to be decoded.
  struct Buffers {
    explicit Buffers(std::uint64_t chunk_bytes);
    io::BufferPool write;
    io::BufferPool read;
    io::BufferPool plain;
  };

  io::File file_;
  format::Superblock superblock_;
  std::unique_ptr<Buffers> buffers_;
};

/// Adds where it happened to an error that a pure decoder threw.
[[noreturn]] void rethrow_at(const std::filesystem::path& path, std::uint64_t offset);

}  // namespace cairn::pack
