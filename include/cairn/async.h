// Saves that go on behind their caller.
#pragma once

#include <cairn/error.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <utility>

namespace cairn {

/// What an asynchronous save does while the one before it is still being written.
enum class BackPressure {
  kWait,  ///< Waits until that one is done.
  kSkip,  ///< Saves nothing, and says so.
};

struct AsyncOptions {
  BackPressure back_pressure = BackPressure::kWait;
  /// Units: bytes of new chunks that a save may hold in memory; one that has more of them is
  /// written before the call returns. The memory is kept for the saves to come.
  std::uint64_t max_buffer_bytes = std::numeric_limits<std::uint64_t>::max();
};

/// What the caller of an asynchronous save had to wait for.
struct AsyncCost {
  std::chrono::nanoseconds waited{0};  ///< For the save before it, to be done.
  std::uint64_t copied_bytes = 0;      ///< Bytes of new chunks that were copied.
  bool written_by_caller = false;      ///< It had more new bytes than the buffer may hold.
};

namespace detail {
/// Something that goes on elsewhere and comes to an end.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual bool ready() const = 0;
  virtual void wait() const = 0;
};
}  // namespace detail

/// The outcome of an asynchronous save, there once the save is durable or has failed.
///
/// Threads: one at a time. Lifetime: may be dropped at any time, also before the save is done; then
/// an error that the save ends with reaches the next change of the store.
template <class Result>
class SaveFuture {
 public:
  /// Of a save that was skipped.
  SaveFuture() = default;
  SaveFuture(std::shared_ptr<const detail::Pending> pending, std::function<Result()> take,
             AsyncCost cost)
      : pending_(std::move(pending)), take_(std::move(take)), cost_(cost) {}

  /// Whether nothing is saved, because the save before was not done; see `BackPressure::kSkip`.
  bool skipped() const noexcept { return pending_ == nullptr; }
  /// Whether `get` would not have to wait.
  bool ready() const { return skipped() || pending_->ready(); }
  void wait() const {
    if (!skipped()) pending_->wait();
  }
  const AsyncCost& cost() const noexcept { return cost_; }

  /// Waits, and gives the result, once. Durability: the checkpoint then survives power loss.
  /// Errors: what the save throws; invalid_argument for one that was skipped, or asked before.
  Result get() {
    if (!take_) {
      throw Error(ErrorCode::kInvalidArgument,
                  skipped() ? "this save was skipped, because the one before it was not done; ask "
                              "`skipped()` first"
                            : "the result of this save was taken already");
    }
    return std::exchange(take_, {})();
  }

  /// The same save, with its result changed by `change` when it is taken.
  template <class Other>
  SaveFuture<Other> map(std::function<Other(Result)> change) && {
    if (skipped()) return {};
    return SaveFuture<Other>(
        std::move(pending_),
        [take = std::move(take_), change = std::move(change)] { return change(take()); }, cost_);
  }

 private:
  std::shared_ptr<const detail::Pending> pending_;
  std::function<Result()> take_;
  AsyncCost cost_;
};

}  // namespace cairn
