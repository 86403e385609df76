// Stands between the store (LMDB included) and the system: counts flushes, and fails calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>
#include <sys/types.h>

namespace cairn::testing {

/// What happened since `reset`.
struct SystemCounts {
  std::atomic<int> flushes{0};        // fdatasync, fsync
  std::atomic<int> synced_writes{0};  // writes through an O_DSYNC descriptor
  std::atomic<std::size_t> written_bytes{0};
};
SystemCounts& system_counts();

/// What stands in for the system; an empty one lets calls through. Return 0 to let a call through,
/// else the errno that it fails with.
struct SystemFaults {
  std::function<int(int fd, std::size_t bytes, off_t offset)> on_read;
  std::function<int(int fd, std::size_t bytes, off_t offset)> on_write;
  std::function<void(int fd)> after_write;  // of pwrite
  std::function<int(int fd)> on_flush;
  std::function<int(int fd, off_t offset, off_t bytes)> on_reserve;
  long file_system_type = 0;  // what statfs reports, unless 0
  bool file_system_is_read_only = false;
};
SystemFaults& system_faults();

void reset_system();

/// The file's path, by its descriptor.
std::string path_of(int fd);

}  // namespace cairn::testing
