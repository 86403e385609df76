#include "pack/pack_file.h"

#include "base/checked.h"
#include "base/mutant.h"
#include "base/thread_pool.h"
#include "codec/grouped.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>

namespace cairn::pack {

using base::range_fits;
using base::round_up;
using format::ChunkId;
using format::ChunkRef;
using format::Extent;
using format::kAlignment;
using format::kDataBegin;
using format::kRecordHeaderBytes;
using format::kSlotBytes;
using format::kSlotCount;
using format::kSlotOffsets;
using format::kSuperblockBytes;
using format::kSuperblockOffsets;
using format::RecordType;
using format::Slot;
using format::Superblock;

namespace {

/// Neighbouring extents are joined into requests of at most so many bytes, and so many requests are
/// on their way at once: with larger or more of them the disk was no faster, and what is hashed
/// and copied would leave the cores' caches before it is written (docs/decisions/0020).
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
// Each input makes stores of its own, and their buffers would take most of its time.
constexpr std::uint64_t kRequestBytes = std::uint64_t{1} << 16;
#else
constexpr std::uint64_t kRequestBytes = std::uint64_t{2} << 20;
#endif
constexpr std::size_t kRequestsInFlight = 4;

std::size_t in_flight() noexcept {
  return std::max(kRequestsInFlight, base::worker_count());
}

/// What is shorter goes through the page cache: the flush that follows writes it in one go, and a
/// small checkpoint is soon read again.
constexpr std::uint64_t kLeastDirectBytes = std::uint64_t{1} << 20;

/// A chunk that many tensors share is handed out by more than one thread from so many bytes on.
constexpr std::uint64_t kMaxWantedBytes = std::uint64_t{8} << 20;

/// Bounds the buffers of stores with large chunks.
constexpr std::uint64_t kMaxBufferBytes = std::uint64_t{64} << 20;

/// What a new store has unless it is told; a rescue's guess where no index tells.
constexpr std::uint64_t kDefaultChunkBytes = std::uint64_t{1} << 20;

/// Bytes read per step of a scan.
constexpr std::size_t kScanBytes = std::size_t{8} << 20;

std::vector<std::byte> read_up_to(const io::File& file, std::uint64_t offset, std::size_t bytes) {
  std::vector<std::byte> buffer(bytes);
  buffer.resize(file.read_some(offset, buffer));
  return buffer;
}

/// Visits the beginning of every place where an extent may begin, as much as a record's header.
template <typename Visit>
void for_each_block(const io::File& file, const Visit& visit) {
  const std::uint64_t end = file.bytes();
  io::AlignedBuffer buffer(kScanBytes);
  for (std::uint64_t base = kDataBegin; base < end; base += kScanBytes) {
    const std::size_t got = file.read_some(base, buffer.span());
    for (std::size_t at = 0; at + kRecordHeaderBytes <= got; at += kAlignment) {
      visit(base + at, std::span<const std::byte>(buffer.span().subspan(at, kRecordHeaderBytes)));
    }
  }
}

}  // namespace

void rethrow_at(const std::filesystem::path& path, std::uint64_t offset) {
  try {
    throw;
  } catch (const Error& error) {
    if (!error.path().empty()) throw;
    throw Error(error.code(), error.what(), {.path = path, .offset = offset});
  }
}

// ---- slots --------------------------------------------------------------------------------------

const Slot* SlotTable::find(std::uint64_t sequence) const noexcept {
  for (const auto& slot : slots) {
    if (slot && slot->sequence == sequence) return &*slot;
  }
  return nullptr;
}

std::vector<const Slot*> SlotTable::newest_first() const {
  std::vector<const Slot*> readable;
  for (const auto& slot : slots) {
    if (slot) readable.push_back(&*slot);
  }
  std::sort(readable.begin(), readable.end(),
            [](const Slot* a, const Slot* b) { return a->sequence > b->sequence; });
  return readable;
}

std::uint64_t SlotTable::highest_sequence() const noexcept {
  std::uint64_t highest = 0;
  for (const auto& slot : slots) {
    if (slot) highest = std::max(highest, slot->sequence);
  }
  return highest;
}

SlotTable PackFile::read_slots() const {
  SlotTable table;
  for (std::uint32_t number = 0; number < kSlotCount; ++number) {
    const std::vector<std::byte> sector = read_up_to(file_, kSlotOffsets[number], kSlotBytes);
    table.slots[number] = format::decode_slot(sector, uuid(), number, &table.errors[number]);
  }
  return table;
}

void PackFile::write_slot(const Slot& slot) const {
  file_.write(kSlotOffsets.at(slot.number), format::encode_slot(slot, uuid()));
}

// ---- writing
// ---------------------------------------------------------------------------------------

ExtentWrite record_write(RecordType type, const Extent& extent, std::uint64_t sequence,
                         const format::Uuid& uuid, std::span<const std::byte> payload) {
  return {.offset = extent.offset, .bytes = extent.bytes, .fill = [=](std::span<std::byte> out) {
            format::encode_record({.type = type, .own_offset = extent.offset, .sequence = sequence},
                                  uuid, payload, out);
          }};
}

namespace {

/// Extents that lie one behind the other and go in one request.
struct Request {
  std::size_t first = 0;
  std::size_t count = 0;
  std::uint64_t bytes = 0;  // padding included
};

std::vector<Request> join(std::span<const ExtentWrite> sorted) {
  std::vector<Request> requests;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const std::uint64_t space = round_up(sorted[i].bytes, kAlignment);
    if (!requests.empty()) {
      Request& last = requests.back();
      const bool neighbour = sorted[last.first].offset + last.bytes == sorted[i].offset;
      if (neighbour && last.bytes + space <= kRequestBytes) {
        ++last.count;
        last.bytes += space;
        continue;
      }
    }
    requests.push_back({.first = i, .count = 1, .bytes = space});
  }
  return requests;
}

}  // namespace

