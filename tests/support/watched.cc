#include "support/watched.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

// A forked child leaves its parent's registry of environments alone, on purpose: nothing in it may
// be touched there. (The name is the sanitizer's.) NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {
  return "leak:Registry::instance\n";
}

namespace cairn::testing {
namespace {

// Far above what a case takes on a busy machine under a sanitizer.
constexpr unsigned kSecondsPerCase = 120;

int failures() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  return test->result()->total_part_count();
}

bool leaks() {
#ifdef __SANITIZE_ADDRESS__
  return __lsan_do_recoverable_leak_check() != 0;
#else
  return false;
#endif
}

}  // namespace

void Progress::begin(std::string_view label) {
  ++cases;
  const std::size_t bytes = std::min(label.size(), label_.size() - 1);
  std::memcpy(label_.data(), label.data(), bytes);
  label_[bytes] = '\0';
  ::alarm(kSecondsPerCase);
}

bool Progress::has_failed() const {
  return failures() > failures_before_;
}

Progress run_watched(const std::function<void(Progress&)>& work) {
  void* const shared =
      ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::bad_alloc();
  auto* const progress = new (shared) Progress;
  progress->failures_before_ = failures();
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      work(*progress);
    } catch (const std::exception& error) {
      ADD_FAILURE() << progress->label() << ": " << error.what();
    }
    ::alarm(0);
    if (leaks()) ADD_FAILURE() << "memory leaked; the last case was " << progress->label();
    std::fflush(nullptr);
    ::_exit(progress->has_failed() ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const Progress result = *progress;
  ::munmap(shared, sizeof(Progress));
  if (WIFSIGNALED(status)) {
    ADD_FAILURE() << "signal " << WTERMSIG(status) << " (" << ::strsignal(WTERMSIG(status))
                  << ") in the case: " << result.label();
  } else if (WEXITSTATUS(status) != 0) {
    ADD_FAILURE() << "failed in the case: " << result.label();
  }
  return result;
}

}  // namespace cairn::testing
