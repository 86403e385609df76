#include "format/layout.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace cairn {
namespace {

using testing::Bytes;
using testing::contents;
using testing::error_of;
using testing::everything;
using testing::flip_byte;
using testing::model_of;
using testing::read_file;
using testing::ScratchDirectory;
using testing::write_file;

namespace fs = std::filesystem;

class Repair : public ::testing::Test {
 protected:
  Repair() {
    Store store(path());
    for (const char* name : {"a", "b", "c"}) {
      ids_.push_back(store.save(state_of(name), {.name = name}).saved.id);
    }
  }
  static CheckpointState state_of(std::string_view name) {
    return model_of(static_cast<std::uint64_t>(name[0]), 3, 100'000);
  }
  fs::path path() const { return scratch_ / "store"; }
  fs::path pack() const { return path() / "pack"; }

  /// Where the first chunk of a tensor lies.
  std::uint64_t chunk_of(std::uint64_t id, std::size_t tensor) const {
    return Store(path(), {.read_only = true}).open(id).chunks(tensor).front().pack_offset;
  }
  void expect(std::vector<std::string> names) const {
    Store store(path());
    std::map<std::string, testing::Contents> expected;
    for (const std::string& name : names) expected[name] = contents(state_of(name));
    EXPECT_EQ(everything(store), expected);
    EXPECT_TRUE(store.verify().ok);
    store.remove(std::vector{store.save(model_of(99, 2, 1000)).saved.id});
    EXPECT_TRUE(store.verify().ok);
  }
  void destroy_slots() {
    for (const std::uint64_t offset : format::kSlotOffsets) flip_byte(pack(), offset + 40);
  }

  /// And the slots, and the catalog: checkpoints are found by their indexes only.
  void destroy_all_roots() {
    destroy_slots();
    fs::remove(path() / "catalog.mdb");
    Bytes bytes = read_file(pack());
    // A root is known by the identifier of its FlatBuffer.
    for (std::uint64_t at = format::kDataBegin; at + 4096 <= bytes.size(); at += 4096) {
      const std::string_view head(reinterpret_cast<const char*>(bytes.data() + at), 400);
      if (head.find("CNRT") != std::string_view::npos) {
        std::fill_n(bytes.begin() + static_cast<long>(at), 4096, std::byte{0});
      }
    }
    write_file(pack(), bytes);
  }

  ScratchDirectory scratch_;
  std::vector<std::uint64_t> ids_;
};

TEST_F(Repair, DoesNothingToASoundStore) {
  const Bytes before = read_file(pack());
  const RepairReport report = Store::repair(path());
  EXPECT_FALSE(report.changed);
  EXPECT_TRUE(report.actions.empty());
  EXPECT_EQ(report.checkpoints.size(), 3U);
  EXPECT_EQ(read_file(pack()), before);
}

TEST_F(Repair, ADryRunTellsWhatARepairDoesAndChangesNothing) {
  fs::remove(path() / "catalog.mdb");
  const Bytes before = read_file(pack());
  const RepairReport plan = Store::repair(path(), {.dry_run = true});
  EXPECT_TRUE(plan.changed);
  EXPECT_EQ(plan.checkpoints.size(), 3U);
  EXPECT_FALSE(fs::exists(path() / "catalog.mdb"));
  EXPECT_EQ(read_file(pack()), before);
  EXPECT_TRUE(Store::repair(path()).changed);
  EXPECT_FALSE(Store::repair(path()).changed);
  expect({"a", "b", "c"});
}

TEST_F(Repair, MovesADirectoryInTheCatalogsPlaceAside) {
  fs::remove(path() / "catalog.mdb");
  fs::create_directory(path() / "catalog.mdb");
  EXPECT_TRUE(Store::repair(path()).changed);
  expect({"a", "b", "c"});
}

// A slot of zeros looks like one that was never written.
TEST_F(Repair, VerifyFindsASlotOfZerosAndRepairWritesIt) {
  Bytes bytes = read_file(pack());
  const auto newest = testing::newest_slot(pack());
  std::fill_n(bytes.begin() + static_cast<long>(newest), format::kSlotBytes, std::byte{0});
  write_file(pack(), bytes);
  EXPECT_EQ(Store(path(), {.read_only = true}).verify().damaged.at(0).what, "slot");
  EXPECT_TRUE(Store::repair(path()).changed);
  EXPECT_FALSE(Store::repair(path()).changed);
  expect({"a", "b", "c"});
}

TEST_F(Repair, MendsASuperblock) {
  flip_byte(pack(), 33);
  EXPECT_TRUE(Store::repair(path()).changed);
  expect({"a", "b", "c"});
}

// UUID and chunk size come from slots, records and indexes.
TEST_F(Repair, MakesBothSuperblocksAnew) {
  fs::remove_all(path());
  const auto large = testing::model({testing::tensor("large", testing::pattern(5, 300'000))});
  {
    Store store(path(), {.chunk_bytes = 131'072});
    for (const char* name : {"a", "b", "c"}) store.save(state_of(name), {.name = name});
    store.save(large, {.name = "large"});
  }
  const Bytes good = read_file(pack());
  const Bytes catalog = read_file(path() / "catalog.mdb");
  for (const bool slots_lost : {false, true}) {
    for (const bool catalog_lost : {false, true}) {
      SCOPED_TRACE(std::string(slots_lost ? "slots lost " : "") +
                   (catalog_lost ? "catalog lost" : ""));
      Bytes bytes = good;
      for (const std::uint64_t offset : format::kSuperblockOffsets) {
        std::fill_n(bytes.begin() + static_cast<long>(offset), format::kSuperblockBytes,
                    std::byte{0});
      }
      write_file(pack(), bytes);
      write_file(path() / "catalog.mdb", catalog);
      if (slots_lost) destroy_slots();
      if (catalog_lost) fs::remove(path() / "catalog.mdb");
      const Error error = error_of([&] { Store store(path()); });
      EXPECT_EQ(error.code(), ErrorCode::kDamaged);
      EXPECT_NE(std::string_view(error.what()).find("cairn repair"), std::string_view::npos);

      const Bytes before = read_file(pack());
      const RepairReport plan = Store::repair(path(), {.dry_run = true});
      EXPECT_EQ(read_file(pack()), before);
      const RepairReport done = Store::repair(path());
      EXPECT_EQ(plan.actions, done.actions);
      EXPECT_FALSE(Store::repair(path()).changed);
      const Bytes mended = read_file(pack());
      for (const std::uint64_t offset : format::kSuperblockOffsets) {
        const auto at = static_cast<long>(offset);
        EXPECT_TRUE(std::equal(good.begin() + at, good.begin() + at + format::kSuperblockBytes,
                               mended.begin() + at))
            << "superblock at " << offset;
      }
      Store store(path());
      EXPECT_EQ(everything(store).at("large"), contents(large));
      EXPECT_EQ(store.checkpoints().size(), 4U);
      EXPECT_EQ(store.save(large).new_bytes, 0U);
      EXPECT_TRUE(store.verify().ok);
    }
  }
}

TEST_F(Repair, RefusesAFileThatHoldsNothingOfAStore) {
  const Bytes junk(300'000, std::byte{7});
  write_file(pack(), junk);
  fs::remove(path() / "catalog.mdb");
  EXPECT_EQ(error_of([&] { Store::repair(path()); }).code(), ErrorCode::kDamaged);
  EXPECT_EQ(read_file(pack()), junk);
}

TEST_F(Repair, WritesBothRootsAnewFromTheCatalog) {
  const auto [first, second] = testing::newest_root(pack());
  flip_byte(pack(), first + 200);
  flip_byte(pack(), second + 200);
  EXPECT_TRUE(Store::repair(path()).changed);
  expect({"a", "b", "c"});
}

TEST_F(Repair, WritesLostSlotsAnewFromTheCatalog) {
  destroy_slots();
  EXPECT_TRUE(Store::repair(path()).changed);
  expect({"a", "b", "c"});
}

TEST_F(Repair, FindsRootsByAScanWhenSlotsAndCatalogAreLost) {
  destroy_slots();
  fs::remove(path() / "catalog.mdb");
  EXPECT_TRUE(Store::repair(path()).changed);
  expect({"a", "b", "c"});
}

TEST_F(Repair, ReplacesACatalogThatIsAnOlderCopy) {
  const Bytes old = read_file(path() / "catalog.mdb");
  {
    Store store(path());
    store.save(state_of("d"), {.name = "d"});
    store.save(state_of("e"), {.name = "e"});
  }
  write_file(path() / "catalog.mdb", old);
  EXPECT_EQ(Store::repair(path()).checkpoints.size(), 5U);
  expect({"a", "b", "c", "d", "e"});
}

TEST_F(Repair, MarksDamagedCheckpointsAndDropsThemOnlyWhenAsked) {
  flip_byte(pack(), chunk_of(ids_[1], 2) + 7);
  const RepairReport marked = Store::repair(path());
  ASSERT_EQ(marked.remaining.size(), 1U);
  ASSERT_EQ(marked.remaining[0].touches.size(), 1U);
  EXPECT_EQ(marked.remaining[0].touches[0].tensor, "model/layer.2");
  EXPECT_EQ(marked.remaining[0].touches[0].checkpoint_name, "b");
  EXPECT_TRUE(Store(path(), {.read_only = true}).find(ids_[1])->damaged);
  const RepairReport dropped = Store::repair(path(), {.drop_damaged = true});
  ASSERT_EQ(dropped.dropped.size(), 1U);
  EXPECT_EQ(dropped.dropped[0].name, "b");
  expect({"a", "c"});
}

TEST_F(Repair, UnmarksWhatIsIntactAgain) {
  const std::uint64_t offset = chunk_of(ids_[1], 2) + 7;
  flip_byte(pack(), offset);
  Store::repair(path());
  flip_byte(pack(), offset);
  Store::repair(path());
  EXPECT_FALSE(Store(path(), {.read_only = true}).find(ids_[1])->damaged);
}

TEST_F(Repair, DropsACheckpointWhoseIndexIsLostAndFreesItsSpace) {
  // The index of "b" is the record before its roots; find it by its listing in the damage report.
  const Bytes bytes = read_file(pack());
  std::uint64_t index_offset = 0;
  for (std::uint64_t at = format::kDataBegin; at + 4096 <= bytes.size(); at += 4096) {
    Bytes flipped = bytes;
    flipped[at + 200] ^= std::byte{255};
    write_file(pack(), flipped);
    const auto report = Store(path(), {.read_only = true}).verify();
    if (!report.damaged.empty() && report.damaged[0].what == "index" &&
        report.damaged[0].touches[0].checkpoint_name == "b") {
      index_offset = at;
      break;
    }
  }
  ASSERT_NE(index_offset, 0U);
  EXPECT_EQ(error_of([&] { Store(path(), {.read_only = true}).open(ids_[1]); }).code(),
            ErrorCode::kDamaged);
  const RepairReport report = Store::repair(path(), {.drop_damaged = true});
  EXPECT_EQ(report.dropped.size(), 1U);
  expect({"a", "c"});
}

TEST_F(Repair, SavesWhatIsLeftOfAPackThatWasCutShort) {
  const std::uint64_t keep = chunk_of(ids_[2], 0);  // everything of "c" and behind is gone
  fs::resize_file(pack(), keep);
  const RepairReport report = Store::repair(path(), {.drop_damaged = true});
  ASSERT_EQ(report.dropped.size(), 1U);
  EXPECT_EQ(report.dropped[0].name, "c");
  expect({"a", "b"});
}

TEST_F(Repair, ListsWhatAScanFindsWhenNoRootIsLeftAndAdoptsWhatIsNamed) {
  destroy_all_roots();
  EXPECT_EQ(error_of([&] { Store store(path()); }).code(), ErrorCode::kDamaged);
  const RepairReport found = Store::repair(path());
  EXPECT_FALSE(found.changed);
  ASSERT_EQ(found.found.size(), 3U);
  EXPECT_EQ(found.found[0].name, "c");
  const RepairReport adopted = Store::repair(path(), {.adopt = {ids_[0], ids_[2]}});
  EXPECT_EQ(adopted.checkpoints.size(), 2U);
  expect({"a", "c"});
}

TEST_F(Repair, IsBusyWhileAnyHandleIsOpen) {
  const Store reader(path(), {.read_only = true});
  EXPECT_EQ(error_of([&] { Store::repair(path()); }).code(), ErrorCode::kBusy);
}

TEST_F(Repair, FindsNoStoreWhereThereIsNone) {
  EXPECT_EQ(error_of([&] { Store::repair(scratch_ / "nothing"); }).code(), ErrorCode::kNotFound);
}

// Rebuilding must not believe the newest root blindly: its own checkpoint may never have reached
// the disk.
TEST_F(Repair, ARebuildPassesOverARootWhoseCheckpointIsNotWhole) {
  flip_byte(pack(), chunk_of(ids_[2], 1) + 9);
  fs::remove(path() / "catalog.mdb");
  Store store(path());
  EXPECT_EQ(everything(store).size(), 2U);
  const auto& notes = store.open_report().notes;
  EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
    return note.find("passed over") != std::string::npos;
  }));
}

TEST_F(Repair, ARebuildKeepsOldDamageListedInsteadOfGivingUpTheRest) {
  flip_byte(pack(), chunk_of(ids_[0], 1) + 9);
  fs::remove(path() / "catalog.mdb");
  Store store(path());
  EXPECT_EQ(store.checkpoints().size(), 3U);
  EXPECT_EQ(store.verify().damaged.size(), 1U);
}

// The commit before the newest was done, or the newest would not have begun: it loses what rots in
// it, and nothing else. (It was passed over for an older one, with which the store did not open.)
TEST_F(Repair, ARebuildKeepsTheCommitBeforeATornOneThoughItHasRotted) {
  flip_byte(pack(), chunk_of(ids_[2], 1) + 9);  // as if torn
  flip_byte(pack(), chunk_of(ids_[1], 1) + 9);
  fs::remove(path() / "catalog.mdb");
  Store store(path());
  EXPECT_EQ(store.checkpoints().size(), 2U);
  EXPECT_EQ(contents(store.open(ids_[0])), contents(state_of("a")));
  ASSERT_EQ(store.verify().damaged.size(), 1U);
  EXPECT_EQ(store.verify().damaged.front().touches.front().checkpoint_name, "b");
}

// Slots tell of commits that came after the one that is taken.
TEST_F(Repair, ARebuildTakesAnOlderCommitWhereTheTwoNewestAreLost) {
  const auto [first, second] = testing::newest_root(pack());
  ids_.push_back(Store(path()).save(state_of("d"), {.name = "d"}).saved.id);
  flip_byte(pack(), chunk_of(ids_[3], 1) + 9);
  flip_byte(pack(), first + 200);
  flip_byte(pack(), second + 200);
  fs::remove(path() / "catalog.mdb");
  EXPECT_EQ(everything(Store(path())).size(), 2U);
  expect({"a", "b"});
}

// The second one's name grew by a character and was too long then.
TEST_F(Repair, AdoptsTwoOfOneNameThatCannotGrow) {
  const std::string name(255, 'n');
  {
    Store store(path());
    for (std::uint64_t seed = 5; seed < 7; ++seed) {
      ids_.push_back(store.save(model_of(seed, 1, 100), {.name = name, .replace = true}).saved.id);
    }
  }
  destroy_all_roots();
  const RepairReport adopted = Store::repair(path(), {.adopt = {ids_[3], ids_[4]}});
  EXPECT_EQ(adopted.checkpoints.size(), 2U);
  const Store store(path(), {.read_only = true});
  EXPECT_EQ(everything(store).at(name), contents(model_of(5, 1, 100)));
  EXPECT_EQ(everything(store).at(std::string(253, 'n') + "+2"), contents(model_of(6, 1, 100)));
}

}  // namespace
}  // namespace cairn