void PackFile::write_extents(std::vector<ExtentWrite> writes) const {
  std::sort(writes.begin(), writes.end(),
            [](const ExtentWrite& a, const ExtentWrite& b) { return a.offset < b.offset; });
  const std::vector<Request> requests = join(writes);
  std::uint64_t total_bytes = 0;
  for (const Request& request : requests) total_bytes += request.bytes;
  const bool direct = total_bytes >= kLeastDirectBytes;

  const auto put = [&](const Request& request, std::span<std::byte> out) {
    std::uint64_t at = 0;
    for (std::size_t i = request.first; i < request.first + request.count; ++i) {
      const std::uint64_t space = round_up(writes[i].bytes, kAlignment);
      writes[i].fill(out.subspan(at, writes[i].bytes));
      std::memset(out.data() + at + writes[i].bytes, 0, space - writes[i].bytes);
      at += space;
    }
    const std::uint64_t offset = writes[request.first].offset;
    if (direct) {
      file_.write_direct(offset, out);
    } else {
      file_.write(offset, out);
    }
  };
  const auto run = [&](std::size_t r) {
    const Request& request = requests[r];
    if (request.bytes > write_buffers_->buffer_bytes()) {  // a large record, alone in its request
      io::AlignedBuffer own(request.bytes);
      put(request, own.span());
      return;
    }
    io::BufferPool::Lease buffer = write_buffers_->take();
    put(request, buffer.span().first(request.bytes));
  };
  base::parallel_for(requests.size(), run, direct ? in_flight() : 1);
}

// ---- making and opening -------------------------------------------------------------------------

PackFile::PackFile(io::File file, const Superblock& superblock)
    : file_(std::move(file)), superblock_(superblock) {
  const std::uint64_t bytes =
      round_up(std::max(kRequestBytes, superblock.chunk_bytes), kRequestBytes);
  const std::size_t most = std::clamp<std::size_t>(kMaxBufferBytes / 2 / bytes, 1, in_flight());
  write_buffers_ = std::make_unique<io::BufferPool>(bytes, most);
  read_buffers_ = std::make_unique<io::BufferPool>(bytes, most);
  plain_buffers_ = std::make_unique<io::BufferPool>(superblock.chunk_bytes, most);
}

