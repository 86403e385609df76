// Little-endian loads and stores: every number in the files of a store goes through these.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>

namespace cairn::base {

static_assert(std::endian::native == std::endian::little,
              "Cairn stores tensors as they lie in memory and supports little-endian machines");

/// Reads a number at `offset`; the caller has checked the bounds.
template <std::integral T>
T load_le(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

/// Writes a number at `offset`; the caller has checked the bounds.
template <std::integral T>
void store_le(std::span<std::byte> bytes, std::size_t offset, T value) noexcept {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

}  // namespace cairn::base
