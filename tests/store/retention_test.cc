#include <cairn/error.h>
#include <cairn/retention.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

namespace cairn {
namespace {

using Ids = std::vector<std::uint64_t>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

CheckpointInfo checkpoint(std::uint64_t id, Metadata meta = {}) {
  return {
      .id = id, .name = "c" + std::to_string(id), .sequence = 100 + id, .meta = std::move(meta)};
}

CheckpointInfo pinned(CheckpointInfo info) {
  info.pinned = true;
  return info;
}

CheckpointInfo damaged(CheckpointInfo info) {
  info.damaged = true;
  return info;
}

std::vector<CheckpointInfo> with_losses(std::initializer_list<double> losses) {
  std::vector<CheckpointInfo> list;
  for (const double loss : losses) list.push_back(checkpoint(list.size() + 1, {{"loss", loss}}));
  return list;
}

Ids ids_of(const std::vector<CheckpointInfo>& list) {
  Ids ids;
  for (const CheckpointInfo& info : list) ids.push_back(info.id);
  return ids;
}

Ids ids_of(const std::vector<RetentionDecision>& list) {
  Ids ids;
  for (const RetentionDecision& decision : list) ids.push_back(decision.checkpoint.id);
  return ids;
}

std::string rule_of(const RetentionPlan& plan, std::uint64_t id) {
  for (const auto* list : {&plan.kept, &plan.deleted}) {
    for (const RetentionDecision& decision : *list) {
      if (decision.checkpoint.id == id) return decision.rule;
    }
  }
  return "absent";
}

template <typename Call>
std::string invalid_argument_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(Select, GivesTheNewestFirstWhenNoKeyIsNamed) {
  const std::vector list = {checkpoint(2), checkpoint(3), checkpoint(1)};
  EXPECT_EQ(ids_of(select_checkpoints(list, {})), (Ids{3, 2, 1}));
}

TEST(Select, OrdersByCommitSequenceAndNeverByTheClockOrTheId) {
  std::vector list = {checkpoint(1), checkpoint(2)};
  list[0].sequence = 9;
  list[1].sequence = 8;
  list[1].created_unix_ns = 1'000'000'000;
  EXPECT_EQ(ids_of(select_checkpoints(list, {})), (Ids{1, 2}));
}

TEST(Select, GivesTheLargestFirstForAMaxKeyAndTheSmallestForAMinKey) {
  const auto list = with_losses({3, 1, 2});
  EXPECT_EQ(ids_of(select_checkpoints(list, {.max_key = "loss"})), (Ids{1, 3, 2}));
  EXPECT_EQ(ids_of(select_checkpoints(list, {.min_key = "loss"})), (Ids{2, 3, 1}));
}

TEST(Select, PutsTheNewerFirstAmongEqualValues) {
  const auto list = with_losses({1, 0.5, 1, 0.5});
  EXPECT_EQ(ids_of(select_checkpoints(list, {.max_key = "loss"})), (Ids{3, 1, 4, 2}));
  EXPECT_EQ(ids_of(select_checkpoints(list, {.min_key = "loss"})), (Ids{4, 2, 3, 1}));
}

TEST(Select, TakesPlusAndMinusZeroAsEqual) {
  const auto list = with_losses({0.0, -0.0});
  EXPECT_EQ(ids_of(select_checkpoints(list, {.max_key = "loss"})), (Ids{2, 1}));
  EXPECT_EQ(ids_of(select_checkpoints(list, {.min_key = "loss"})), (Ids{2, 1}));
}

TEST(Select, RanksNanLastWhicheverEndIsWanted) {
  const auto list = with_losses({kNan, kInfinity, kNan, -kInfinity});
  EXPECT_EQ(ids_of(select_checkpoints(list, {.max_key = "loss"})), (Ids{2, 4, 3, 1}));
  EXPECT_EQ(ids_of(select_checkpoints(list, {.min_key = "loss"})), (Ids{4, 2, 3, 1}));
}

TEST(Select, RanksByAnImportanceFunction) {
  const auto list = with_losses({3, kNan, 5});
  const auto importance = [](const CheckpointInfo& c) { return c.meta.get("loss")->as_double(); };
  EXPECT_EQ(ids_of(select_checkpoints(list, {.importance_key = importance})), (Ids{3, 1, 2}));
}

TEST(Select, ComparesIntegersAndDoublesExactly) {
  const std::int64_t big = (std::int64_t{1} << 53) + 1;  // Between two doubles.
  const std::vector list = {checkpoint(1, {{"n", big}}), checkpoint(2, {{"n", 9007199254740992.0}}),
                            checkpoint(3, {{"n", big + 1}}),
                            checkpoint(4, {{"n", std::numeric_limits<std::int64_t>::max()}}),
                            checkpoint(5, {{"n", std::numeric_limits<std::int64_t>::max() - 1}})};
  EXPECT_EQ(ids_of(select_checkpoints(list, {.max_key = "n"})), (Ids{4, 5, 3, 1, 2}));
}

TEST(Select, LeavesOutCheckpointsWithoutTheKey) {
  const std::vector list = {checkpoint(1, {{"loss", 1.0}}), checkpoint(2),
                            checkpoint(3, {{"x", 1}})};
  EXPECT_EQ(ids_of(select_checkpoints(list, {.min_key = "loss"})), (Ids{1}));
}

TEST(Select, AppliesThePredicateBeforeRanking) {
  const auto list = with_losses({1, 2, 3});
  const auto odd = [](const CheckpointInfo& c) { return c.id % 2 == 1; };
  EXPECT_EQ(ids_of(select_checkpoints(
                list, {.min_key = "loss", .ckpt_predicate = odd, .max_num_checkpoints = 1})),
            (Ids{1}));
}

TEST(Select, CutsTheListAfterRanking) {
  const auto list = with_losses({1, 3, 2});
  EXPECT_EQ(ids_of(select_checkpoints(list, {.max_key = "loss", .max_num_checkpoints = 2})),
            (Ids{2, 3}));
  EXPECT_TRUE(select_checkpoints(list, {.max_num_checkpoints = 0}).empty());
  EXPECT_EQ(select_checkpoints(list, {.max_num_checkpoints = 9}).size(), 3U);
}

TEST(Select, DoesNotLookAtKnownDamage) {
  const std::vector list = {checkpoint(1), damaged(checkpoint(2))};
  EXPECT_EQ(ids_of(select_checkpoints(list, {})), (Ids{2, 1}));
}

TEST(Select, RefusesMoreThanOneCriterion) {
  const auto list = with_losses({1});
  const std::string message = invalid_argument_of(
      [&] { select_checkpoints(list, {.max_key = "loss", .min_key = "loss"}); });
  EXPECT_NE(message.find("at most one"), std::string::npos) << message;
}

TEST(Select, NamesTheKeysThatExistWhenNoCheckpointHasTheKey) {
  const std::vector list = {checkpoint(1, {{"loss", 1.0}}), checkpoint(2, {{"acc", 1.0}})};
  const std::string message =
      invalid_argument_of([&] { select_checkpoints(list, {.min_key = "los"}); });
  EXPECT_NE(message.find(R"("los"; keys that exist: "acc", "loss")"), std::string::npos) << message;
}

TEST(Select, RefusesAKeyThatOnlyRejectedCheckpointsHave) {
  const std::vector list = {checkpoint(1, {{"loss", 1.0}}), checkpoint(2)};
  const auto second = [](const CheckpointInfo& c) { return c.id == 2; };
  invalid_argument_of(
      [&] { select_checkpoints(list, {.min_key = "loss", .ckpt_predicate = second}); });
}

TEST(Select, RefusesAKeyThatIsNoNumber) {
  const std::vector list = {checkpoint(1, {{"kind", 1.0}}), checkpoint(2, {{"kind", "full"}})};
  const std::string message =
      invalid_argument_of([&] { select_checkpoints(list, {.max_key = "kind"}); });
  EXPECT_NE(message.find(R"(checkpoint "c2" it is of type string)"), std::string::npos) << message;
}

TEST(Select, FindsNothingAmongNothingWhateverTheKey) {
  EXPECT_TRUE(select_checkpoints({}, {.max_key = "loss"}).empty());
  const auto none = [](const CheckpointInfo&) { return false; };
  EXPECT_TRUE(
      select_checkpoints(with_losses({1}), {.max_key = "x", .ckpt_predicate = none}).empty());
}

TEST(Keep, KeepsTheNewestAndDeletesTheRest) {
  const auto plan = plan_retention(with_losses({1, 2, 3, 4}), {.num_to_keep = 2});
  EXPECT_EQ(ids_of(plan.kept), (Ids{4, 3}));
  EXPECT_EQ(ids_of(plan.deleted), (Ids{2, 1}));
  EXPECT_EQ(rule_of(plan, 4), "newest 2");
  EXPECT_EQ(rule_of(plan, 1), "not protected");
}

TEST(Keep, DoesNotTopUpWhereCriteriaOverlap) {
  const auto plan =
      plan_retention(with_losses({3, 2, 1}), {.num_to_keep = 1, .min_keys = {"loss"}});
  EXPECT_EQ(ids_of(plan.kept), (Ids{3}));
  EXPECT_EQ(rule_of(plan, 3), "newest 1, best 1 by min loss");
}

TEST(Keep, LetsEachCriterionProtectItsOwnBest) {
  const auto plan = plan_retention(with_losses({0, 9, 5, 5}),
                                   {.num_to_keep = 1, .max_keys = {"loss"}, .min_keys = {"loss"}});
  EXPECT_EQ(ids_of(plan.kept), (Ids{4, 2, 1}));
  EXPECT_EQ(rule_of(plan, 2), "best 1 by max loss");
}

TEST(Keep, ProtectsTheNewerAmongEqualValues) {
  const auto plan = plan_retention(with_losses({1, 1, 1}),
                                   {.num_to_keep = 2, .keep_recent = false, .min_keys = {"loss"}});
  EXPECT_EQ(ids_of(plan.kept), (Ids{3, 2}));
}

TEST(Keep, ProtectsNanOnlyWhereNothingBetterIsLeft) {
  const KeepOptions options = {.num_to_keep = 2, .keep_recent = false, .max_keys = {"loss"}};
  EXPECT_EQ(ids_of(plan_retention(with_losses({1, kNan, kNan}), options).kept), (Ids{3, 1}));
}

TEST(Keep, LeavesAloneWhatNoCriterionRanks) {
  const std::vector list = {checkpoint(1, {{"loss", 2.0}}), checkpoint(2, {{"loss", 1.0}}),
                            checkpoint(3)};
  const auto plan =
      plan_retention(list, {.num_to_keep = 1, .keep_recent = false, .min_keys = {"loss"}});
  EXPECT_EQ(ids_of(plan.kept), (Ids{3, 2}));
  EXPECT_EQ(rule_of(plan, 3), "not ranked by any criterion");
}

TEST(Keep, DeletesNothingThatThePredicateRejects) {
  const auto full = [](const CheckpointInfo& c) { return c.id > 2; };
  const auto plan =
      plan_retention(with_losses({1, 2, 3, 4}), {.num_to_keep = 1, .ckpt_predicate = full});
  EXPECT_EQ(ids_of(plan.kept), (Ids{4, 2, 1}));
  EXPECT_EQ(ids_of(plan.deleted), (Ids{3}));
  EXPECT_EQ(rule_of(plan, 1), "not accepted by the predicate");
}

TEST(Keep, SparesPinnedCheckpoints) {
  const std::vector list = {pinned(checkpoint(1)), checkpoint(2), checkpoint(3)};
  const auto plan = plan_retention(list, {.num_to_keep = 1});
  EXPECT_EQ(ids_of(plan.kept), (Ids{3, 1}));
  EXPECT_EQ(rule_of(plan, 1), "pinned");
}

TEST(Keep, CountsAPinnedCheckpointAmongTheBest) {
  const std::vector list = {checkpoint(1), checkpoint(2), pinned(checkpoint(3))};
  EXPECT_EQ(ids_of(plan_retention(list, {.num_to_keep = 2}).kept), (Ids{3, 2}));
}

TEST(Keep, KeepsNoCandidateForZero) {
  const std::vector list = {checkpoint(1), pinned(checkpoint(2)), checkpoint(3)};
  EXPECT_EQ(ids_of(plan_retention(list, {.num_to_keep = 0}).kept), (Ids{2}));
}

TEST(Keep, RefusesANegativeNumber) {
  invalid_argument_of([] { plan_retention({}, {.num_to_keep = -1}); });
}

TEST(Keep, KeepsAllWhenThereAreFewerThanAsked) {
  EXPECT_TRUE(plan_retention(with_losses({1, 2}), {.num_to_keep = 5}).deleted.empty());
}

TEST(Keep, DeletesNothingWithoutAnyCriterion) {
  const auto plan = plan_retention(with_losses({1, 2}), {.num_to_keep = 0, .keep_recent = false});
  EXPECT_TRUE(plan.deleted.empty());
}

TEST(Keep, LetsDamagedCheckpointsTakeNoPlace) {
  const std::vector list = {checkpoint(1), checkpoint(2), damaged(checkpoint(3))};
  const auto plan = plan_retention(list, {.num_to_keep = 2});
  EXPECT_EQ(ids_of(plan.kept), (Ids{2, 1}));
  EXPECT_EQ(rule_of(plan, 3), "damaged");
}

TEST(Keep, KeepsDamagedCheckpointsUntilEnoughIntactOnesExist) {
  const std::vector list = {checkpoint(1), damaged(checkpoint(2))};
  const auto plan = plan_retention(list, {.num_to_keep = 2});
  EXPECT_EQ(ids_of(plan.kept), (Ids{2, 1}));
  EXPECT_EQ(rule_of(plan, 2), "damaged, but fewer than 2 intact ones exist");
}

TEST(Keep, KeepsADamagedCheckpointThatIsPinned) {
  const std::vector list = {checkpoint(1), pinned(damaged(checkpoint(2)))};
  EXPECT_TRUE(plan_retention(list, {.num_to_keep = 1}).deleted.empty());
}

TEST(Keep, ProtectsEveryNthIdBesideTheCriteria) {
  const auto plan =
      plan_retention(with_losses({1, 2, 3, 4, 5}), {.num_to_keep = 1, .keep_every = 2});
  EXPECT_EQ(ids_of(plan.kept), (Ids{5, 4, 2}));
  EXPECT_EQ(rule_of(plan, 2), "id is a multiple of 2");
}

TEST(Keep, DoesNotProtectADamagedCheckpointByItsId) {
  const std::vector list = {damaged(checkpoint(2)), checkpoint(3)};
  EXPECT_EQ(ids_of(plan_retention(list, {.num_to_keep = 1, .keep_every = 2}).deleted), (Ids{2}));
}

TEST(Keep, RefusesAKeyThatNoCandidateHas) {
  const auto list = with_losses({1, 2});
  const std::string message =
      invalid_argument_of([&] { plan_retention(list, {.min_keys = {"los"}}); });
  EXPECT_NE(message.find(R"(keys that exist: "loss")"), std::string::npos) << message;
}

TEST(Keep, AcceptsAnyKeyWhileThereAreNoCandidates) {
  const auto none = [](const CheckpointInfo&) { return false; };
  EXPECT_TRUE(plan_retention({}, {.min_keys = {"loss"}}).kept.empty());
  EXPECT_TRUE(plan_retention(with_losses({1}), {.min_keys = {"x"}, .ckpt_predicate = none})
                  .deleted.empty());
}

// The rule once more, said slowly: no sorting, every checkpoint counts those that stand before it.
class Model {
 public:
  Model(const std::vector<CheckpointInfo>& list, const KeepOptions& options)
      : list_(list), options_(options) {}

