// A child process whose output can be read with a deadline, and that can be killed at any moment.
#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace demo {

using Clock = std::chrono::steady_clock;

/// Threads: one. Lifetime: destruction kills the process and waits for its end.
class Child {
 public:
  /// Starts `command` with its output and errors going to one pipe.
  explicit Child(const std::vector<std::string>& command) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe2");
    output_ = ends[0];
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    std::vector<char*> arguments;
    for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const int error =
        ::posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (error != 0) {
      ::close(output_);
      throw std::system_error(error, std::generic_category(), command[0]);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    kill();
    wait();
    ::close(output_);
  }

  /// The next bytes of output: an empty string at its end, nothing when `deadline` comes first.
  std::optional<std::string> read(Clock::time_point deadline) {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      pollfd readable{output_, POLLIN, 0};
      const int ready = ::poll(&readable, 1, left.count() > 0 ? static_cast<int>(left.count()) : 0);
      if (ready == 0) return std::nullopt;
      char bytes[4096];
      const ssize_t count = ready > 0 ? ::read(output_, bytes, sizeof bytes) : -1;
      if (count >= 0) return std::string(bytes, static_cast<std::size_t>(count));
      if (errno != EINTR) throw_errno("reading the output of a child");
    }
  }

  void kill(int signal = SIGKILL) {
    if (!status_) ::kill(pid_, signal);
  }

  /// Waits for the end; the status as of waitpid.
  int wait() {
    int status = 0;
    while (!status_) {
      if (::waitpid(pid_, &status, 0) == pid_) {
        status_ = status;
      } else if (errno != EINTR) {
        status_ = -1;
      }
    }
    return *status_;
  }

 private:
  [[noreturn]] static void throw_errno(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
  }

  pid_t pid_ = -1;
  int output_ = -1;
  std::optional<int> status_ = {};
};

}  // namespace demo