void PackFile::create(const std::filesystem::path& path, const Superblock& superblock) {
  const PackFile pack(io::File::create(path), superblock);
  // Deletions must go on a full disk, where a slot that was never written would find no room.
  pack.file_.reserve(0, kSlotOffsets.back() + kSlotBytes);
  for (std::size_t copy = 0; copy < kSuperblockOffsets.size(); ++copy) {
    pack.rewrite_superblock(copy);
  }
  const format::Root root{.sequence = 1, .parent_sequence = 0, .next_id = 1};
  const std::vector<std::byte> payload = format::encode_root(root);
  const ChunkId digest = base::xxh3_128(payload);
  const std::uint64_t record_bytes = kRecordHeaderBytes + payload.size();
  const Extent first{.offset = kDataBegin, .bytes = record_bytes};
  const Extent second{.offset = kDataBegin + round_up(record_bytes, kAlignment),
                      .bytes = record_bytes};
  std::vector<ExtentWrite> writes;
  for (const Extent& copy : {first, second}) {
    writes.push_back(
        record_write(RecordType::kRoot, copy, root.sequence, superblock.uuid, payload));
  }
  pack.write_extents(std::move(writes));
  pack.write_slot({.number = 0,
                   .sequence = root.sequence,
                   .parent_sequence = 0,
                   .root = {.first = first, .second = second, .digest = digest},
                   .data_end = second.offset + round_up(record_bytes, kAlignment)});
  pack.file_.sync_all();
}

PackFile PackFile::open(const std::filesystem::path& path, io::File::Access access,
                        bool allow_direct) {
  io::File file = io::File::open(path, access);
  if (allow_direct) file.enable_direct();
  std::optional<Error> first_error;
  for (const std::uint64_t offset : kSuperblockOffsets) {
    try {
      const auto bytes = read_up_to(file, offset, kSuperblockBytes);
      const Superblock superblock = format::decode_superblock(bytes);
      return PackFile(std::move(file), superblock);
    } catch (const Error& error) {
      // A good copy of a newer version is an answer; a bad first copy may have a good second one.
      if (error.code() == ErrorCode::kUnsupportedVersion) {
        throw Error(error.code(), error.what(), {.path = path, .offset = offset});
      }
      if (first_error) continue;
      first_error.emplace(error.code(),
                          std::string(error.what()) +
                              ", and its second copy is no better; if this is a store, `cairn "
                              "repair` makes both anew",
                          ErrorContext{.path = path, .offset = offset});
    }
  }
  throw *first_error;
}

namespace {

/// The UUID that most slots carry; if no slot is good, most records.
std::optional<format::Uuid> find_uuid(const io::File& file) {
  std::map<format::Uuid, std::size_t> votes;
  for (std::uint32_t number = 0; number < kSlotCount; ++number) {
    const auto sector = read_up_to(file, kSlotOffsets[number], kSlotBytes);
    if (const auto uuid = format::uuid_of_slot(sector, number)) ++votes[*uuid];
  }
  if (votes.empty()) {
    for_each_block(file, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      if (const auto uuid = format::uuid_of_record(bytes, offset)) ++votes[*uuid];
    });
  }
  const auto most = std::max_element(
      votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == votes.end() ? std::nullopt : std::optional(most->first);
}

}  // namespace

PackFile PackFile::open_to_rescue(const std::filesystem::path& path, io::File::Access access,
                                  std::string& how) {
  try {
    return open(path, access);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kTruncated) throw;
    io::File file = io::File::open(path, access);
    file.enable_direct();
    const auto uuid = find_uuid(file);
    if (!uuid) throw;
    PackFile pack(std::move(file), {.uuid = *uuid, .chunk_bytes = kDefaultChunkBytes});
    pack.superblock_.chunk_bytes = pack.chunk_bytes_of_indexes();
    how = "take the store's identity from its slots and records, and the chunk size, " +
          std::to_string(pack.superblock_.chunk_bytes) +
          " bytes, from its indexes: neither copy of the superblock is good";
    return pack;
  }
}

// A tensor of several chunks is cut into pieces of the chunk size; another program's may be cut
// otherwise.
std::uint64_t PackFile::chunk_bytes_of_indexes() const {
  std::uint64_t largest = kDefaultChunkBytes;
  const std::uint64_t end = round_up(file_.bytes(), kAlignment);
  for (const FoundRecord& found : scan(RecordType::kIndex)) {
    try {
      const format::Index index = read_index(found.extent, found.header.payload_digest, end);
      for (const format::IndexRecoverable& recoverable : index.recoverables) {
        for (const format::IndexTensor& tensor : recoverable.tensors) {
          const auto bytes = *format::tensor_bytes(tensor.dtype, tensor.shape);
          if (bytes == 0) continue;
          const std::uint64_t piece = index.chunks[tensor.first_chunk].plain_bytes;
          const bool may_be_chunk_size = piece % kAlignment == 0 && piece >= format::kMinChunkBytes;
          if (piece < bytes && may_be_chunk_size) return piece;
          largest = std::max(largest, round_up(piece, kAlignment));
        }
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kTruncated) throw;
    }
  }
  return std::min(largest, format::kMaxChunkBytes);
}

