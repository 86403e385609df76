// Threads are made for each call and joined before it returns. A lasting pool would save some tens
// of microseconds a call, and would not exist in a forked child, where a call would wait for ever.
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <sched.h>
#include <system_error>
#include <thread>
#include <vector>

namespace cairn::base {
namespace {

constexpr std::size_t kMaxWorkers = 8;

}  // namespace

std::size_t worker_count() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails on a machine with more cores than the set has bits.
  const std::size_t cores = sched_getaffinity(0, sizeof(set), &set) == 0
                                ? static_cast<std::size_t>(CPU_COUNT(&set))
                                : std::thread::hardware_concurrency();
  return std::clamp<std::size_t>(cores, 1, kMaxWorkers);
}

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work,
                  std::size_t threads) {
  threads = std::min(threads, count);
  if (threads <= 1) {
    for (std::size_t i = 0; i < count; ++i) work(i);
    return;
  }

  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr first_failure;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        next = count;  // Begin no further piece. At most `threads` increments lie above it.
        const std::lock_guard lock(mutex);
        if (!first_failure) first_failure = std::current_exception();
      }
    }
  };

  {
    std::vector<std::jthread> others;
    others.reserve(threads - 1);
    try {
      while (others.size() < threads - 1) others.emplace_back(run);
    } catch (const std::system_error&) {
      // No more threads to be had: those that there are, and this one, do the work.
    }
    run();
  }
  if (first_failure) std::rethrow_exception(first_failure);
}

}  // namespace cairn::base
