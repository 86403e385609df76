#include "catalog/catalog.h"

#include "catalog/faults.h"
#include "catalog/sample.h"
#include "support/scratch.h"

#include <cairn/error.h>

#include <gtest/gtest.h>
#include <lmdb.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cairn::catalog {
namespace {

using namespace sample;
using cairn::testing::ScratchDirectory;
using faults::Call;
using faults::Fault;

std::optional<ErrorCode> code_of(const std::function<void()>& call) {
  try {
    call();
    return std::nullopt;
  } catch (const Error& error) {
    return error.code();
  }
}

class CatalogTest : public ::testing::Test {
 protected:
  Catalog open(Mode mode = Mode::kReadWrite) const { return Catalog::open(file_, mode); }

  ScratchDirectory directory_;
  std::filesystem::path file_ = directory_ / "catalog.mdb";
};

// ---- rows --------------------------------------------------------------------------------------

TEST_F(CatalogTest, GivesBackWhatWasCommitted) {
  make_catalog(file_);
  {
    const Catalog catalog = open();
    commit(catalog, [](WriteTransaction& t) {
      t.put_info(info_row(8));
      for (const std::uint64_t id : {300U, 2U, 40U}) t.put_checkpoint(checkpoint_row(id));
      for (std::uint64_t i = 0; i < 50; ++i) t.put_chunk(chunk_key_of(i), chunk_row(i));
      for (const std::uint64_t i : {9U, 1U, 4U}) t.put_free(free_row(i));
    });
  }
  const Catalog catalog = open();
  const ReadTransaction view = catalog.read();
  const Contents contents = contents_of(view);
  EXPECT_EQ(contents.info, info_row(8));
  EXPECT_EQ(contents.checkpoints,
            (std::vector{checkpoint_row(2), checkpoint_row(40), checkpoint_row(300)}));
  EXPECT_EQ(contents.free, (std::vector{free_row(1), free_row(4), free_row(9)}));
  EXPECT_EQ(contents.chunks.size(), 50U);
  EXPECT_EQ(view.chunk_rows(), 50U);
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(view.chunk(chunk_key_of(i)), chunk_row(i));
  EXPECT_EQ(view.chunk(chunk_key_of(50)), std::nullopt);
  EXPECT_EQ(view.checkpoint(40), checkpoint_row(40));
  EXPECT_EQ(view.checkpoint(41), std::nullopt);
}

TEST_F(CatalogTest, FindsCheckpointsByName) {
  make_catalog(file_);
  const Catalog catalog = open();
  commit(catalog, [](WriteTransaction& t) {
    t.put_info(info_row(1));
    t.put_checkpoint(checkpoint_row(3));
  });
  const ReadTransaction view = catalog.read();
  EXPECT_EQ(view.checkpoint_by_name(checkpoint_row(3).name), 3U);
  EXPECT_EQ(view.checkpoint_by_name("checkpoint-"), std::nullopt);
  EXPECT_EQ(view.checkpoint_by_name(""), std::nullopt);
  EXPECT_EQ(view.checkpoint_by_name(std::string(100'000, 'x')), std::nullopt);
}

TEST_F(CatalogTest, KeepsNamesInStep) {
  make_catalog(file_);
  const Catalog catalog = open();
  CheckpointRow renamed = checkpoint_row(3);
  renamed.name = "another";
  commit(catalog, [&](WriteTransaction& t) {
    t.put_info(info_row(1));
    t.put_checkpoint(checkpoint_row(3));
    t.put_checkpoint(checkpoint_row(4));
    t.put_checkpoint(renamed);
    t.erase_checkpoint(4);
    CheckpointRow thief = checkpoint_row(5);
    thief.name = "another";
    EXPECT_EQ(code_of([&] { t.put_checkpoint(thief); }), ErrorCode::kAlreadyExists);
  });
  const ReadTransaction view = open().read();
  EXPECT_EQ(view.checkpoint_by_name("another"), 3U);
  EXPECT_EQ(view.checkpoint_by_name(checkpoint_row(3).name), std::nullopt);
  EXPECT_EQ(view.checkpoint_by_name(checkpoint_row(4).name), std::nullopt);
  EXPECT_EQ(view.checkpoint(5), std::nullopt);
}

TEST_F(CatalogTest, RefusesToEraseWhatIsNotThere) {
  make_catalog(file_);
  const Catalog catalog = open();
  WriteTransaction t = catalog.write();
  EXPECT_EQ(code_of([&] { t.erase_checkpoint(1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { t.erase_chunk(chunk_key_of(1)); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { t.erase_free(4096); }), ErrorCode::kInvalidArgument);
}

TEST_F(CatalogTest, StampsInfoWithTheTransaction) {
  make_catalog(file_);
  const Catalog catalog = open();
  std::uint64_t id = 0;
  commit(catalog, [&](WriteTransaction& t) {
    id = t.id();
    InfoRow row = info_row(1);
    row.transaction = 12345;
    t.put_info(row);
  });
  EXPECT_EQ(catalog.read().id(), id);
  EXPECT_EQ(catalog.read().info().transaction, id);
}

// ---- transactions ------------------------------------------------------------------------------

TEST_F(CatalogTest, ShowsAReaderOneStateFromBeginToEnd) {
  make_small_catalog(file_);
  const Catalog catalog = open();
  const ReadTransaction view = catalog.read();
  const Contents before = contents_of(view);
  for (std::uint64_t i = 0; i < 20; ++i) {
    commit(catalog, [i](WriteTransaction& t) {
      t.put_info(info_row(20 + i));
      for (std::uint64_t c = 0; c < 30; ++c) t.put_chunk(chunk_key_of(900 + c), chunk_row(c + i));
    });
  }
  EXPECT_EQ(contents_of(view), before);
  EXPECT_EQ(contents_of(catalog.read()).info, info_row(39));
}

TEST_F(CatalogTest, SeesItsOwnChangesBeforeTheCommitAndNobodyElseDoes) {
  make_catalog(file_);
  const Catalog catalog = open();
  WriteTransaction t = catalog.write();
  t.put_chunk(chunk_key_of(1), chunk_row(1));
  EXPECT_EQ(t.chunk(chunk_key_of(1)), chunk_row(1));
  EXPECT_EQ(catalog.read().chunk(chunk_key_of(1)), std::nullopt);
}

TEST_F(CatalogTest, RollsBackWithoutACommit) {
  make_small_catalog(file_);
  const Catalog catalog = open();
  const Contents before = contents_of(catalog.read());
  {
    WriteTransaction t = catalog.write();
    t.put_info(info_row(77));
    t.erase_checkpoint(before.checkpoints.front().id);
  }
  EXPECT_EQ(contents_of(catalog.read()), before);
}

TEST_F(CatalogTest, LetsTransactionsOutliveTheCatalog) {
  make_small_catalog(file_);
  std::optional<ReadTransaction> view;
  view.emplace(open().read());
  EXPECT_EQ(contents_of(*view).checkpoints.size(), 9U);
  view.reset();
  EXPECT_EQ(contents_of(open().read()).checkpoints.size(), 9U);
}

TEST_F(CatalogTest, RefusesATransactionThatHasEnded) {
  make_catalog(file_);
  const Catalog catalog = open();
  WriteTransaction t = catalog.write();
  t.put_info(info_row(1));
  ASSERT_EQ(t.commit(), CommitOutcome::kCommitted);
  EXPECT_EQ(code_of([&] { t.put_info(info_row(2)); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { t.info(); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { t.commit(); }), ErrorCode::kInvalidArgument);
}

TEST_F(CatalogTest, PassesOnWhatAVisitorThrows) {
  make_small_catalog(file_);
  const Catalog catalog = open();
  const ReadTransaction view = catalog.read();
  EXPECT_THROW(view.for_each_checkpoint([](const CheckpointRow&) { throw 7; }), int);
  EXPECT_EQ(contents_of(view).checkpoints.size(), 9U);
}

// ---- outcomes of a commit ----------------------------------------------------------------------

class CommitTest : public CatalogTest {
 protected:
  struct Result {
    CommitOutcome outcome{};
    int system_errno = 0;
  };

  // A commit during which `call` fails; then the catalog must hold what it held.
  Result commit_with(Call call, int system_errno) {
    make_small_catalog(file_);
    Result result;
    {
      const Catalog catalog = open();
      before_ = contents_of(catalog.read());
      WriteTransaction t = catalog.write();
      t.put_info(info_row(99));
      for (std::uint64_t i = 0; i < 200; ++i) t.put_chunk(chunk_key_of(700 + i), chunk_row(i));
      const Fault fault(call, system_errno);
      result.outcome = t.commit(&result.system_errno);
      if (result.outcome != CommitOutcome::kUnknown) {
        EXPECT_EQ(contents_of(catalog.read()), before_);
      } else {
        EXPECT_EQ(code_of([&] { catalog.read(); }), ErrorCode::kPoisoned);
        EXPECT_EQ(code_of([&] { catalog.write(); }), ErrorCode::kPoisoned);
      }
    }
    const Catalog catalog = open();
    EXPECT_EQ(contents_of(catalog.read()), before_);
    commit(catalog, [](WriteTransaction& t) { t.put_info(info_row(100)); });
    return result;
  }

  Contents before_;
};

TEST_F(CommitTest, AbortsCleanlyOnAFullDisk) {
  const Result result = commit_with(Call::kPageWrite, ENOSPC);
  EXPECT_EQ(result.outcome, CommitOutcome::kNoSpace);
  EXPECT_EQ(result.system_errno, ENOSPC);
}

TEST_F(CommitTest, TakesAWriteThatIsCutShortForAFullDisk) {
  const Result result = commit_with(Call::kPageWrite, 0);
  EXPECT_EQ(result.outcome, CommitOutcome::kNoSpace);
  EXPECT_EQ(result.system_errno, ENOSPC);
}

TEST_F(CommitTest, AbortsCleanlyOnAQuota) {
  EXPECT_EQ(commit_with(Call::kPageWrite, EDQUOT).outcome, CommitOutcome::kNoSpace);
}

TEST_F(CommitTest, AbortsOnAFailedWrite) {
  const Result result = commit_with(Call::kPageWrite, EIO);
  EXPECT_EQ(result.outcome, CommitOutcome::kFailed);
  EXPECT_EQ(result.system_errno, EIO);
}

TEST_F(CommitTest, AbortsOnAFailedFlush) {
  const Result result = commit_with(Call::kFlush, EIO);
  EXPECT_EQ(result.outcome, CommitOutcome::kFailed);
  EXPECT_EQ(result.system_errno, EIO);
}

TEST_F(CommitTest, DoesNotKnowAfterAFailedWriteOfTheMetaPage) {
  const Result result = commit_with(Call::kMetaWrite, EIO);
  EXPECT_EQ(result.outcome, CommitOutcome::kUnknown);
  EXPECT_EQ(result.system_errno, EIO);
}

TEST_F(CommitTest, DoesNotKnowAfterAShortWriteOfTheMetaPage) {
  EXPECT_EQ(commit_with(Call::kMetaWrite, 0).outcome, CommitOutcome::kUnknown);
}

// ---- opening -----------------------------------------------------------------------------------

TEST_F(CatalogTest, SaysWhenThereIsNoFile) {
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(file_));
  EXPECT_FALSE(std::filesystem::exists(Catalog::lock_file_of(file_)));
}

TEST_F(CatalogTest, MakesNoCatalogOverAFile) {
  make_small_catalog(file_);
  const Image before = read_file(file_);
  EXPECT_EQ(code_of([&] { Catalog::create(file_); }), ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_file(file_), before);
}

TEST_F(CatalogTest, DoesNotOpenACatalogWithoutInfo) {
  Catalog::create(file_);
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kDamaged);
}

TEST_F(CatalogTest, NoticesACommitThatDidNotPutInfo) {
  make_small_catalog(file_);
  commit(open(), [](WriteTransaction& t) { t.put_chunk(chunk_key_of(5000), chunk_row(1)); });
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kDamaged);
}

TEST_F(CatalogTest, ChangesNothingByReading) {
  make_small_catalog(file_);
  const Image before = read_file(file_);
  const auto time = std::filesystem::last_write_time(file_);
  contents_of(open(Mode::kReadOnly).read());
  EXPECT_EQ(read_file(file_), before);
  EXPECT_EQ(std::filesystem::last_write_time(file_), time);
}

// Makes an LMDB file by LMDB itself, with tables of these names.
void make_foreign(const std::filesystem::path& file, const std::vector<const char*>& tables) {
  MDB_env* environment = nullptr;
  ASSERT_EQ(mdb_env_create(&environment), 0);
  ASSERT_EQ(mdb_env_set_maxdbs(environment, 20), 0);
  ASSERT_EQ(mdb_env_open(environment, file.c_str(), MDB_NOSUBDIR, 0666), 0);
  MDB_txn* transaction = nullptr;
  ASSERT_EQ(mdb_txn_begin(environment, nullptr, 0, &transaction), 0);
  for (const char* table : tables) {
    MDB_dbi handle = 0;
    ASSERT_EQ(mdb_dbi_open(transaction, table, MDB_CREATE, &handle), 0);
    char text[] = "text";
    MDB_val value{4, text};
    ASSERT_EQ(mdb_put(transaction, handle, &value, &value, 0), 0);
  }
  ASSERT_EQ(mdb_txn_commit(transaction), 0);
  mdb_env_close(environment);
}

TEST_F(CatalogTest, RefusesAnotherProgramsDatabase) {
  make_foreign(file_, {});
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kDamaged);
  std::filesystem::remove(file_);
  make_foreign(file_, {nullptr});
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kDamaged);
  std::filesystem::remove(file_);
  make_foreign(file_, {"a", "b", "c", "d", "e"});
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kDamaged);
  std::filesystem::remove(file_);
  make_foreign(file_, {"info", "checkpoints", "names", "chunks", "free", "more"});
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kDamaged);
}

TEST_F(CatalogTest, SurvivesTheLossOfItsLockFile) {
  make_small_catalog(file_);
  std::filesystem::remove(Catalog::lock_file_of(file_));
  EXPECT_EQ(contents_of(open().read()).checkpoints.size(), 9U);
}

TEST_F(CatalogTest, SurvivesAnyLockFileThatNobodyHolds) {
  make_small_catalog(file_);
  for (const std::size_t bytes : {0U, 1U, 100U, 5000U, 65728U, 200'000U}) {
    const Image garbage(bytes, std::byte{0xa5});
    write_file(Catalog::lock_file_of(file_), garbage);
    const Catalog catalog = open();
    EXPECT_EQ(contents_of(catalog.read()).checkpoints.size(), 9U);
    commit(catalog, [](WriteTransaction& t) { t.put_info(info_row(50)); });
  }
}

// ---- without locks -----------------------------------------------------------------------------

TEST_F(CatalogTest, ReadsWithoutLocksWhenToldThatNobodyWrites) {
  make_small_catalog(file_);
  std::filesystem::remove(Catalog::lock_file_of(file_));
  const Catalog catalog = open(Mode::kReadOnlyNoLock);
  EXPECT_EQ(contents_of(catalog.read()).checkpoints.size(), 9U);
  EXPECT_FALSE(std::filesystem::exists(Catalog::lock_file_of(file_)));
  EXPECT_EQ(catalog.oldest_reader(), std::nullopt);
  EXPECT_EQ(code_of([&] { catalog.write(); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { open(Mode::kReadWrite); }), ErrorCode::kBusy);
  EXPECT_EQ(contents_of(open(Mode::kReadOnlyNoLock).read()).checkpoints.size(), 9U);
}

// ---- space -------------------------------------------------------------------------------------

TEST_F(CatalogTest, ReservesSpaceBehindTheFile) {
  make_small_catalog(file_);
  const Catalog catalog = open();
  const std::uint64_t bytes = catalog.file_bytes();
  catalog.reserve_for_deletion();
  EXPECT_EQ(catalog.file_bytes(), bytes);
  const io::File file = io::File::open(file_, io::File::Access::kRead);
  const std::uint64_t reserved = file.allocated_bytes();
  EXPECT_GE(reserved, bytes + 2 * bytes);
  catalog.reserve_for_deletion();
  EXPECT_EQ(file.allocated_bytes(), reserved);
  commit(catalog, [](WriteTransaction& t) {
    t.put_info(info_row(30));
    for (std::uint64_t i = 0; i < 2000; ++i) t.put_chunk(chunk_key_of(3000 + i), chunk_row(i));
  });
  const std::uint64_t grown_bytes = catalog.file_bytes() - bytes;
  EXPECT_GT(grown_bytes, 64 * 1024U);
  // Where written and reserved space alternate, a file system may need some blocks for its own map
  // of the file, which stat(2) counts with the data.
  EXPECT_LT(file.allocated_bytes(), reserved + grown_bytes / 2);
}

}  // namespace
}  // namespace cairn::catalog