std::array<std::optional<Superblock>, 2> PackFile::read_superblocks(
    std::array<std::string, 2>& errors) const {
  std::array<std::optional<Superblock>, 2> copies;
  for (std::size_t copy = 0; copy < copies.size(); ++copy) {
    const auto bytes = read_up_to(file_, kSuperblockOffsets[copy], kSuperblockBytes);
    try {
      copies[copy] = format::decode_superblock(bytes);
    } catch (const Error& error) {
      errors[copy] = error.what();
    }
  }
  return copies;
}

namespace {

/// `superblock` with the features of those copies that differ from it in nothing else.
Superblock with_features_of(std::span<const std::optional<Superblock>> copies,
                            const Superblock& superblock) {
  Superblock all = superblock;
  for (const auto& copy : copies) {
    if (!copy) continue;
    Superblock other = *copy;
    other.incompat = superblock.incompat;
    if (other == superblock) all.incompat |= copy->incompat;
  }
  return all;
}

}  // namespace

Superblock PackFile::current_superblock() const {
  std::array<std::string, 2> ignored;
  return with_features_of(read_superblocks(ignored), superblock_);
}

std::array<std::string, 2> PackFile::superblock_errors() const {
  std::array<std::string, 2> errors;
  const auto copies = read_superblocks(errors);
  const Superblock wanted = with_features_of(copies, superblock_);
  for (std::size_t copy = 0; copy < copies.size(); ++copy) {
    if (copies[copy] && *copies[copy] != wanted) errors[copy] = "the copies differ";
  }
  return errors;
}

void PackFile::rewrite_superblock(std::size_t copy) const {
  file_.write(kSuperblockOffsets.at(copy), format::encode_superblock(superblock_));
}

std::vector<std::string> PackFile::renew_superblocks(std::uint64_t incompat) {
  if ((superblock_.compat & ~format::kKnownCompat) != 0) {
    if ((incompat & ~superblock_.incompat) == 0) return {};
    throw Error(ErrorCode::kUnsupportedVersion,
                "the superblock has features that this version of Cairn does not know, so it can "
                "add none: go on without compression, or update Cairn",
                {.path = path()});
  }
  std::array<std::string, 2> errors;
  const auto copies = read_superblocks(errors);
  superblock_ = with_features_of(copies, superblock_);
  superblock_.incompat |= incompat;
  std::vector<std::string> mended;
  for (std::size_t copy = 0; copy < copies.size(); ++copy) {
    if (copies[copy] == superblock_) continue;
    rewrite_superblock(copy);
    if (!CAIRN_MUTANT(kSuperblocksAtOnce)) sync();
    mended.push_back(copies[copy] ? "the copies differ" : errors[copy]);
  }
  return mended;
}

// ---- reading ------------------------------------------------------------------------------------

namespace {

/// A scan orders records by what their headers say, so that must be what they are.
void check_sequence(std::uint64_t header, std::uint64_t payload) {
  if (header == payload) return;
  throw Error(ErrorCode::kDamaged, "the record's header tells of commit " + std::to_string(header) +
                                       ", its payload of commit " + std::to_string(payload));
}

}  // namespace

std::span<const std::byte> PackFile::read_record(const Extent& extent, RecordType type,
                                                 const ChunkId& digest, io::AlignedBuffer& storage,
                                                 std::uint64_t* sequence) const {
  // The length is checked against the file before memory is taken for it.
  const std::uint64_t file_bytes = file_.bytes();
  if (extent.bytes < kRecordHeaderBytes || !range_fits(extent.offset, extent.bytes, file_bytes)) {
    throw Error(ErrorCode::kTruncated, "the pack ends before this record does",
                {.path = path(), .offset = extent.offset});
  }
  try {
    storage = io::AlignedBuffer(extent.bytes);
    file_.read_exactly(extent.offset, storage.span());
    format::RecordHeader header;
    const auto payload =
        format::decode_record(storage.span(), uuid(), extent.offset, type, &header);
    if (sequence != nullptr) *sequence = header.sequence;
    if (header.payload_digest != digest || payload.size() != extent.bytes - kRecordHeaderBytes) {
      throw Error(ErrorCode::kDamaged, "the record is not the one that is referred to");
    }
    return payload;
  } catch (const Error&) {
    rethrow_at(path(), extent.offset);
  }
}

