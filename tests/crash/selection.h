// Which workloads to explore, and in which order.
#pragma once

#include "crash/explorer.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::crash {

/// What the environment asks for.
struct Effort {
  std::uint64_t seed = 1;           ///< CAIRN_PROVE_SEED
  std::chrono::seconds seconds{0};  ///< CAIRN_PROVE_SECONDS; 0: a bounded selection
  static Effort from_environment();
};

/// Asynchronous, direct and compressed saves, copies and healing, beside one another and what may
/// meet them.
std::vector<std::vector<Operation>> engine_sequences();

/// Every sequence of three operations (those of two, one and none are their beginnings), in an
/// order that the seed decides.
std::vector<std::vector<Operation>> all_sequences(std::mt19937_64& random);

}  // namespace cairn::crash
