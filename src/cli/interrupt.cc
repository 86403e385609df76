#include "interrupt.h"

#include "failure.h"

#include <csignal>
#include <cstdlib>

namespace cairn::cli {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

volatile std::sig_atomic_t noted = 0;

void note_signal(int signal) {
  noted = signal;
}

void handle_with(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;  // without SA_RESTART: whoever waits shall look up
  ::sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) {
    struct sigaction old {};
    // One that was started with a signal ignored, as by nohup, goes on ignoring it.
    if (::sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace

Interrupts::Interrupts() {
  noted = 0;
  handle_with(note_signal);
}

Interrupts::~Interrupts() {
  handle_with(SIG_DFL);
}

void Interrupts::check() {
  if (noted != 0) throw Interrupted{.signal = noted};
}

void end_by(int signal) {
  std::signal(signal, SIG_DFL);
  std::raise(signal);
  std::_Exit(kFailed);
}

}  // namespace cairn::cli
