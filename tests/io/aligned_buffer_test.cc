#include "io/aligned_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace cairn::io {
namespace {

TEST(AlignedBuffer, BeginsAtAPageWhateverItsLength) {
  for (const std::size_t bytes : {1u, 4095u, 4096u, 100'000u}) {
    AlignedBuffer buffer(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % AlignedBuffer::kAlignment, 0u);
    EXPECT_EQ(buffer.size(), bytes);
    std::fill(buffer.span().begin(), buffer.span().end(), std::byte{1});
  }
}

TEST(AlignedBuffer, AMoveLeavesAnEmptyOneBehind) {
  AlignedBuffer from(10);
  const AlignedBuffer to = std::move(from);
  EXPECT_EQ(to.span().size(), 10u);
  EXPECT_EQ(from.span().size(), 0u);  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(from.data(), nullptr);
}

}  // namespace
}  // namespace cairn::io
