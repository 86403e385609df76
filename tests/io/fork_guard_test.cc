#include "io/fork_guard.h"

#include "io/child.h"
#include "io/fixture.h"

#include <array>
#include <atomic>
#include <cstdio>
#include <fcntl.h>
#include <optional>
#include <thread>

namespace cairn::io {
namespace {

using testing::bytes_of;
using testing::Child;
using testing::error_of;
using testing::text_of;

class ForkGuardConcurrency : public testing::DirectoryTest {
 protected:
  // Whether the calling process holds a descriptor of that file. Allocates nothing: it runs in
  // children of a process with threads.
  static bool holds(const char* path) {
    for (int descriptor = 0; descriptor < 256; ++descriptor) {
      std::array<char, 32> link{};
      std::array<char, 512> target{};
      std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", descriptor);
      if (::readlink(link.data(), target.data(), target.size() - 1) < 0) continue;
      if (std::string_view(target.data()) == path) return true;
    }
    return false;
  }

  static std::ptrdiff_t open_descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  }
};

TEST_F(ForkGuardConcurrency, TheGenerationGrowsInTheChildAlone) {
  const std::uint64_t before = fork_generation();
  EXPECT_TRUE(Child([&] {
                return fork_generation() == before + 1 &&
                       Child([&] { return fork_generation() == before + 2; }).succeeds();
              }).succeeds());
  EXPECT_EQ(fork_generation(), before);
}

TEST_F(ForkGuardConcurrency, AGuardedDescriptorIsClosedInTheChildAndOpenInTheParent) {
  const File file = file_with("text");
  const CloseInChild guard(file.descriptor());
  EXPECT_TRUE(Child([&] { return !holds(file.path().c_str()); }).succeeds());
  EXPECT_EQ(text_of(file), "text");
}

TEST_F(ForkGuardConcurrency, AHandleInTheChildDoesNotSeemToWork) {
  const File file = file_with("text");
  const CloseInChild guard(file.descriptor());
  EXPECT_TRUE(Child([&] {
                return error_of([&] { text_of(file); }).code() == ErrorCode::kIo &&
                       error_of([&] { file.write(0, bytes_of("x")); }).code() == ErrorCode::kIo &&
                       error_of([&] { file.sync(); }).code() == ErrorCode::kIo;
              }).succeeds());
  EXPECT_EQ(text_of(file), "text");
}

TEST_F(ForkGuardConcurrency, ClosingAnOldHandleInTheChildSparesTheChildsOwnFiles) {
  std::optional<File> old = file_with("old", "old");
  std::optional<CloseInChild> guard(old->descriptor());
  EXPECT_TRUE(Child([&] {
                const File own = file_with("own", "own");
                guard.reset();
                old.reset();
                return text_of(own) == "own";
              }).succeeds());
  EXPECT_EQ(text_of(*old), "old");
}

TEST_F(ForkGuardConcurrency, AnOldGuardInTheChildSparesTheChildsOwnGuards) {
  std::optional<File> old = file_with("old", "old");
  std::optional<CloseInChild> old_guard(old->descriptor());
  EXPECT_TRUE(Child([&] {
                const int number = old->descriptor();
                old.reset();
                const File own = file_with("own", "own");
                const CloseInChild own_guard(own.descriptor());
                old_guard.reset();
                return own.descriptor() == number &&
                       Child([&] { return !holds(own.path().c_str()); }).succeeds();
              }).succeeds());
}

TEST_F(ForkGuardConcurrency, AGrandchildInheritsWhatTheChildOpenedUnderAnOldNumber) {
  std::optional<File> old = file_with("old", "old");
  const CloseInChild guard(old->descriptor());
  EXPECT_TRUE(Child([&] {
                old.reset();
                const File own = file_with("own", "own");
                return Child([&] { return text_of(own) == "own"; }).succeeds();
              }).succeeds());
}

TEST_F(ForkGuardConcurrency, AfterItsGuardADescriptorIsInheritedAgain) {
  const File file = file_with("text");
  { const CloseInChild guard(file.descriptor()); }
  EXPECT_TRUE(Child([&] { return text_of(file) == "text"; }).succeeds());
}

TEST_F(ForkGuardConcurrency, AMoveTakesTheGuardAlong) {
  const File a = file_with("a", "a");
  const File b = file_with("b", "b");
  CloseInChild guard_of_a(a.descriptor());
  CloseInChild guard(b.descriptor());
  guard = std::move(guard_of_a);
  EXPECT_TRUE(Child([&] { return !holds(a.path().c_str()) && text_of(b) == "b"; }).succeeds());
}

TEST_F(ForkGuardConcurrency, TheLastGuardLeavesNoDescriptorBehind) {
  const File a = file_with("a", "a");
  const File b = file_with("b", "b");
  const auto before = open_descriptors();
  {
    const CloseInChild guard_of_a(a.descriptor());
    const CloseInChild guard_of_b(b.descriptor());
    EXPECT_EQ(open_descriptors(), before + 1);
    EXPECT_TRUE(Child([&] { return open_descriptors() == before; }).succeeds());
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ForkGuardConcurrency, ForksOfOtherThreadsNeverCatchADescriptorWithoutItsGuard) {
  const std::string path = at("lock").string();
  std::atomic<bool> done{false};
  std::atomic<int> leaks{0};
  std::jthread forking([&] {
    for (int i = 0; i < 100; ++i) {
      if (!Child([&] { return !holds(path.c_str()); }).succeeds()) ++leaks;
    }
    done = true;
  });
  while (!done) {
    File file;
    CloseInChild guard;
    {
      const HoldForks hold;
      file = File::open_or_create(path);
      guard = CloseInChild(file.descriptor(), hold);
    }
    std::this_thread::yield();
    const HoldForks hold;
    guard.end(hold);
    file.close();
  }
  EXPECT_EQ(leaks, 0);
}

TEST_F(ForkGuardConcurrency, GuardsOfManyThreadsComeAndGoWhileOthersFork) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this, t] {
      const File file = file_with("x", std::to_string(t));
      for (int i = 0; i < 1000; ++i) const CloseInChild guard(file.descriptor());
      const CloseInChild guard(file.descriptor());
      EXPECT_TRUE(Child([&] { return !holds(file.path().c_str()); }).succeeds());
    });
  }
}

}  // namespace
}  // namespace cairn::io
