// A run of the training example, followed through what it writes.
#pragma once

#include "child.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

/// What `train` tells in its output.
struct Event {
  enum class Kind {
    kSaving,  ///< It enters a save.
    kSaved,   ///< It left the save.
    kLine,    ///< Any other line.
    kEnd,     ///< The end of the output.
  };
  Kind kind = Kind::kLine;
  std::string line = {};  ///< So far, for kSaving.
  std::int64_t step = 0;  ///< Of kSaving and kSaved.
  Clock::time_point at = {};
};

class TrainRun {
 public:
  explicit TrainRun(const std::vector<std::string>& command) : child_(command) {}

  /// Waits for the next event. Errors: std::runtime_error when there is none for a minute.
  Event next() {
    for (;;) {
      if (auto event = parse()) return *event;
      if (ended_) return Event{Event::Kind::kEnd, {}, 0, Clock::now()};
      const auto bytes = child_.read(Clock::now() + std::chrono::minutes(1));
      if (!bytes) throw std::runtime_error("train hangs: it wrote nothing for a minute");
      ended_ = bytes->empty();
      output_ += *bytes;
    }
  }

  void kill() { child_.kill(); }
  int wait() { return child_.wait(); }

  /// As far as events were read: it has entered a save and not left it.
  bool in_save() const { return saving_step_.has_value(); }
  /// As far as events were read: its start is over, by recovery or by a first save.
  bool recovered() const { return recovered_; }
  /// As far as events were read: its store holds a checkpoint.
  bool committed() const { return committed_; }
  /// The last line that was read, whole or not.
  const std::string& last_line() const { return last_line_; }
  const std::string& output() const { return output_; }
  Clock::time_point started_at() const { return started_at_; }

 private:
  // The next event in what was read and not yet parsed.
  std::optional<Event> parse() {
    const std::string_view rest = std::string_view(output_).substr(parsed_);
    const auto end = rest.find('\n');
    const std::string line(rest.substr(0, end));
    const auto event = [&line](Event::Kind kind, std::int64_t step) {
      return Event{kind, line, step, Clock::now()};
    };
    if (!saving_step_ && line.find("  saving") != std::string::npos) {
      last_line_ = line;
      recovered_ = true;
      saving_step_ = step_of(line);
      return event(Event::Kind::kSaving, *saving_step_);
    }
    if (end == std::string_view::npos) return std::nullopt;
    parsed_ += end + 1;
    last_line_ = line;
    if (line.starts_with("resumed")) recovered_ = committed_ = true;
    if (line.find("  saved ") == std::string::npos) return event(Event::Kind::kLine, 0);
    committed_ = true;
    return event(Event::Kind::kSaved, std::exchange(saving_step_, std::nullopt).value());
  }

  static std::int64_t step_of(const std::string& line) {
    const auto at = line.find("step ");
    if (at == std::string::npos) throw std::runtime_error("a line without a step: " + line);
    return std::stoll(line.substr(at + 5));
  }

  Clock::time_point started_at_ = Clock::now();
  Child child_;
  std::string output_ = {};
  std::size_t parsed_ = 0;
  std::string last_line_ = {};
  bool ended_ = false;
  std::optional<std::int64_t> saving_step_ = {};
  bool recovered_ = false;
  bool committed_ = false;
};

}  // namespace demo
