// The element types of tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace cairn {

/// The type of a tensor's elements. The numbers are part of the file format: never reuse one.
enum class DType : std::uint8_t {
  kBool = 1,
  kU8 = 2,
  kI8 = 3,
  kI16 = 4,
  kI32 = 5,
  kI64 = 6,
  kF16 = 7,
  kBF16 = 8,
  kF32 = 9,
  kF64 = 10,
  kC32 = 11,   ///< Two f16: real, imaginary.
  kC64 = 12,   ///< Two f32.
  kC128 = 13,  ///< Two f64.
  kU16 = 14,
  kU32 = 15,
  kU64 = 16,
  kF8E5M2 = 17,
  kF8E4M3FN = 18,
  kF8E5M2FNUZ = 19,
  kF8E4M3FNUZ = 20,
  kF8E8M0FNU = 21,
  kF6E2M3 = 22,  ///< Six bits each, packed; the tensor's bits must fill whole bytes.
  kF6E3M2 = 23,  ///< Six bits each, packed.
  kF4E2M1 = 24,  ///< Four bits each, packed.
};

/// Bits of one element: 4, 6 or a multiple of 8.
std::uint32_t bits_per_element(DType dtype) noexcept;

/// The short name, e.g. "f32", "bf16", "f8_e4m3fn".
std::string_view to_string(DType dtype) noexcept;

/// The dtype of a short name, or nothing.
std::optional<DType> dtype_from_string(std::string_view name) noexcept;

/// The dtype of a stored number, or nothing when this version knows none by it.
std::optional<DType> dtype_from_number(std::uint8_t number) noexcept;

}  // namespace cairn
