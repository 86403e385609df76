// The tool as people see it: on a terminal.
#pragma once

#include "cli/child.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <vector>

namespace cairn::testing {

/// A run whose stderr, or whose stdout too, is a terminal of some width.
class OnATerminal {
 public:
  explicit OnATerminal(std::vector<std::string> words, bool stdout_too = false,
                       unsigned short columns = 80, const char* kind = "xterm")
      : ends_(columns),
        child_((::setenv("TERM", kind, 1), std::move(words)),
               {.out = stdout_too ? ends_.tool.number() : Child::kDevNull,
                .err = ends_.tool.number()}) {
    ends_.tool.close();
  }

  /// Everything up to the tool's end.
  std::string rest() {
    std::string all;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(ends_.ours.number(), buffer, sizeof buffer)) > 0;) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
  }
  void signal(int number) { child_.signal(number); }
  int wait() { return child_.wait(); }

  /// Stops the tool for longer than a second when it has read so many bytes: what it does then
  /// takes long on any machine. It may be done before.
  void hold_after_reading(std::uint64_t bytes) {
    while (bytes_read() < bytes) {
      if (child_.has_ended()) return;
      ::sched_yield();
    }
    child_.signal(SIGSTOP);
    ::poll(nullptr, 0, 1100);
    child_.signal(SIGCONT);
  }

 private:
  struct Ends {
    explicit Ends(unsigned short columns) : Ends(open(columns)) {}
    explicit Ends(std::pair<int, int> both) : ours(both.first), tool(both.second) {}
    static std::pair<int, int> open(unsigned short columns) {
      const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
      int ours = -1;
      int tool = -1;
      if (::openpty(&ours, &tool, nullptr, nullptr, &size) != 0) {
        throw std::runtime_error("cannot open a terminal");
      }
      return {ours, tool};
    }
    Descriptor ours;
    Descriptor tool;
  };

  std::uint64_t bytes_read() const {
    std::ifstream counts("/proc/" + std::to_string(child_.id()) + "/io");
    std::string name;
    std::uint64_t bytes = 0;
    counts >> name >> bytes;  // "rchar: N"
    return counts ? bytes : 0;
  }

  Ends ends_;
  Child child_;
};

}  // namespace cairn::testing
