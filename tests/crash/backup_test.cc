// What a crash leaves of a backup: the file of the last run that returned, or of the one in flight.
#include "crash/crash_states.h"
#include "crash/explorer.h"
#include "crash/recorder.h"
#include "crash/tree.h"
#include "support/states.h"

#include <cairn/error.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

namespace cairn::crash {
namespace {

namespace fs = std::filesystem;

using Everything = std::map<std::string, testing::Contents>;

constexpr std::string_view kFile = "backup";
constexpr Thoroughness kThoroughness{
    .exhaustive_units = 5, .exhaustive_groups = 4, .samples = 8, .at_most = 40};

/// Runs of backup, recorded, between which the store changes.
class BackupCrash : public ::testing::Test {
 protected:
  BackupCrash() {
    fs::create_directory(target_);
    save("shared", 1);
    save("gone", 2);
  }

  void save(const std::string& name, std::uint64_t seed) {
    Store(store_, {.compression = compression_})
        .save(testing::model({testing::tensor("stays", testing::coarse_pattern(99, 5000)),
                              testing::tensor("changes", testing::coarse_pattern(seed, 9000))}),
              {.name = name});
  }
  void remove(const std::string& name) {
    Store store(store_);
    store.remove(std::vector{store.find_by_name(name)->id});
  }
  // A step in which every extent of the backup moves on.
  void change() {
    ++steps_;
    save("step-" + std::to_string(steps_), 10 + steps_);
    if (steps_ == 1) remove("gone");
    if (steps_ > 1) remove("step-" + std::to_string(steps_ - 1));
  }

  void back_up() {
    const Store store(store_, {.read_only = true});
    recorder_->note("begin");
    models_.push_back(testing::everything(store));
    store.backup(target_ / kFile);
    recorder_->note("done");
  }
  void begin_recording() { recorder_.emplace(target_); }

  /// Judges the states that a crash at any event may leave.
  void judge_all(NameRule rule) {
    const EventLog log = recorder_->finish();
    recorder_.reset();
    Disk disk(rule);
    std::mt19937_64 random(7);
    std::unordered_set<base::Digest128, base::DigestHash> seen;
    std::size_t begun = 0;
    std::optional<std::size_t> done;
    for (std::size_t i = 0; i < log.size(); ++i) {
      disk.apply(log[i]);
      if (log[i].kind == EventKind::kNote && log[i].name == "begin") {
        ++begun;
        seen.clear();
      }
      if (log[i].kind == EventKind::kNote && log[i].name == "done") {
        done = begun - 1;
        seen.clear();
      }
      for (const Choice& choice : choices(disk, kThoroughness, random).list) {
        const Tree tree = disk.state(choice);
        if (!seen.insert(digest_of(tree)).second) continue;
        ++states_;
        const std::string wrong = judge(tree, done, begun, states_ % 8 == 0);
        ASSERT_EQ(wrong, "") << "after event " << i << " (" << to_text(log[i]).substr(0, 60) << ")";
      }
    }
  }

  /// What is wrong with a state, or "".
  std::string judge(const Tree& tree, std::optional<std::size_t> done, std::size_t begun,
                    bool and_goes_on) {
    const std::string file(kFile);
    write_tree(tree, work_);
    if (!tree.files.contains(file)) {
      if (done) return "the backup is gone";
    } else {
      const Everything held = restored();
      std::size_t number = done.value_or(0);
      while (number < begun && models_[number] != held) ++number;
      if (number == begun) return "it holds neither what it held nor what it was to hold";
    }
    if (!and_goes_on) return {};
    const Store store(store_, {.read_only = true});
    store.backup(work_ / file);
    return restored() == testing::everything(store) ? "" : "the next run does not mend it";
  }

  // What the file alone gives back.
  Everything restored() {
    fs::remove_all(restored_);
    fs::create_directory(restored_);
    fs::copy_file(work_ / kFile, restored_ / "pack");
    const RepairReport report = Store::repair(restored_);
    if (!report.remaining.empty()) return {{report.remaining.front().message, {}}};
    return testing::everything(Store(restored_, {.read_only = true}));
  }

  std::optional<Compression> compression_;
  OneCore one_core_;
  FastDirectory top_;
  fs::path store_ = top_.path() / "store";
  fs::path target_ = top_.path() / "target";
  fs::path work_ = top_.path() / "work";
  fs::path restored_ = top_.path() / "restored";
  std::optional<Recorder> recorder_;
  std::vector<Everything> models_;
  std::uint64_t steps_ = 0;
  std::uint64_t states_ = 0;
};

TEST_F(BackupCrash, LeavesTheStateBeforeOrTheOneInFlight) {
  for (const NameRule rule : {NameRule::kStrict, NameRule::kExt4}) {
    fs::remove_all(target_);
    fs::create_directory(target_);
    models_.clear();
    begin_recording();
    back_up();
    for (int i = 0; i < 3; ++i) {
      change();
      back_up();
    }
    judge_all(rule);
  }
  EXPECT_GT(states_, 200U);
}

TEST_F(BackupCrash, AlsoWhenTheStoreBeginsToCompress) {
  begin_recording();
  back_up();
  compression_ = Compression::kZstd;
  for (int i = 0; i < 2; ++i) {
    change();
    back_up();
  }
  ASSERT_GT(Store(store_).chunk_stats().compressed_chunks, 0U);
  judge_all(NameRule::kStrict);
  EXPECT_GT(states_, 100U);
}

// The run before was killed before its last flush, or that flush failed: its slot is seen, but not
// on the disk.
class BackupCrashAfterAKill : public BackupCrash {
 protected:
  BackupCrashAfterAKill() {
    begin_recording();
    back_up();
    change();
    std::size_t flushes = 0;
    recorder_->set_interference({.is_deaf = [&flushes](const Call& call) {
      return call.kind == EventKind::kSync && ++flushes > 2;
    }});
    recorder_->note("begin");
    const Store store(store_, {.read_only = true});
    models_.push_back(testing::everything(store));
    store.backup(target_ / kFile);
    EXPECT_EQ(flushes, 3U);  // of the slot before, of the new state, of its slot
    recorder_->set_interference({});
  }
};

TEST_F(BackupCrashAfterAKill, TheNextRunDoesNotBuildUponWhatIsNotOnTheDisk) {
  change();
  back_up();
  judge_all(NameRule::kStrict);
}

TEST_F(BackupCrashAfterAKill, ARunThatHasNothingToCopyMakesItDurable) {
  back_up();
  judge_all(NameRule::kStrict);
}

}  // namespace
}  // namespace cairn::crash
