#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <stdexcept>
#include <thread>
#include <vector>

namespace cairn::base {
namespace {

// While it lives, the system refuses new threads: none can have so large a stack.
class RefuseThreads {
 public:
  RefuseThreads() {
    pthread_attr_t attributes;
    pthread_getattr_default_np(&original_);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, std::size_t{1} << 62);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
  }
  ~RefuseThreads() {
    pthread_setattr_default_np(&original_);
    pthread_attr_destroy(&original_);
  }

 private:
  pthread_attr_t original_{};
};

TEST(ParallelForConcurrency, DoesEachPieceOnce) {
  std::vector<std::atomic<int>> done(1000);
  parallel_for(done.size(), [&](std::size_t i) { ++done[i]; });
  EXPECT_TRUE(std::all_of(done.begin(), done.end(), [](const auto& n) { return n == 1; }));
}

TEST(ParallelForConcurrency, ItsEffectsAreSeenAfterwardsWithoutFurtherCare) {
  std::vector<std::size_t> squares(1000);
  parallel_for(squares.size(), [&](std::size_t i) { squares[i] = i * i; });
  for (std::size_t i = 0; i < squares.size(); ++i) EXPECT_EQ(squares[i], i * i);
}

TEST(ParallelForConcurrency, BeginsPiecesInAscendingOrderOnEachThread) {
  std::mutex mutex;
  std::vector<std::pair<std::thread::id, std::size_t>> begun;
  parallel_for(500, [&](std::size_t i) {
    const std::lock_guard lock(mutex);
    begun.emplace_back(std::this_thread::get_id(), i);
  });
  std::stable_sort(begun.begin(), begun.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  EXPECT_TRUE(std::is_sorted(begun.begin(), begun.end()));
}

TEST(ParallelForConcurrency, RunsPiecesAtTheSameTime) {
  const std::size_t threads = worker_count();
  std::atomic<std::size_t> arrived{0};
  // Ends only when all of them are inside at once.
  parallel_for(threads, [&](std::size_t) {
    ++arrived;
    while (arrived < threads) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, threads);
}

TEST(ParallelForConcurrency, CallsFromSeveralThreadsDoNotDisturbEachOther) {
  std::atomic<std::size_t> sum{0};
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] { parallel_for(100, [&](std::size_t i) { sum += i; }); });
  }
  callers.clear();
  EXPECT_EQ(sum, 4u * 4950u);
}

TEST(ParallelForConcurrency, RethrowsTheFailureOfAPiece) {
  const auto work = [](std::size_t i) {
    if (i == 37) throw std::runtime_error("piece 37");
  };
  EXPECT_THROW(parallel_for(100, work), std::runtime_error);
}

TEST(ParallelForConcurrency, AFailureStopsThePiecesNotYetBegun) {
  std::atomic<std::size_t> begun{0};
  const auto fail = [&](std::size_t) {
    ++begun;
    throw std::runtime_error("no");
  };
  EXPECT_THROW(parallel_for(1'000'000, fail), std::runtime_error);
  EXPECT_LE(begun, worker_count());
}

TEST(ParallelForConcurrency, FallsBackToTheCallersThreadWhenTheSystemRefusesNewOnes) {
  const RefuseThreads refuse;
  const std::thread::id caller = std::this_thread::get_id();
  ASSERT_THROW(std::thread([] {}).join(), std::system_error);
  std::atomic<std::size_t> sum{0};
  parallel_for(100, [&](std::size_t i) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    sum += i;
  });
  EXPECT_EQ(sum, 4950u);
}

TEST(ParallelFor, DoesNothingForNoPieces) {
  parallel_for(0, [](std::size_t) { FAIL(); });
}

TEST(ParallelFor, ASinglePieceStaysOnTheCallersThread) {
  std::thread::id id;
  parallel_for(1, [&](std::size_t) { id = std::this_thread::get_id(); });
  EXPECT_EQ(id, std::this_thread::get_id());
}

TEST(ParallelFor, ASinglePieceMayFail) {
  EXPECT_THROW(parallel_for(1, [](std::size_t) { throw std::runtime_error("no"); }),
               std::runtime_error);
}

TEST(WorkerCount, IsTheNumberOfCoresThatThisThreadMayUseAndAtMostEight) {
  EXPECT_GE(worker_count(), 1u);
  EXPECT_LE(worker_count(), 8u);
  std::jthread([] {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(sched_getcpu()), &set);
    ASSERT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
    EXPECT_EQ(worker_count(), 1u);
  }).join();
}

}  // namespace
}  // namespace cairn::base
