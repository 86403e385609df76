#include "codec/grouped.h"

#include "base/digest.h"
#include "support/weights.h"

#include <cairn/error.h>

#include <gtest/gtest.h>
#include <zstd.h>

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <span>
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

/// A chunk of one group, as long as `plain`, that is stored as `group`.
Bytes chunk_of(const Bytes& group) {
  Bytes chunk(8);
  chunk[0] = std::byte{1};
  const auto length = static_cast<std::uint32_t>(group.size());
  chunk.resize(12);
  std::memcpy(&chunk[8], &length, sizeof(length));
  chunk.insert(chunk.end(), group.begin(), group.end());
  const base::Digest128 digest = base::xxh3_128(chunk);
  chunk.insert(chunk.end(), digest.bytes.begin(), digest.bytes.end());
  return chunk;
}

Bytes frame_of(std::span<const std::byte> plain, bool with_size = true) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                     ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, with_size ? 1 : 0);
  Bytes frame(ZSTD_compressBound(plain.size()));
  frame.resize(ZSTD_compress2(context.get(), frame.data(), frame.size(),  //
                              plain.data(), plain.size()));
  return frame;
}

// The library would take several frames, some that hold nothing, and those of versions before 1.0,
// whose decoders it has kept.
TEST(Grouped, TakesAGroupOfOneFrameThatSaysHowLongItIs) {
  const Bytes plain(10'000, std::byte{7});
  const auto half = std::span(plain).first(5'000);
  const Bytes whole = frame_of(plain);
  EXPECT_EQ(decoded(chunk_of(whole), plain.size()), plain);

  Bytes two = frame_of(half);
  const Bytes second = frame_of(half);
  two.insert(two.end(), second.begin(), second.end());
  expect_damaged(chunk_of(two), plain.size());

  constexpr std::array<unsigned char, 9> kSkippable = {0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 0};
  Bytes skipped(kSkippable.size());
  std::memcpy(skipped.data(), kSkippable.data(), kSkippable.size());
  Bytes before = skipped;
  before.insert(before.end(), whole.begin(), whole.end());
  expect_damaged(chunk_of(before), plain.size());
  Bytes after = whole;
  after.insert(after.end(), skipped.begin(), skipped.end());
  expect_damaged(chunk_of(after), plain.size());

  expect_damaged(chunk_of(frame_of(plain, false)), plain.size());
  expect_damaged(chunk_of({}), plain.size());
}

}  // namespace
}  // namespace cairn::codec
