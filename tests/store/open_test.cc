// What stands where a store is expected, and what opening says to it.

#include "format/layout.h"
#include "format/superblock.h"
#include "pack/pack_file.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

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

class Open : public ::testing::Test {
 protected:
  fs::path path() const { return scratch_ / "store"; }
  fs::path pack() const { return path() / "pack"; }
  fs::path catalog() const { return path() / "catalog.mdb"; }

  /// A store with checkpoints "a" and "b".
  void make_store() {
    Store store(path());
    store.save(model_of(1, 3, 100'000), {.name = "a"});
    store.save(model_of(2, 3, 100'000), {.name = "b"});
  }
  ErrorCode code_of_opening(StoreOptions options = {}) {
    return error_of([&] { Store store(path(), options); }).code();
  }
  std::string message_of_opening(StoreOptions options = {}) {
    return error_of([&] { Store store(path(), options); }).what();
  }
  /// The store as `make_store` left it.
  void expect_whole() {
    Store store(path());
    EXPECT_EQ(everything(store).at("a"), contents(model_of(1, 3, 100'000)));
    EXPECT_EQ(everything(store).at("b"), contents(model_of(2, 3, 100'000)));
    EXPECT_TRUE(store.verify().ok);
    store.save(model_of(3, 1, 1000));
    EXPECT_TRUE(store.verify().ok);
  }
  /// Both superblocks, changed and with good digests.
  void change_superblock(const std::function<void(format::Superblock&)>& change) {
    Bytes bytes = read_file(pack());
    if (!original_) {
      original_ = format::decode_superblock(std::span(bytes).first(format::kSuperblockBytes));
    }
    format::Superblock superblock = *original_;
    change(superblock);
    const auto encoded = format::encode_superblock(superblock);
    for (const std::uint64_t offset : format::kSuperblockOffsets) {
      std::copy(encoded.begin(), encoded.end(), bytes.begin() + static_cast<long>(offset));
    }
    write_file(pack(), bytes);
  }

  ScratchDirectory scratch_;
  std::optional<format::Superblock> original_;
};

TEST_F(Open, MakesAStoreInAnAbsentOrEmptyDirectoryWithItsParents) {
  Store store(scratch_ / "x/y/z");
  EXPECT_TRUE(store.open_report().created);
  fs::create_directory(path());
  EXPECT_TRUE(Store(path()).open_report().created);
  EXPECT_FALSE(Store(path()).open_report().created);
}

TEST_F(Open, LeavesADirectoryThatIsNoStoreAlone) {
  fs::create_directory(path());
  std::ofstream(path() / "notes.txt") << "mine";
  EXPECT_EQ(code_of_opening(), ErrorCode::kInvalidArgument);
  EXPECT_NE(message_of_opening().find("notes.txt"), std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(path()), fs::directory_iterator()), 1);
}

TEST_F(Open, FindsNoStoreWhereThereIsNone) {
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kNotFound);
  EXPECT_EQ(code_of_opening({.create = false}), ErrorCode::kNotFound);
  EXPECT_FALSE(fs::exists(path()));
  fs::create_directory(path());
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kNotFound);
  EXPECT_TRUE(fs::is_empty(path()));
}

TEST_F(Open, RefusesAFileWhereADirectoryIsMeant) {
  std::ofstream(path()) << "a file";
  EXPECT_EQ(code_of_opening(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([] { Store store(""); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(Open, RefusesOptionsOutOfRange) {
  EXPECT_EQ(code_of_opening({.chunk_bytes = 65'537}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of_opening({.chunk_bytes = 4096}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of_opening({.assume_no_writer = true}), ErrorCode::kInvalidArgument);
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(Open, StartsOverWhereMakingAStoreWasCutShort) {
  fs::create_directory(path());
  std::ofstream(path() / "lock");
  std::ofstream(path() / "pack.tmp") << "half a pack";
  std::ofstream(path() / "catalog.mdb.new") << "half a catalog";
  make_store();
  expect_whole();
}

TEST_F(Open, ACatalogWithoutAPackIsDamageAndNeverANewStore) {
  make_store();
  fs::remove(pack());
  EXPECT_EQ(code_of_opening(), ErrorCode::kDamaged);
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kDamaged);
  EXPECT_FALSE(fs::exists(pack()));
}

TEST_F(Open, RebuildsALostCatalogForWritingAndSaysSo) {
  make_store();
  fs::remove(catalog());
  std::vector<std::string> said;
  {
    Store store(path(), {.log = [&](std::string_view line) { said.emplace_back(line); }});
    EXPECT_TRUE(store.open_report().rebuilt_catalog);
  }
  ASSERT_FALSE(said.empty());
  EXPECT_NE(said[0].find("made anew"), std::string::npos);
  expect_whole();
}

TEST_F(Open, AReaderChangesNothingAndNamesTheRepair) {
  make_store();
  fs::remove(catalog());
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kDamaged);
  EXPECT_NE(message_of_opening({.read_only = true}).find("cairn repair"), std::string::npos);
  EXPECT_FALSE(fs::exists(catalog()));
}

TEST_F(Open, RebuildsACatalogThatIsEmptyGarbageOrTorn) {
  make_store();
  const Bytes good = read_file(catalog());
  for (const Bytes& bad :
       {Bytes{}, testing::pattern(1, 20'000), Bytes(good.begin(), good.end() - 4096),
        Bytes(good.size(), std::byte{0})}) {
    write_file(catalog(), bad);
    EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kDamaged);
    expect_whole();
    fs::remove_all(path());
    make_store();
  }
}

TEST_F(Open, KeepsTheOldCatalogAside) {
  make_store();
  write_file(catalog(), testing::pattern(1, 20'000));
  Store{path()};
  std::size_t aside = 0;
  for (const auto& entry : fs::directory_iterator(path())) {
    const std::string name = entry.path().filename();
    if (name.starts_with("catalog.mdb.old-")) {
      ++aside;
      EXPECT_EQ(read_file(entry.path()), testing::pattern(1, 20'000));
    }
  }
  EXPECT_EQ(aside, 1U);
}

TEST_F(Open, RefusesTheCatalogOfAnotherStore) {
  make_store();
  { Store other(scratch_ / "other"); }
  fs::copy_file(scratch_ / "other/catalog.mdb", catalog(), fs::copy_options::overwrite_existing);
  EXPECT_EQ(code_of_opening(), ErrorCode::kDamaged);
  EXPECT_NE(message_of_opening().find("another store"), std::string::npos);
}

TEST_F(Open, RefusesAnOlderCopyOfTheCatalogAndWritesNothing) {
  make_store();
  const Bytes old = read_file(catalog());
  {
    Store store(path());
    store.save(model_of(3, 1, 1000));
    store.save(model_of(4, 1, 1000));
  }
  write_file(catalog(), old);
  const Bytes before = read_file(pack());
  EXPECT_EQ(code_of_opening(), ErrorCode::kDamaged);
  EXPECT_NE(message_of_opening().find("older copy"), std::string::npos);
  EXPECT_EQ(read_file(pack()), before);
}

TEST_F(Open, RefusesAPackThatIsShorterThanTheCatalogSays) {
  make_store();
  fs::resize_file(pack(), fs::file_size(pack()) - 4096);
  EXPECT_EQ(code_of_opening(), ErrorCode::kTruncated);
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kTruncated);
}

TEST_F(Open, RefusesAnEmptyPackAndOneThatIsSomethingElse) {
  make_store();
  write_file(pack(), {});
  EXPECT_EQ(code_of_opening(), ErrorCode::kTruncated);
  write_file(pack(), testing::pattern(1, 300'000));
  EXPECT_EQ(code_of_opening(), ErrorCode::kDamaged);
}

TEST_F(Open, UsesTheSecondSuperblockWhenTheFirstIsBad) {
  make_store();
  flip_byte(pack(), 20);
  const Store store(path(), {.read_only = true});
  EXPECT_EQ(everything(store).size(), 2U);
  const VerifyReport report = store.verify();
  ASSERT_EQ(report.damaged.size(), 1U);
  EXPECT_EQ(report.damaged[0].what, "superblock");
}

TEST_F(Open, ForWritingMendsOneBadSuperblock) {
  for (const std::uint64_t offset : format::kSuperblockOffsets) {
    make_store();
    flip_byte(pack(), offset + 20);
    EXPECT_EQ(Store(path()).open_report().notes.size(), 1U);
    expect_whole();
    EXPECT_TRUE(Store(path()).verify().ok);
    fs::remove_all(path());
  }
}

TEST_F(Open, ReadsAndWritesUnknownCompatBits) {
  make_store();
  change_superblock([](format::Superblock& s) { s.compat = std::uint64_t{1} << 40; });
  expect_whole();
}

TEST_F(Open, OnlyReadsUnknownRoCompatBits) {
  make_store();
  change_superblock([](format::Superblock& s) { s.ro_compat = 4; });
  EXPECT_EQ(code_of_opening(), ErrorCode::kUnsupportedVersion);
  EXPECT_EQ(everything(Store(path(), {.read_only = true})).size(), 2U);
}

TEST_F(Open, RefusesUnknownIncompatBitsAndNewerVersions) {
  make_store();
  change_superblock([](format::Superblock& s) { s.incompat = 2; });
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kUnsupportedVersion);
  change_superblock([](format::Superblock& s) { s.version = 2; });
  EXPECT_EQ(code_of_opening(), ErrorCode::kUnsupportedVersion);
}

TEST_F(Open, AMissingLockFileIsMadeByAWriterAndNamedToAReader) {
  make_store();
  fs::remove(path() / "lock");
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kDamaged);
  expect_whole();
}

TEST_F(Open, OneBadRootCopyIsANoteAndTwoAreDamage) {
  make_store();
  const VerifyReport clean = Store(path(), {.read_only = true}).verify();
  ASSERT_TRUE(clean.ok);
  const auto [first, second] = testing::newest_root(pack());
  flip_byte(pack(), second + 200);
  {
    const Store store(path(), {.read_only = true});
    EXPECT_FALSE(store.open_report().notes.empty());
    EXPECT_FALSE(store.verify().ok);
  }
  flip_byte(pack(), first + 200);
  EXPECT_EQ(code_of_opening({.read_only = true}), ErrorCode::kDamaged);
  EXPECT_EQ(code_of_opening(), ErrorCode::kDamaged);
}

// A crash may keep a slot and one copy of its root, and the pack's length from before (found by
// tests/crash): the rebuilt catalog then said that the pack was too short.
TEST_F(Open, ARebuildBearsARootWhoseSecondCopyThePackDoesNotReach) {
  make_store();
  const std::uint64_t second = testing::newest_root(pack()).second;
  ASSERT_EQ(second + format::kAlignment, fs::file_size(pack()));
  fs::resize_file(pack(), second);
  fs::remove(catalog());
  expect_whole();
}

// A rebuild may take a root of which one copy was written, and be cut short before it writes its
// own (found by tests/crash): the store stayed with one copy, and `verify` called it damaged.
TEST_F(Open, ABadRootCopyOrSlotIsMendedByAWriter) {
  make_store();
  flip_byte(pack(), testing::newest_root(pack()).second + 200);
  { const Store writer(path()); }
  EXPECT_TRUE(Store(path(), {.read_only = true}).verify().ok);
  EXPECT_TRUE(Store(path(), {.read_only = true}).open_report().notes.empty());

  const auto slots = pack::PackFile::open(pack(), io::File::Access::kRead).read_slots();
  flip_byte(pack(), format::kSlotOffsets[slots.newest_first().front()->number] + 20);
  { const Store writer(path()); }
  EXPECT_TRUE(Store(path(), {.read_only = true}).verify().ok);
  expect_whole();
}

// A page of the catalog that an earlier commit wrote, and a later one's that never reached the
// disk: its rows of free extents are right by themselves, and may lie over what has been saved
// since. Opening took it, and the next save wrote over live tensors.
TEST_F(Open, AnOlderPageOfTheCatalogNeverGivesLiveSpaceAway) {
  constexpr std::uint64_t kPage = 4096;
  std::vector<Bytes> earlier;
  std::map<std::string, testing::Contents> right;
  for (std::uint64_t i = 0; i < 14; ++i) {
    const std::string name = std::to_string(i % 3);
    Store store(path());
    store.save(model_of(i, 2, 5000 + 5000 * (i % 5)), {.name = name, .replace = true});
    earlier.push_back(read_file(catalog()));
    right = everything(store);
  }
  const Bytes now = earlier.back();
  const Bytes pack_now = read_file(pack());
  earlier.pop_back();
  earlier.erase(earlier.begin(), earlier.end() - 4);
  int rebuilt = 0;
  for (const Bytes& then : earlier) {
    for (std::uint64_t at = 2 * kPage; at < then.size() && at < now.size(); at += kPage) {
      SCOPED_TRACE("page " + std::to_string(at / kPage));
      Bytes mixed = now;
      std::copy_n(then.begin() + static_cast<std::ptrdiff_t>(at), kPage,
                  mixed.begin() + static_cast<std::ptrdiff_t>(at));
      if (mixed == now) continue;
      write_file(catalog(), mixed);
      write_file(pack(), pack_now);
      Store store(path());
      for (std::uint64_t i = 0; i < 3; ++i) {
        store.save(model_of(90 + i, 2, 25'000), {.name = "new", .replace = true});
      }
      auto found = everything(store);
      found.erase("new");
      EXPECT_EQ(found, right);
      EXPECT_TRUE(store.verify().ok);
      if (store.open_report().rebuilt_catalog) ++rebuilt;
    }
  }
  EXPECT_GT(rebuilt, 0);
}

}  // namespace
}  // namespace cairn
