// Comparing tensors of checkpoints by what their indexes say.
#pragma once

#include <cairn/checkpoint.h>

#include <cstddef>

namespace cairn::cli {

/// Whether two tensors have the same bytes, as far as the digests of their chunks tell. Equal
/// chunks mean equal bytes. Different chunks mean different bytes for a tensor that fills its
/// chunks alone, cut at the same places; a small one shares a chunk with its neighbours, which may
/// be what differs.
enum class Sameness { kSame, kDifferent, kUnknown };
Sameness compare(const Checkpoint& a, std::size_t tensor_a, const Checkpoint& b,
                 std::size_t tensor_b);

/// Whether two checkpoints have the same tensors, by name, dtype, shape and digests, and the same
/// values. Reads no tensor.
bool same_contents(const Checkpoint& a, const Checkpoint& b);

}  // namespace cairn::cli
