#include "format/record.h"

#include "expect_error.h"
#include "fixed_parts.h"

#include <string>

namespace cairn::format {
namespace {

constexpr std::uint64_t kOwnOffset = kDataBegin + kAlignment;

std::vector<std::byte> some_payload() {
  return std::vector<std::byte>(300, std::byte{0x5A});
}

RecordHeader some_header() {
  RecordHeader header;
  header.type = RecordType::kRoot;
  header.own_offset = kOwnOffset;
  header.sequence = 12;
  header.payload_bytes = some_payload().size();
  header.payload_digest = base::xxh3_128(some_payload());
  return header;
}

std::vector<std::byte> some_record() {
  return encode_record(some_header(), some_uuid(), some_payload());
}

RecordHeader decode_header(std::span<const std::byte> record) {
  return decode_record_header(record, some_uuid(), kOwnOffset);
}

std::span<const std::byte> decode(std::span<const std::byte> record) {
  return decode_record(record, some_uuid(), kOwnOffset, RecordType::kRoot);
}

void expect_header_refused(std::size_t at, std::uint8_t value, std::string_view text,
                           ErrorCode code = ErrorCode::kDamaged) {
  expect_error(code, text,
               [&] { decode_header(with_byte(some_record(), at, value, kRecordHeaderBytes)); });
}

TEST(Record, ComesBackAsItWasWritten) {
  const std::vector<std::byte> record = some_record();
  RecordHeader header;
  const auto payload = decode_record(record, some_uuid(), kOwnOffset, RecordType::kRoot, &header);
  EXPECT_EQ(std::vector<std::byte>(payload.begin(), payload.end()), some_payload());
  EXPECT_EQ(header, some_header());
  EXPECT_EQ(decode_header(record), some_header());
}

TEST(Record, ComputesLengthAndDigestOfThePayloadItself) {
  RecordHeader header = some_header();
  header.payload_bytes = 1;
  header.payload_digest = {};
  EXPECT_EQ(encode_record(header, some_uuid(), some_payload()), some_record());
}

TEST(Record, IgnoresPaddingBehind) {
  std::vector<std::byte> record = some_record();
  record.resize(kAlignment);
  EXPECT_EQ(decode(record).size(), some_payload().size());
}

TEST(Record, RefusesEverySingleFlippedBit) {
  const std::vector<std::byte> record = some_record();
  for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
    EXPECT_THROW(decode(with_bit_flipped(record, bit)), Error) << "bit " << bit;
    if (bit < kRecordHeaderBytes * 8) {
      EXPECT_THROW(decode_header(with_bit_flipped(record, bit)), Error) << "bit " << bit;
    }
  }
}

TEST(Record, IsTruncatedWhenItIsCutShortAnywhere) {
  const std::vector<std::byte> record = some_record();
  for (std::size_t length = 0; length < record.size(); ++length) {
    expect_error(ErrorCode::kTruncated, length < kRecordHeaderBytes ? "header" : "payload",
                 [&] { decode(std::span(record).first(length)); });
  }
}

TEST(Record, NamesWhichPartIsDamaged) {
  expect_error(ErrorCode::kDamaged, "magic is wrong",
               [] { decode(with_bit_flipped(some_record(), 0)); });
  expect_error(ErrorCode::kDamaged, "header does not match its digest",
               [] { decode(with_bit_flipped(some_record(), 8 * 45)); });
  expect_error(ErrorCode::kDamaged, "payload does not match its digest",
               [] { decode(with_bit_flipped(some_record(), 8 * 200)); });
}

TEST(Record, RefusesAnotherPlace) {
  expect_error(ErrorCode::kDamaged, "written for offset 135168, but stands at 139264",
               [] { decode_record_header(some_record(), some_uuid(), kOwnOffset + kAlignment); });
}

TEST(Record, RefusesAnotherStore) {
  Uuid other = some_uuid();
  other[0] ^= std::byte{1};
  expect_error(ErrorCode::kDamaged, "another store",
               [&] { decode_record_header(some_record(), other, kOwnOffset); });
}

TEST(Record, RefusesAnotherType) {
  expect_error(ErrorCode::kDamaged, "of type 2, not 1",
               [] { decode_record(some_record(), some_uuid(), kOwnOffset, RecordType::kIndex); });
}

TEST(Record, RefusesVersionsAndTypesThatItDoesNotKnow) {
  expect_header_refused(8, 2, "version 2 is newer", ErrorCode::kUnsupportedVersion);
  expect_header_refused(8, 0, "version is 0");
  expect_header_refused(12, 3, "type 3 is unknown");
  expect_header_refused(12, 0, "type 0 is unknown");
}

TEST(Record, RefusesNumbersOutOfRange) {
  expect_header_refused(40, 0, "sequence is 0");
  expect_header_refused(55, 1, "payload is 72057594037928236 bytes long");
  expect_header_refused(51, 0x80, "allowed are 1 to 2147418112");
}

TEST(Record, RefusesAnEmptyPayloadInAHeader) {
  std::vector<std::byte> record = some_record();
  record[48] = record[49] = std::byte{0};
  seal(std::span(record).first(kRecordHeaderBytes));
  expect_error(ErrorCode::kDamaged, "payload is 0 bytes long", [&] { decode_header(record); });
}

TEST(Record, RefusesEveryReservedByteThatIsNotZero) {
  for (std::size_t at = 72; at < kRecordHeaderBytes - 16; ++at) {
    expect_header_refused(at, 1, "reserved byte " + std::to_string(at) + " is not zero");
  }
}

TEST(Record, IsNotWrittenWhenItWouldBeRefused) {
  RecordHeader header = some_header();
  expect_error(ErrorCode::kInvalidArgument, "payload is 0 bytes long",
               [&] { encode_record(header, some_uuid(), {}); });
  header.sequence = 0;
  expect_error(ErrorCode::kInvalidArgument, "sequence is 0",
               [&] { encode_record(header, some_uuid(), some_payload()); });
}

TEST(Record, IsFoundByItsMagicInAScan) {
  const std::vector<std::byte> record = some_record();
  EXPECT_TRUE(looks_like_record(record));
  EXPECT_TRUE(looks_like_record(std::span(record).first(8)));
  EXPECT_FALSE(looks_like_record(std::span(record).first(7)));
  EXPECT_FALSE(looks_like_record(std::span(record).subspan(1)));
  EXPECT_FALSE(looks_like_record({}));
}

}  // namespace
}  // namespace cairn::format
