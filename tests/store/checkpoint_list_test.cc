#include "store/checkpoint_list.h"

#include <gtest/gtest.h>

namespace cairn::store {
namespace {

using catalog::CheckpointRow;

CheckpointRow row(std::uint64_t id, bool damaged = false) {
  return {.id = id, .name = "ckpt-" + std::to_string(id), .damaged = damaged};
}

std::vector<std::uint64_t> ids(const CheckpointList& list) {
  std::vector<std::uint64_t> ids;
  for (const auto& each : list.rows()) ids.push_back(each->id);
  return ids;
}

std::vector<std::uint64_t> damaged_ids(const CheckpointList& list) {
  std::vector<std::uint64_t> ids;
  for (const CheckpointRow* each : list.damaged()) ids.push_back(each->id);
  return ids;
}

TEST(CheckpointList, FindsById) {
  const CheckpointList list({row(2), row(5), row(9)});
  EXPECT_EQ(list.find(5)->name, "ckpt-5");
  for (const std::uint64_t absent : {1, 3, 10}) EXPECT_EQ(list.find(absent), nullptr);
  EXPECT_EQ(CheckpointList().find(1), nullptr);
}

TEST(CheckpointList, KeepsItsOrderThroughChanges) {
  CheckpointList list({row(2), row(5), row(9)});
  list.erase(5);
  EXPECT_EQ(ids(list), (std::vector<std::uint64_t>{2, 9}));
  for (std::uint64_t id = 10; id < 40; ++id) {
    list.reserve_one_more();
    list.append(std::make_unique<const CheckpointRow>(row(id)));
  }
  list.erase(2);
  EXPECT_EQ(list.rows().size(), 31U);
  EXPECT_EQ(list.find(39)->name, "ckpt-39");
  EXPECT_EQ(list.find(2), nullptr);
}

TEST(CheckpointList, KnowsTheDamagedOnesThroughChanges) {
  CheckpointList list({row(2), row(5, true), row(9)});
  EXPECT_EQ(damaged_ids(list), (std::vector<std::uint64_t>{5}));
  list.replace(std::make_unique<const CheckpointRow>(row(9, true)));
  list.replace(std::make_unique<const CheckpointRow>(row(5)));
  EXPECT_EQ(damaged_ids(list), (std::vector<std::uint64_t>{9}));
  list.erase(9);
  EXPECT_TRUE(list.damaged().empty());
  list.reserve_one_more();
  list.append(std::make_unique<const CheckpointRow>(row(10, true)));
  EXPECT_EQ(damaged_ids(list), (std::vector<std::uint64_t>{10}));
}

// A commit makes room before it writes anything, so that taking over its result cannot fail.
TEST(CheckpointList, DoesNotMoveWhatRoomWasMadeFor) {
  CheckpointList list({row(1)});
  for (std::uint64_t id = 2; id < 100; ++id) {
    list.reserve_one_more();
    const auto* before = list.rows().data();
    list.append(std::make_unique<const CheckpointRow>(row(id)));
    EXPECT_EQ(list.rows().data(), before);
  }
}

}  // namespace
}  // namespace cairn::store
