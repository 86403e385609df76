#include <cairn/torch/training.h>

#include <algorithm>

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

}  // namespace cairn
