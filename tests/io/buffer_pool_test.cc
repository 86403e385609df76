#include "io/buffer_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace cairn::io {
namespace {

TEST(BufferPool, HandsTheSameMemoryOutAgain) {
  BufferPool pool(4096, 2);
  const std::byte* first = pool.take().span().data();
  const std::byte* second = pool.take().span().data();
  EXPECT_EQ(first, second);
  EXPECT_EQ(pool.take().span().size(), 4096u);
}

TEST(BufferPool, BuffersAreAlignedAndApart) {
  BufferPool pool(8192, 2);
  BufferPool::Lease a = pool.take();
  BufferPool::Lease b = pool.take();
  EXPECT_NE(a.span().data(), b.span().data());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.span().data()) % 4096, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.span().data()) % 4096, 0u);
}

TEST(BufferPoolConcurrency, NeverHandsOutMoreThanItMay) {
  constexpr int kThreads = 8;
  constexpr int kRounds = 500;
  BufferPool pool(4096, 3);
  std::atomic<int> out{0};
  std::atomic<int> most{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kRounds; ++i) {
          BufferPool::Lease lease = pool.take();
          const int now = ++out;
          for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
          }
          // Nobody else writes here meanwhile: the thread sanitizer looks on.
          lease.span()[0] = static_cast<std::byte>(t);
          EXPECT_EQ(lease.span()[0], static_cast<std::byte>(t));
          --out;
        }
      });
    }
  }
  EXPECT_LE(most, 3);
}

}  // namespace
}  // namespace cairn::io
