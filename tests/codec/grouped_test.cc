#include "codec/grouped.h"

#include "support/weights.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace cairn::codec {
namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

using testing::bf16_weights;

Bytes encoded(const Bytes& plain, Layout layout) {
  Bytes out(most_encoded_bytes(plain.size()));
  out.resize(encode(plain, layout, out));
  return out;
}

Bytes decoded(std::span<const std::byte> bytes, std::size_t plain_bytes) {
  Bytes plain(plain_bytes);
  decode(bytes, plain);
  return plain;
}

void expect_damaged(const Bytes& bytes, std::size_t plain_bytes) {
  try {
    decoded(bytes, plain_bytes);
    ADD_FAILURE() << "decoded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDamaged) << error.what();
  }
}

TEST(Grouped, GivesBackEveryLengthInEveryLayout) {
  for (const std::uint8_t width : {1, 2, 4, 8}) {
    for (const bool rotated : {false, true}) {
      for (const std::size_t bytes :
           {std::size_t{1}, std::size_t{7}, std::size_t{8}, std::size_t{65'537}, kBlockBytes - 1,
            kBlockBytes, kBlockBytes + 3, 2 * kBlockBytes + 5}) {
        const Layout layout{.width = width, .rotated = rotated};
        for (const Bytes& plain :
             {random_bytes(bytes, bytes), Bytes(bytes), Bytes(bytes, std::byte{7})}) {
          const Bytes stored = encoded(plain, layout);
          ASSERT_FALSE(stored.empty());
          ASSERT_EQ(decoded(stored, bytes), plain) << bytes << " bytes, width " << int{width};
        }
      }
    }
  }
}

TEST(Grouped, KeepsEveryBf16BitPattern) {  // NaN payloads, infinities, subnormal numbers, zeros
  Bytes plain(std::size_t{2} << 16);
  for (std::uint32_t i = 0; i < (1U << 16); ++i) {
    const auto pattern = static_cast<std::uint16_t>(i);
    std::memcpy(&plain[2 * std::size_t{i}], &pattern, 2);
  }
  EXPECT_EQ(decoded(encoded(plain, layout_of(DType::kBF16)), plain.size()), plain);
}

TEST(Grouped, HasALayoutForEveryDtype) {
  for (std::uint8_t number = 1; const auto dtype = dtype_from_number(number); ++number) {
    const Layout layout = layout_of(*dtype);
    EXPECT_TRUE(layout.width == 1 || layout.width == 2 || layout.width == 4 || layout.width == 8);
    const Bytes plain = random_bytes(4096 + 16, number);
    EXPECT_EQ(decoded(encoded(plain, layout), plain.size()), plain) << int{number};
  }
  EXPECT_EQ(layout_of(DType::kBF16), (Layout{.width = 2, .rotated = true}));
  EXPECT_EQ(layout_of(DType::kC128), (Layout{.width = 8, .rotated = true}));
  EXPECT_EQ(layout_of(DType::kI32), (Layout{.width = 4}));
  EXPECT_EQ(layout_of(DType::kF6E2M3), (Layout{.width = 1}));
}

TEST(Grouped, MakesWeightsSmallerByAThird) {
  const Bytes plain = bf16_weights(std::size_t{1} << 19, 1);
  EXPECT_LE(encoded(plain, layout_of(DType::kBF16)).size(), plain.size() * 70 / 100);
}

TEST(Grouped, SaysWhenItDoesNotFit) {
  const Bytes noise = random_bytes(100'000, 3);
  Bytes out(noise.size() - noise.size() / 16);
  EXPECT_EQ(encode(noise, {.width = 2, .rotated = true}, out), 0U);
  const Bytes weights = bf16_weights(50'000, 3);
  const Bytes whole = encoded(weights, layout_of(DType::kBF16));
  Bytes short_by_one(whole.size() - 1);
  EXPECT_EQ(encode(weights, layout_of(DType::kBF16), short_by_one), 0U);
  for (const std::size_t room : {0, 7, 8, 24, 31}) {
    Bytes little(room);
    EXPECT_EQ(encode(weights, layout_of(DType::kBF16), little), 0U);
  }
}

TEST(Grouped, EncodesTheSameWhateverTheRoom) {
  const Bytes plain = bf16_weights(300'000, 6);
  const Bytes whole = encoded(plain, layout_of(DType::kBF16));
  for (std::size_t room = whole.size(); room < plain.size(); room += 997) {
    Bytes out(room);
    out.resize(encode(plain, layout_of(DType::kBF16), out));
    if (!out.empty()) {
      EXPECT_EQ(out, whole);
    }
  }
}

TEST(Grouped, LetsZerosFollowAndNothingElse) {
  const Bytes plain = bf16_weights(10'000, 4);
  Bytes stored = encoded(plain, layout_of(DType::kBF16));
  stored.resize(stored.size() + 100);
  EXPECT_EQ(decoded(stored, plain.size()), plain);
  stored.back() = std::byte{1};
  expect_damaged(stored, plain.size());
}

TEST(Grouped, NoticesEveryFlippedByteEveryCutAndAnotherLength) {
  const Bytes plain = bf16_weights(2'000, 5);
  const Bytes stored = encoded(plain, layout_of(DType::kBF16));
  for (std::size_t at = 0; at < stored.size(); ++at) {
    Bytes bad = stored;
    bad[at] ^= std::byte{0x41};
    expect_damaged(bad, plain.size());
  }
  for (std::size_t bytes = 0; bytes < stored.size(); ++bytes) {
    expect_damaged(Bytes(stored.begin(), stored.begin() + static_cast<std::ptrdiff_t>(bytes)),
                   plain.size());
  }
  for (const std::size_t bytes : {plain.size() - 2, plain.size() + 2, plain.size() + kBlockBytes}) {
    expect_damaged(stored, bytes);
  }
}

}  // namespace
}  // namespace cairn::codec
