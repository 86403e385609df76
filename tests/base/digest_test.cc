#include "base/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

// An implementation to compare with: portable code, compiled here.
#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_SCALAR
#include <xxhash.h>

namespace cairn::base {
namespace {

std::vector<std::byte> pattern(std::size_t bytes) {
  std::vector<std::byte> result(bytes);
  std::uint32_t state = 1;
  for (std::byte& byte : result) {
    state = state * 1'664'525 + 1'013'904'223;
    byte = static_cast<std::byte>(state >> 24);
  }
  return result;
}

Digest128 portable_128(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  Digest128 digest;
  std::memcpy(digest.bytes.data(), canonical.digest, sizeof(canonical.digest));
  return digest;
}

// Every length up to a few blocks of XXH3 (1024 bytes each), then some around larger bounds.
std::vector<std::size_t> interesting_lengths() {
  std::vector<std::size_t> lengths(3 * 1024 + 2);
  for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] = i;
  for (const std::size_t bound : {4096u, 65'536u, 1u << 20}) {
    lengths.insert(lengths.end(), {bound - 1, bound, bound + 1});
  }
  return lengths;
}

TEST(Digest, OfNothingIsThePublishedOne) {
  EXPECT_EQ(xxh3_128({}).to_hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(xxh3_64({}), 0x2d06800538d394c2u);
}

TEST(Digest, IsTheOneOfThePortableImplementation) {
  const std::vector<std::byte> data = pattern((1 << 20) + 1);
  for (const std::size_t length : interesting_lengths()) {
    const std::span<const std::byte> bytes(data.data(), length);
    ASSERT_EQ(xxh3_128(bytes), portable_128(bytes)) << length;
    ASSERT_EQ(xxh3_64(bytes), XXH3_64bits(bytes.data(), bytes.size())) << length;
  }
}

TEST(Digest, InPiecesIsTheOneOfTheWhole) {
  const std::vector<std::byte> data = pattern((1 << 20) + 1);
  Hasher128 hasher;
  for (const std::size_t length : interesting_lengths()) {
    const std::span<const std::byte> bytes(data.data(), length);
    hasher.reset();
    for (std::size_t done = 0, piece = 1; done < length; done += piece, piece = 2 * piece + 3) {
      hasher.update(bytes.subspan(done, std::min(piece, length - done)));
    }
    ASSERT_EQ(hasher.digest(), portable_128(bytes)) << length;
  }
}

TEST(Digest, DoesNotDependOnAlignment) {
  const std::vector<std::byte> data = pattern(5000);
  for (std::size_t shift = 0; shift < 64; ++shift) {
    const std::span<const std::byte> bytes(data.data() + shift, 4096);
    ASSERT_EQ(xxh3_128(bytes), portable_128(bytes)) << shift;
  }
}

TEST(Digest, AskingForItDoesNotEndTheStream) {
  const std::vector<std::byte> data = pattern(2000);
  Hasher128 hasher;
  hasher.update(std::span(data).first(1500));
  EXPECT_EQ(hasher.digest(), xxh3_128(std::span(data).first(1500)));
  hasher.update(std::span(data).subspan(1500));
  EXPECT_EQ(hasher.digest(), xxh3_128(data));
}

TEST(Digest, OfAHasherWithoutInputIsThatOfNothing) {
  Hasher128 hasher;
  hasher.update({});
  EXPECT_EQ(hasher.digest(), xxh3_128({}));
}

TEST(Digest, KnowsWhetherItIsZero) {
  EXPECT_TRUE(Digest128{}.is_zero());
  EXPECT_FALSE(xxh3_128({}).is_zero());
}

TEST(Digest, OrdersAsItsHexadecimalForm) {
  const Digest128 a = xxh3_128(pattern(1));
  const Digest128 b = xxh3_128(pattern(2));
  EXPECT_EQ(a < b, a.to_hex() < b.to_hex());
  EXPECT_EQ(a > b, a.to_hex() > b.to_hex());
  EXPECT_NE(DigestHash()(a), DigestHash()(b));
}

}  // namespace
}  // namespace cairn::base
