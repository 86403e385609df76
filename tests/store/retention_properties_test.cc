// Random sequences of saves, deletions, pins, damage and restarts, against a simple model of the
// rules.
#include "store/retention_model.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/error.h>
#include <cairn/retention.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <limits>
#include <random>
#include <set>

namespace cairn::testing {
namespace {

constexpr int kPureSequences = 4000;
constexpr int kPureSteps = 12;
constexpr int kStoreSequences = 200;
constexpr int kStoreSteps = 8;
constexpr std::int64_t kSecond = 1'000'000'000;

using Infos = std::vector<CheckpointInfo>;

// Chooses everything that a sequence leaves open.
class Chooser {
 public:
  explicit Chooser(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_);
  }
  bool once_in(std::size_t n) { return below(n) == 0; }

  const CheckpointInfo& one_of(const Infos& list) { return list[below(list.size())]; }
  Infos shuffled(Infos list) {
    std::shuffle(list.begin(), list.end(), random_);
    return list;
  }

  Metadata meta() {
    Metadata meta;
    if (!once_in(4)) meta.set("a", value());
    if (!once_in(3)) meta.set("b", value());
    if (once_in(12)) meta.set("rare", value());
    meta.set("kind", once_in(2) ? "full" : "fast");
    return meta;
  }

  CheckpointPredicate predicate() {
    switch (below(5)) {
      case 0:
        return [](const CheckpointInfo& c) { return c.meta.get("kind") == "full"; };
      case 1:
        return [](const CheckpointInfo& c) { return c.id % 3 != 0; };
      case 2:
        return [](const CheckpointInfo& c) { return !c.damaged; };
      default:
        return {};
    }
  }

  FindOptions find_options() {
    FindOptions options{.ckpt_predicate = predicate()};
    switch (below(5)) {
      case 0:
        options.max_key = key();
        break;
      case 1:
        options.min_key = key();
        break;
      case 2:
        options.importance_key = importance();
        break;
      default:
        break;
    }
    if (once_in(2)) options.max_num_checkpoints = below(4);
    return options;
  }

  // `keep_for` stays below a minute, which is how far apart the checkpoints of `list` may lie.
  KeepOptions keep_options(const Infos& list) {
    KeepOptions options{.num_to_keep = static_cast<int>(below(4)),
                        .keep_recent = !once_in(3),
                        .ckpt_predicate = predicate()};
    if (once_in(4)) options.importance_keys.push_back(importance());
    if (once_in(3)) options.max_keys.push_back(key());
    if (once_in(3)) options.min_keys.push_back(key());
    if (once_in(4)) options.keep_every = 2 + below(3);
    if (once_in(4) && !list.empty()) {
      options.keep_for = std::chrono::seconds(1 + below(50));
      // Exactly as old as the limit now and then, and sometimes saved in what is now the future.
      const std::int64_t age =
          options.keep_for.count() * kSecond + static_cast<std::int64_t>(below(3)) - 1;
      const std::int64_t now = one_of(list).created_unix_ns + (once_in(4) ? -age : age);
      options.clock = [now] {
        return std::chrono::system_clock::time_point(std::chrono::nanoseconds(now));
      };
    }
    return options;
  }

 private:
  std::string key() { return std::vector<std::string>{"a", "b", "a", "b", "rare"}[below(5)]; }

  MetaValue value() {
    if (once_in(8)) return std::numeric_limits<double>::quiet_NaN();
    if (once_in(12)) return std::numeric_limits<double>::infinity();
    if (once_in(12)) return -std::numeric_limits<double>::infinity();
    if (once_in(2)) return static_cast<std::int64_t>(below(4)) - 1;
    return static_cast<double>(below(8)) / 2 - 1;
  }

  CheckpointImportance importance() {
    if (once_in(2)) return [](const CheckpointInfo& c) { return static_cast<double>(c.id % 4); };
    return [](const CheckpointInfo& c) {
      return c.id % 5 == 0 ? std::numeric_limits<double>::quiet_NaN() : -static_cast<double>(c.id);
    };
  }

