#include "format/superblock.h"

#include "expect_error.h"
#include "fixed_parts.h"

#include <algorithm>
#include <string_view>

namespace cairn::format {
namespace {

Superblock some_superblock() {
  Superblock superblock;
  superblock.uuid = some_uuid();
  superblock.chunk_bytes = std::uint64_t{1} << 20;
  return superblock;
}

void expect_refused(const Superblock& superblock, ErrorCode code, std::string_view text) {
  expect_error(code, text, [&] { decode_superblock(encode_superblock(superblock)); });
}

/// A superblock that begins with other bytes.
std::vector<std::byte> beginning_with(std::string_view begin) {
  std::vector<std::byte> bytes = encode_superblock(some_superblock());
  std::transform(begin.begin(), begin.end(), bytes.begin(),
                 [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

void expect_begin_refused(std::string_view begin, std::string_view text) {
  expect_error(ErrorCode::kDamaged, text, [&] { decode_superblock(beginning_with(begin)); });
}

TEST(Superblock, ComesBackAsItWasWritten) {
  const std::vector<std::byte> bytes = encode_superblock(some_superblock());
  EXPECT_EQ(bytes.size(), kSuperblockBytes);
  EXPECT_EQ(decode_superblock(bytes), some_superblock());
}

TEST(Superblock, BeginsWithTheMagicThatTheSpecificationStates) {
  const std::vector<std::byte> bytes = encode_superblock(some_superblock());
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EXPECT_EQ(text.substr(0, 16), std::string_view("\x89"
                                                 "CAIRN\x0D\x0A\x1A\x0A\0\0\0\0\0\0",
                                                 16));
  EXPECT_EQ(text.substr(16, 8), std::string_view("\1\0\0\0\1\0\0\0", 8));
}

TEST(Superblock, IsReadFromTheFrontOfALongerBuffer) {
  std::vector<std::byte> bytes = encode_superblock(some_superblock());
  bytes.resize(bytes.size() + 100, std::byte{0xEE});
  EXPECT_EQ(decode_superblock(bytes), some_superblock());
}

TEST(Superblock, RefusesEverySingleFlippedBit) {
  const std::vector<std::byte> bytes = encode_superblock(some_superblock());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    EXPECT_THROW(decode_superblock(with_bit_flipped(bytes, bit)), Error) << "bit " << bit;
  }
}

TEST(Superblock, IsTruncatedWhenItIsCutShortAnywhere) {
  const std::vector<std::byte> bytes = encode_superblock(some_superblock());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    expect_error(ErrorCode::kTruncated, "cut short",
                 [&] { decode_superblock(std::span(bytes).first(length)); });
  }
}

TEST(Superblock, ShortForeignBytesAreNoPack) {
  const std::vector<std::byte> bytes(7, std::byte{'x'});
  expect_error(ErrorCode::kDamaged, "not a pack of Cairn", [&] { decode_superblock(bytes); });
}

TEST(Superblock, NamesDamageByTextTransfer) {
  expect_begin_refused("\x09", "text mode: the high bit");
  expect_begin_refused(
      "\x89"
      "CAIRN\x0A\x1A\x0A",
      "text mode: line ends");
  expect_begin_refused(
      "\x89"
      "CAIRN\x0D\x0D\x0A\x1A\x0D\x0A",
      "text mode: line ends");
  expect_begin_refused(
      "\x89"
      "CAIRN\x0D\x0A\x1A\x0D\x0A",
      "text mode: line ends");
  expect_begin_refused(
      "\xC2\x89"
      "CAIRN",
      "text mode: it was taken for Latin-1");
  expect_begin_refused(
      "\xEF\xBF\xBD"
      "CAIRN",
      "text mode: it was taken for UTF-8");
}

TEST(Superblock, NamesAnEmptyAndAForeignOne) {
  expect_error(ErrorCode::kDamaged, "all zero",
               [] { decode_superblock(std::vector<std::byte>(kSuperblockBytes)); });
  expect_begin_refused("PK\x03\x04", "not a pack of Cairn");
}

TEST(Superblock, NamesAWrongDigest) {
  const std::vector<std::byte> bytes = encode_superblock(some_superblock());
  expect_error(ErrorCode::kDamaged, "does not match its digest",
               [&] { decode_superblock(with_bit_flipped(bytes, 8 * 1000)); });
}

TEST(Superblock, RefusesANewerVersion) {
  Superblock superblock = some_superblock();
  superblock.version = kFormatVersion + 1;
  expect_refused(superblock, ErrorCode::kUnsupportedVersion, "format version 2 is newer");
}

TEST(Superblock, RefusesVersionZero) {
  Superblock superblock = some_superblock();
  superblock.version = 0;
  expect_refused(superblock, ErrorCode::kDamaged, "version is 0");
}

TEST(Superblock, AcceptsUnknownCompatBits) {
  Superblock superblock = some_superblock();
  superblock.compat = std::uint64_t{1} << 63;
  EXPECT_EQ(decode_superblock(encode_superblock(superblock)), superblock);
  EXPECT_FALSE(is_read_only_for_us(superblock));
}

TEST(Superblock, AllowsReadingOnlyWithUnknownRoCompatBits) {
  Superblock superblock = some_superblock();
  superblock.ro_compat = 4;
  EXPECT_EQ(decode_superblock(encode_superblock(superblock)), superblock);
  EXPECT_TRUE(is_read_only_for_us(superblock));
}

TEST(Superblock, RefusesUnknownIncompatBits) {
  Superblock superblock = some_superblock();
  superblock.incompat = 0x22;
  expect_refused(superblock, ErrorCode::kUnsupportedVersion, "incompat bits 0x22");
}

TEST(Superblock, RefusesAnUnknownHashAlgorithm) {
  Superblock superblock = some_superblock();
  superblock.hash_algorithm = 2;
  expect_refused(superblock, ErrorCode::kUnsupportedVersion, "hash algorithm 2");
}

TEST(Superblock, RefusesAnotherAlignment) {
  Superblock superblock = some_superblock();
  superblock.alignment = 512;
  expect_refused(superblock, ErrorCode::kDamaged, "alignment is 512, not 4096");
}

TEST(Superblock, RefusesChunkSizesOutOfRange) {
  Superblock superblock = some_superblock();
  for (const std::uint64_t bytes :
       {std::uint64_t{0}, kMinChunkBytes - kAlignment, kMinChunkBytes + 1,
        kMaxChunkBytes + kAlignment, ~std::uint64_t{0}}) {
    superblock.chunk_bytes = bytes;
    expect_refused(superblock, ErrorCode::kDamaged, "chunk size is " + std::to_string(bytes));
  }
}

TEST(Superblock, AcceptsTheSmallestAndTheLargestChunkSize) {
  Superblock superblock = some_superblock();
  for (const std::uint64_t bytes : {kMinChunkBytes, kMaxChunkBytes}) {
    superblock.chunk_bytes = bytes;
    EXPECT_EQ(decode_superblock(encode_superblock(superblock)).chunk_bytes, bytes);
  }
}

TEST(Superblock, RefusesEveryReservedByteThatIsNotZero) {
  const std::vector<std::byte> bytes = encode_superblock(some_superblock());
  const auto refuses = [&](std::size_t at) {
    expect_error(ErrorCode::kDamaged, "reserved byte " + std::to_string(at) + " is not zero",
                 [&] { decode_superblock(with_byte(bytes, at, 1, kSuperblockBytes)); });
  };
  for (std::size_t at = 68; at < 72; ++at) refuses(at);
  for (std::size_t at = 80; at < kSuperblockBytes - 16; ++at) refuses(at);
}

TEST(Superblock, LeavesReservedBytesToACompatibleFeatureThatItDoesNotKnow) {
  Superblock superblock = some_superblock();
  superblock.compat = 1;
  const auto bytes = with_byte(encode_superblock(superblock), 80, 7, kSuperblockBytes);
  EXPECT_EQ(decode_superblock(bytes), superblock);
}

}  // namespace
}  // namespace cairn::format
