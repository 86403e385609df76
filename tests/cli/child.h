// The tool as a process, however a test starts it.
#pragma once

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <initializer_list>
#include <optional>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

extern char** environ;

namespace cairn::testing {

/// A run of the tool. One that nobody waited for is killed.
class Child {
 public:
  /// What it gets as its standard streams: a descriptor, /dev/null, or nothing.
  static constexpr int kDevNull = -1;
  static constexpr int kClosed = -2;
  struct Streams {
    int in = kDevNull;
    int out = kDevNull;
    int err = kDevNull;
  };

  Child(std::vector<std::string> words, const Streams& streams) {
    words.insert(words.begin(), CAIRN_TOOL_PATH);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (const auto& [number, stream] :
         {std::pair(0, streams.in), std::pair(1, streams.out), std::pair(2, streams.err)}) {
      if (stream == kClosed) {
        posix_spawn_file_actions_addclose(&actions, number);
      } else if (stream == kDevNull) {
        posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0);
      } else {
        posix_spawn_file_actions_adddup2(&actions, stream, number);
      }
    }
    const int problem =
        ::posix_spawn(&id_, CAIRN_TOOL_PATH, &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (problem != 0) throw std::runtime_error("cannot start " CAIRN_TOOL_PATH);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (code_) return;
    signal(SIGKILL);
    wait();
  }

  pid_t id() const { return id_; }
  void signal(int number) const { ::kill(id_, number); }
  /// Its exit code, or 128 + n when signal n killed it.
  int wait() {
    if (!code_) {
      int status = 0;
      while (::waitpid(id_, &status, 0) < 0 && errno == EINTR) {
      }
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return *code_;
  }
  /// Whether there is nothing more to wait for.
  bool has_ended() const {
    siginfo_t info{};
    return code_ ||
           ::waitid(P_PID, static_cast<id_t>(id_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid == id_;
  }

 private:
  pid_t id_ = -1;
  std::optional<int> code_{};
};

/// A descriptor that a child inherits only as one of its streams.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {
    if (number < 0) throw std::runtime_error("cannot open a file of the test");
    ::fcntl(number, F_SETFD, FD_CLOEXEC);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  int number() const { return number_; }
  void close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }

 private:
  int number_;
};

}  // namespace cairn::testing
