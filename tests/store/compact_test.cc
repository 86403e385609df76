// Giving free space back to the file system.

#include "format/layout.h"
#include "pack/pack_file.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

namespace cairn {
namespace {

using testing::contents;
using testing::everything;
using testing::model_of;
using testing::ScratchDirectory;

constexpr std::uint64_t kState = 10 * 102'400;  // bytes of `state`
/// What a store needs besides its states: superblocks, slots, roots, indexes, and what is reserved
/// for deletions.
constexpr std::uint64_t kOverhead = 400'000;

CheckpointState state(std::uint64_t seed) {
  return model_of(seed, 10, 102'400);
}

class Compact : public ::testing::Test {
 protected:
  std::uint64_t save(std::uint64_t seed) {
    return store_->save(state(seed), {.name = std::to_string(seed)}).saved.id;
  }
  void remove(std::uint64_t id) { store_->remove(std::vector{id}); }
  void expect_whole(std::initializer_list<std::uint64_t> seeds) const {
    std::map<std::string, testing::Contents> expected;
    for (const std::uint64_t seed : seeds) expected[std::to_string(seed)] = contents(state(seed));
    EXPECT_EQ(everything(*store_), expected);
    const VerifyReport report = store_->verify();
    EXPECT_TRUE(report.ok) << report.damaged.front().message;
  }
  std::filesystem::path pack() const { return scratch_ / "store/pack"; }

  ScratchDirectory scratch_;
  std::optional<Store> store_{scratch_ / "store"};
};

TEST_F(Compact, CutsThePackBehindWhatIsLive) {
  save(1);
  const std::uint64_t second = save(2);
  const std::uint64_t third = save(3);
  remove(second);
  remove(third);
  const CompactReport report = store_->compact();
  EXPECT_GE(report.pack_bytes_before, 3 * kState);
  EXPECT_LE(report.pack_bytes, kState + kOverhead);
  EXPECT_EQ(report.pack_bytes, std::filesystem::file_size(pack()));
  EXPECT_FALSE(report.oldest_reader_pid);
  expect_whole({1});
}

TEST_F(Compact, MakesHolesBelowWhatIsLive) {
  const std::uint64_t first = save(1);
  save(2);
  remove(first);
  const CompactReport report = store_->compact();
  if (!report.can_punch) GTEST_SKIP() << "this file system makes no holes";
  EXPECT_GE(report.allocated_bytes_before, 2 * kState);
  EXPECT_LE(report.allocated_bytes, kState + kOverhead);
  EXPECT_EQ(store_->stat().allocated_bytes, report.allocated_bytes);
  expect_whole({2});
}

TEST_F(Compact, TellsHowMuchItHasGivenBack) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) save(seed);
  for (const char* name : {"1", "3", "5"}) remove(store_->find_by_name(name)->id);
  std::vector<Progress> told;
  const CompactReport report =
      store_->compact({.progress = [&](const Progress& progress) { told.push_back(progress); }});
  if (!report.can_punch) GTEST_SKIP() << "this file system makes no holes";
  ASSERT_GE(told.size(), 3U);
  for (std::size_t i = 1; i < told.size(); ++i) {
    EXPECT_GT(told[i].done_bytes, told[i - 1].done_bytes);
  }
  for (const Progress& progress : told) {
    EXPECT_EQ(progress.total_bytes, told.back().done_bytes);
  }
  EXPECT_GE(told.back().done_bytes, 3 * kState);
}

TEST_F(Compact, ChangesNothingThatIsLiveAndSavingGoesOn) {
  save(1);
  remove(save(2));
  store_->compact();
  save(3);
  expect_whole({1, 3});
  store_.reset();
  store_.emplace(scratch_ / "store");
  EXPECT_TRUE(store_->open_report().notes.empty());
  expect_whole({1, 3});
}

TEST_F(Compact, OfAnEmptyStoreLeavesAnEmptyStore) {
  const std::uint64_t before = std::filesystem::file_size(pack());
  store_->compact();
  EXPECT_LE(store_->compact().pack_bytes, before + 6 * 4096);
  expect_whole({});
}

TEST_F(Compact, LeavesWhatAReaderHolds) {
  const std::uint64_t first = save(1);
  {
    const Checkpoint held = store_->open(first);
    remove(first);
    const CompactReport report = store_->compact();
    EXPECT_EQ(report.oldest_reader_pid, ::getpid());
    EXPECT_EQ(contents(held), contents(state(1)));
  }
  EXPECT_LE(store_->compact().pack_bytes, kOverhead);
  expect_whole({});
}

TEST_F(Compact, IsOutlivedByARebuildFromACommitWhoseEndOfDataLayFartherOff) {
  save(1);
  remove(save(2));
  store_->compact();
  const std::uint64_t bytes = std::filesystem::file_size(pack());
  store_.reset();
  const auto slots = pack::PackFile::open(pack(), io::File::Access::kRead).read_slots();
  const auto newest_first = slots.newest_first();
  const auto longer = std::find_if(newest_first.begin(), newest_first.end(),
                                   [&](const auto* slot) { return slot->data_end > bytes; });
  ASSERT_NE(longer, newest_first.end());
  for (auto slot = newest_first.begin(); slot != longer; ++slot) {
    testing::flip_byte(pack(), format::kSlotOffsets[(*slot)->number] + 40);
  }
  std::filesystem::remove(scratch_ / "store/catalog.mdb");
  store_.emplace(scratch_ / "store");
  EXPECT_TRUE(store_->open_report().rebuilt_catalog);
  expect_whole({1});
  save(3);
  expect_whole({1, 3});
}

TEST_F(Compact, IsAChangeAndNotForReaders) {
  Store reader(scratch_ / "store", {.read_only = true});
  EXPECT_EQ(testing::error_of([&] { reader.compact(); }).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn
