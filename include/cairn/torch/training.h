// Small parts of a training loop that belong in its checkpoints or decide when to save.
#pragma once

#include <cairn/torch/recoverable.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
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

}  // namespace cairn
