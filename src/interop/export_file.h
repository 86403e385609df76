// What exports have in common: a file that appears complete or not at all, and tensors read for it.
//
// How a file appears:
//   1. make a file of another name in the same directory,
//   2. write into it, each tensor verified against its digests as it is read,
//   3. fsync it, rename it over the wanted name, fsync the directory.
// A failure removes the file of step 1; a kill may leave it, under a name that begins with a dot.
#pragma once

#include "io/aligned_buffer.h"
#include "io/file.h"

#include <cairn/checkpoint.h>
#include <cairn/progress.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::interop {

/// Checks that a file may be written there. Replacing what is no regular file would be a surprise:
/// a link, a device, a pipe; and a store's directory holds nothing but its own. Errors: not_found
/// (the directory); invalid_argument; already_exists.
void check_destination(const std::filesystem::path& file, bool overwrite);

/// Checks that a checkpoint has the recoverable that an export names; an empty name means all.
/// Errors: not_found.
void check_recoverable(const Checkpoint& checkpoint, const std::string& recoverable);

/// "recoverable/key", or the key alone without a recoverable.
std::string exported_name(std::string_view recoverable, std::string_view key);

/// Whether names need their recoverable in front: when several are exported.
bool needs_recoverable(const Checkpoint& checkpoint, const std::string& recoverable);

/// The file of step 1. Removes itself unless it was renamed.
class ExportFile {
 public:
  explicit ExportFile(const std::filesystem::path& destination);
  ExportFile(ExportFile&& other) noexcept;
  ExportFile& operator=(ExportFile&&) = delete;
  ~ExportFile();

  const io::File& file() const { return file_; }
  const std::filesystem::path& destination() const { return destination_; }

  /// Adds bytes at the end; small ones gather in memory first.
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  std::uint64_t bytes() const { return written_ + pending_.size(); }
  void flush();

  /// Step 3 in parts: flush, fsync and close; rename.
  void finish();
  void rename();
  /// Step 3 whole.
  void publish();

 private:
  std::filesystem::path destination_;
  std::filesystem::path path_;
  io::File file_;
  std::uint64_t written_ = 0;
  std::vector<std::byte> pending_;
};

/// Reads tensors one after the other, verified: large ones in pieces of some whole chunks, small
/// ones together, so that a chunk that many of them share is read once. Memory: about 8 MiB, or one
/// chunk where that is larger.
class TensorReader {
 public:
  /// `total_bytes` are those of all tensors that it will read, for `progress`.
  explicit TensorReader(const Checkpoint& checkpoint, ProgressCallback progress = {},
                        std::uint64_t total_bytes = 0);

  /// Calls `see(position in `tensors`, bytes)` with the bytes of each tensor in order, an empty one
  /// not at all. `tensors` are positions in `Checkpoint::tensors()`. Errors: damaged; io.
  template <typename See>
  void for_each_piece(std::span<const std::size_t> tensors, const See& see) {
    for (std::size_t begin = 0; begin < tensors.size();) {
      const std::size_t end = batch_end(tensors, begin);
      if (end == begin) {
        const std::uint64_t bytes = bytes_of(tensors[begin]);
        const std::uint64_t piece_bytes = prepare_pieces(tensors[begin]);
        for (std::uint64_t done = 0; done < bytes; done += piece_bytes) {
          const auto piece = read_piece(tensors[begin], done, piece_bytes);
          see(begin, piece);
          tell(piece.size());
        }
        ++begin;
        continue;
      }
      for (const LoadTarget& target : read_batch(tensors.subspan(begin, end - begin))) {
        if (!target.out.empty()) see(begin, std::span<const std::byte>(target.out));
        tell(target.out.size());
        ++begin;
      }
    }
  }

 private:
  void tell(std::uint64_t more);
  std::uint64_t bytes_of(std::size_t tensor) const { return checkpoint_.tensors()[tensor].bytes; }
  /// The end of the tensors that are read together; `begin` when the first is large.
  std::size_t batch_end(std::span<const std::size_t> tensors, std::size_t begin) const;
  std::span<const LoadTarget> read_batch(std::span<const std::size_t> tensors);
  /// How long the pieces of a large tensor are; makes room for one.
  std::uint64_t prepare_pieces(std::size_t tensor);
  std::span<const std::byte> read_piece(std::size_t tensor, std::uint64_t offset,
                                        std::uint64_t piece_bytes);

  const Checkpoint& checkpoint_;
  ProgressCallback progress_;
  Progress done_;
  io::AlignedBuffer buffer_;
  std::vector<LoadTarget> batch_;
};

}  // namespace cairn::interop