  bool goes(const CheckpointInfo& c) const {
    const auto n = static_cast<std::size_t>(options_.num_to_keep);
    if (c.pinned || !is_candidate(c)) return false;
    if (c.damaged) return intact_candidates() >= n;
    if (options_.keep_every != 0 && c.id % options_.keep_every == 0) return false;
    if (options_.keep_recent && better_than(c, {}, 0) < n) return false;
    for (const std::string& key : options_.max_keys) {
      if (has(c, key) && better_than(c, key, 1) < n) return false;
    }
    for (const std::string& key : options_.min_keys) {
      if (has(c, key) && better_than(c, key, -1) < n) return false;
    }
    return true;
  }

 private:
  static bool has(const CheckpointInfo& c, const std::string& key) {
    return key.empty() || c.meta.contains(key);
  }

  bool is_candidate(const CheckpointInfo& c) const {
    if (options_.ckpt_predicate && !options_.ckpt_predicate(c)) return false;
    if (options_.keep_recent) return true;
    const auto has_it = [&](const std::string& key) { return has(c, key); };
    return std::any_of(options_.max_keys.begin(), options_.max_keys.end(), has_it) ||
           std::any_of(options_.min_keys.begin(), options_.min_keys.end(), has_it);
  }

  std::size_t intact_candidates() const {
    return static_cast<std::size_t>(
        std::count_if(list_.begin(), list_.end(),
                      [&](const CheckpointInfo& c) { return is_candidate(c) && !c.damaged; }));
  }

