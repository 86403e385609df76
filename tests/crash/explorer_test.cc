// A bounded selection of crash states, the same every time unless a seed is given (CAIRN_SEED);
// with CAIRN_PROVE (support/effort.h) every workload of the seed, or as many as there is time for.
// CAIRN_PROVE_FROM=N leaves out those before the N-th, which an earlier run has done.
#include "crash/explorer.h"

#include "crash/selection.h"
#include "support/effort.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

namespace cairn::crash {
namespace {

using testing::Effort;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kStates = 300;
#else
constexpr std::uint64_t kStates = 10'000;
#endif

void print(const Counts& counts, std::uint64_t seed) {
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "crash states: %llu distinct, %llu of them after a second crash, %llu once more with rot; "
      "%llu workloads, %llu events (%llu with every choice of what was pending, %llu with "
      "samples), "
      "%llu jobs that went on, %llu direct writes, seed %llu\n",
      number(counts.states), number(counts.recovery_states), number(counts.rotten_states),
      number(counts.workloads), number(counts.events), number(counts.exhausted_events),
      number(counts.events - counts.exhausted_events), number(counts.continuations),
      number(counts.direct_writes), number(seed));
  std::fflush(stdout);
}

TEST(Explorer, FindsTheLastAcknowledgedStateOrTheOneInFlight) {
  using Clock = std::chrono::steady_clock;
  const Effort effort;
  const bool proves = effort.is_exhaustive();
  ExplorerOptions options{.seed = effort.seed(), .time_is_up = [&] { return effort.time_is_up(); }};
  if (proves) options.thoroughness = {.samples = 64, .at_most = 1 << 12};
  Explorer explorer(options);
  const Selection selection(effort.seed());
  const char* from = std::getenv("CAIRN_PROVE_FROM");
  std::uint64_t number = from == nullptr ? 0 : std::strtoull(from, nullptr, 10);
  const auto described = [&] {
    return "CAIRN_SEED=" + std::to_string(effort.seed()) +
           " CAIRN_PROVE_FROM=" + std::to_string(number);
  };
  auto told = Clock::now();
  for (;; ++number) {
    const auto workload = selection.at(number);
    if (!workload || (!proves && explorer.counts().states >= kStates)) break;
    const auto wrong = explorer.explore(workload->operations, workload->rule);
    ASSERT_FALSE(wrong) << described() << ": " << *wrong;
    if (effort.time_is_up()) break;
    if (proves && Clock::now() - told >= std::chrono::minutes(1)) {
      std::printf("so far, ");
      print(explorer.counts(), effort.seed());
      told = Clock::now();
    }
  }
  print(explorer.counts(), effort.seed());
  if (proves && selection.at(number)) std::printf("to go on: %s\n", described().c_str());
  EXPECT_GE(explorer.counts().states, proves ? 1 : kStates);
}

TEST(Selection, HasEverySequenceOfThreeByBothRules) {
  const Selection selection(5);
  std::map<std::vector<Operation>, std::set<NameRule>> rules;
  for (std::uint64_t number = 0; const auto workload = selection.at(number); ++number) {
    if (workload->operations.size() == 3) rules[workload->operations].insert(workload->rule);
  }
  constexpr std::size_t kCount = std::size(kOperations);
  EXPECT_EQ(rules.size(), kCount * kCount * kCount);
  for (const auto& [operations, both] : rules) EXPECT_EQ(both.size(), 2U) << describe(operations);
}

}  // namespace
}  // namespace cairn::crash
