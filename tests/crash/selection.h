// Which workloads to explore, and in which order.
#pragma once

#include "crash/explorer.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cairn::crash {

/// Asynchronous, direct and compressed saves, copies and healing, beside one another and what may
/// meet them.
std::vector<std::vector<Operation>> engine_sequences();

/// The workloads of a seed, by their number: those of the engines; then every sequence of three
/// operations (those of two, one and none are their beginnings) twice, by each rule for names, in
/// an order that the seed decides; behind every sixth a long random one.
class Selection {
 public:
  explicit Selection(std::uint64_t seed);

  struct Workload {
    std::vector<Operation> operations{};
    NameRule rule{};
  };
  /// None behind the last.
  std::optional<Workload> at(std::uint64_t number) const;

 private:
  std::uint64_t seed_;
  std::vector<std::vector<Operation>> engines_ = engine_sequences();
  std::vector<std::vector<Operation>> triples_;
};

}  // namespace cairn::crash
