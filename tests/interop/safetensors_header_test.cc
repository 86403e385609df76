#include "interop/safetensors_header.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

namespace cairn::interop {
namespace {

constexpr std::string_view kFile = "x.safetensors";

SafetensorsHeader parse(std::string_view text, std::uint64_t data_bytes = 0) {
  return parse_safetensors_header(text, data_bytes, kFile);
}

// One U8 tensor "a" of four bytes; the test says how its fields differ.
std::string tensor_with(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return std::string(R"({"a":{"dtype":)") + std::string(dtype) + R"(,"shape":)" +
         std::string(shape) + R"(,"data_offsets":)" + std::string(offsets) + "}}";
}

void expect_error(ErrorCode code, std::string_view part, std::string_view text,
                  std::uint64_t data_bytes = 4) {
  try {
    parse(text, data_bytes);
    FAIL() << "accepted: " << text.substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
    EXPECT_EQ(error.path(), kFile);
    EXPECT_LT(std::string_view(error.what()).size(), 1000U);
  }
}

void expect_damaged(std::string_view part, std::string_view text, std::uint64_t data_bytes = 4) {
  expect_error(ErrorCode::kDamaged, part, text, data_bytes);
}

TEST(SafetensorsHeader, ReadsDtypeShapeAndPlace) {
  const auto header = parse(tensor_with(R"("BF16")", "[2,3]", "[0,12]"), 12);
  ASSERT_EQ(header.entries.size(), 1U);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].dtype, DType::kBF16);
  EXPECT_EQ(header.entries[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(header.entries[0].end, 12U);
  EXPECT_FALSE(header.metadata);
}

TEST(SafetensorsHeader, AcceptsNoTensorsAtAll) {
  EXPECT_TRUE(parse("{}").entries.empty());
}

TEST(SafetensorsHeader, AcceptsSpacesAtTheEnd) {
  EXPECT_EQ(parse(tensor_with(R"("U8")", "[4]", "[0,4]") + "     ", 4).entries.size(), 1U);
}

TEST(SafetensorsHeader, TakesAShapeWithoutDimensionsForOneElement) {
  EXPECT_EQ(parse(tensor_with(R"("F32")", "[]", "[0,4]"), 4).entries[0].shape.size(), 0U);
}

TEST(SafetensorsHeader, AcceptsEmptyTensorsWhateverTheirOtherDimensions) {
  const auto header = parse(tensor_with(R"("F64")", "[9223372036854775807,9,0]", "[0,0]"), 0);
  EXPECT_EQ(header.entries[0].shape.size(), 3U);
}

TEST(SafetensorsHeader, AcceptsEntriesInAnyOrderOfTheirData) {
  const auto header = parse(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]},)"
                            R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                            4);
  EXPECT_EQ(header.entries[0].name, "a");
}

TEST(SafetensorsHeader, ReadsMetadata) {
  const auto header = parse(R"({"__metadata__":{"format":"pt","":"x"}})");
  EXPECT_EQ(header.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"", "x"}}));
  EXPECT_FALSE(parse(R"({"__metadata__":null})").metadata);
  EXPECT_TRUE(parse(R"({"__metadata__":{}})").metadata);
}

TEST(SafetensorsHeader, IgnoresUnknownFieldsOfATensor) {
  const auto header = parse(R"({"a":{"extra":[[{"dtype":1}],{"shape":[]}],"dtype":"U8",)"
                            R"("other":null,"shape":[4],"data_offsets":[0,4]}})",
                            4);
  EXPECT_EQ(header.entries[0].shape, (std::vector<std::int64_t>{4}));
}

TEST(SafetensorsHeader, FormatsWhatItParses) {
  const std::string_view text = R"({"__metadata__":{"k\"":"v"},)"
                                R"("n\n":{"dtype":"U16","shape":[1,2],"data_offsets":[0,4]},)"
                                R"("é":{"dtype":"F8_E4M3","shape":[],"data_offsets":[4,5]}})";
  const std::string formatted = format_safetensors_header(parse(text, 5));
  EXPECT_EQ(formatted.substr(0, text.size()), text);
  EXPECT_EQ(formatted.size() % 8, 0U);
  EXPECT_EQ(formatted.find_first_not_of(' ', text.size()), std::string::npos);
}

TEST(SafetensorsHeader, RefusesWhatDoesNotBeginWithABrace) {
  expect_damaged("does not begin with '{'", "");
  expect_damaged("does not begin with '{'", " {}");
  expect_damaged("does not begin with '{'", "[]");
}

