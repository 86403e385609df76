#include "crash/selection.h"

#include <algorithm>
#include <random>

namespace cairn::crash {

std::vector<std::vector<Operation>> engine_sequences() {
  using enum Operation;
  return {{kSaveAsync, kSaveAsync, kSaveAsync},
          {kSaveNew, kSaveAsync, kDelete},
          {kSaveNew, kSaveAsync, kKeepOnly, kSaveAsync, kReuse},
          {kSaveAsync, kReopen},
          {kSaveAsync, kAbort, kSaveAsync, kLoseCatalog},
          {kSaveAsync, kCompact, kSaveAsync, kReplace},
          {kSaveDirect, kDelete, kSaveNew, kSaveDirect},
          {kSaveAsync, kSaveDirect},
          {kHeal, kSaveNew},
          {kSaveNew, kRead, kHeal, kDelete},
          {kCopy, kSaveAsync, kCopy},
          {kSaveNew, kCompress, kSaveNew, kSaveAsync, kReuse},
          {kCompress, kSaveDirect, kKeepOnly, kAbort, kSaveChangingSome},
          {kCompress, kHeal, kLoseCatalog, kCopy},
          {kCompress, kSaveNew, kRead, kKeepOnly, kCompact, kSaveAsync}};
}

Selection::Selection(std::uint64_t seed) : seed_(seed) {
  for (const Operation first : kOperations) {
    for (const Operation second : kOperations) {
      for (const Operation third : kOperations) triples_.push_back({first, second, third});
    }
  }
  std::mt19937_64 random(seed);
  std::shuffle(triples_.begin(), triples_.end(), random);
}

std::optional<Selection::Workload> Selection::at(std::uint64_t number) const {
  // Both rules come in turn; the number of sequences is odd, so the second time each has the other.
  static_assert(std::size(kOperations) % 2 == 1);
  const auto rule_of = [&](std::uint64_t turn) {
    return (turn + seed_) % 2 == 1 ? NameRule::kStrict : NameRule::kExt4;
  };
  if (number < engines_.size()) return Workload{engines_[number], rule_of(number)};
  constexpr std::uint64_t kRound = 7;
  const std::uint64_t round = (number - engines_.size()) / kRound;
  const std::uint64_t position = (number - engines_.size()) % kRound;
  const std::uint64_t turn = round * (kRound - 1) + position;
  if (turn >= 2 * triples_.size()) return std::nullopt;
  if (position < kRound - 1) return Workload{triples_[turn % triples_.size()], rule_of(turn)};
  std::mt19937_64 random(seed_ + number);
  return Workload{random_operations(6 + random() % 10, random), rule_of(turn)};
}

}  // namespace cairn::crash
