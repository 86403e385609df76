// How far a long call has come.
#pragma once

#include <cstdint>
#include <functional>

namespace cairn {

struct Progress {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;  ///< 0: not known.
};

/// Told now and then during a call. Threads: on those of the call, several at once.
/// An exception ends the call as an error of its own would.
using ProgressCallback = std::function<void(const Progress& progress)>;

}  // namespace cairn
