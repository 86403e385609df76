// Locks on byte ranges of a file, owned by an open file description (F_OFD_SETLK, fcntl(2)):
// unlike classic POSIX locks they exclude handles of one process too, and another descriptor's
// close does not drop them. A forked child shares the description and would keep a dead parent's
// lock alive, so `fork_guard.h` closes the descriptor in the child.
#pragma once

#include "io/file.h"

#include <chrono>
#include <cstdint>

namespace cairn::io {

enum class LockKind { kShared, kExclusive };

/// Takes, or converts, a lock on one byte of `file`. False when another holder is in the way after
/// `timeout` (0: at once). An exclusive lock needs a file opened for writing. Errors: io.
bool lock_byte(const File& file, std::uint64_t byte, LockKind kind,
               std::chrono::milliseconds timeout = {});

void unlock_byte(const File& file, std::uint64_t byte);

/// True when another open file description holds a lock on the byte; takes none itself.
bool byte_is_locked_elsewhere(const File& file, std::uint64_t byte);

}  // namespace cairn::io
