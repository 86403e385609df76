// What a crash leaves of a repair: a store that the same repair, run again, brings to the same end;
// and when the repair has returned, a store that needs none.
#include "crash/crash_states.h"
#include "crash/explorer.h"
#include "crash/recorder.h"
#include "crash/tree.h"
#include "format/layout.h"
#include "support/states.h"

#include <cairn/error.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

namespace cairn::crash {
namespace {

namespace fs = std::filesystem;

using Everything = std::map<std::string, testing::Contents>;

constexpr Thoroughness kThoroughness{
    .exhaustive_units = 5, .exhaustive_groups = 4, .samples = 8, .at_most = 40};

/// A store that suffers harm, is repaired under the recorder, and is repaired again from every
/// state that a crash meanwhile may leave.
class RepairCrash : public ::testing::Test {
 protected:
  RepairCrash() {
    fs::create_directory(top_.path() / "job");
    Store store(store_, {.chunk_bytes = 65536, .compression = Compression::kZstd});
    for (std::uint64_t i = 1; i <= 4; ++i) {
      const auto own = testing::tensor("own", testing::coarse_pattern(i, 70'000));
      const auto shared = testing::tensor("shared", testing::pattern(9, 6000));
      store.save(testing::model({own, shared}), {.name = std::to_string(i)});
    }
    store.remove({{store.find_by_name("2")->id}});
    store.set_pinned({{store.find_by_name("1")->id}}, true);
    holds_ = testing::everything(store);
  }

  void flip(std::uint64_t offset) { testing::flip_byte(store_ / "pack", offset); }
  void flip_superblocks() {
    for (const std::uint64_t offset : format::kSuperblockOffsets) flip(offset + 33);
  }
  void flip_roots() {
    const auto [first, second] = testing::newest_root(store_ / "pack");
    flip(first + 200);
    flip(second + 200);
  }
  void let_rot(const std::string& name) {
    std::uint64_t place = 0;
    {
      const Store store(store_, {.read_only = true});
      const Checkpoint checkpoint = store.open(store.find_by_name(name)->id);
      place = checkpoint.chunks(*checkpoint.find_tensor("model", "own")).front().pack_offset;
    }
    flip(place + 5);
  }

  /// Repairs, and judges the states that a crash at any event of it may leave.
  void expect_that_repairing_again_ends_alike(const RepairOptions& options = {}) {
    Recorder recorder(top_.path() / "job");
    recorder.note("begin");
    const RepairReport report = Store::repair(store_, options);
    recorder.note("done");
    const EventLog log = recorder.finish();
    ASSERT_TRUE(report.changed);
    ASSERT_EQ(held(store_), holds_);
    for (const NameRule rule : {NameRule::kStrict, NameRule::kExt4}) judge_all(log, rule, options);
    std::printf("crash states of this repair: %zu\n", states_);
    EXPECT_GT(states_, 10U);
  }

 private:
  void judge_all(const EventLog& log, NameRule rule, const RepairOptions& options) {
    Disk disk(rule, is_advice);
    std::mt19937_64 random(7);
    bool has_begun = false;
    bool is_done = false;
    for (std::size_t i = 0; i < log.size(); ++i) {
      disk.apply(log[i]);
      is_done = log[i].kind == EventKind::kNote && log[i].name == "done";
      has_begun = has_begun || log[i].kind == EventKind::kNote;
      if (!has_begun) continue;
      if (is_done) seen_.clear();
      for (const Choice& choice : choices(disk, kThoroughness, random).list) {
        const Tree tree = disk.state(choice);
        if (!seen_.insert(digest_of(tree)).second) continue;
        ++states_;
        write_tree(tree, work_);
        try {
          if (!is_done) Store::repair(work_ / "store", options);
          ASSERT_EQ(held(work_ / "store"), holds_) << "after event " << i << " (" << line(log[i]);
        } catch (const Error& error) {
          FAIL() << "after event " << i << " (" << line(log[i]) << "): " << error.what();
        }
      }
    }
  }

  static std::string line(const Event& event) { return to_text(event).substr(0, 60); }

  /// What the store holds for a writer, which finds nothing to do any more, and saves.
  static Everything held(const fs::path& path) {
    Store store(path, {.create = false});
    EXPECT_FALSE(store.open_report().rebuilt_catalog);
    EXPECT_TRUE(store.verify().ok);
    Everything holds = testing::everything(store);
    const auto id = store.save(testing::model_of(50, 1, 5000), {.name = "probe"}).saved.id;
    EXPECT_TRUE(store.verify().ok);
    store.remove({{id}});
    return holds;
  }

 protected:
  OneCore one_core_;
  FastDirectory top_;
  fs::path store_ = top_.path() / "job/store";
  fs::path work_ = top_.path() / "work";
  Everything holds_;
  std::unordered_set<base::Digest128, base::DigestHash> seen_;
  std::size_t states_ = 0;
};

TEST_F(RepairCrash, OfBothRootsASuperblockAndASlot) {
  flip_roots();
  flip(format::kSuperblockOffsets[0] + 33);
  flip(testing::newest_slot(store_ / "pack") + 40);
  expect_that_repairing_again_ends_alike();
}

TEST_F(RepairCrash, OfBothSuperblocks) {
  flip_superblocks();
  expect_that_repairing_again_ends_alike();
}

TEST_F(RepairCrash, OfBothSuperblocksWithoutTheCatalog) {
  flip_superblocks();
  fs::remove(store_ / "catalog.mdb");
  expect_that_repairing_again_ends_alike();
}

TEST_F(RepairCrash, OfACatalogThatIsNone) {
  testing::write_file(store_ / "catalog.mdb", testing::pattern(3, 20'000));
  expect_that_repairing_again_ends_alike();
}

TEST_F(RepairCrash, ThatDropsWhatIsRotten) {
  let_rot("3");
  holds_.erase("3");
  expect_that_repairing_again_ends_alike({.drop_damaged = true});
}

TEST_F(RepairCrash, ThatTakesInWhatAScanFound) {
  std::vector<std::uint64_t> ids;
  {
    const Store store(store_, {.read_only = true});
    for (const CheckpointInfo& info : store.checkpoints()) ids.push_back(info.id);
  }
  flip_roots();
  for (const std::uint64_t slot : format::kSlotOffsets) flip(slot + 40);
  fs::remove(store_ / "catalog.mdb");
  expect_that_repairing_again_ends_alike({.adopt = ids});
}

}  // namespace
}  // namespace cairn::crash
