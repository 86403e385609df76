// The locks of a store: byte 0 of its lock file is the writer's, byte 1 is shared by every handle.
//
// The locks belong to open file descriptions, so a handle that closes or a process that dies drops
// them, also when it left children (io/fork_guard.h). The lock file is never unlinked. Its text
// says who took the writer's lock last; it is advice for people and may be stale.
#pragma once

#include "io/file.h"
#include "io/fork_guard.h"
#include "store/paths.h"

#include <chrono>
#include <functional>
#include <optional>

namespace cairn::store {

class StoreLocks {
 public:
  /// No lock at all: for a read-only file system whose user vouches that nobody writes.
  StoreLocks() = default;
  StoreLocks(StoreLocks&& other) noexcept = default;
  StoreLocks& operator=(StoreLocks&& other) noexcept;
  ~StoreLocks();

  /// The handle's byte only. Errors: busy (the store is being repaired); damaged (no lock file).
  static StoreLocks for_reader(const StorePaths& paths);
  /// The writer's byte, then the handle's. Errors: busy, naming the holder; io.
  static StoreLocks for_writer(const StorePaths& paths, std::chrono::milliseconds timeout);

  /// Turns the handle's byte exclusive: no other handle is open while it is, in any process.
  /// Errors: busy.
  void make_exclusive();
  void make_shared();

  /// True when some other handle is open for writing.
  bool another_writer_is_active() const;

 private:
  explicit StoreLocks(const std::function<std::optional<io::File>()>& open);
  void close() noexcept;

  std::optional<io::File> file_;
  io::CloseInChild close_in_child_;
};

}  // namespace cairn::store