format::Root PackFile::read_root_copy(const Extent& copy, const ChunkId& digest,
                                      std::uint64_t data_end) const {
  io::AlignedBuffer storage;
  std::uint64_t sequence = 0;
  const auto payload = read_record(copy, RecordType::kRoot, digest, storage, &sequence);
  try {
    format::Root root = format::decode_root(payload, data_end);
    check_sequence(sequence, root.sequence);
    return root;
  } catch (const Error&) {
    rethrow_at(path(), copy.offset);
  }
}

void PackFile::check_root_copy(const Extent& copy, const ChunkId& digest) const {
  io::AlignedBuffer storage;
  read_record(copy, RecordType::kRoot, digest, storage);
}

format::Root PackFile::read_root(const format::RootLocation& root, std::uint64_t data_end) const {
  try {
    return read_root_copy(root.first, root.digest, data_end);
  } catch (const Error&) {
    return read_root_copy(root.second, root.digest, data_end);
  }
}

format::Index PackFile::read_index(const Extent& record, const ChunkId& digest,
                                   std::uint64_t data_end) const {
  io::AlignedBuffer storage;
  std::uint64_t sequence = 0;
  const auto payload = read_record(record, RecordType::kIndex, digest, storage, &sequence);
  try {
    format::Index index = format::decode_index(payload, data_end);
    check_sequence(sequence, index.sequence);
    return index;
  } catch (const Error&) {
    rethrow_at(path(), record.offset);
  }
}

namespace {

void check_digest(const std::filesystem::path& path, const ChunkRef& chunk,
                  std::span<const std::byte> plain) {
  if (CAIRN_MUTANT(kChunkDigestsIgnored) || base::xxh3_128(plain) == chunk.id) return;
  throw Error(ErrorCode::kDamaged,
              "the bytes of chunk " + chunk.id.to_hex() + " (" + std::to_string(plain.size()) +
                  " bytes) do not match their digest",
              {.path = path, .offset = chunk.offset});
}

bool is_damage(const Error& error) noexcept {
  return error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated;
}

/// Chunks that lie one behind the other, or in the same place, and are read in one request.
struct ReadRequest {
  std::size_t first = 0;
  std::size_t count = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;         // padding included
  std::uint64_t wanted_bytes = 0;  // those in the same place counted each
};

std::vector<ReadRequest> join(std::span<const ChunkRead> sorted) {
  std::vector<ReadRequest> requests;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const ChunkRef& chunk = *sorted[i].chunk;
    const std::uint64_t space = round_up(chunk.stored_bytes, kAlignment);
    if (!requests.empty()) {
      ReadRequest& last = requests.back();
      const bool same_place = chunk.offset == sorted[i - 1].chunk->offset;
      const bool neighbour = chunk.offset == last.offset + last.bytes;
      const std::uint64_t more = same_place ? 0 : space;
      if ((same_place || neighbour) && last.bytes + more <= kRequestBytes &&
          last.wanted_bytes + space <= kMaxWantedBytes) {
        ++last.count;
        last.bytes += more;
        last.wanted_bytes += space;
        continue;
      }
    }
    requests.push_back(
        {.first = i, .count = 1, .offset = chunk.offset, .bytes = space, .wanted_bytes = space});
  }
  return requests;
}

}  // namespace

namespace {

/// Calls `work` with so many bytes of a buffer from the pool, or of one of its own where those are
/// too short.
template <typename Work>
void with_buffer(io::BufferPool& pool, std::uint64_t bytes, const Work& work) {
  if (bytes > pool.buffer_bytes()) {
    io::AlignedBuffer own(bytes);
    work(own.span().first(bytes));
    return;
  }
  io::BufferPool::Lease buffer = pool.take();
  work(buffer.span().first(bytes));
}

}  // namespace

void PackFile::decode_chunk(const ChunkRef& chunk, std::span<const std::byte> stored,
                            std::span<std::byte> out) const {
  try {
    codec::decode(stored, out);
  } catch (const Error&) {
    rethrow_at(path(), chunk.offset);
  }
  check_digest(path(), chunk, out);
}

