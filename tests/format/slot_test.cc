#include "format/slot.h"

#include "expect_error.h"
#include "fixed_parts.h"
#include "format/record.h"

#include <functional>
#include <string>

namespace cairn::format {
namespace {

Slot some_slot() {
  Slot slot;
  slot.number = 2;
  slot.sequence = 9;
  slot.parent_sequence = 8;
  slot.parent_digest = some_digest(8);
  slot.root.first = {kDataBegin, 5000};
  slot.root.second = {kDataBegin + 2 * kAlignment, 5000};
  slot.root.digest = some_digest(9);
  slot.data_end = kDataBegin + 4 * kAlignment;
  return slot;
}

std::vector<std::byte> some_sector() {
  return encode_slot(some_slot(), some_uuid());
}

/// The error of a sector that must hold no slot 2 of some_uuid().
std::string error_of(std::span<const std::byte> sector) {
  std::string error;
  EXPECT_EQ(decode_slot(sector, some_uuid(), 2, &error), std::nullopt);
  return error;
}

void expect_refused(const std::function<void(Slot&)>& change, std::string_view text) {
  Slot slot = some_slot();
  change(slot);
  expect_error(ErrorCode::kInvalidArgument, text, [&] { encode_slot(slot, some_uuid()); });
}

/// A slot with one number replaced, which the encoder would refuse, and the digest mended.
std::string error_with_number(std::size_t at, std::uint64_t number) {
  std::vector<std::byte> sector = some_sector();
  std::memcpy(sector.data() + at, &number, sizeof(number));
  seal(sector);
  return error_of(sector);
}

TEST(Slot, ComesBackAsItWasWritten) {
  EXPECT_EQ(some_sector().size(), kSlotBytes);
  EXPECT_EQ(decode_slot(some_sector(), some_uuid(), 2), some_slot());
}

TEST(Slot, MayHaveNoParent) {
  Slot slot = some_slot();
  slot.parent_sequence = 0;
  slot.parent_digest = {};
  EXPECT_EQ(decode_slot(encode_slot(slot, some_uuid()), some_uuid(), 2), slot);
}

TEST(Slot, IsAbsentWithoutAnErrorWhenItWasNeverWritten) {
  EXPECT_EQ(error_of(std::vector<std::byte>(kSlotBytes)), "");
}

TEST(Slot, ClearsTheErrorOfAnEarlierCall) {
  std::string error = "old";
  EXPECT_TRUE(decode_slot(some_sector(), some_uuid(), 2, &error));
  EXPECT_EQ(error, "");
}

TEST(Slot, RefusesEverySingleFlippedBit) {
  for (std::size_t bit = 0; bit < kSlotBytes * 8; ++bit) {
    EXPECT_NE(error_of(with_bit_flipped(some_sector(), bit)), "") << "bit " << bit;
  }
}

TEST(Slot, RefusesASectorOfZerosWithOneBitSet) {
  for (std::size_t bit = 0; bit < kSlotBytes * 8; ++bit) {
    EXPECT_EQ(error_of(with_bit_flipped(std::vector<std::byte>(kSlotBytes), bit)),
              "the slot's magic is wrong");
  }
}

TEST(Slot, RefusesASectorThatIsCutShort) {
  const std::vector<std::byte> sector = some_sector();
  for (std::size_t length = 0; length < kSlotBytes; ++length) {
    EXPECT_NE(error_of(std::span(sector).first(length)).find("cut short"), std::string::npos);
  }
}

TEST(Slot, NamesATornSector) {
  EXPECT_EQ(error_of(with_bit_flipped(some_sector(), 8 * 40)),
            "the slot does not match its digest (torn or damaged)");
}

TEST(Slot, RefusesAnotherStore) {
  Uuid other = some_uuid();
  other[15] ^= std::byte{1};
  EXPECT_EQ(error_of(encode_slot(some_slot(), other)), "the slot belongs to another store");
}

TEST(Slot, RefusesAnotherPlace) {
  Slot slot = some_slot();
  slot.number = 3;
  EXPECT_EQ(error_of(encode_slot(slot, some_uuid())), "slot 3 stands in the place of slot 2");
}

TEST(Slot, RefusesAnotherVersion) {
  EXPECT_EQ(error_of(with_byte(some_sector(), 8, 2, kSlotBytes)),
            "the slot has version 2; this Cairn knows 1");
  EXPECT_EQ(error_of(with_byte(some_sector(), 8, 0, kSlotBytes)),
            "the slot has version 0; this Cairn knows 1");
}

TEST(Slot, RefusesEveryReservedByteThatIsNotZero) {
  for (std::size_t at = 112; at < kSlotBytes - 16; ++at) {
    EXPECT_EQ(error_of(with_byte(some_sector(), at, 1, kSlotBytes)),
              "a reserved byte of the slot is not zero");
  }
}

TEST(Slot, RefusesNumbersThatContradictEachOther) {
  EXPECT_EQ(error_with_number(32, 0), "the slot's sequence is 0");
  EXPECT_EQ(error_with_number(40, 9), "the slot's parent sequence 9 is not below its sequence 9");
  EXPECT_EQ(error_with_number(40, 0), "the slot has a parent's digest but no parent");
  EXPECT_NE(error_with_number(88, kDataBegin + 1).find("end of data 131073"), std::string::npos);
  EXPECT_NE(error_with_number(88, ~std::uint64_t{4095}).find("end of data"), std::string::npos);
}

TEST(Slot, RefusesRootsOutOfPlace) {
  EXPECT_NE(error_with_number(64, 0).find("first root lies at 0"), std::string::npos);
  EXPECT_NE(error_with_number(64, kDataBegin + 8).find("first root lies at"), std::string::npos);
  EXPECT_NE(error_with_number(72, kDataBegin + 3 * kAlignment).find("runs beyond the end of data"),
            std::string::npos);
  EXPECT_NE(error_with_number(72, ~std::uint64_t{4095}).find("runs beyond"), std::string::npos);
  EXPECT_EQ(error_with_number(72, kDataBegin), "the slot's two roots overlap");
  EXPECT_EQ(error_with_number(72, kDataBegin + kAlignment), "the slot's two roots overlap");
}

TEST(Slot, RefusesRootLengthsOutOfRange) {
  EXPECT_NE(error_with_number(80, kRecordHeaderBytes).find("root length is 128"),
            std::string::npos);
  EXPECT_NE(error_with_number(80, ~std::uint64_t{0}).find("root length is"), std::string::npos);
}

TEST(Slot, IsNotWrittenWhenItWouldBeRefused) {
  expect_refused([](Slot& s) { s.number = 4; }, "slot number 4 is not below 4");
  expect_refused([](Slot& s) { s.sequence = 0; }, "sequence is 0");
  expect_refused([](Slot& s) { s.root.second.bytes = 1; }, "differ in length: 5000 and 1");
  expect_refused([](Slot& s) { s.data_end = 0; }, "runs beyond the end of data, 0");
}

}  // namespace
}  // namespace cairn::format
