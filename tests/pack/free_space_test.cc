#include "pack/free_space.h"

#include "base/checked.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace cairn::pack {
namespace {

using base::round_up;
using format::Extent;
using format::kAlignment;
using format::kDataBegin;

constexpr std::uint64_t kPage = kAlignment;

/// Free space with one hole of `pages` pages that transaction `freed_by` freed, live space behind.
FreeSpace hole(std::uint64_t pages, std::uint64_t freed_by) {
  const FreeExtent extent{.offset = kDataBegin, .bytes = pages * kPage, .freed_by = freed_by};
  return FreeSpace(std::span(&extent, 1), kDataBegin + (pages + 1) * kPage);
}

TEST(FreeSpace, AppendsWhenNothingIsFree) {
  FreeSpace space;
  space.begin(0);
  EXPECT_EQ(space.allocate(1).offset, kDataBegin);
  EXPECT_EQ(space.allocate(kPage + 1).offset, kDataBegin + kPage);
  EXPECT_EQ(space.data_end(), kDataBegin + 3 * kPage);
}

TEST(FreeSpace, DoesNotReuseAnExtentFreedAfterTheHorizon) {
  FreeSpace space = hole(4, 7);
  space.begin(6);
  EXPECT_GT(space.allocate(kPage).offset, kDataBegin);
}

TEST(FreeSpace, ReusesAnExtentFreedUpToTheHorizon) {
  FreeSpace space = hole(4, 7);
  space.begin(7);
  EXPECT_EQ(space.allocate(kPage).offset, kDataBegin);
}

TEST(FreeSpace, DoesNotReuseWhatTheSameChangeFrees) {
  FreeSpace space;
  space.begin(0);
  const Extent extent = space.allocate(kPage);
  space.finish();
  space.begin(1);
  space.release({extent}, 3);
  EXPECT_NE(space.allocate(kPage).offset, extent.offset);
}

TEST(FreeSpace, TakesTheSmallestHoleThatFits) {
  const std::vector<FreeExtent> holes{
      {.offset = kDataBegin, .bytes = 8 * kPage, .freed_by = 1},
      {.offset = kDataBegin + 9 * kPage, .bytes = 2 * kPage, .freed_by = 1}};
  FreeSpace space(holes, kDataBegin + 12 * kPage);
  space.begin(1);
  EXPECT_EQ(space.allocate(2 * kPage).offset, kDataBegin + 9 * kPage);
}

TEST(FreeSpace, JoinsNeighboursOnceBothMayBeWritten) {
  const std::vector<FreeExtent> holes{
      {.offset = kDataBegin, .bytes = kPage, .freed_by = 1},
      {.offset = kDataBegin + kPage, .bytes = kPage, .freed_by = 2}};
  FreeSpace space(holes, kDataBegin + 3 * kPage);
  space.begin(2);
  EXPECT_EQ(space.allocate(2 * kPage).offset, kDataBegin);
}

TEST(FreeSpace, GrowsAHoleAtTheEndInsteadOfLeavingItBehind) {
  const FreeExtent last{.offset = kDataBegin, .bytes = kPage, .freed_by = 1};
  FreeSpace space(std::span(&last, 1), kDataBegin + kPage);
  space.begin(1);
  EXPECT_EQ(space.allocate(3 * kPage).offset, kDataBegin);
  EXPECT_EQ(space.data_end(), kDataBegin + 3 * kPage);
}

TEST(FreeSpace, TakesTheLowestHoleThatFitsWhenAskedTo) {
  const std::vector<FreeExtent> holes{
      {.offset = kDataBegin, .bytes = 8 * kPage, .freed_by = 1},
      {.offset = kDataBegin + 9 * kPage, .bytes = 2 * kPage, .freed_by = 1}};
  FreeSpace space(holes, kDataBegin + 12 * kPage);
  space.begin(1);
  EXPECT_EQ(space.allocate(2 * kPage, Fit::kLowest).offset, kDataBegin);
}

TEST(FreeSpace, TrimGivesUpAHoleAtTheEndThatMayBeWritten) {
  const std::vector<FreeExtent> holes{
      {.offset = kDataBegin, .bytes = kPage, .freed_by = 1},
      {.offset = kDataBegin + 2 * kPage, .bytes = 3 * kPage, .freed_by = 2}};
  FreeSpace space(holes, kDataBegin + 5 * kPage);
  space.begin(1);
  space.trim();
  EXPECT_EQ(space.data_end(), kDataBegin + 5 * kPage) << "it is the parent's yet";
  space.begin(2);
  space.trim();
  EXPECT_EQ(space.data_end(), kDataBegin + 2 * kPage);
  EXPECT_EQ(space.extents(), std::vector{holes[0]});
}

TEST(FreeSpace, RowsToWriteAreExactlyWhatChanged) {
  FreeSpace space = hole(4, 1);
  space.begin(1);
  space.allocate(kPage);
  EXPECT_EQ(space.erased_rows(), std::vector<std::uint64_t>{kDataBegin});
  const FreeExtent rest{.offset = kDataBegin + kPage, .bytes = 3 * kPage, .freed_by = 1};
  EXPECT_EQ(space.changed_rows(), std::vector{rest});
}

// Against a model: random changes, some cut short. Live and free extents partition the pack, rows
// kept as the catalog would keep them equal the free extents, nothing is reused too early.
TEST(FreeSpace, PartitionsThePackWhateverHappens) {
  std::mt19937_64 random(42);
  FreeSpace space;
  std::map<std::uint64_t, std::uint64_t> live;  // offset -> bytes
  std::map<std::uint64_t, FreeExtent> rows;     // as in the catalog
  for (std::uint64_t transaction = 1; transaction <= 2000; ++transaction) {
    auto next_live = live;
    const std::uint64_t data_end = space.data_end();
    const std::uint64_t horizon = transaction >= 2 ? transaction - 2 : 0;
    space.begin(horizon);
    for (std::uint64_t i = random() % 6; i > 0; --i) {
      const Extent extent = space.allocate(1 + random() % (20 * kPage),
                                           random() % 2 == 0 ? Fit::kBest : Fit::kLowest);
      const std::uint64_t end = extent.offset + round_up(extent.bytes, kPage);
      for (const auto& [offset, row] : rows) {
        const bool apart = end <= offset || offset + row.bytes <= extent.offset;
        ASSERT_TRUE(apart || row.freed_by <= horizon) << "reused too early";
      }
      ASSERT_TRUE(next_live.emplace(extent.offset, end - extent.offset).second);
    }
    if (random() % 8 == 0) space.trim();
    std::vector<Extent> released;
    for (const auto& [offset, bytes] : live) {
      if (random() % 4 == 0) {
        released.push_back({.offset = offset, .bytes = bytes});
        next_live.erase(offset);
      }
    }
    space.release(released, transaction);
    if (random() % 5 == 0) {
      std::vector<FreeExtent> free;
      for (const auto& [offset, row] : rows) free.push_back(row);
      space = FreeSpace(free, data_end);
      --transaction;  // an aborted transaction's id is given again
      if (random() % 3 == 0) ++transaction;
      continue;
    }
    for (const std::uint64_t offset : space.erased_rows()) ASSERT_EQ(rows.erase(offset), 1U);
    for (const FreeExtent& row : space.changed_rows()) {
      ASSERT_TRUE(rows.emplace(row.offset, row).second);
    }
    space.finish();
    live = next_live;

    std::vector<FreeExtent> kept;
    for (const auto& [offset, row] : rows) kept.push_back(row);
    ASSERT_EQ(kept, space.extents());
    std::map<std::uint64_t, std::uint64_t> all = live;
    for (const FreeExtent& row : kept) ASSERT_TRUE(all.emplace(row.offset, row.bytes).second);
    std::uint64_t end = kDataBegin;
    for (const auto& [offset, bytes] : all) {
      ASSERT_EQ(offset, end);
      end = offset + bytes;
    }
    ASSERT_EQ(end, space.data_end());
  }
}

}  // namespace
}  // namespace cairn::pack
