// A small pool for work that splits into independent pieces: hashing, reading, writing.
#pragma once

#include <cstddef>
#include <functional>

namespace cairn::base {

/// How many threads parallel work uses: the cores that this process may use, at most 8.
std::size_t worker_count() noexcept;

/// Calls `work(i)` for each i in [0, count), on up to `threads` threads, the caller's among them;
/// returns when all are done. The first exception stops the pieces not yet begun and is
/// rethrown. Pieces are begun in ascending order. Falls back to the caller's thread when the system
/// refuses new ones.
/// More threads than `worker_count()` are for work that waits for a device most of its time.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work,
                  std::size_t threads = worker_count());

}  // namespace cairn::base
