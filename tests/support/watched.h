// Work that may crash or hang, in a child process that names the case at hand.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

namespace cairn::testing {

/// What a watched child shares with its parent.
class Progress {
 public:
  /// Begins a case: from here on a crash or a hang is this case's.
  void begin(std::string_view label);
  std::string_view label() const { return label_.data(); }
  /// Whether an expectation has failed in this child.
  bool has_failed() const;

  std::uint64_t cases = 0;
  std::array<std::uint64_t, 8> counts{};  // for the test's own use

 private:
  friend Progress run_watched(const std::function<void(Progress&)>& work);
  std::array<char, 512> label_{};
  int failures_before_ = 0;
};

/// Runs `work` in a forked child and waits for it. A signal, a case of more than two minutes, a
/// leak (where the leak checker is there) or a failed expectation fails the test.
Progress run_watched(const std::function<void(Progress&)>& work);

}  // namespace cairn::testing
