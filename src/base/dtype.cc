#include <cairn/dtype.h>

#include <array>
#include <cstddef>

namespace cairn {
namespace {

struct Row {
  std::string_view name;
  std::uint32_t bits;
};

// Row i describes the dtype with the number i + 1.
// clang-format off
constexpr std::array<Row, 24> kRows{{
    {"bool", 8},        {"u8", 8},          {"i8", 8},          {"i16", 16},
    {"i32", 32},        {"i64", 64},        {"f16", 16},        {"bf16", 16},
    {"f32", 32},        {"f64", 64},        {"c32", 32},        {"c64", 64},
    {"c128", 128},      {"u16", 16},        {"u32", 32},        {"u64", 64},
    {"f8_e5m2", 8},     {"f8_e4m3fn", 8},   {"f8_e5m2fnuz", 8}, {"f8_e4m3fnuz", 8},
    {"f8_e8m0fnu", 8},  {"f6_e2m3", 6},     {"f6_e3m2", 6},     {"f4_e2m1", 4},
}};
// clang-format on
static_assert(kRows.size() == static_cast<std::size_t>(DType::kF4E2M1));

// Null for a value outside the enumeration, which a cast can make.
const Row* find_row(DType dtype) noexcept {
  const auto number = static_cast<std::size_t>(dtype);
  return number >= 1 && number <= kRows.size() ? &kRows[number - 1] : nullptr;
}

}  // namespace

std::uint32_t bits_per_element(DType dtype) noexcept {
  const Row* row = find_row(dtype);
  return row != nullptr ? row->bits : 0;
}

std::string_view to_string(DType dtype) noexcept {
  const Row* row = find_row(dtype);
  return row != nullptr ? row->name : "unknown";
}

std::optional<DType> dtype_from_string(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name == name) return static_cast<DType>(i + 1);
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_number(std::uint8_t number) noexcept {
  const auto dtype = static_cast<DType>(number);
  return find_row(dtype) != nullptr ? std::optional<DType>(dtype) : std::nullopt;
}

}  // namespace cairn
