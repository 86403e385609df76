// A forked child that works while its parent waits for it at stated points.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cairn::catalog {

class Child {
 public:
  /// Runs `work` in a child, which ends when it returns; its result is the exit status. `pause`
  /// tells the parent that the child has come so far, and waits until the parent lets it go on.
  explicit Child(const std::function<int(const std::function<void()>& pause)>& work) {
    int to_parent[2];
    int to_child[2];
    EXPECT_EQ(::pipe(to_parent), 0);
    EXPECT_EQ(::pipe(to_child), 0);
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      int result = 99;
      try {
        result = work([&] {
          char byte = 0;
          if (::write(to_parent[1], &byte, 1) != 1 || ::read(to_child[0], &byte, 1) != 1) {
            ::_exit(98);
          }
        });
      } catch (const std::exception& error) {
        std::fprintf(stderr, "in the child: %s\n", error.what());
      }
      ::_exit(result);
    }
    ::close(to_parent[1]);
    ::close(to_child[0]);
    from_child_ = to_parent[0];
    to_child_ = to_child[1];
  }
  ~Child() {
    if (pid_ > 0) kill();
    ::close(from_child_);
    ::close(to_child_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  /// Until the child pauses. False when it ended instead.
  bool wait_for_pause() {
    char byte = 0;
    ssize_t got = 0;
    do {
      got = ::read(from_child_, &byte, 1);
    } while (got < 0 && errno == EINTR);
    return got == 1;
  }
  void let_go_on() {
    const char byte = 0;
    EXPECT_EQ(::write(to_child_, &byte, 1), 1);
  }
  void kill() {
    ::kill(pid_, SIGKILL);
    wait();
  }
  /// The exit status, or -1 when a signal ended it.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  int from_child_ = -1;
  int to_child_ = -1;
};

}  // namespace cairn::catalog