TEST(SafetensorsHeader, RefusesMalformedJson) {
  expect_damaged("no valid JSON: x.safetensors at byte", R"({"a":)");
  expect_damaged("no valid JSON", "{} {}");
  expect_damaged("no valid JSON", "{}x");
  expect_damaged("no valid JSON", R"({"a":{"dtype":"U8",}})");
  expect_damaged("no valid JSON", R"({"a":NaN})");
}

TEST(SafetensorsHeader, RefusesBytesAfterANul) {
  using std::string_view_literals::operator""sv;
  expect_damaged("no valid JSON", "{}\0 anything"sv);
}

TEST(SafetensorsHeader, RefusesNamesThatAreNoUtf8) {
  expect_damaged("no valid UTF-8", "{\"\xff\":{}}");
  expect_damaged("no valid JSON", R"({"\ud800":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})");
}

TEST(SafetensorsHeader, RefusesAHundredThousandLevels) {
  const std::string deep(100'000, '[');
  expect_damaged("nested more than 128", R"({"a":{"x":)" + deep);
  std::string objects = "{";
  for (int i = 0; i < 100'000; ++i) objects += R"("a":{)";
  expect_damaged("nested more than", R"({"a":{"x":)" + objects);
  expect_damaged("a list under", R"({"a":)" + deep);
}

TEST(SafetensorsHeader, RefusesDuplicateTensors) {
  const std::string one = R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  expect_damaged(R"(key "a" twice)", "{" + one + "," + one + "}", 0);
}

TEST(SafetensorsHeader, RefusesDuplicateFields) {
  expect_damaged(R"(key "shape" twice)",
                 R"({"a":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}})");
  expect_damaged(R"(key "__metadata__" twice)", R"({"__metadata__":{},"__metadata__":{}})");
  expect_damaged(R"(key "k" twice)", R"({"__metadata__":{"k":"1","k":"2"}})");
}

TEST(SafetensorsHeader, RefusesMissingFields) {
  expect_damaged(R"("a" lacks its dtype)", R"({"a":{"shape":[4],"data_offsets":[0,4]}})");
  expect_damaged(R"("a" lacks its shape)", R"({"a":{"dtype":"U8","data_offsets":[0,4]}})");
  expect_damaged(R"("a" lacks its data_offsets)", R"({"a":{"dtype":"U8","shape":[4]}})");
}

TEST(SafetensorsHeader, RefusesAnUnknownDtype) {
  expect_damaged(R"("a" has the unknown dtype "U7")", tensor_with(R"("U7")", "[4]", "[0,4]"));
  expect_damaged("unknown dtype", tensor_with(R"("u8")", "[4]", "[0,4]"));
}

TEST(SafetensorsHeader, RefusesFieldsOfAWrongType) {
  expect_damaged(R"(dtype of tensor "a" is a number)", tensor_with("8", "[4]", "[0,4]"));
  expect_damaged(R"(dtype of tensor "a" is an object)", tensor_with("{}", "[4]", "[0,4]"));
  expect_damaged(R"(shape of tensor "a" is a number)", tensor_with(R"("U8")", "4", "[0,4]"));
  expect_damaged(R"(shape of tensor "a" is null)", tensor_with(R"("U8")", "null", "[0,4]"));
  expect_damaged(R"(the shape of tensor "a" holds a list)",
                 tensor_with(R"("U8")", "[[4]]", "[0,4]"));
  expect_damaged(R"(data_offsets of tensor "a" hold a string)",
                 tensor_with(R"("U8")", "[4]", R"(["0",4])"));
  expect_damaged("a string under", R"({"a":"b"})");
  expect_damaged(R"("k" in __metadata__ is a number)", R"({"__metadata__":{"k":1}})");
  expect_damaged(R"("dtype" in __metadata__)", R"({"__metadata__":{"shape":"x","dtype":[]}})");
  expect_damaged("a list under", R"({"__metadata__":[]})");
}

TEST(SafetensorsHeader, RefusesNumbersThatAreNoSizes) {
  expect_damaged("holds a negative number", tensor_with(R"("U8")", "[-4]", "[0,4]"));
  expect_damaged("holds a number that is no integer", tensor_with(R"("U8")", "[4.0]", "[0,4]"));
  expect_damaged("hold a number that is no integer", tensor_with(R"("U8")", "[4]", "[0,4e0]"));
  expect_damaged("number that is out of range", tensor_with(R"("U8")", "[1e400]", "[0,4]"));
  expect_damaged("a dimension of tensor", tensor_with(R"("U8")", "[9223372036854775808]", "[0,4]"));
  expect_damaged("holds a number that is no integer",
                 tensor_with(R"("U8")", "[99999999999999999999999]", "[0,4]"));
}

TEST(SafetensorsHeader, RefusesOtherThanTwoOffsets) {
  expect_damaged("are not two numbers", tensor_with(R"("U8")", "[4]", "[0]"));
  expect_damaged("are not two numbers", tensor_with(R"("U8")", "[4]", "[0,4,8]"));
  expect_damaged("are not two numbers", tensor_with(R"("U8")", "[4]", "[]"));
}

TEST(SafetensorsHeader, RefusesMoreThan64Dimensions) {
  std::string shape = "[1";
  for (int i = 1; i < 64; ++i) shape += ",1";
  EXPECT_EQ(parse(tensor_with(R"("U8")", shape + "]", "[0,1]"), 1).entries[0].shape.size(), 64U);
  expect_damaged("more than 64 dimensions", tensor_with(R"("U8")", shape + ",1]", "[0,1]"), 1);
}

TEST(SafetensorsHeader, RefusesAShapeThatOverflows) {
  expect_damaged("make no whole number of bytes",
                 tensor_with(R"("U8")", "[4294967296,4294967296]", "[0,4]"));
  expect_damaged("make no whole number of bytes",
                 tensor_with(R"("F64")", "[1152921504606846976]", "[0,4]"));
}

TEST(SafetensorsHeader, RefusesSubByteElementsThatDoNotFillTheirBytes) {
  EXPECT_EQ(parse(tensor_with(R"("F4")", "[2]", "[0,1]"), 1).entries.size(), 1U);
  EXPECT_EQ(parse(tensor_with(R"("F6_E2M3")", "[4]", "[0,3]"), 3).entries.size(), 1U);
  expect_damaged("make no whole number of bytes", tensor_with(R"("F4")", "[3]", "[0,2]"), 2);
  expect_damaged("make no whole number of bytes", tensor_with(R"("F6_E3M2")", "[3]", "[0,3]"), 3);
}

TEST(SafetensorsHeader, RefusesASizeThatContradictsShapeAndDtype) {
  expect_damaged("has 4 bytes of data, but its shape and dtype ask for 8",
                 tensor_with(R"("F32")", "[2]", "[0,4]"));
}

TEST(SafetensorsHeader, RefusesOffsetsThatRunBackwards) {
  expect_damaged("run backwards", tensor_with(R"("U8")", "[4]", "[4,0]"));
}

TEST(SafetensorsHeader, RefusesOverlaps) {
  expect_damaged(R"(tensor "b" overlaps tensor "a")",
                 R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})");
}

TEST(SafetensorsHeader, RefusesGaps) {
  expect_damaged(R"(a gap of 1 bytes stands before tensor "b")",
                 R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})");
  expect_damaged("a gap of 1 bytes", tensor_with(R"("U8")", "[3]", "[1,4]"));
}

TEST(SafetensorsHeader, RefusesDataThatBelongsToNoTensor) {
  expect_damaged("2 bytes after the last tensor", tensor_with(R"("U8")", "[4]", "[0,4]"), 6);
  expect_damaged("1 bytes after the last tensor", "{}", 1);
}

TEST(SafetensorsHeader, CallsDataThatEndEarlyTruncated) {
  expect_error(ErrorCode::kTruncated, "the file ends 1 bytes before",
               tensor_with(R"("U8")", "[4]", "[0,4]"), 3);
  expect_error(ErrorCode::kTruncated, "the file ends",
               tensor_with(R"("U8")", "[1152921504606846976]", "[0,1152921504606846976]"), 3);
}

TEST(SafetensorsHeader, KnowsEveryDtypeOfTheFormatByItsName) {
  for (const std::string_view name :
       {"BOOL",    "F4",          "F6_E2M3",     "F6_E3M2", "U8",  "I8",  "F8_E5M2", "F8_E4M3",
        "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16",     "U16", "F16", "BF16",    "I32",
        "U32",     "F32",         "C64",         "F64",     "I64", "U64"}) {
    const std::string dtype = '"' + std::string(name) + '"';
    const auto header = parse(tensor_with(dtype, "[0]", "[0,0]"));
    EXPECT_EQ(safetensors_dtype_name(header.entries[0].dtype), name);
  }
}

TEST(SafetensorsHeader, KnowsNoNameForDtypesThatTheFormatLacks) {
  EXPECT_FALSE(safetensors_dtype_name(DType::kC32));
  EXPECT_FALSE(safetensors_dtype_name(DType::kC128));
}

}  // namespace
}  // namespace cairn::interop
