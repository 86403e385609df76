// How much of an exhaustive list of cases a test runs: a sample by default, all of it on request.
//
//   CAIRN_PROVE=1      every case
//   CAIRN_PROVE=N      every case, or as many as fit into N seconds of this process, in an order
//                      that follows from the seed
//   CAIRN_SEED=S       the seed (default: 1)
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>

namespace cairn::testing {

class Effort {
 public:
  /// As the environment says; the clock has started with the process.
  Effort();
  /// With an equal part of the time that is left.
  Effort one_of(std::size_t parts) const;

  bool is_exhaustive() const noexcept { return is_exhaustive_; }
  /// Whether time may run out.
  bool is_limited() const noexcept { return end_ != std::chrono::steady_clock::time_point::max(); }
  std::uint64_t seed() const noexcept { return seed_; }
  /// A generator that follows from the seed and `stream` alone.
  std::mt19937_64 random(std::uint64_t stream) const { return std::mt19937_64(seed_ + stream); }
  bool time_is_up() const;

 private:
  bool is_exhaustive_ = false;
  std::uint64_t seed_ = 0;
  std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::time_point::max();
};

}  // namespace cairn::testing
