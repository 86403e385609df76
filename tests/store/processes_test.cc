// Stores between processes: who is busy, who is dead, who forked.

#include "store/seam.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <csignal>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cairn {
namespace {

using testing::contents;
using testing::error_of;
using testing::everything;
using testing::model_of;
using testing::ScratchDirectory;

class Processes : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return scratch_ / "store"; }

  /// Runs `work` in a child and returns its exit code; 100 + code for an `Error`.
  static int in_child(const std::function<int()>& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      int code = 99;
      try {
        code = work();
      } catch (const Error& error) {
        code = 100 + static_cast<int>(error.code());
      }
      ::_exit(code);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  static int failed_with(ErrorCode code) { return 100 + static_cast<int>(code); }

  ScratchDirectory scratch_;
};

TEST_F(Processes, AnotherProcessIsBusyWhileTheStoreIsOpen) {
  const Store store(path());
  EXPECT_EQ(in_child([&] {
              Store second(path());
              return 0;
            }),
            failed_with(ErrorCode::kBusy));
}

TEST_F(Processes, AnotherProcessReadsWhileTheStoreIsOpen) {
  Store store(path());
  const auto state = model_of(1, 2, 1000);
  store.save(state, {.name = "a"});
  EXPECT_EQ(in_child([&] {
              const Store reader(path(), {.read_only = true});
              return everything(reader).at("a") == contents(state) ? 0 : 1;
            }),
            0);
}

// Found by the kill loop: LMDB went on showing the commit before, and every save failed with busy
// until the reader was gone.
TEST_F(Processes, AWriterKilledRightAfterItsCommitDoesNotBlockTheNextBesideAReader) {
  Store(path()).save(model_of(1, 1, 1000), {.name = "a"});
  int go[2];
  ASSERT_EQ(::pipe(go), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char word = 0;
    if (::read(go[0], &word, 1) != 1) ::_exit(1);
    Store store(path());
    testing::system_faults().after_write = [](int fd) {
      const bool is_meta_page = (::fcntl(fd, F_GETFL) & O_DSYNC) != 0;
      if (is_meta_page) ::kill(::getpid(), SIGKILL);
    };
    store.save(model_of(2, 1, 1000), {.name = "b"});
    ::_exit(2);
  }
  const Store reader(path(), {.read_only = true});
  ASSERT_EQ(::write(go[1], "x", 1), 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  ::close(go[0]);
  ::close(go[1]);

  Store store(path());
  EXPECT_TRUE(store.find_by_name("b"));
  store.save(model_of(3, 1, 1000), {.name = "c"});
  EXPECT_EQ(everything(store).size(), 3U);
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Processes, AKilledWriterDoesNotBlockTheNext) {
  EXPECT_EQ(in_child([&] {
              Store store(path());
              store.save(model_of(1, 1, 10), {.name = "a"});
              ::raise(SIGKILL);
              return 0;
            }),
            -SIGKILL);
  EXPECT_EQ(everything(Store(path())).size(), 1U);
}

TEST_F(Processes, AKilledWriterDoesNotBlockTheNextAlthoughItsChildLivesOn) {
  int until_closed[2];
  int is_running[2];
  ASSERT_EQ(::pipe(until_closed), 0);
  ASSERT_EQ(::pipe(is_running), 0);
  EXPECT_EQ(in_child([&] {
              Store store(path());
              char byte = 0;
              if (::fork() == 0) {  // a data loader's worker, say
                ::close(until_closed[1]);
                [[maybe_unused]] auto done = ::write(is_running[1], &byte, 1);
                done = ::read(until_closed[0], &byte, 1);
                ::_exit(0);
              }
              // It drops its copies of the locks before it runs a line of ours, but not before it
              // runs at all.
              [[maybe_unused]] const auto got = ::read(is_running[0], &byte, 1);
              ::raise(SIGKILL);
              return 0;
            }),
            -SIGKILL);
  EXPECT_NO_THROW(Store{path()});
  for (const int end : {until_closed[0], until_closed[1], is_running[0], is_running[1]}) {
    ::close(end);
  }
}

TEST_F(Processes, AHandleUsedAfterForkSaysSo) {
  Store store(path());
  const auto id = store.save(model_of(1, 1, 10)).saved.id;
  const Checkpoint checkpoint = store.open(id);
  EXPECT_EQ(in_child([&] { return static_cast<int>(store.checkpoints().size()); }),
            failed_with(ErrorCode::kForked));
  EXPECT_EQ(in_child([&] { return static_cast<int>(store.save(model_of(2, 1, 10)).saved.id); }),
            failed_with(ErrorCode::kForked));
  EXPECT_EQ(in_child([&] { return static_cast<int>(checkpoint.read(0).size()); }),
            failed_with(ErrorCode::kForked));
}

TEST_F(Processes, TheExitOfAForkedChildHarmsNothing) {
  auto store = std::make_unique<Store>(path());
  const auto state = model_of(1, 2, 100'000);
  auto checkpoint = std::make_unique<Checkpoint>(store->open(store->save(state).saved.id));
  EXPECT_EQ(in_child([&] {
              checkpoint.reset();  // destructors run in the child, too
              store.reset();
              return 0;
            }),
            0);
  // The parent's reader must still hold its snapshot, and its lock must still stand.
  store->remove(std::vector{checkpoint->info().id});
  for (std::uint64_t seed = 2; seed < 8; ++seed) {
    store->remove(std::vector{store->save(model_of(seed, 2, 100'000)).saved.id});
  }
  EXPECT_EQ(contents(*checkpoint), contents(state));
  EXPECT_EQ(in_child([&] {
              Store second(path());
              return 0;
            }),
            failed_with(ErrorCode::kBusy));
}

TEST_F(Processes, AForkedChildMayOpenTheStoreItself) {
  Store store(path());
  store.save(model_of(1, 1, 10), {.name = "a"});
  EXPECT_EQ(in_child([&] {
              const Store own(path(), {.read_only = true});
              return static_cast<int>(own.checkpoints().size());
            }),
            1);
  store.save(model_of(2, 1, 10), {.name = "b"});
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Processes, AReaderThatDiedHoldsNothingBack) {
  Store store(path());
  const auto id = store.save(model_of(1, 4, 100'000)).saved.id;
  EXPECT_EQ(in_child([&] {
              const Store reader(path(), {.read_only = true});
              const Checkpoint held = reader.open(id);
              ::raise(SIGKILL);
              return 0;
            }),
            -SIGKILL);
  store.remove(std::vector{id});
  store.save(model_of(2, 1, 10));
  const auto before = std::filesystem::file_size(path() / "pack");
  store.save(model_of(3, 4, 100'000));
  EXPECT_EQ(std::filesystem::file_size(path() / "pack"), before);
}

}  // namespace
}  // namespace cairn
