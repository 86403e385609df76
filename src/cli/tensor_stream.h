// Reading a tensor piece by piece, verified, in bounded memory.
#pragma once

#include <cairn/checkpoint.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace cairn::cli {

/// Positions and bytes of one tensor, in order; each piece holds whole elements of every dtype but
/// packed ones, and none is larger than a few chunks. Errors: damaged; truncated; io.
void for_each_piece(
    const Checkpoint& checkpoint, std::size_t tensor,
    const std::function<void(std::uint64_t offset, std::span<const std::byte>)>& see);

}  // namespace cairn::cli
