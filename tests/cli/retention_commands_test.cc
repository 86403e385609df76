// rm, keep, pin, unpin.
#include "cli/tool.h"

#include <cairn/store.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <optional>

namespace {

std::chrono::seconds saved_ago{0};  // How long ago this process saves.

}  // namespace

// The names are the linker's (ld(1), --wrap).
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" std::int64_t __real__ZN5cairn2io12unix_time_nsEv();
extern "C" std::int64_t __wrap__ZN5cairn2io12unix_time_nsEv() {
  return __real__ZN5cairn2io12unix_time_nsEv() - std::chrono::nanoseconds(saved_ago).count();
}
// NOLINTEND(bugprone-reserved-identifier)

namespace cairn::testing {
namespace {

class Retention : public ToolTest {
 protected:
  void import_losses(const std::vector<std::string>& losses) {
    for (std::size_t i = 0; i < losses.size(); ++i) {
      const std::string name(1, static_cast<char>('a' + i));
      import(losses[i].empty() ? Names{"--name", name}
                               : Names{"--name", name, "--meta", "loss=" + losses[i]});
    }
  }

  // What `keep` keeps and deletes, and that both are told with a rule.
  Names kept_by(std::vector<std::string> criteria) {
    criteria.insert(criteria.begin(), {"keep", store_, "--json"});
    const auto result = done(criteria).json();
    Names kept;
    for (const auto& one : result.at("kept")) {
      kept.push_back(one.at("name"));
      EXPECT_NE(one.at("rule"), "");
    }
    for (const auto& one : result.at("deleted")) EXPECT_NE(one.at("rule"), "");
    return kept;
  }
};

using Rm = Retention;
using Keep = Retention;
using Pin = Retention;

TEST_F(Rm, DeletesAllThatAreNamed) {
  import_losses({"1", "2", "3"});
  const auto result = done({"rm", store_, "a", "latest", "--json"}).json();
  EXPECT_EQ(result.at("dry_run"), false);
  ASSERT_EQ(result.at("deleted").size(), 2U);
  EXPECT_EQ(result.at("deleted")[0].at("name"), "a");
  EXPECT_EQ(result.at("deleted")[0].at("id"), 1);
  EXPECT_EQ(names(), (Names{"b"}));
}

TEST_F(Rm, DeletesNoneWhenOneIsAbsent) {
  import_losses({"1", "2"});
  expect_failure(4, R"("x" "y")", {"rm", store_, "a", "x", "b", "y"});
  EXPECT_EQ(names(), (Names{"b", "a"}));
}

TEST_F(Rm, TakesACheckpointThatIsNamedTwiceOnce) {
  import_losses({"1", "2"});
  EXPECT_EQ(done({"rm", store_, "a", "1", "id:1", "a", "--json"}).json().at("deleted").size(), 1U);
  EXPECT_EQ(names(), (Names{"b"}));
}

TEST_F(Rm, ChangesNothingInADryRun) {
  import_losses({"1"});
  EXPECT_EQ(done({"rm", store_, "a", "--dry-run", "--json"}).json().at("dry_run"), true);
  EXPECT_EQ(names(), (Names{"a"}));
}

// As on a read-only disk: a dry run with --assume-no-writer makes no lock file.
TEST_F(Rm, LikeOthersPlansWithoutLocksOnlyWhenAsked) {
  import_losses({"1"});
  const std::string file = safetensors();
  for (const char* name : {"lock", "catalog.mdb-lock"}) {
    ASSERT_TRUE(std::filesystem::remove(std::filesystem::path(store_) / name)) << name;
  }
  for (std::vector<std::string> words : {Names{"rm", store_, "a"},
                                         {"keep", store_, "--recent", "1"},
                                         {"compact", store_},
                                         {"import", store_, file, "--name", "b"}}) {
    words.emplace_back("--assume-no-writer");
    expect_failure(2, "give --dry-run", words);
    words.emplace_back("--dry-run");
    done(words);
  }
  Names files;
  for (const auto& entry : std::filesystem::directory_iterator(store_)) {
    files.push_back(entry.path().filename());
  }
  std::sort(files.begin(), files.end());
  EXPECT_EQ(files, (Names{"catalog.mdb", "pack"}));
}

TEST_F(Rm, NeverTakesOneWordForSeveral) {
  import_losses({"1", "2"});
  import({"--name", "[a,b]"});
  done({"rm", store_, "[a,b]"});
  EXPECT_EQ(names(), (Names{"b", "a"}));
}

TEST_F(Keep, KeepsTheNewest) {
  import_losses({"1", "2", "3"});
  EXPECT_EQ(kept_by({"--recent", "2"}), (Names{"c", "b"}));
  EXPECT_EQ(names(), (Names{"c", "b"}));
}

TEST_F(Keep, KeepsTheBest) {
  import_losses({"1", "3", "2"});
  EXPECT_EQ(kept_by({"--best-min", "loss:2"}), (Names{"c", "a"}));
  EXPECT_EQ(kept_by({"--best-max", "loss:1"}), (Names{"c"}));
}

TEST_F(Keep, KeepsEveryNthId) {
  import_losses({"1", "2", "3", "4", "5"});
  EXPECT_EQ(kept_by({"--every", "2"}), (Names{"d", "b"}));
}

TEST_F(Keep, KeepsWhatIsYoungerThanADuration) {
  saved_ago = std::chrono::hours(49);
  Store(store_).save({}, {.name = "old"});
  saved_ago = std::chrono::hours(47);
  Store(store_).save({}, {.name = "young"});
  EXPECT_EQ(kept_by({"--keep-for", "3d", "--dry-run"}), (Names{"young", "old"}));
  EXPECT_EQ(kept_by({"--keep-for", "47h", "--dry-run"}), (Names{}));
  EXPECT_EQ(kept_by({"--keep-for", "2820m", "--recent", "1", "--dry-run"}), (Names{"young"}));
  EXPECT_NE(done({"keep", store_, "--keep-for", "2d"}).out.find("younger than 2 days"),
            std::string::npos);
  EXPECT_EQ(names(), Names{"young"});
}

TEST_F(Keep, KeepsWhatAnyOfItsCriteriaProtects) {
  import_losses({"1", "5", "4", "3", "2"});
  EXPECT_EQ(kept_by({"--best-min", "loss:1", "--best-max=loss:1", "--recent", "1", "--every", "4"}),
            (Names{"e", "d", "b", "a"}));
}

TEST_F(Keep, GivesEachCriterionItsOwnNumber) {
  import_losses({"1", "2", "3", "4", "5"});
  EXPECT_EQ(kept_by({"--recent", "1", "--best-min", "loss:3"}), (Names{"e", "c", "b", "a"}));
}

TEST_F(Keep, LeavesAloneWhatLacksTheKey) {
  import_losses({"1", "", "2"});
  EXPECT_EQ(kept_by({"--best-min", "loss:1"}), (Names{"b", "a"}));
  EXPECT_EQ(kept_by({"--best-min", "loss:1", "--recent", "0"}), (Names{"a"}));
}

TEST_F(Keep, TakesKeysWithColons) {
  import({"--name", "a", "--meta", "val:loss=1"});
  import({"--name", "b", "--meta", "val:loss=2"});
  EXPECT_EQ(kept_by({"--best-min", "val:loss:1"}), (Names{"a"}));
}

TEST_F(Keep, RanksNanLast) {
  import_losses({"nan", "1", "inf", "nan"});
  EXPECT_EQ(kept_by({"--best-min", "loss:3"}), (Names{"d", "c", "b"}));
}

TEST_F(Keep, SparesPinnedCheckpoints) {
  import_losses({"1", "2", "3"});
  done({"pin", store_, "a"});
  EXPECT_EQ(kept_by({"--recent", "1"}), (Names{"c", "a"}));
}

TEST_F(Keep, ChangesNothingInADryRunAndTakesNoLock) {
  import_losses({"1", "2"});
  const Store writer(store_);
  EXPECT_EQ(kept_by({"--recent", "1", "--dry-run"}), (Names{"b"}));
  EXPECT_EQ(names(), (Names{"b", "a"}));
}

TEST_F(Keep, NeedsACriterion) {
  import_losses({"1"});
  expect_failure(2, "at least one of --recent", {"keep", store_});
  EXPECT_EQ(names(), (Names{"a"}));
}

TEST_F(Keep, ChecksItsNumbers) {
  for (const auto& [option, value] :
       std::vector<std::pair<std::string, std::string>>{{"--recent", "-1"},
                                                        {"--recent", "x"},
                                                        {"--recent", "1.5"},
                                                        {"--recent", "99999999999"},
                                                        {"--every", "0"},
                                                        {"--keep-for", "0s"},
                                                        {"--keep-for", "2"},
                                                        {"--keep-for", "d"},
                                                        {"--keep-for", "-1d"},
                                                        {"--keep-for", "1.5h"},
                                                        {"--keep-for", "106751991167301d"},
                                                        {"--best-min", "loss"},
                                                        {"--best-min", "loss:"},
                                                        {"--best-min", ":3"},
                                                        {"--best-max", "loss:-1"}}) {
    expect_failure(2, option, {"keep", store_, option + "=" + value});
  }
}

TEST_F(Keep, DeletesNothingForAKeyThatNoCheckpointHas) {
  import_losses({"1", "2"});
  expect_failure(1, R"("los"; keys that exist)",
                 {"keep", store_, "--recent", "1", "--best-min", "los:1"});
  EXPECT_EQ(names(), (Names{"b", "a"}));
}

TEST_F(Keep, SaysInATableWhichRuleDecided) {
  import_losses({"1", "2"});
  const std::string out = done({"keep", store_, "--recent", "1"}).out;
  EXPECT_NE(out.find("newest 1"), std::string::npos) << out;
  EXPECT_NE(out.find("not protected"), std::string::npos) << out;
}

TEST_F(Pin, ExemptsFromRetentionUntilUnpinned) {
  import_losses({"1", "2"});
  const auto pinned = done({"pin", store_, "a", "--json"}).json();
  EXPECT_EQ(pinned.at(0).at("pinned"), true);
  EXPECT_EQ(kept_by({"--recent", "1"}), (Names{"b", "a"}));
  EXPECT_EQ(done({"unpin", store_, "a", "--json"}).json().at(0).at("pinned"), false);
  EXPECT_EQ(kept_by({"--recent", "1"}), (Names{"b"}));
}

TEST_F(Pin, PinsNoneWhenOneIsAbsent) {
  import_losses({"1"});
  expect_failure(4, "no such checkpoint", {"pin", store_, "a", "x"});
  EXPECT_EQ(done({"ls", store_, "--json"}).json().at(0).at("pinned"), false);
}

TEST_F(Retention, GivesUpAtOnceWhenAnotherWriterHoldsTheStore) {
  import_losses({"1"});
  const Store writer(store_);
  for (const char* command : {"rm", "pin", "unpin"}) {
    expect_failure(5, std::to_string(::getpid()), {command, store_, "a"});
  }
  expect_failure(5, "", {"keep", store_, "--recent", "1"});
  expect_failure(5, "", {"import", store_, safetensors()});
  expect_failure(5, "", {"repair", store_});
}

TEST_F(Retention, WaitsForAnotherWriterAsLongAsItIsTold) {
  import_losses({"1"});
  std::optional<Store> writer(store_);
  EXPECT_EQ(cairn({"rm", store_, "a", "--wait", "0.01"}).code, 5);
  auto waiting = std::async(std::launch::async, [&] {
    return cairn({"rm", store_, "a", "--wait", "200"}).code;
  });
  writer.reset();
  EXPECT_EQ(waiting.get(), 0);
}

TEST_F(Retention, ReadsWhileAnotherWriterHoldsTheStore) {
  import_losses({"1"});
  const Store writer(store_);
  for (const char* command : {"ls", "stat", "verify"}) done({command, store_});
  done({"show", store_, "a"});
  done({"export", store_, "a", dir_ / "out"});
}

}  // namespace
}  // namespace cairn::testing
