// Counts the calls to the file system that this program makes, LMDB's among them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>

namespace cairn::testing {

/// What a piece of work asked of the file system.
struct Calls {
  std::uint64_t flushes = 0;        // fdatasync, fsync
  std::uint64_t synced_writes = 0;  // through an O_DSYNC descriptor, each a flush as well
  std::uint64_t writes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t reads = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t size_changes = 0;  // fallocate, ftruncate

  std::uint64_t all() const noexcept {
    return flushes + synced_writes + writes + reads + size_changes;
  }
};
std::ostream& operator<<(std::ostream& out, const Calls& calls);

Calls calls_of(const std::function<void()>& work);

/// From now on writes of exactly so many bytes leave a hole instead, and no space is reserved: for
/// a store that is larger than the disk and whose tensors nobody reads. 0: writes are written.
void leave_holes(std::size_t bytes);

}  // namespace cairn::testing
