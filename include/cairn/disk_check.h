// Whether a file system does what Cairn builds upon, and how fast it is.
#pragma once

#include <cairn/progress.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

/// One thing that a store asks of its file system.
struct DiskFinding {
  std::string need = {};  ///< "locks", "flush", "direct I/O", ...
  bool ok = true;
  bool required = true;  ///< Without it no store can be trusted there; else it costs time or space.
  std::string detail = {};  ///< What was seen, one line.
};

/// The fastest that anything can be there, and so what a save is to be compared with.
struct DiskFloors {
  std::int64_t flush_ns = 0;  ///< Median of: overwrite 4 KiB, `fdatasync`.
  /// Bytes a second, of large transfers; the flush behind a write counts.
  std::uint64_t buffered_write = 0;
  std::optional<std::uint64_t> direct_write = std::nullopt;  ///< Nothing without direct I/O.
  std::uint64_t read = 0;  ///< From the disk, as far as the system allows.
};

struct DiskCheckOptions {
  std::uint64_t bytes = std::uint64_t{256} << 20;  ///< Of the file that is written and read.
  ProgressCallback progress = {};
};

/// Tries a directory out, in a scratch directory of its own inside it.
///
/// What is found is data, not an error. Space: `bytes` at a time, and what the caller puts into the
/// scratch directory. The destructor removes the scratch directory with all that is in it.
/// Errors: not_found (no such directory); invalid_argument (it is none, or `bytes` is below 4 MiB);
/// no_space; io (it cannot be written to).
class DiskCheck {
 public:
  explicit DiskCheck(const std::filesystem::path& directory, const DiskCheckOptions& options = {});
  DiskCheck(const DiskCheck&) = delete;
  DiskCheck& operator=(const DiskCheck&) = delete;
  ~DiskCheck();

  const std::filesystem::path& scratch() const { return scratch_; }
  std::vector<DiskFinding> findings() const;
  DiskFloors floors() const;

 private:
  DiskCheckOptions options_;
  std::filesystem::path scratch_;
};

}  // namespace cairn
