// Small parts of a training loop that belong in its checkpoints or decide when to save.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/torch/recoverable.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

namespace cairn {

/// Counts the epochs of a job, across restarts.
///
/// `for (auto epoch : counter)` runs from the epoch after the last finished one up to the limit,
/// starting at 1. After loading a checkpoint saved with `.end_of_epoch = false`, the epoch in which
/// it was saved runs again; otherwise the one after it. Leaving the loop and entering it again goes
/// on with the next epoch. The limit is not saved: a job may be started again with a higher one.
class EpochCounter {
 public:
  /// Errors: invalid_argument for a negative limit.
  explicit EpochCounter(std::int64_t limit);

  /// The epoch that runs or ran last; 0 before the first.
  std::int64_t current() const noexcept { return current_; }
  std::int64_t limit() const noexcept { return limit_; }

  /// Starts the next epoch; false when the limit is reached.
  bool next() noexcept;

  /// Iterates by `next`; see `EpochCounter`.
  class Iterator {
   public:
    using value_type = std::int64_t;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;

    explicit Iterator(EpochCounter& counter) : counter_(&counter), running_(counter.next()) {}
    std::int64_t operator*() const noexcept { return counter_->current(); }
    Iterator& operator++() noexcept {
      running_ = counter_->next();
      return *this;
    }
    void operator++(int) noexcept { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept {
      return !it.running_;
    }

   private:
    EpochCounter* counter_;
    bool running_;
  };

  /// Starts the next epoch.
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

  void save_state(StateWriter& writer) const;
  ApplyStep load_state(StateReader& reader);

 private:
  std::int64_t limit_;
  std::int64_t current_ = 0;
};

/// Whether a checkpoint was saved with `.end_of_epoch = false`, by the "end-of-epoch" flag that
/// every save puts into the metadata. As a predicate it lets such saves rotate among themselves,
/// whatever becomes of the others:
///
///     checkpointer.save_and_keep_only({.end_of_epoch = false},
///                                     {.num_to_keep = 2, .ckpt_predicate = saved_within_epoch});
bool saved_within_epoch(const CheckpointInfo& checkpoint);

/// The opposite: whether a checkpoint was saved at the end of an epoch.
bool saved_at_end_of_epoch(const CheckpointInfo& checkpoint);

/// When to save within an epoch: after so many steps or minutes, whichever comes first.
struct SaveIntervalOptions {
  std::int64_t steps = 0;  ///< 0: not by steps.
  double minutes = 0;      ///< 0: not by time.
};

/// Says after which steps of a loop to save: `if (interval.due())
/// checkpointer.save_checkpoint(...)`.
class SaveInterval {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  /// Errors: invalid_argument for a negative interval, or for neither steps nor minutes.
  explicit SaveInterval(
      SaveIntervalOptions options, Clock clock = [] { return std::chrono::steady_clock::now(); });

  /// Counts a step; true when it is time to save, and then counts from there anew.
  bool due();

 private:
  SaveIntervalOptions options_;
  Clock clock_;
  std::int64_t steps_ = 0;
  std::chrono::steady_clock::time_point last_;
};

/// Notices that the job is asked to stop, so that it can save before it does.
///
/// While it lives, its signals no longer end the process; they are remembered:
/// `if (stop.requested()) { checkpointer.save_checkpoint(...); break; }`.
/// Threads: `requested` may be called from any.
class StopSignal {
 public:
  /// SIGTERM and SIGUSR1, which schedulers send before they preempt a job.
  /// Errors: already_exists while another lives; invalid_argument for what is no signal.
  StopSignal();
  explicit StopSignal(std::vector<int> signals);
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  /// Gives the signals back to whoever handled them before.
  ~StopSignal();

  bool requested() const noexcept { return signal() != 0; }
  /// The signal that came last; 0: none.
  int signal() const noexcept;

 private:
  void restore() noexcept;

  struct Handlers;
  std::unique_ptr<Handlers> previous_;
};

/// When to give up on a metric that no longer improves.
struct EarlyStoppingOptions {
  std::int64_t patience = 3;  ///< Stop after so many updates in a row without improvement.
  std::int64_t warm_up = 0;   ///< So many updates at the start do not count against patience.
  double min_delta = 0;       ///< What counts as improvement: better than the best by more than it.
  bool maximize = false;      ///< Whether more is better; of a loss, less is.
};

/// Follows a metric and says when to stop; register it, and a resumed job goes on counting.
///
/// To return to the best state afterwards, keep it with `KeepOptions::min_keys` (or `max_keys`) and
/// load what `find_checkpoint` gives for that key.
class EarlyStopping {
 public:
  /// Errors: invalid_argument for a negative option, or a patience of 0.
  explicit EarlyStopping(EarlyStoppingOptions options);

  /// Takes the metric of one epoch; true when it is the best so far. NaN never is.
  bool update(double metric);

  bool should_stop() const noexcept { return without_improvement_ >= options_.patience; }
  /// The best metric so far, or nothing before the first that is a number.
  std::optional<double> best() const noexcept { return best_; }
  std::int64_t updates() const noexcept { return updates_; }

  void save_state(StateWriter& writer) const;
  ApplyStep load_state(StateReader& reader);

 private:
  EarlyStoppingOptions options_;
  std::optional<double> best_;
  std::int64_t updates_ = 0;
  std::int64_t without_improvement_ = 0;
};

}  // namespace cairn
