// A bounded selection of crash states, the same every time unless a seed is given; with
// CAIRN_PROVE_SECONDS as many as there is time for.
#include "crash/explorer.h"

#include "crash/selection.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

namespace cairn::crash {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kStates = 300;
#else
constexpr std::uint64_t kStates = 10'000;
#endif

using Clock = std::chrono::steady_clock;

/// Explores sequences in turn with both rules for names, those of the engines first, every sixth of
/// the others followed by a long random one, until there is enough.
void explore_selection(Explorer& explorer, const Effort& effort, Clock::time_point begin) {
  const auto is_enough = [&] {
    return effort.seconds.count() > 0 ? Clock::now() - begin >= effort.seconds
                                      : explorer.counts().states >= kStates;
  };
  for (;;) {
    std::size_t turn = 0;
    for (const std::vector<Operation>& sequence : engine_sequences()) {
      const auto wrong =
          explorer.explore(sequence, turn++ % 2 == 0 ? NameRule::kStrict : NameRule::kExt4);
      ASSERT_FALSE(wrong) << *wrong;
      if (is_enough()) return;
    }
    turn = explorer.random()() % 2;
    for (const std::vector<Operation>& sequence : all_sequences(explorer.random())) {
      const NameRule rule = turn % 2 == 0 ? NameRule::kStrict : NameRule::kExt4;
      const auto wrong = explorer.explore(sequence, rule);
      ASSERT_FALSE(wrong) << *wrong;
      if (turn++ % 6 == 5) {
        const std::size_t length = 6 + explorer.random()() % 10;
        const auto long_wrong =
            explorer.explore(random_operations(length, explorer.random()), rule);
        ASSERT_FALSE(long_wrong) << *long_wrong;
      }
      if (is_enough()) return;
    }
  }
}

TEST(Explorer, FindsTheLastAcknowledgedStateOrTheOneInFlight) {
  const Effort effort = Effort::from_environment();
  SCOPED_TRACE("CAIRN_PROVE_SEED=" + std::to_string(effort.seed));
  const auto begin = Clock::now();
  ExplorerOptions options{.seed = effort.seed};
  // Given time, every choice where few units are pending.
  if (effort.seconds.count() > 0) options.thoroughness = {.samples = 64, .at_most = 1 << 12};
  Explorer explorer(options);
  explore_selection(explorer, effort, begin);
  const Counts& counts = explorer.counts();
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "crash states: %llu distinct, %llu of them after a second crash; %llu workloads, %llu "
      "events, "
      "%llu jobs that went on, %llu direct writes, seed %llu\n",
      number(counts.states), number(counts.recovery_states), number(counts.workloads),
      number(counts.events), number(counts.continuations), number(counts.direct_writes),
      number(effort.seed));
  EXPECT_GE(counts.states, effort.seconds.count() > 0 ? 1 : kStates);
}

}  // namespace
}  // namespace cairn::crash
