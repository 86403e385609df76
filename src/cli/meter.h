// Progress of a command that may take long.
#pragma once

#include "interrupt.h"
#include "output.h"

#include <cairn/progress.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace cairn::cli {

/// From a second on, a line on the terminal that says how far a command is, how fast, and how much
/// time is left; gone when the meter goes. Another total begins anew: each stage of a command has
/// its own rate. Without a terminal, with --json or --quiet: nothing.
/// Threads: safe for concurrent use.
class Meter {
 public:
  Meter(Output& output, std::string_view doing) : output_(output), doing_(doing) {}
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;
  ~Meter() { output_.clear_status(); }

  void show(const Progress& progress);
  /// For a call that reports. Lifetime: the meter's.
  ProgressCallback callback() {
    return [this](const Progress& progress) { show(progress); };
  }

  /// The same, which ends the call with `Interrupted` when a signal has come.
  ProgressCallback interruptible() {
    return [this](const Progress& progress) {
      Interrupts::check();
      show(progress);
    };
  }

 private:
  using Clock = std::chrono::steady_clock;

  Output& output_;
  std::string doing_;
  std::mutex mutex_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_ = begin_;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace cairn::cli
