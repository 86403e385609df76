#include <cairn/error.h>
#include <cairn/retention.h>

#include <gtest/gtest.h>

#include <chrono>
#include <limits>

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
  const std::string message = invalid_argument_of(
      [&] { select_checkpoints(list, {.min_key = "loss", .ckpt_predicate = second}); });
  EXPECT_NE(message.find("no checkpoint that the predicate accepts has"), std::string::npos)
      << message;
}

TEST(Select, FindsKnownDamageLikeAnythingElse) {
  const std::vector list = {checkpoint(1, {{"loss", 2}}), damaged(checkpoint(2, {{"loss", 1}}))};
  const auto intact = [](const CheckpointInfo& c) { return !c.damaged; };
  EXPECT_EQ(ids_of(select_checkpoints(list, {.min_key = "loss"})), (Ids{2, 1}));
  EXPECT_TRUE(select_checkpoints(list, {.min_key = "loss"}).front().damaged);
  EXPECT_EQ(ids_of(select_checkpoints(list, {.min_key = "loss", .ckpt_predicate = intact})),
            (Ids{1}));
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

constexpr std::int64_t kHour = 3'600'000'000'000;

// Saved so many hours after the epoch, each.
std::vector<CheckpointInfo> saved_at(std::initializer_list<std::int64_t> hours) {
  std::vector<CheckpointInfo> list;
  for (const std::int64_t hour : hours) {
    list.push_back(checkpoint(list.size() + 1));
    list.back().created_unix_ns = hour * kHour;
  }
  return list;
}

KeepOptions keep_for(std::chrono::seconds duration, std::int64_t now_ns) {
  return {.num_to_keep = 0, .keep_for = duration, .clock = [now_ns] {
            return std::chrono::system_clock::time_point(std::chrono::nanoseconds(now_ns));
          }};
}

TEST(Keep, ProtectsWhatIsYoungerThanADurationByTheClock) {
  const auto plan =
      plan_retention(saved_at({1, 2, 3, 4}), keep_for(std::chrono::hours(2), 5 * kHour));
  EXPECT_EQ(ids_of(plan.kept), (Ids{4}));
  EXPECT_EQ(rule_of(plan, 4), "younger than 2 hours");
  EXPECT_EQ(rule_of(plan, 3), "not protected");  // Exactly two hours old.
}

TEST(Keep, TakesWhatWasSavedInTheFutureForYoung) {
  const auto plan = plan_retention(saved_at({1, 9}), keep_for(std::chrono::hours(1), 5 * kHour));
  EXPECT_EQ(ids_of(plan.kept), (Ids{2}));
}

TEST(Keep, ComparesAgesWithoutOverflow) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  std::vector list = {checkpoint(1), checkpoint(2)};
  list[0].created_unix_ns = std::numeric_limits<std::int64_t>::min();
  list[1].created_unix_ns = kMax;
  EXPECT_EQ(ids_of(plan_retention(list, keep_for(std::chrono::seconds(1), kMax)).kept), (Ids{2}));
  EXPECT_EQ(ids_of(plan_retention(list, keep_for(std::chrono::seconds::max(), kMax)).kept),
            (Ids{2, 1}));
}

TEST(Keep, DoesNotProtectADamagedCheckpointByItsAge) {
  auto list = saved_at({4});
  list[0].damaged = true;
  EXPECT_EQ(ids_of(plan_retention(list, keep_for(std::chrono::hours(2), 5 * kHour)).deleted),
            (Ids{1}));
}

TEST(Keep, RanksNothingByAgeAlone) {
  KeepOptions options = keep_for(std::chrono::hours(2), 5 * kHour);
  options.keep_recent = false;
  EXPECT_TRUE(plan_retention(saved_at({1}), options).deleted.empty());
}

TEST(Keep, TellsTheTimeByTheSystemsClockUnlessAnotherIsGiven) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  auto list = saved_at({0, 0});
  list[1].created_unix_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  const auto plan =
      plan_retention(list, {.num_to_keep = 0, .keep_for = std::chrono::hours(24 * 365)});
  EXPECT_EQ(ids_of(plan.kept), (Ids{2}));
  EXPECT_EQ(rule_of(plan, 2), "younger than 365 days");
}

TEST(Keep, RefusesANegativeDuration) {
  const std::string message =
      invalid_argument_of([] { plan_retention({}, {.keep_for = std::chrono::seconds(-1)}); });
  EXPECT_EQ(message, "keep_for is -1; it must be 0 or more");
}

// ---- for a save, which must not be lost because of what it would delete

TEST(KeepForASave, DeletesNothingWhileNoCheckpointHasTheKey) {
  const std::vector list = {pinned(checkpoint(1)), checkpoint(2), checkpoint(3, {{"acc", 1}})};
  const auto plan = plan_retention_or_keep_all(list, {.num_to_keep = 0, .min_keys = {"loss"}});
  EXPECT_EQ(ids_of(plan.kept), (Ids{3, 2, 1}));
  EXPECT_TRUE(plan.deleted.empty());
  EXPECT_EQ(plan.problem, R"(no checkpoint has the metadata key "loss"; keys that exist: "acc")");
  EXPECT_EQ(rule_of(plan, 2), "nothing is deleted, because " + plan.problem);
}

TEST(KeepForASave, DeletesNothingWhileTheKeyIsNoNumber) {
  const std::vector list = {checkpoint(1, {{"loss", "n/a"}}), checkpoint(2, {{"loss", 1}})};
  const auto plan = plan_retention_or_keep_all(list, {.max_keys = {"loss"}});
  EXPECT_TRUE(plan.deleted.empty());
  EXPECT_NE(plan.problem.find(R"(checkpoint "c1" it is of type string)"), std::string::npos);
}

TEST(KeepForASave, AppliesTheRuleOnceAnyCheckpointHasTheKey) {
  const std::vector list = {checkpoint(1), checkpoint(2, {{"loss", 1}}), checkpoint(3)};
  const auto plan = plan_retention_or_keep_all(list, {.num_to_keep = 1, .min_keys = {"loss"}});
  EXPECT_EQ(ids_of(plan.kept), (Ids{3, 2}));
  EXPECT_EQ(plan.problem, "");
}

TEST(KeepForASave, RefusesOptionsThatAreWrongInThemselves) {
  invalid_argument_of([] { plan_retention_or_keep_all({}, {.num_to_keep = -1}); });
  invalid_argument_of(
      [] { plan_retention_or_keep_all({}, {.keep_for = std::chrono::seconds(-1)}); });
}

}  // namespace
}  // namespace cairn
