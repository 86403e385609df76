// The tool as people see it: on a terminal.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <pty.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace cairn::testing {

/// A run whose stderr, or whose stdout too, is a terminal of some width.
class OnATerminal {
 public:
  explicit OnATerminal(std::vector<std::string> words, bool stdout_too = false,
                       unsigned short columns = 80) {
    int slave = -1;
    const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::openpty(&master_, &slave, nullptr, nullptr, &size) != 0) {
      throw std::runtime_error("cannot open a terminal");
    }
    words.insert(words.begin(), CAIRN_TOOL_PATH);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    child_ = ::fork();
    if (child_ == 0) {
      ::setenv("TERM", "xterm", 1);
      ::dup2(stdout_too ? slave : ::open("/dev/null", O_WRONLY), 1);
      ::dup2(slave, 2);
      ::execv(CAIRN_TOOL_PATH, argv.data());
      ::_exit(127);
    }
    ::close(slave);
  }
  OnATerminal(const OnATerminal&) = delete;
  OnATerminal& operator=(const OnATerminal&) = delete;
  ~OnATerminal() { ::close(master_); }

  /// Everything up to the tool's end.
  std::string rest() {
    std::string all;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(master_, buffer, sizeof buffer)) > 0;) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
  }
  void signal(int number) { ::kill(child_, number); }
  int wait() {
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  int master_ = -1;
  pid_t child_ = -1;
};

}  // namespace cairn::testing
