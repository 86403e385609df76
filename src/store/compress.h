// Which chunks of a checkpoint are stored compressed, and how.
#pragma once

#include "codec/grouped.h"
#include "format/index.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace cairn::store {

/// A layout for each chunk, `plain_bytes` long: that of most of the bytes in it.
std::vector<codec::Layout> layouts_of(std::span<const format::IndexRecoverable> recoverables,
                                      std::span<const std::uint64_t> plain_bytes);

/// Encodes a chunk into `out`, which is as long as `plain`. Returns the encoded length, or 0 for a
/// chunk that is better stored as it is: fewer pages must be taken, and a sixteenth be saved.
std::size_t encode_if_worth(std::span<const std::byte> plain, codec::Layout layout,
                            std::span<std::byte> out);

/// A layout by which `plain` takes at most `stored_bytes`, if there is one.
std::optional<codec::Layout> layout_that_fits(std::span<const std::byte> plain,
                                              std::uint64_t stored_bytes);

}  // namespace cairn::store
