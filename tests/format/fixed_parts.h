// Damage to superblocks, slots and record headers.
#pragma once

#include "format/fixed.h"
#include "format/layout.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cairn::format {

inline Uuid some_uuid() {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::byte>(i * 17 + 1);
  return uuid;
}

inline ChunkId some_digest(std::uint64_t seed) {
  return base::xxh3_128(std::as_bytes(std::span(&seed, 1)));
}

inline std::vector<std::byte> with_bit_flipped(std::vector<std::byte> bytes, std::size_t bit) {
  bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  return bytes;
}

/// Byte `at` set to `value`, and the digest behind `part_bytes` mended: what a writer with other
/// ideas, or an attacker, would leave.
inline std::vector<std::byte> with_byte(std::vector<std::byte> bytes, std::size_t at,
                                        std::uint8_t value, std::size_t part_bytes) {
  bytes[at] = static_cast<std::byte>(value);
  seal(std::span(bytes).first(part_bytes));
  return bytes;
}

}  // namespace cairn::format
