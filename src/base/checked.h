// Arithmetic that notices overflow, for numbers that come from files or callers.
#pragma once

#include <cstdint>
#include <optional>

namespace cairn::base {

/// a + b, or nothing when it does not fit.
constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

/// a * b, or nothing when it does not fit.
constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

/// True when [offset, offset + bytes) lies inside [0, limit).
constexpr bool range_fits(std::uint64_t offset, std::uint64_t bytes, std::uint64_t limit) noexcept {
  return offset <= limit && bytes <= limit - offset;
}

/// `value` rounded up to a multiple of `unit` (a power of two). The caller knows that it fits.
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) noexcept {
  return (value + unit - 1) & ~(unit - 1);
}

}  // namespace cairn::base
