// Numbers that describe a tensor's elements.
#pragma once

#include <cairn/checkpoint.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

namespace cairn::cli {

struct TensorStats {
  std::uint64_t nan_count = 0;
  std::uint64_t infinity_count = 0;
  std::uint64_t finite_count = 0;
  double min = 0;  ///< Of the finite elements; without any: 0.
  double max = 0;
  double mean = 0;
};

/// Reads a tensor, verified and in bounded memory, and describes it: of complex numbers, which have
/// no order, only what is not finite. Nothing for packed dtypes. Integers beyond 2^53 are rounded.
/// Errors: damaged; truncated; io. `seen` is told how many bytes were looked at, again and again.
std::optional<TensorStats> tensor_stats(const Checkpoint& checkpoint, std::size_t tensor,
                                        const std::function<void(std::uint64_t bytes)>& seen = {});

}  // namespace cairn::cli