  std::mt19937 random_;
};

std::vector<std::uint64_t> ids_of(const Infos& list) {
  std::vector<std::uint64_t> ids;
  for (const CheckpointInfo& info : list) ids.push_back(info.id);
  return ids;
}

std::vector<std::uint64_t> ids_of(const std::vector<RetentionDecision>& list) {
  std::vector<std::uint64_t> ids;
  for (const RetentionDecision& decision : list) ids.push_back(decision.checkpoint.id);
  return ids;
}

void expect_search_as_in_the_model(const Infos& list, const FindOptions& options) {
  const auto expected = found_by_model(list, options);
  try {
    const std::vector<std::uint64_t> found = ids_of(select_checkpoints(list, options));
    ASSERT_TRUE(expected.has_value());
    EXPECT_EQ(found, *expected);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_FALSE(expected.has_value()) << error.what();
  }
}

// Compares a plan with the model's verdicts, rules included.
void expect_plan_as_in_the_model(const RetentionPlan& plan, const RetentionModel& model,
                                 const Infos& list) {
  EXPECT_EQ(plan.kept.size() + plan.deleted.size(), list.size());
  std::set<std::uint64_t> seen;
  for (const auto* part : {&plan.kept, &plan.deleted}) {
    std::uint64_t newest = std::numeric_limits<std::uint64_t>::max();
    for (const RetentionDecision& decision : *part) {
      const auto verdict = model.verdict(decision.checkpoint);
      EXPECT_EQ(verdict.stays, part == &plan.kept) << decision.checkpoint.id;
      EXPECT_EQ(verdict.rule, decision.rule) << decision.checkpoint.id;
      EXPECT_LT(decision.checkpoint.sequence, newest) << "not newest first";
      newest = decision.checkpoint.sequence;
      seen.insert(decision.checkpoint.id);
    }
  }
  EXPECT_EQ(seen.size(), list.size());
}

// What `options` keep of `list` by the functions under test, checked against the model on the way.
RetentionPlan checked_plan(const Infos& list, const KeepOptions& options) {
  const RetentionModel model(list, options);
  const RetentionPlan plan = plan_retention_or_keep_all(list, options);
  if (model.names_an_unknown_key()) {
    EXPECT_TRUE(plan.deleted.empty());
    EXPECT_EQ(plan.kept.size(), list.size());
    EXPECT_NE(plan.problem, "");
    EXPECT_EQ(error_of([&] { plan_retention(list, options); }).code(), ErrorCode::kInvalidArgument);
    return plan;
  }
  EXPECT_EQ(plan.problem, "");
  expect_plan_as_in_the_model(plan, model, list);
  const RetentionPlan same = plan_retention(list, options);
  EXPECT_EQ(ids_of(same.kept), ids_of(plan.kept));
  EXPECT_EQ(ids_of(same.deleted), ids_of(plan.deleted));
  return plan;
}

TEST(RetentionProperties, RulesAgreeWithASimpleModelOverSequencesOfChanges) {
  for (int sequence = 0; sequence < kPureSequences && !::testing::Test::HasFailure(); ++sequence) {
    Chooser choose(static_cast<unsigned>(sequence));
    Infos list;
    std::uint64_t next_id = 1;
    std::int64_t clock = 1000 * kSecond;
    for (int step = 0; step < kPureSteps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE("sequence " + std::to_string(sequence) + ", step " + std::to_string(step));
      clock += (static_cast<std::int64_t>(choose.below(20)) - 5) * kSecond;  // It may step back.
      for (std::size_t saves = choose.below(3); saves > 0; --saves) {
        list.push_back({.id = next_id,
                        .name = std::to_string(next_id),
                        .sequence = 10 * next_id,
                        .created_unix_ns = clock,
                        .meta = choose.meta()});
        ++next_id;
      }
      if (!list.empty() && choose.once_in(3)) {
        CheckpointInfo& one = list[choose.below(list.size())];
        bool& flag = choose.once_in(2) ? one.pinned : one.damaged;
        flag = !flag;
      }
      // The order in which they are given must not matter.
      const Infos given = choose.shuffled(list);
      expect_search_as_in_the_model(given, choose.find_options());
      const RetentionPlan plan = checked_plan(given, choose.keep_options(list));
      if (!choose.once_in(3)) continue;
      for (const std::uint64_t id : ids_of(plan.deleted)) {
        std::erase_if(list, [&](const CheckpointInfo& c) { return c.id == id; });
      }
    }
  }
}

// A store, and what it must hold, newest first.
class StoreAndModel {
 public:
  explicit StoreAndModel(unsigned seed) : choose_(seed) { restart(); }

