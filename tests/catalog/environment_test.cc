// Several handles, threads and processes at one catalog.
#include "catalog/catalog.h"
#include "catalog/child.h"
#include "catalog/sample.h"
#include "support/scratch.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAIRN_TEST_SANITIZED 1
#else
#define CAIRN_TEST_SANITIZED 0
#endif

namespace cairn::catalog {
namespace {

using namespace sample;
using cairn::testing::ScratchDirectory;
using Pause = std::function<void()>;

std::optional<ErrorCode> code_of(const std::function<void()>& call) {
  try {
    call();
    return std::nullopt;
  } catch (const Error& error) {
    return error.code();
  }
}

class EnvironmentTest : public ::testing::Test {
 protected:
  Catalog open(Mode mode = Mode::kReadWrite) const { return Catalog::open(file_, mode); }
  void put(std::uint64_t number) const {
    commit(open(), [number](WriteTransaction& t) { t.put_info(info_row(number)); });
  }

  ScratchDirectory directory_;
  std::filesystem::path file_ = directory_ / "catalog.mdb";
};

// ---- one process -------------------------------------------------------------------------------

TEST_F(EnvironmentTest, IsSharedByTheHandlesOfOneProcess) {
  make_small_catalog(file_);
  std::optional<Catalog> first = open();
  const Catalog second = open(Mode::kReadOnly);
  const ReadTransaction view = second.read();
  first.reset();
  commit(second, [](WriteTransaction& t) { t.put_info(info_row(40)); });
  EXPECT_EQ(second.oldest_reader()->transaction, view.id());
}

TEST_F(EnvironmentTest, IsFoundThroughAnotherPathToTheSameFiles) {
  make_small_catalog(file_);
  const auto link = directory_ / "link";
  std::filesystem::create_directory_symlink(directory_.path(), link);
  const Catalog first = open();
  const ReadTransaction view = first.read();
  const Catalog second = Catalog::open(link / "catalog.mdb", Mode::kReadWrite);
  EXPECT_EQ(second.oldest_reader()->transaction, view.id());
}

// Beside its new name another lock file would lie: processes would not see each other.
TEST_F(EnvironmentTest, IsNotSharedUnderANewName) {
  make_small_catalog(file_);
  const auto renamed = directory_ / "renamed.mdb";
  {
    const Catalog catalog = open();
    std::filesystem::rename(file_, renamed);
    EXPECT_EQ(code_of([&] { Catalog::open(renamed, Mode::kReadWrite); }), ErrorCode::kBusy);
  }
  EXPECT_EQ(contents_of(Catalog::open(renamed, Mode::kReadWrite).read()).checkpoints.size(), 9U);
}

TEST_F(EnvironmentTest, IsTheNewFilesOneAfterARename) {
  make_small_catalog(file_);
  const auto fresh = directory_ / "catalog.mdb.new";
  make_catalog(fresh);
  const Catalog old = open();
  std::filesystem::rename(file_, directory_ / "catalog.mdb.aside");
  std::filesystem::rename(fresh, file_);
  // A lock file serves one catalog.
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kBusy);
  std::filesystem::remove(Catalog::lock_file_of(file_));
  EXPECT_EQ(contents_of(open().read()).checkpoints.size(), 0U);
  EXPECT_EQ(contents_of(old.read()).checkpoints.size(), 9U);
}

TEST_F(EnvironmentTest, BearsThreadsThatOpenAndCloseItAtOnce) {
  make_small_catalog(file_);
  constexpr int kThreads = 4;
  constexpr int kRounds = 40;
  std::atomic<std::uint64_t> commits{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) {
        const Catalog catalog = open();
        if (i == 0) {
          WriteTransaction t = catalog.write();
          t.put_info(info_row(static_cast<std::uint64_t>(round)));
          if (t.commit() == CommitOutcome::kCommitted) ++commits;
        } else {
          ReadTransaction view = catalog.read();
          if (contents_of(view).checkpoints.size() != 9) ADD_FAILURE();
          std::thread([moved = std::move(view)] { contents_of(moved); }).join();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(commits, static_cast<std::uint64_t>(kRounds));
  EXPECT_EQ(open().oldest_reader(), std::nullopt);
}

TEST_F(EnvironmentTest, LetsASecondWriterWait) {
  make_catalog(file_);
  const Catalog catalog = open();
  std::thread other;
  {
    WriteTransaction first = catalog.write();
    first.put_info(info_row(1));
    other = std::thread([&] {
      commit(catalog, [](WriteTransaction& t) {
        InfoRow row = t.info();
        ++row.sequence;
        t.put_info(row);
      });
    });
    EXPECT_EQ(first.commit(), CommitOutcome::kCommitted);
  }
  other.join();
  EXPECT_EQ(catalog.read().info().sequence, info_row(1).sequence + 1);
}

TEST_F(EnvironmentTest, SaysWhenAllReaderSlotsAreTaken) {
  make_catalog(file_);
  const Catalog catalog = open();
  std::vector<ReadTransaction> views;
  for (int i = 0; i < 1024; ++i) views.push_back(catalog.read());
  EXPECT_EQ(code_of([&] { catalog.read(); }), ErrorCode::kBusy);
  views.pop_back();
  EXPECT_EQ(code_of([&] { catalog.read(); }), std::nullopt);
}

// ---- the oldest reader -------------------------------------------------------------------------

TEST_F(EnvironmentTest, NamesTheOldestReaderOfThisProcess) {
  make_small_catalog(file_);
  const Catalog catalog = open();
  EXPECT_EQ(catalog.oldest_reader(), std::nullopt);
  std::optional<ReadTransaction> oldest = catalog.read();
  const std::uint64_t id = oldest->id();
  put(20);
  const ReadTransaction newer = catalog.read();
  EXPECT_EQ(catalog.oldest_reader()->transaction, id);
  EXPECT_EQ(catalog.oldest_reader()->pid, ::getpid());
  oldest.reset();
  EXPECT_EQ(catalog.oldest_reader()->transaction, newer.id());
}

TEST_F(EnvironmentTest, NamesAReaderOfAnotherProcessUntilItEndsOrDies) {
  make_small_catalog(file_);
  Child child([&](const Pause& pause) {
    const Catalog catalog = open(Mode::kReadOnly);
    const ReadTransaction view = catalog.read();
    const Contents before = contents_of(view);
    pause();
    return contents_of(view) == before ? 0 : 1;
  });
  ASSERT_TRUE(child.wait_for_pause());
  const Catalog catalog = open();
  const std::uint64_t id = catalog.read().id();
  for (std::uint64_t i = 0; i < 10; ++i) put(20 + i);
  ASSERT_TRUE(catalog.oldest_reader().has_value());
  EXPECT_EQ(catalog.oldest_reader()->pid, child.pid());
  EXPECT_EQ(catalog.oldest_reader()->transaction, id);

  Child killed([&](const Pause& pause) {
    const Catalog own = open(Mode::kReadOnly);
    const ReadTransaction view = own.read();
    pause();
    return 1;
  });
  ASSERT_TRUE(killed.wait_for_pause());
  child.let_go_on();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(catalog.oldest_reader()->pid, killed.pid());
  killed.kill();
  EXPECT_EQ(catalog.oldest_reader(), std::nullopt);
}

TEST_F(EnvironmentTest, TakesBackTheSlotsOfTheDead) {
  make_catalog(file_);
  Child child([&](const Pause& pause) {
    const Catalog catalog = open(Mode::kReadOnly);
    std::vector<ReadTransaction> views;
    for (int i = 0; i < 1024; ++i) views.push_back(catalog.read());
    pause();
    return 1;
  });
  ASSERT_TRUE(child.wait_for_pause());
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kBusy);
  child.kill();
  EXPECT_EQ(code_of([&] { open().read(); }), std::nullopt);
}

TEST_F(EnvironmentTest, OutlivesAWriterThatDiesInItsTransaction) {
  make_small_catalog(file_);
  const Contents before = contents_of(open().read());
  Child child([&](const Pause& pause) {
    const Catalog catalog = open();
    WriteTransaction t = catalog.write();
    t.put_info(info_row(70));
    pause();
    return 1;
  });
  ASSERT_TRUE(child.wait_for_pause());
  const Catalog catalog = open();
  child.kill();
  EXPECT_EQ(contents_of(catalog.read()), before);
  put(71);
  EXPECT_EQ(catalog.read().info().sequence, info_row(71).sequence);
}

// ---- fork --------------------------------------------------------------------------------------

TEST_F(EnvironmentTest, RefusesToWorkInAForkedChild) {
  make_small_catalog(file_);
  const Catalog catalog = open();
  ReadTransaction view = catalog.read();
  WriteTransaction change = catalog.write();
  Child child([&](const Pause&) {
    const std::vector<std::function<void()>> calls = {
        [&] { catalog.read(); },
        [&] { catalog.write(); },
        [&] { catalog.oldest_reader(); },
        [&] { catalog.reserve_for_deletion(); },
        [&] { catalog.file_bytes(); },
        [&] { view.id(); },
        [&] { view.info(); },
        [&] { view.for_each_chunk([](const ChunkKey&, const ChunkRow&) {}); },
        [&] { change.put_info(info_row(1)); },
        [&] { change.commit(); },
    };
    for (const auto& call : calls) {
      if (code_of(call) != ErrorCode::kForked) return 1;
    }
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(EnvironmentTest, IsNotHarmedByAChildThatEndsItsHandles) {
  make_small_catalog(file_);
  auto catalog = std::make_unique<Catalog>(open());
  auto view = std::make_unique<ReadTransaction>(catalog->read());
  auto change = std::make_unique<WriteTransaction>(catalog->write());
  const Contents before = contents_of(*view);
  Child child([&](const Pause&) {
    change.reset();
    view.reset();
    catalog.reset();
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  // The reader is still registered, in the eyes of a third process too.
  const std::uint64_t id = view->id();
  Child third([&](const Pause&) {
    const auto reader = open(Mode::kReadOnly).oldest_reader();
    return reader && reader->pid == ::getppid() && reader->transaction == id ? 0 : 1;
  });
  EXPECT_EQ(third.wait(), 0);
  change->put_info(info_row(60));
  EXPECT_EQ(change->commit(), CommitOutcome::kCommitted);
  EXPECT_EQ(contents_of(*view), before);
}

TEST_F(EnvironmentTest, CanBeOpenedAnewInAForkedChild) {
  make_small_catalog(file_);
  const Catalog catalog = open();
  const ReadTransaction view = catalog.read();
  const Contents before = contents_of(view);
  Child child([&](const Pause& pause) {
    const Catalog own = open();
    const ReadTransaction own_view = own.read();
    if (contents_of(own_view) != before) return 1;
    commit(own, [](WriteTransaction& t) { t.put_info(info_row(80)); });
    pause();
    return contents_of(own_view) == before ? 0 : 2;
  });
  ASSERT_TRUE(child.wait_for_pause());
  EXPECT_EQ(catalog.read().info().sequence, info_row(80).sequence);
  put(81);
  child.let_go_on();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(contents_of(view), before);
  EXPECT_EQ(catalog.oldest_reader()->pid, ::getpid());
}

TEST_F(EnvironmentTest, CanBeOpenedInAChildForkedWhileThreadsOpenIt) {
  make_small_catalog(file_);
  std::atomic<bool> stop{false};
  std::thread opener([&] {
    while (!stop) contents_of(open().read());
  });
  for (int i = 0; i < 10 && !CAIRN_TEST_SANITIZED; ++i) {
    Child child(
        [&](const Pause&) { return contents_of(open().read()).checkpoints.size() == 9 ? 0 : 1; });
    EXPECT_EQ(child.wait(), 0);
  }
  stop = true;
  opener.join();
}

// ---- limits of the system ----------------------------------------------------------------------

TEST_F(EnvironmentTest, MakesDoWithASmallAddressSpace) {
  if (CAIRN_TEST_SANITIZED) GTEST_SKIP() << "sanitizers need a large address space";
  make_small_catalog(file_);
  Child child([&](const Pause&) {
    const rlimit limit{std::uint64_t{3} << 30, std::uint64_t{3} << 30};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
    put(90);
    return contents_of(open().read()).checkpoints.size() == 9 ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
  put(91);
}

TEST_F(EnvironmentTest, SaysWhenThereIsNoAddressSpace) {
  if (CAIRN_TEST_SANITIZED) GTEST_SKIP() << "sanitizers need a large address space";
  make_small_catalog(file_);
  Child child([&](const Pause&) {
    const rlimit limit{std::uint64_t{60} << 20, std::uint64_t{60} << 20};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 1;
    return code_of([&] { open(); }) == ErrorCode::kIo ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
}

// A limit on the size of files stands for a full disk; the last write before it is cut short.
TEST_F(EnvironmentTest, StaysUsableWhenTheDiskIsFull) {
  make_small_catalog(file_);
  const Contents before = contents_of(open().read());
  for (const std::uint64_t spare_bytes : {std::uint64_t{0}, std::uint64_t{5000}}) {
    Child child([&](const Pause&) {
      const Catalog catalog = open();
      const rlim_t most = catalog.file_bytes() + spare_bytes;
      const rlimit limit{most, RLIM_INFINITY};
      ::signal(SIGXFSZ, SIG_IGN);
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
      {
        WriteTransaction t = catalog.write();
        t.put_info(info_row(50));
        for (std::uint64_t i = 0; i < 3000; ++i) t.put_chunk(chunk_key_of(900 + i), chunk_row(i));
        if (t.commit() != CommitOutcome::kNoSpace) return 2;
      }
      if (contents_of(catalog.read()) != before) return 3;
      WriteTransaction t = catalog.write();
      t.put_info(before.info);
      return t.commit() == CommitOutcome::kCommitted ? 0 : 4;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(contents_of(open().read()), before);
  }
}

// ---- permissions and mounts --------------------------------------------------------------------

TEST_F(EnvironmentTest, CanBeReadByAUserWhoMayNotWriteTheFile) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  make_small_catalog(file_);
  ::chmod(directory_.path().c_str(), 0755);
  ::chmod(file_.c_str(), 0644);
  ::chmod(Catalog::lock_file_of(file_).c_str(), 0666);
  const auto as_nobody = [&](const std::function<int()>& work) {
    Child child([&](const Pause&) { return ::setuid(65534) == 0 ? work() : 50; });
    return child.wait();
  };
  EXPECT_EQ(as_nobody([&] {
              const Catalog catalog = open(Mode::kReadOnly);
              const ReadTransaction view = catalog.read();
              if (catalog.oldest_reader()->pid != ::getpid()) return 1;
              if (code_of([&] { catalog.write(); }) != ErrorCode::kInvalidArgument) return 2;
              if (code_of([&] { open(Mode::kReadWrite); }) != ErrorCode::kIo) return 3;
              return contents_of(view).checkpoints.size() == 9 ? 0 : 4;
            }),
            0);
  // Whoever may not write the lock file cannot register as a reader.
  ::chmod(Catalog::lock_file_of(file_).c_str(), 0644);
  EXPECT_EQ(as_nobody([&] {
              if (code_of([&] { open(Mode::kReadOnly); }) != ErrorCode::kIo) return 1;
              return contents_of(open(Mode::kReadOnlyNoLock).read()).checkpoints.size() == 9 ? 0
                                                                                             : 2;
            }),
            0);
}

TEST_F(EnvironmentTest, IsRefusedOnAReadOnlyFileSystemUnlessNobodyWrites) {
  const auto mounted = directory_ / "mounted";
  std::filesystem::create_directory(mounted);
  file_ = mounted / "catalog.mdb";
  constexpr int kCannotMount = 60;
  Child child([&](const Pause&) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", mounted.c_str(), "tmpfs", 0, "size=16m") != 0) {
      return kCannotMount;
    }
    make_small_catalog(file_);
    for (const bool has_lock_file : {true, false}) {
      if (!has_lock_file) {
        ::mount(nullptr, mounted.c_str(), nullptr, MS_REMOUNT, nullptr);
        std::filesystem::remove(Catalog::lock_file_of(file_));
      }
      if (::mount(nullptr, mounted.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
        return kCannotMount;
      }
      if (code_of([&] { open(Mode::kReadWrite); }) != ErrorCode::kIo) return 1;
      try {
        open(Mode::kReadOnly);
        return 2;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kIo || error.system_errno() != EROFS) return 3;
        if (std::string(error.what()).find("assume_no_writer") == std::string::npos) return 4;
      }
      if (contents_of(open(Mode::kReadOnlyNoLock).read()).checkpoints.size() != 9) return 5;
    }
    return 0;
  });
  const int result = child.wait();
  if (result == kCannotMount) GTEST_SKIP() << "cannot mount a file system here";
  EXPECT_EQ(result, 0);
}

// The lock file is a shared map: on a full disk a write into a hole of it is a SIGBUS.
TEST_F(EnvironmentTest, IsNotKilledByAFullDiskWithoutRoomForTheLockFile) {
  const auto mounted = directory_ / "mounted";
  std::filesystem::create_directory(mounted);
  file_ = mounted / "catalog.mdb";
  constexpr int kCannotMount = 60;
  Child child([&](const Pause&) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", mounted.c_str(), "tmpfs", 0, "size=4m") != 0) {
      return kCannotMount;
    }
    make_small_catalog(file_);
    {
      const io::File ballast = io::File::create(mounted / "ballast");
      const Image page(4096);
      try {
        for (std::uint64_t at = 0;; at += page.size()) ballast.write(at, page);
      } catch (const Error&) {
      }
    }
    {
      // All slots of the lock file that is there can be used.
      const Catalog catalog = open();
      std::vector<ReadTransaction> views;
      for (int i = 0; i < 1024; ++i) views.push_back(catalog.read());
    }
    std::filesystem::remove(Catalog::lock_file_of(file_));
    {
      const io::File ballast = io::File::open(mounted / "ballast", io::File::Access::kReadWrite);
      const Image page(4096);
      try {
        for (std::uint64_t at = ballast.bytes();; at += page.size()) ballast.write(at, page);
      } catch (const Error&) {
      }
    }
    return code_of([&] { open(); }) == ErrorCode::kNoSpace ? 0 : 1;
  });
  const int result = child.wait();
  if (result == kCannotMount) GTEST_SKIP() << "cannot mount a file system here";
  EXPECT_EQ(result, 0);
}

}  // namespace
}  // namespace cairn::catalog
