// Taking a state: cut it, hash it, and make of it what a commit can persist.
#pragma once

#include "store/commit.h"
#include "store/cut.h"

#include <cairn/state.h>
#include <cairn/store.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace cairn::store {

/// A state that has been cut and hashed. Lifetime: refers to the state's memory.
struct TakenState {
  std::unique_ptr<const CutState> cut{};  // the contents of `checkpoint.chunks` point into it
  NewCheckpoint checkpoint{};
};

/// Errors: invalid_argument for a name that a checkpoint cannot have.
void require_checkpoint_name(std::string_view name);

/// Sees each chunk right after it was hashed, while its bytes are in the cache, and may give it
/// another `fill`. Threads: called on several at once.
using ChunkVisitor =
    std::function<void(const PlannedChunk&, ChunkContent&, std::span<const std::byte> bytes)>;

/// Errors: invalid_argument for a state or options that no store can save.
void check_state(const CheckpointState& state, const SaveOptions& options);

/// Cuts and hashes on several threads; copies nothing that lies in memory in one piece.
/// Errors: invalid_argument for a state or options that cannot be saved; io (a source).
TakenState take_state(const CheckpointState& state, const SaveOptions& options,
                      std::uint64_t chunk_bytes, const ChunkVisitor& visit = {});

/// A chunk that a pack holds, to be read and verified there when it is asked for; `seen` is then
/// told of it. Lifetime: of pack and chunk.
ChunkContent content_of(const pack::PackFile& pack, const format::ChunkRef& chunk,
                        std::function<void(std::uint64_t plain_bytes)> seen);

/// What is written is hashed once more, in the cache where it was copied to: a tensor that another
/// thread changes meanwhile must fail this save, not a later load.
/// Errors: io, naming the tensor.
void require_unchanged(std::span<const std::byte> bytes, const format::ChunkId& id,
                       std::string_view tensor);

}  // namespace cairn::store