  void step() {
    switch (choose_.below(10)) {
      case 0:
      case 1:
      case 2:
        save(false);
        break;
      case 3:
      case 4:
        save(true);
        break;
      case 5:
        keep();
        break;
      case 6:
        remove_one();
        break;
      case 7:
        flag_one(true);
        break;
      case 8:
        flag_one(false);
        break;
      default:
        restart();
        break;
    }
    expect_same();
  }

 private:
  void save(bool and_keep) {
    SaveOptions options{.meta = choose_.meta()};
    bool pin = false;
    if (!model_.empty() && choose_.once_in(4)) {
      options.name = choose_.one_of(model_).name;
      options.replace = true;
      std::erase_if(model_, [&](const CheckpointInfo& c) {
        pin = pin || (c.name == options.name && c.pinned);
        return c.name == options.name;
      });
    }
    RetentionPlan plan;
    if (and_keep) {
      options.retention = [&](std::span<const CheckpointInfo> all) {
        const Infos list(all.begin(), all.end());
        plan = checked_plan(choose_.shuffled(list), choose_.keep_options(list));
        return ids_of(plan.deleted);
      };
    }
    // A state of its own: a save that shares chunks with a checkpoint that is marked as damaged,
    // and is not, takes the mark away (healing_test.cc).
    const CheckpointInfo saved = store_->save(model_of(next_id_, 2, 40), options).saved;
    EXPECT_EQ(saved.id, next_id_++);
    EXPECT_EQ(saved.pinned, pin);
    model_.insert(model_.begin(), saved);
    forget(plan);
  }

  void keep() {
    const KeepOptions options = choose_.keep_options(model_);
    const RetentionPlan plan = checked_plan(store_->checkpoints(), options);
    store_->remove(ids_of(plan.deleted));
    forget(plan);
  }

  void remove_one() {
    if (model_.empty()) return;
    const std::uint64_t id = choose_.one_of(model_).id;
    store_->remove({&id, 1});
    std::erase_if(model_, [&](const CheckpointInfo& c) { return c.id == id; });
  }

  void flag_one(bool pinned) {
    if (model_.empty()) return;
    CheckpointInfo& one = model_[choose_.below(model_.size())];
    bool& flag = pinned ? one.pinned : one.damaged;
    flag = !choose_.once_in(3);
    pinned ? store_->set_pinned({&one.id, 1}, flag) : store_->set_damaged({&one.id, 1}, flag);
  }

  // Every other time with the catalog gone: pins and known damage must come back from the pack.
  void restart() {
    store_.reset();
    if (std::filesystem::exists(dir_ / "store") && choose_.once_in(2)) {
      std::filesystem::remove(dir_ / "store/catalog.mdb");
    }
    store_.emplace(dir_ / "store");
  }

  void forget(const RetentionPlan& plan) {
    for (const std::uint64_t id : ids_of(plan.deleted)) {
      std::erase_if(model_, [&](const CheckpointInfo& c) { return c.id == id; });
    }
  }

  void expect_same() const {
    const Infos held = store_->checkpoints();
    ASSERT_EQ(ids_of(held), ids_of(model_));
    for (std::size_t i = 0; i < held.size(); ++i) {
      EXPECT_EQ(held[i].name, model_[i].name);
      EXPECT_EQ(held[i].sequence, model_[i].sequence);
      EXPECT_EQ(held[i].created_unix_ns, model_[i].created_unix_ns);
      EXPECT_EQ(held[i].meta.size(), model_[i].meta.size());
      EXPECT_EQ(held[i].pinned, model_[i].pinned) << held[i].id;
      EXPECT_EQ(held[i].damaged, model_[i].damaged) << held[i].id;
    }
    EXPECT_EQ(store_->stat().next_id, next_id_);
  }

  ScratchDirectory dir_;
  Chooser choose_;
  std::optional<Store> store_;
  Infos model_;
  std::uint64_t next_id_ = 1;
};

TEST(RetentionProperties, StoresHoldWhatAModelHoldsOverSavesPinsDamageAndRestarts) {
  for (int sequence = 0; sequence < kStoreSequences && !::testing::Test::HasFailure(); ++sequence) {
    StoreAndModel pair(static_cast<unsigned>(sequence));
    for (int step = 0; step < kStoreSteps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE("sequence " + std::to_string(sequence) + ", step " + std::to_string(step));
      pair.step();
    }
  }
}

}  // namespace
}  // namespace cairn::testing
