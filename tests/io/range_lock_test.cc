#include "io/range_lock.h"

#include "io/child.h"
#include "io/fixture.h"
#include "io/fork_guard.h"

#include <cerrno>
#include <fcntl.h>
#include <thread>

namespace cairn::io {
namespace {

using std::chrono::milliseconds;
using testing::Child;
using testing::error_of;
using testing::fails_with;
using testing::hooks;
using testing::Signal;

// Long enough for whatever a busy machine does; no test waits for it to pass.
constexpr milliseconds kLong{60'000};

class RangeLockConcurrency : public testing::DirectoryTest {
 protected:
  File open() const { return File::open_or_create(at("lock")); }

  bool exclusive(const File& file, std::uint64_t byte = 0, milliseconds timeout = {}) const {
    return lock_byte(file, byte, LockKind::kExclusive, timeout);
  }
  bool shared(const File& file, std::uint64_t byte = 0, milliseconds timeout = {}) const {
    return lock_byte(file, byte, LockKind::kShared, timeout);
  }
};

TEST_F(RangeLockConcurrency, AnExclusiveLockKeepsOtherHandlesOfThisProcessOut) {
  const File a = open();
  const File b = open();
  EXPECT_TRUE(exclusive(a));
  EXPECT_FALSE(exclusive(b));
  EXPECT_FALSE(shared(b));
}

TEST_F(RangeLockConcurrency, AnExclusiveLockKeepsOtherProcessesOut) {
  const File file = open();
  EXPECT_TRUE(exclusive(file));
  EXPECT_TRUE(Child([&] { return !exclusive(open()) && !shared(open()); }).succeeds());
}

TEST_F(RangeLockConcurrency, SharedLocksGoTogetherAndKeepAnExclusiveOneOut) {
  const File a = open();
  const File b = open();
  EXPECT_TRUE(shared(a));
  EXPECT_TRUE(shared(b));
  EXPECT_FALSE(exclusive(b));
}

TEST_F(RangeLockConcurrency, AFailedConversionKeepsTheLockThatThereWas) {
  const File a = open();
  const File b = open();
  EXPECT_TRUE(shared(a) && shared(b));
  EXPECT_FALSE(exclusive(a));
  unlock_byte(b, 0);
  EXPECT_FALSE(exclusive(b));
  EXPECT_TRUE(exclusive(a));
}

TEST_F(RangeLockConcurrency, BytesAreLockedApart) {
  const File a = open();
  const File b = open();
  EXPECT_TRUE(exclusive(a, 0));
  EXPECT_TRUE(exclusive(b, 1));
  unlock_byte(a, 0);
  EXPECT_FALSE(exclusive(a, 1));
}

TEST_F(RangeLockConcurrency, UnlockingLetsTheNextOneIn) {
  const File a = open();
  const File b = open();
  EXPECT_TRUE(exclusive(a));
  unlock_byte(a, 0);
  EXPECT_TRUE(exclusive(b));
}

TEST_F(RangeLockConcurrency, ClosingLetsTheNextOneIn) {
  File a = open();
  const File b = open();
  EXPECT_TRUE(exclusive(a));
  a.close();
  EXPECT_TRUE(exclusive(b));
}

TEST_F(RangeLockConcurrency, ClosingAnotherDescriptorOfTheFileKeepsTheLock) {
  const File a = open();
  EXPECT_TRUE(exclusive(a));
  open().close();
  EXPECT_FALSE(exclusive(open()));
}

TEST_F(RangeLockConcurrency, AsksForALockElsewhereWithoutTakingOne) {
  const File a = open();
  const File b = open();
  EXPECT_FALSE(byte_is_locked_elsewhere(a, 0));
  EXPECT_TRUE(shared(b));
  EXPECT_TRUE(byte_is_locked_elsewhere(a, 0));
  EXPECT_FALSE(byte_is_locked_elsewhere(b, 0));
  unlock_byte(b, 0);
  EXPECT_TRUE(exclusive(b));
}

TEST_F(RangeLockConcurrency, WaitsForAHolderInThisProcess) {
  const File a = open();
  EXPECT_TRUE(exclusive(a));
  std::jthread waiter([&] { EXPECT_TRUE(exclusive(open(), 0, kLong)); });
  unlock_byte(a, 0);
}

TEST_F(RangeLockConcurrency, WaitsForAHolderInAnotherProcess) {
  const Signal locked;
  const Signal asked;
  Child holder([&] {
    const File file = open();
    const bool taken = exclusive(file);
    locked.give();
    asked.wait();
    return taken;
  });
  locked.wait();
  EXPECT_FALSE(exclusive(open()));
  asked.give();
  EXPECT_TRUE(exclusive(open(), 0, kLong));
  EXPECT_TRUE(holder.succeeds());
}

TEST_F(RangeLockConcurrency, WaitsNoLongerThanTold) {
  const File a = open();
  EXPECT_TRUE(exclusive(a));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(exclusive(open(), 0, milliseconds(30)));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(30));
}

TEST_F(RangeLockConcurrency, TheLongestTimeoutIsNotTakenForAShortOne) {
  const File a = open();
  EXPECT_TRUE(exclusive(a));
  int attempts = 0;
  hooks().fcntl = [&](int, int) { return ++attempts < 4 ? fails_with(EAGAIN) : 0; };
  EXPECT_TRUE(exclusive(a, 0, milliseconds::max()));
  EXPECT_EQ(attempts, 4);
}

TEST_F(RangeLockConcurrency, ADeadHolderDoesNotBlock) {
  const Signal locked;
  Child holder([&] {
    const File file = open();
    const bool taken = exclusive(file);
    locked.give();
    ::pause();
    return taken;
  });
  locked.wait();
  EXPECT_FALSE(exclusive(open()));
  holder.kill();
  EXPECT_TRUE(exclusive(open()));
}

// A holder that has a lock and a child of its own, and is killed while the child lives on.
class DeadHolder {
 public:
  DeadHolder(const std::function<File()>& open, bool guarded)
      : holder_([&] {
          const File file = open();
          const CloseInChild guard = guarded ? CloseInChild(file.descriptor()) : CloseInChild();
          const bool taken = lock_byte(file, 0, LockKind::kExclusive);
          Child survivor([&] {
            ready_.give();
            end_.wait();
            return true;
          });
          ::pause();
          return taken;
        }) {
    ready_.wait();
    holder_.kill();
  }
  ~DeadHolder() { end_.give(); }

