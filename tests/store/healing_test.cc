// Healing on save: a rotten chunk that a save meets is stored anew where it lies.

#include "store/seam.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

namespace cairn {
namespace {

using testing::contents;
using testing::everything;
using testing::flip_byte;
using testing::model_of;
using testing::ScratchDirectory;

class Healing : public ::testing::Test {
 protected:
  ~Healing() override { testing::reset_system(); }

  Store open(std::uint64_t heal_every) {
    return Store(path(), {.heal_every = heal_every,
                          .log = [this](std::string_view line) { log_.emplace_back(line); }});
  }
  std::filesystem::path path() const { return scratch_ / "store"; }
  std::filesystem::path pack() const { return path() / "pack"; }

  /// Offset of the first chunk of each tensor.
  static std::vector<std::uint64_t> chunks_of(const Store& store, std::uint64_t id) {
    const Checkpoint checkpoint = store.open(id);
    std::vector<std::uint64_t> offsets;
    for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
      offsets.push_back(checkpoint.chunks(i).front().pack_offset);
    }
    return offsets;
  }
  static bool is_damaged(const Store& store, std::uint64_t id) { return store.find(id)->damaged; }

  ScratchDirectory scratch_;
  std::vector<std::string> log_;
};

TEST_F(Healing, ASaveStoresARottenChunkAnewWhereItLies) {
  Store store = open(1);
  const auto state = model_of(1, 3, 100'000);
  const auto first = store.save(state, {.name = "first"}).saved.id;
  const auto places = chunks_of(store, first);
  flip_byte(pack(), places[1] + 8);
  ASSERT_FALSE(store.verify().ok);
  const SaveResult result = store.save(state, {.name = "again"});
  EXPECT_EQ(result.healed_chunks, 1U);
  EXPECT_EQ(result.new_chunks, 0U);
  EXPECT_EQ(chunks_of(store, result.saved.id), places);
  EXPECT_EQ(everything(store).at("first"), contents(state));
  EXPECT_EQ(everything(store).at("again"), contents(state));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Healing, WithoutTheOptionRotThatNobodyKnowsOfStays) {
  Store store = open(0);
  const auto state = model_of(1, 3, 100'000);
  const auto id = store.save(state).saved.id;
  flip_byte(pack(), chunks_of(store, id)[1] + 8);
  EXPECT_EQ(store.save(state).healed_chunks, 0U);
  EXPECT_FALSE(store.verify().ok);
}

TEST_F(Healing, AnUnchangedSaveOfASoundStoreHealsNothing) {
  Store store = open(1);
  const auto state = model_of(1, 3, 100'000);
  store.save(state);
  EXPECT_EQ(store.save(state).healed_chunks, 0U);
  EXPECT_TRUE(log_.empty());
}

TEST_F(Healing, InTurnLooksAtEveryChunkOnceInAsManySaves) {
  constexpr std::uint64_t kEvery = 4;
  Store store = open(kEvery);
  const auto state = model_of(1, 40, 70'000);
  const auto id = store.save(state).saved.id;
  const auto places = chunks_of(store, id);
  for (const std::uint64_t place : places) flip_byte(pack(), place + 8);
  std::uint64_t healed = 0;
  std::uint64_t turns_that_healed = 0;
  for (std::uint64_t turn = 0; turn < kEvery; ++turn) {
    const std::uint64_t now = store.save(state).healed_chunks;
    healed += now;
    turns_that_healed += now > 0 ? 1 : 0;
    EXPECT_LT(now, places.size());
  }
  EXPECT_EQ(healed, places.size());
  EXPECT_GT(turns_that_healed, 1U);
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Healing, TurnsGoOnWhenAJobStartsAnew) {
  constexpr std::uint64_t kEvery = 4;
  const auto state = model_of(1, 40, 70'000);
  {
    Store store = open(kEvery);
    const auto id = store.save(state).saved.id;
    for (const std::uint64_t place : chunks_of(store, id)) flip_byte(pack(), place + 8);
  }
  for (std::uint64_t turn = 0; turn < kEvery; ++turn) open(kEvery).save(state);
  EXPECT_TRUE(open(0).verify().ok);
}

TEST_F(Healing, AnAsynchronousSaveHealsToo) {
  Store store = open(1);
  const auto state = model_of(1, 3, 100'000);
  const auto id = store.save(state, {.name = "first"}).saved.id;
  flip_byte(pack(), chunks_of(store, id)[2] + 8);
  EXPECT_EQ(store.save_async(state).get().healed_chunks, 1U);
  EXPECT_EQ(everything(store).at("first"), contents(state));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Healing, ACheckpointThatBecomesWholeLosesItsMarkInTheSameCommit) {
  const auto state = model_of(1, 3, 100'000);
  std::uint64_t id = 0;
  {
    Store store = open(0);
    id = store.save(state).saved.id;
    flip_byte(pack(), chunks_of(store, id)[0] + 8);
    store.set_damaged({&id, 1}, true);
    const std::uint64_t before = store.stat().sequence;
    store.save(state);
    EXPECT_EQ(store.stat().sequence, before + 1);
    EXPECT_FALSE(is_damaged(store, id));
  }
  EXPECT_FALSE(is_damaged(open(0), id));
}

TEST_F(Healing, ACheckpointThatIsStillRottenElsewhereKeepsItsMark) {
  Store store = open(1);
  CheckpointState both = model_of(1, 3, 100'000);
  const CheckpointState part = model_of(1, 2, 100'000);
  const auto id = store.save(both).saved.id;
  const auto places = chunks_of(store, id);
  flip_byte(pack(), places[0] + 8);
  flip_byte(pack(), places[2] + 8);
  store.set_damaged({&id, 1}, true);
  EXPECT_EQ(store.save(part).healed_chunks, 1U);
  EXPECT_TRUE(is_damaged(store, id));
  EXPECT_EQ(store.save(both).healed_chunks, 1U);
  EXPECT_FALSE(is_damaged(store, id));
  EXPECT_TRUE(store.verify().ok);
}

// The healing reached the disk, its commit did not: the next save finds the chunk good.
TEST_F(Healing, AMarkGoesAlsoWhenAnEarlierSaveHealedAndFailed) {
  const auto state = model_of(1, 3, 100'000);
  std::uint64_t id = 0;
  {
    Store store = open(0);
    id = store.save(state).saved.id;
    flip_byte(pack(), chunks_of(store, id)[0] + 8);
    store.set_damaged({&id, 1}, true);
    testing::system_faults().on_flush = [](int fd) {
      return testing::path_of(fd).ends_with("/pack") ? EIO : 0;
    };
    EXPECT_EQ(testing::error_of([&] { store.save(state); }).code(), ErrorCode::kIo);
    testing::reset_system();
  }
  Store store = open(0);
  ASSERT_TRUE(is_damaged(store, id));
  EXPECT_EQ(store.save(state).healed_chunks, 0U);
  EXPECT_FALSE(is_damaged(store, id));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Healing, HealsAChunkThatTheCommitAlsoTakesFromADamagedCheckpoint) {
  Store store = open(0);
  const auto state = model_of(1, 3, 100'000);
  const auto id = store.save(state, {.name = "x"}).saved.id;
  flip_byte(pack(), chunks_of(store, id)[1] + 8);
  store.set_damaged({&id, 1}, true);
  store.save(state, {.name = "x", .replace = true});
  EXPECT_EQ(everything(store).at("x"), contents(state));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Healing, SaysWhatItStoredAnewOnceThatIsDurable) {
  Store store = open(1);
  const auto state = model_of(1, 3, 100'000);
  const auto id = store.save(state).saved.id;
  flip_byte(pack(), chunks_of(store, id)[1] + 8);
  store.save(state);
  ASSERT_EQ(log_.size(), 1U);
  EXPECT_NE(log_.front().find("stored anew"), std::string::npos) << log_.front();
}

}  // namespace
}  // namespace cairn
