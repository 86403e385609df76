#include "base/stream_copy.h"

#include "support/states.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::base {
namespace {

using testing::Bytes;
using testing::pattern;

// Wherever both begin in a line, and however long: every byte, and none beside.
TEST(StreamCopy, CopiesLikeMemcpy) {
  constexpr std::size_t kMargin = 64;
  for (const std::size_t bytes : {0, 1, 63, 64, 65'535, 65'536, 65'537, 65'599, 65'601, 200'000}) {
    const Bytes source = pattern(1, bytes + kMargin);
    for (const std::size_t to : {0, 1, 8, 16, 63}) {
      for (const std::size_t from : {0, 1, 16, 33}) {
        Bytes target(bytes + 2 * kMargin, std::byte{0xAA});
        Bytes expected = target;
        std::copy_n(source.begin() + static_cast<long>(from), bytes,
                    expected.begin() + static_cast<long>(to));
        stream_copy(std::span(target).subspan(to, bytes), std::span(source).subspan(from, bytes));
        ASSERT_EQ(target, expected) << bytes << " bytes from " << from << " to " << to;
      }
    }
  }
}

}  // namespace
}  // namespace cairn::base
