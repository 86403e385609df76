// What the store does when the system fails it: full disks, failed flushes; and how often it
// flushes.

#include "store/seam.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <cerrno>

namespace cairn {
namespace {

using testing::contents;
using testing::error_of;
using testing::everything;
using testing::model_of;
using testing::path_of;
using testing::ScratchDirectory;
using testing::system_counts;
using testing::system_faults;

class Failures : public ::testing::Test {
 protected:
  ~Failures() override { testing::reset_system(); }
  std::filesystem::path path() const { return scratch_ / "store"; }
  static bool is_pack(int fd) { return path_of(fd).ends_with("/pack"); }
  static bool is_catalog(int fd) { return path_of(fd).find("catalog.mdb") != std::string::npos; }

  ScratchDirectory scratch_;
};

TEST_F(Failures, ASaveFlushesAtMostThreeTimes) {
  Store store(path());
  store.save(model_of(1, 4, 1000));
  testing::reset_system();
  store.save(model_of(2, 4, 1000));
  EXPECT_EQ(system_counts().flushes, 2);        // the pack's fdatasync, LMDB's
  EXPECT_EQ(system_counts().synced_writes, 1);  // LMDB's meta page
}

TEST_F(Failures, ADeletionFlushesAtMostThreeTimes) {
  Store store(path());
  const auto id = store.save(model_of(1, 4, 1000)).saved.id;
  testing::reset_system();
  store.remove(std::vector{id});
  EXPECT_EQ(system_counts().flushes + system_counts().synced_writes, 3);
}

TEST_F(Failures, AnUnchangedSmallSaveWritesLittle) {
  Store store(path());
  store.save(model_of(1, 4, 1000));
  testing::reset_system();
  store.save(model_of(1, 4, 1000));
  EXPECT_LE(system_counts().written_bytes, 65'536U);  // index, roots, slot, pages of the catalog
}

// A disk with room for `budget` bytes more in the pack, reservations refused beyond it.
void fill_disk(std::uint64_t end) {
  system_faults().on_write = [end](int fd, std::size_t bytes, off_t offset) {
    const bool beyond = static_cast<std::uint64_t>(offset) + bytes > end;
    return path_of(fd).ends_with("/pack") && beyond ? ENOSPC : 0;
  };
  system_faults().on_reserve = [end](int fd, off_t offset, off_t bytes) {
    const bool beyond = static_cast<std::uint64_t>(offset + bytes) > end;
    return path_of(fd).ends_with("/pack") && beyond ? ENOSPC : 0;
  };
}

TEST_F(Failures, AFullDiskRefusesTheSaveBeforeAnythingIsWritten) {
  Store store(path());
  const auto state = model_of(1, 4, 100'000);
  store.save(state, {.name = "a"});
  fill_disk(std::filesystem::file_size(path() / "pack") + 200'000);
  testing::system_counts().written_bytes = 0;
  const Error error = error_of([&] { store.save(model_of(2, 4, 100'000)); });
  EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
  EXPECT_EQ(system_counts().written_bytes, 0U);
  EXPECT_EQ(everything(store), (std::map<std::string, testing::Contents>{{"a", contents(state)}}));
}

TEST_F(Failures, AfterAFullDiskDeletionWorksAndGivesTheSpaceBack) {
  Store store(path());
  const auto a = store.save(model_of(1, 4, 100'000), {.name = "a"}).saved.id;
  store.save(model_of(2, 4, 100'000), {.name = "b"});
  // Full to the last byte that was reserved: the roots that are kept back for deletions.
  fill_disk(std::filesystem::file_size(path() / "pack") + 8 * 4096);
  EXPECT_EQ(error_of([&] { store.save(model_of(3, 4, 100'000)); }).code(), ErrorCode::kNoSpace);
  store.remove(std::vector{a});
  store.save(model_of(3, 4, 100'000), {.name = "c"});
  EXPECT_EQ(everything(store).size(), 2U);
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Failures, AFullDiskInTheMiddleOfWritingLeavesEverythingAsItWas) {
  Store store(path());
  const auto state = model_of(1, 4, 100'000);
  store.save(state, {.name = "a"});
  const std::uint64_t end = std::filesystem::file_size(path() / "pack") + 150'000;
  fill_disk(end);
  system_faults().on_reserve = {};  // a file system whose promises do not hold
  EXPECT_EQ(error_of([&] { store.save(model_of(2, 4, 100'000)); }).code(), ErrorCode::kNoSpace);
  testing::reset_system();
  EXPECT_EQ(everything(store).size(), 1U);
  store.save(model_of(3, 4, 100'000), {.name = "c"});
  EXPECT_TRUE(store.verify().ok);
  EXPECT_EQ(everything(store).at("a"), contents(state));
}

TEST_F(Failures, AFailedFlushOfThePackPoisonsTheHandleAndLosesNothingElse) {
  const auto state = model_of(1, 4, 100'000);
  {
    Store store(path());
    store.save(state, {.name = "a"});
    system_faults().on_flush = [](int fd) { return is_pack(fd) ? EIO : 0; };
    EXPECT_EQ(error_of([&] { store.save(model_of(2, 4, 1000)); }).code(), ErrorCode::kIo);
    system_faults() = {};
    EXPECT_EQ(error_of([&] { store.save(model_of(2, 4, 1000)); }).code(), ErrorCode::kPoisoned);
    EXPECT_EQ(everything(store).at("a"), contents(state));  // reading goes on
  }
  Store store(path());
  EXPECT_EQ(everything(store), (std::map<std::string, testing::Contents>{{"a", contents(state)}}));
  store.save(model_of(2, 4, 1000), {.name = "b"});
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Failures, AFullDiskUnderTheCatalogIsACleanAbort) {
  Store store(path());
  const auto state = model_of(1, 4, 100'000);
  store.save(state, {.name = "a"});
  system_faults().on_write = [](int fd, std::size_t, off_t) { return is_catalog(fd) ? ENOSPC : 0; };
  EXPECT_EQ(error_of([&] { store.save(model_of(2, 4, 1000)); }).code(), ErrorCode::kNoSpace);
  system_faults() = {};
  const std::uint64_t sequence = store.stat().sequence;
  store.save(model_of(2, 4, 1000), {.name = "b"});
  // The root that was left behind took one number, superseding it another.
  EXPECT_EQ(store.stat().sequence, sequence + 3);
  EXPECT_EQ(everything(store).size(), 2U);
  EXPECT_TRUE(store.verify().ok);
}

// A root whose commit never came must not come to life later, when the catalog is lost.
TEST_F(Failures, AStrandedRootIsSupersededByTheNextOpeningForWriting) {
  {
    Store store(path());
    store.save(model_of(1, 4, 1000), {.name = "a"});
    system_faults().on_write = [](int fd, std::size_t, off_t) { return is_catalog(fd) ? EIO : 0; };
    error_of([&] { store.save(model_of(2, 4, 1000), {.name = "stranded"}); });
    system_faults() = {};
  }
  {
    const Store reader(path(), {.read_only = true});
    ASSERT_FALSE(reader.open_report().notes.empty());
    EXPECT_NE(reader.open_report().notes[0].find("under way"), std::string::npos);
  }
  { const Store store(path()); }
  std::filesystem::remove(path() / "catalog.mdb");
  const Store store(path());
  EXPECT_EQ(everything(store).size(), 1U);
  EXPECT_EQ(store.checkpoints().front().name, "a");
}

TEST_F(Failures, AnUnknownOutcomeIsSaidAndReopeningTells) {
  const auto state = model_of(1, 4, 100'000);
  {
    Store store(path());
    store.save(state, {.name = "a"});
    // The meta page's write fails, and so does LMDB's attempt to put the old one back.
    system_faults().on_write = [](int fd, std::size_t, off_t offset) {
      return is_catalog(fd) && offset < 8192 ? EIO : 0;
    };
    const ErrorCode code = error_of([&] { store.save(model_of(2, 4, 1000)); }).code();
    EXPECT_EQ(code, ErrorCode::kCommitUnknown);
    system_faults() = {};
    EXPECT_EQ(error_of([&] { store.save(model_of(2, 4, 1000)); }).code(), ErrorCode::kPoisoned);
  }
  Store store(path());
  EXPECT_EQ(everything(store).at("a"), contents(state));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Failures, RefusesANetworkFileSystemUnlessOverridden) {
  system_faults().file_system_type = 0x6969;  // NFS_SUPER_MAGIC
  const Error error = error_of([&] { Store store(path()); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find("nfs"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path()));
  Store store(path(), {.allow_network_file_system = true});
}

TEST_F(Failures, SaysWhatToDoAboutAReadOnlyFileSystem) {
  { Store store(path()); }
  system_faults().file_system_is_read_only = true;
  const Error error = error_of([&] { Store store(path()); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.system_errno(), EROFS);
  EXPECT_NE(std::string(error.what()).find("`assume_no_writer`"), std::string::npos);
  const Store reader(path(), {.read_only = true, .assume_no_writer = true});
  EXPECT_TRUE(reader.checkpoints().empty());
}

TEST_F(Failures, WarnsOfANewStoreInMemoryOnce) {
  system_faults().file_system_type = 0x01021994;  // TMPFS_MAGIC
  std::vector<std::string> said;
  const auto log = [&](std::string_view message) { said.emplace_back(message); };
  { Store store(path(), {.log = log}); }
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("in memory"), std::string::npos) << said[0];
  { Store store(path(), {.log = log}); }
  EXPECT_EQ(said.size(), 1U);
}

}  // namespace
}  // namespace cairn
