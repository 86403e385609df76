#include <cairn/dtype.h>

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace cairn {
namespace {

constexpr int kCount = 24;

TEST(DTypeNames, LeadBackToTheirDType) {
  std::set<std::string_view> names;
  for (int number = 1; number <= kCount; ++number) {
    const auto dtype = static_cast<DType>(number);
    names.insert(to_string(dtype));
    EXPECT_EQ(dtype_from_string(to_string(dtype)), dtype);
  }
  EXPECT_EQ(names.size(), std::size_t{kCount});
}

TEST(DTypeNames, AreThoseOfTheDocumentation) {
  EXPECT_EQ(to_string(DType::kBool), "bool");
  EXPECT_EQ(to_string(DType::kBF16), "bf16");
  EXPECT_EQ(to_string(DType::kC128), "c128");
  EXPECT_EQ(to_string(DType::kU64), "u64");
  EXPECT_EQ(to_string(DType::kF8E4M3FN), "f8_e4m3fn");
  EXPECT_EQ(to_string(DType::kF4E2M1), "f4_e2m1");
}

TEST(DTypeNames, OthersMeanNothing) {
  for (const char* name : {"", "F32", "f32 ", "float", "unknown"}) {
    EXPECT_EQ(dtype_from_string(name), std::nullopt) << name;
  }
}

TEST(DTypeNumbers, OnlyTheKnownOnesMeanSomething) {
  for (int number = 0; number <= 255; ++number) {
    const auto dtype = dtype_from_number(static_cast<std::uint8_t>(number));
    EXPECT_EQ(dtype.has_value(), number >= 1 && number <= kCount) << number;
  }
  EXPECT_EQ(dtype_from_number(9), DType::kF32);
}

TEST(DTypeBits, AgreeWithTheNumberInTheName) {
  for (int number = 2; number <= kCount; ++number) {
    const auto dtype = static_cast<DType>(number);
    const std::string name(to_string(dtype));
    const std::size_t digits = name.find_first_of("0123456789");
    EXPECT_EQ(bits_per_element(dtype), std::stoul(name.substr(digits))) << name;
  }
  EXPECT_EQ(bits_per_element(DType::kBool), 8u);
}

TEST(DTypeBits, AValueOutsideTheEnumerationIsHarmless) {
  EXPECT_EQ(bits_per_element(static_cast<DType>(0)), 0u);
  EXPECT_EQ(to_string(static_cast<DType>(255)), "unknown");
}

}  // namespace
}  // namespace cairn
