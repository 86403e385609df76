#include "base/little_endian.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace cairn::base {
namespace {

TEST(LittleEndian, TheLowestByteComesFirst) {
  std::array<std::byte, 6> bytes{};
  store_le<std::uint32_t>(bytes, 1, 0x04030201);
  const std::array<std::byte, 6> expected = {std::byte{0}, std::byte{1}, std::byte{2},
                                             std::byte{3}, std::byte{4}, std::byte{0}};
  EXPECT_EQ(bytes, expected);
}

TEST(LittleEndian, ALoadGivesWhatWasStoredAtAnyAlignment) {
  std::array<std::byte, 16> bytes{};
  for (std::size_t offset = 0; offset <= 8; ++offset) {
    store_le<std::int64_t>(bytes, offset, -1234567890123);
    EXPECT_EQ(load_le<std::int64_t>(bytes, offset), -1234567890123);
  }
}

}  // namespace
}  // namespace cairn::base
