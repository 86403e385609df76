// Ctrl-C in a command that has to tidy up. All others just die: a store bears that at any moment.
#pragma once

namespace cairn::cli {

/// A signal asked the tool to end. The tool ends by that signal, so that a shell sees it.
struct Interrupted {
  int signal = 0;
};

/// While it lives, SIGINT, SIGTERM and SIGHUP are noted instead of ending the process. One at a
/// time.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// Errors: Interrupted, when a signal has come.
  static void check();
};

/// Ends the process as the signal would have.
[[noreturn]] void end_by(int signal);

}  // namespace cairn::cli
