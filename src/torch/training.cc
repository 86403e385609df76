#include <cairn/torch/training.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <signal.h>
#include <utility>

namespace cairn {

EpochCounter::EpochCounter(std::int64_t limit) : limit_(limit) {
  if (limit < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "an epoch counter's limit is the number of epochs to run, so it cannot be " +
                    std::to_string(limit));
  }
}

bool EpochCounter::next() noexcept {
  if (current_ >= limit_) return false;
  ++current_;
  return true;
}

void EpochCounter::save_state(StateWriter& writer) const {
  writer.value("epoch", current_);
  writer.value("finished", writer.end_of_epoch());
}

ApplyStep EpochCounter::load_state(StateReader& reader) {
  const std::int64_t epoch = reader.value("epoch").as_int();
  const bool finished = reader.value("finished").as_bool();
  if (epoch < 0) throw Error(ErrorCode::kMismatch, "its saved epoch is negative");
  // `next` counts up, so an epoch that is to run again is one that did not begin.
  const std::int64_t current = finished ? epoch : std::max<std::int64_t>(epoch - 1, 0);
  return [this, current] { current_ = current; };
}

// ---- when to save
// ------------------------------------------------------------------------------------

bool saved_within_epoch(const CheckpointInfo& checkpoint) {
  return checkpoint.meta.get("end-of-epoch") == false;
}

bool saved_at_end_of_epoch(const CheckpointInfo& checkpoint) {
  return !saved_within_epoch(checkpoint);
}

SaveInterval::SaveInterval(SaveIntervalOptions options, Clock clock)
    : options_(options), clock_(std::move(clock)), last_(clock_()) {
  const bool by_time = options_.minutes > 0;  // false for NaN
  if (options_.steps < 0 || !(options_.minutes >= 0) || (options_.steps == 0 && !by_time)) {
    throw Error(ErrorCode::kInvalidArgument,
                "a save interval needs `.steps` or `.minutes`, or both, and none below zero");
  }
}

bool SaveInterval::due() {
  ++steps_;
  const auto now = clock_();
  const bool by_steps = options_.steps > 0 && steps_ >= options_.steps;
  const std::chrono::duration<double, std::ratio<60>> minutes = now - last_;
  const bool by_time = options_.minutes > 0 && minutes.count() >= options_.minutes;
  if (!by_steps && !by_time) return false;
  steps_ = 0;
  last_ = now;
  return true;
}

// ---- when to stop
// ------------------------------------------------------------------------------------

namespace {

// What a signal handler may touch: lock-free atomics of the whole process.
std::atomic<int> last_signal{0};
std::atomic<bool> stop_signal_lives{false};
static_assert(std::atomic<int>::is_always_lock_free);

void remember_signal(int number) {
  last_signal.store(number);
}

}  // namespace

struct StopSignal::Handlers {
  std::vector<std::pair<int, struct sigaction>> before;
};

StopSignal::StopSignal() : StopSignal({SIGTERM, SIGUSR1}) {}

StopSignal::StopSignal(std::vector<int> signals) : previous_(std::make_unique<Handlers>()) {
  if (stop_signal_lives.exchange(true)) {
    throw Error(ErrorCode::kAlreadyExists,
                "another StopSignal lives already; a process has one set of signal handlers");
  }
  last_signal = 0;
  for (const int number : signals) {
    struct sigaction action = {};
    action.sa_handler = remember_signal;
    action.sa_flags = SA_RESTART;
    struct sigaction before = {};
    if (sigaction(number, &action, &before) != 0) {
      const int error = errno;
      restore();
      throw Error(ErrorCode::kInvalidArgument,
                  "cannot handle signal " + std::to_string(number) + "; name others",
                  {.system_errno = error});
    }
    previous_->before.emplace_back(number, before);
  }
}

StopSignal::~StopSignal() {
  restore();
}

void StopSignal::restore() noexcept {
  for (auto it = previous_->before.rbegin(); it != previous_->before.rend(); ++it) {
    sigaction(it->first, &it->second, nullptr);
  }
  stop_signal_lives = false;
}

int StopSignal::signal() const noexcept {
  return last_signal.load();
}

EarlyStopping::EarlyStopping(EarlyStoppingOptions options) : options_(options) {
  if (options_.patience < 1 || options_.warm_up < 0 || !(options_.min_delta >= 0)) {
    throw Error(ErrorCode::kInvalidArgument,
                "early stopping needs a patience of at least 1, and no option below zero");
  }
}

bool EarlyStopping::update(double metric) {
  ++updates_;
  const double gain = best_ ? (options_.maximize ? metric - *best_ : *best_ - metric) : 0.0;
  const bool better = !std::isnan(metric) && (!best_ || gain > options_.min_delta);
  if (better) {
    best_ = metric;
    without_improvement_ = 0;
  } else if (updates_ > options_.warm_up) {
    ++without_improvement_;
  }
  return better;
}

void EarlyStopping::save_state(StateWriter& writer) const {
  if (best_) writer.value("best", *best_);
  writer.value("updates", updates_);
  writer.value("without_improvement", without_improvement_);
}

ApplyStep EarlyStopping::load_state(StateReader& reader) {
  std::optional<double> best;
  if (reader.has_value("best")) best = reader.value("best").as_double();
  const std::int64_t updates = reader.value("updates").as_int();
  const std::int64_t without = reader.value("without_improvement").as_int();
  if (updates < 0 || without < 0 || without > updates) {
    throw Error(ErrorCode::kMismatch, "its saved counts make no sense");
  }
  return [this, best, updates, without] {
    best_ = best;
    updates_ = updates;
    without_improvement_ = without;
  };
}

}  // namespace cairn
