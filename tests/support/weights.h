// Weights as training leaves them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace cairn::testing {

/// bf16 numbers, small, around zero.
inline std::vector<std::byte> bf16_weights(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<std::byte> bytes(2 * count);
  for (std::size_t i = 0; i < count; ++i) {
    const float value = normal(random);
    std::memcpy(&bytes[2 * i], reinterpret_cast<const char*>(&value) + 2, 2);
  }
  return bytes;
}

}  // namespace cairn::testing