void PackFile::read_chunk(const ChunkRef& chunk, std::span<std::byte> out) const {
  if (chunk.encoding != format::Encoding::kRaw) {
    with_buffer(*read_buffers_, chunk.stored_bytes, [&](std::span<std::byte> stored) {
      file_.read_exactly(chunk.offset, stored);
      decode_chunk(chunk, stored, out);
    });
    return;
  }
  read_stored(chunk, out);
}

void PackFile::read_stored(const ChunkRef& chunk, std::span<std::byte> out) const {
  file_.read_exactly(chunk.offset, out);
  if (chunk.encoding == format::Encoding::kRaw) {
    check_digest(path(), chunk, out);
    return;
  }
  with_buffer(*plain_buffers_, chunk.plain_bytes,
              [&](std::span<std::byte> plain) { decode_chunk(chunk, out, plain); });
}

void PackFile::read_chunks(std::vector<ChunkRead> reads, const ChunkReader& reader) const {
  std::stable_sort(reads.begin(), reads.end(), [](const ChunkRead& a, const ChunkRead& b) {
    return a.chunk->offset < b.chunk->offset;
  });
  const std::vector<ReadRequest> requests = join(reads);
  std::uint64_t total_bytes = 0;
  for (const ReadRequest& request : requests) total_bytes += request.bytes;
  const bool may_be_direct = file_.is_direct() && total_bytes >= kLeastDirectBytes;

  const auto attempt = [&](const ChunkRead& read, const auto& work) {
    try {
      work();
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      reader.damaged(read.tag, error);
    }
  };
  const auto run_in = [&](const ReadRequest& request, std::span<std::byte> buffer, bool direct) {
    const std::size_t got = direct ? file_.read_some_direct(request.offset, buffer)
                                   : file_.read_some(request.offset, buffer);
    for (std::size_t i = request.first; i < request.first + request.count; ++i) {
      const ChunkRead& read = reads[i];
      const ChunkRef& chunk = *read.chunk;
      attempt(read, [&] {
        const std::uint64_t at = chunk.offset - request.offset;
        if (at + chunk.stored_bytes > got) {
          throw Error(ErrorCode::kTruncated, "the pack ends before this chunk does",
                      {.path = path(), .offset = chunk.offset});
        }
        if (chunk.encoding != format::Encoding::kRaw) {
          const auto stored = buffer.subspan(at, chunk.stored_bytes);
          if (!read.into.empty()) {
            decode_chunk(chunk, stored, read.into);
            return;
          }
          with_buffer(*plain_buffers_, chunk.plain_bytes, [&](std::span<std::byte> plain) {
            decode_chunk(chunk, stored, plain);
            if (reader.use) reader.use(read.tag, plain);
          });
          return;
        }
        const auto plain = buffer.subspan(at, chunk.plain_bytes);
        check_digest(path(), chunk, plain);
        if (!read.into.empty()) {
          std::memcpy(read.into.data(), plain.data(), plain.size());
        } else if (reader.use) {
          reader.use(read.tag, plain);
        }
      });
    }
  };
  const auto run = [&](std::size_t r) {
    const ReadRequest& request = requests[r];
    const bool direct = may_be_direct && !file_.is_cached(request.offset, request.bytes);
    const ChunkRead& first = reads[request.first];
    if (!direct && request.count == 1 && !first.into.empty()) {
      attempt(first, [&] { read_chunk(*first.chunk, first.into); });
      return;
    }
    with_buffer(*read_buffers_, request.bytes,
                [&](std::span<std::byte> buffer) { run_in(request, buffer, direct); });
  };
  base::parallel_for(requests.size(), run, in_flight());
}

// ---- scanning -----------------------------------------------------------------------------------

std::vector<FoundRecord> PackFile::scan(RecordType type) const {
  std::vector<FoundRecord> found;
  for_each_block(file_, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
    if (!format::looks_like_record(bytes)) return;
    try {
      const auto header = format::decode_record_header(bytes, uuid(), offset);
      if (header.type != type) return;
      found.push_back(
          {.header = header,
           .extent = {.offset = offset, .bytes = kRecordHeaderBytes + header.payload_bytes}});
    } catch (const Error&) {
      // A tensor's bytes, an older store's record, or a damaged one.
    }
  });
  return found;
}

}  // namespace cairn::pack
