// Copying what is not read again soon.
#pragma once

#include <cstddef>
#include <span>

namespace cairn::base {

/// Copies like memcpy, past the caches where the processor can and the bytes are many. A plain
/// store reads the line that it is about to overwrite from memory first; the C library spares that
/// only for copies of many mebibytes, and chunks are shorter. `out` is as long as `in`, and apart
/// from it. Threads: as memcpy.
void stream_copy(std::span<std::byte> out, std::span<const std::byte> in) noexcept;

}  // namespace cairn::base