 private:
  Signal ready_;
  Signal end_;
  Child holder_;
};

TEST_F(RangeLockConcurrency, ADeadHolderDoesNotBlockThoughItsForkedChildLives) {
  const DeadHolder dead([&] { return open(); }, true);
  EXPECT_TRUE(exclusive(open()));
}

TEST_F(RangeLockConcurrency, WithoutTheGuardTheChildOfADeadHolderWouldBlock) {
  const DeadHolder dead([&] { return open(); }, false);
  EXPECT_FALSE(exclusive(open()));
}

TEST_F(RangeLockConcurrency, AChildThatCleansUpAndExitsHarmsNoLock) {
  File file = open();
  CloseInChild guard(file.descriptor());
  EXPECT_TRUE(exclusive(file));
  EXPECT_TRUE(Child([&] {
                unlock_byte(file, 0);
                guard = CloseInChild();
                file.close();
                return true;
              }).succeeds());
  EXPECT_FALSE(exclusive(open()));
}

TEST_F(RangeLockConcurrency, AFileSystemWithoutLocksGetsAHint) {
  const File file = open();
  for (const int system_errno : {ENOLCK, EINVAL, EOPNOTSUPP}) {
    hooks().fcntl = [&](int, int) { return fails_with(system_errno); };
    const Error error = error_of([&] { exclusive(file); });
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::string_view(error.what()).find("open file description locks"),
              std::string_view::npos);
  }
}

TEST_F(RangeLockConcurrency, AnInterruptedRequestIsMadeAgain) {
  const File file = open();
  int calls = 0;
  hooks().fcntl = [&](int, int command) {
    EXPECT_EQ(command, F_OFD_SETLK);
    return ++calls < 3 ? fails_with(EINTR) : 0;
  };
  EXPECT_TRUE(exclusive(file));
  EXPECT_EQ(calls, 3);
}

TEST_F(RangeLockConcurrency, AnExclusiveLockNeedsAFileOpenForWriting) {
  open();
  const File file = File::open(at("lock"), File::Access::kRead);
  EXPECT_TRUE(shared(file));
  EXPECT_EQ(error_of([&] { exclusive(file); }).system_errno(), EBADF);
}

}  // namespace
}  // namespace cairn::io
