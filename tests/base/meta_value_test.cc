#include <cairn/error.h>
#include <cairn/meta_value.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace cairn {
namespace {

// The message of the `mismatch` that `call` throws, or that it threw none.
template <typename Call>
std::string mismatch_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kMismatch);
    return error.what();
  }
  return "no error";
}

TEST(MetaValue, TextIsAStringAndNeverABool) {
  EXPECT_EQ(MetaValue("full").as_string(), "full");
  EXPECT_EQ(MetaValue(std::string_view("full")).type_name(), "string");
  EXPECT_EQ(MetaValue(std::string("full")).type_name(), "string");
}

TEST(MetaValue, EveryIntegerTypeIsAnI64) {
  EXPECT_EQ(MetaValue(std::int8_t{-3}).as_int(), -3);
  EXPECT_EQ(MetaValue(std::uint32_t{4'000'000'000}).as_int(), 4'000'000'000);
  EXPECT_EQ(MetaValue(std::uint64_t{5}).as_int(), 5);
  EXPECT_EQ(MetaValue('a').type_name(), "i64");
}

TEST(MetaValue, AnUnsignedValueBeyondAnI64IsRefused) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(MetaValue(kLargest).as_int(), std::numeric_limits<std::int64_t>::max());
  try {
    MetaValue value(kLargest + 1);
    FAIL() << "accepted as " << value.as_int();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  }
}

TEST(MetaValue, KeepsBoolsAndDoublesApartFromIntegers) {
  EXPECT_TRUE(MetaValue(true).is_bool());
  EXPECT_FALSE(MetaValue(true).is_number());
  EXPECT_TRUE(MetaValue(1.0F).is_double());
  EXPECT_FALSE(MetaValue(1) == MetaValue(1.0));
}

TEST(MetaValue, AnIntegerReadsAsADoubleToo) {
  EXPECT_EQ(MetaValue(7).as_double(), 7.0);
}

TEST(MetaValue, ReadingAsAnotherTypeNamesBoth) {
  EXPECT_EQ(mismatch_of([] { MetaValue("x").as_int(); }), "the value is of type string, not i64");
  EXPECT_EQ(mismatch_of([] { MetaValue(1.5).as_int(); }), "the value is of type f64, not i64");
  EXPECT_EQ(mismatch_of([] { MetaValue(1).as_bool(); }), "the value is of type i64, not bool");
  EXPECT_EQ(mismatch_of([] { MetaValue(true).as_double(); }), "the value is of type bool, not f64");
  EXPECT_EQ(mismatch_of([] { MetaValue(1).as_string(); }), "the value is of type i64, not string");
  EXPECT_EQ(mismatch_of([] { MetaValue(1).as_bytes(); }), "the value is of type i64, not bytes");
  EXPECT_EQ(mismatch_of([] { MetaValue(1).as_list(); }), "the value is of type i64, not list");
  EXPECT_EQ(mismatch_of([] { MetaValue(1).as_map(); }), "the value is of type i64, not map");
}

TEST(MetaValue, HoldsBytesListsAndMaps) {
  const MetaValue value(MetaValue::Map{{"bytes", MetaValue::Bytes{std::byte{1}}},
                                       {"list", MetaValue::List{1, "two", 3.0}}});
  EXPECT_EQ(value.as_map().at("bytes").as_bytes().size(), 1u);
  EXPECT_EQ(value.as_map().at("list").as_list().at(1).as_string(), "two");
}

TEST(MetaValue, DepthCountsTheDeepestNesting) {
  EXPECT_EQ(MetaValue(1).depth(), 0);
  EXPECT_EQ(MetaValue(MetaValue::List{}).depth(), 1);
  EXPECT_EQ(MetaValue(MetaValue::Map{{"a", 1}, {"b", MetaValue::List{MetaValue::List{}}}}).depth(),
            3);
}

TEST(MetaValue, NanDiffersFromNan) {
  EXPECT_FALSE(MetaValue(std::nan("")) == MetaValue(std::nan("")));
  EXPECT_TRUE(MetaValue(0.0) == MetaValue(-0.0));
}

TEST(Metadata, AnAbsentKeyEqualsNothing) {
  const Metadata meta = {{"kind", "full"}, {"loss", 13.1}};
  EXPECT_TRUE(meta.get("kind") == "full");
  EXPECT_FALSE(meta.get("missing") == "full");
  EXPECT_EQ(meta.find("missing"), nullptr);
}

TEST(Metadata, SetReplaces) {
  Metadata meta = {{"step", 1}};
  meta.set("step", 2);
  EXPECT_EQ(meta.size(), 1u);
  EXPECT_EQ(meta.find("step")->as_int(), 2);
}

}  // namespace
}  // namespace cairn
