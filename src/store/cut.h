// Cutting a state into chunks: which bytes of which tensors make up each chunk.
//
// A tensor of kSmallTensorBytes or more is cut into chunks of the store's chunk length from its own
// start, so that a change to a few rows changes only their chunks. Smaller ones of one recoverable
// are laid together, by key, each at a multiple of kSmallAlignment, into chunks of at most
// kSmallTensorBytes. The rule is part of the format's description (format/SPEC.md): another writer
// that follows it deduplicates against this one.
#pragma once

#include "format/index.h"

#include <cairn/state.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cairn::store {

inline constexpr std::uint64_t kSmallAlignment = 16;

/// Bytes [tensor_offset, tensor_offset + bytes) of a tensor, at `chunk_offset` in a chunk.
struct Piece {
  const TensorInput* tensor = nullptr;
  std::uint64_t tensor_offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t chunk_offset = 0;
};

struct PlannedChunk {
  std::uint64_t plain_bytes = 0;
  std::vector<Piece> pieces{};
};

/// A state, cut: the index's recoverables, whose tensors refer to `chunks` by position.
struct CutState {
  std::vector<format::IndexRecoverable> recoverables{};
  std::vector<PlannedChunk> chunks{};
};

/// Checks a state and cuts it. Tensors that are the same memory (pointer, dtype, shape, strides)
/// refer to the same bytes. Lifetime: the result points into `state`.
/// Errors: invalid_argument, naming recoverable and tensor: a bad or repeated name, a negative or
/// too large shape, strides that do not fit the shape, no data for a tensor that is not empty.
CutState cut(const CheckpointState& state, std::uint64_t chunk_bytes);

/// Fills `out`, `chunk.plain_bytes` long, with the chunk's bytes; zeros between its pieces.
void fill(const PlannedChunk& chunk, std::span<std::byte> out);

/// The chunk's bytes where they lie in memory in one piece already; else filled into `buffer`,
/// which is at least so long.
std::span<const std::byte> view_or_fill(const PlannedChunk& chunk, std::span<std::byte> buffer);

}  // namespace cairn::store