  // How many candidates stand before `c`; without a key, or with sign 0, by age alone.
  std::size_t better_than(const CheckpointInfo& c, const std::string& key, int sign) const {
    const auto score = [&](const CheckpointInfo& d) {
      return sign == 0 ? 0 : sign * d.meta.get(key)->as_double();
    };
    return static_cast<std::size_t>(
        std::count_if(list_.begin(), list_.end(), [&](const CheckpointInfo& d) {
          if (d.damaged || !is_candidate(d) || !has(d, key)) return false;
          const double of_c = score(c);
          const double of_d = score(d);
          if (std::isnan(of_c) != std::isnan(of_d)) return std::isnan(of_c);
          if (of_c != of_d && !std::isnan(of_c)) return of_d > of_c;
          return d.sequence > c.sequence;
        }));
  }

  const std::vector<CheckpointInfo>& list_;
  const KeepOptions& options_;
};

std::vector<CheckpointInfo> random_checkpoints(std::mt19937& random) {
  const auto below = [&](unsigned n) {
    return std::uniform_int_distribution<unsigned>(0, n - 1)(random);
  };
  const double values[] = {1, 2, 3, kNan, kInfinity, -kInfinity};
  std::vector<CheckpointInfo> list;
  const unsigned count = below(12);
  for (unsigned id = 1; id <= count; ++id) {
    CheckpointInfo c = checkpoint(id);
    for (const char* key : {"a", "b"}) {
      // The first has every key, so that no key is unknown.
      if (id == 1 || below(3) != 0) c.meta.set(key, values[below(6)]);
    }
    c.pinned = below(6) == 0;
    c.damaged = below(5) == 0;
    list.push_back(c);
  }
  std::shuffle(list.begin(), list.end(), random);
  return list;
}

TEST(Keep, AgreesWithASimpleModelOnRandomStores) {
  std::mt19937 random(20251124);
  for (int round = 0; round < 20000; ++round) {
    const std::vector<CheckpointInfo> list = random_checkpoints(random);
    KeepOptions options = {.num_to_keep = static_cast<int>(random() % 4),
                           .keep_recent = random() % 2 == 0,
                           .keep_every = random() % 4};
    if (random() % 2 == 0) options.max_keys.emplace_back("a");
    if (random() % 2 == 0) options.min_keys.emplace_back("b");
    if (random() % 2 == 0) {
      options.ckpt_predicate = [](const CheckpointInfo& c) { return c.id == 1 || c.id % 3 != 0; };
    }
    const RetentionPlan plan = plan_retention(list, options);
    std::set<std::uint64_t> deleted;
    for (const std::uint64_t id : ids_of(plan.deleted)) deleted.insert(id);
    EXPECT_EQ(plan.kept.size() + deleted.size(), list.size());
    for (const CheckpointInfo& c : list) {
      ASSERT_EQ(deleted.contains(c.id), Model(list, options).goes(c))
          << "round " << round << ", id " << c.id << ": " << rule_of(plan, c.id);
    }
    for (const auto* part : {&plan.kept, &plan.deleted}) {
      EXPECT_TRUE(std::is_sorted(part->rbegin(), part->rend(), [](const auto& a, const auto& b) {
        return a.checkpoint.sequence < b.checkpoint.sequence;
      }));
    }
  }
}

}  // namespace
}  // namespace cairn
