// Taking a state: cut it, hash it, and make of it what a commit can persist.
#pragma once

#include "store/commit.h"
#include "store/cut.h"

#include <cairn/state.h>
#include <cairn/store.h>

#include <cstdint>
#include <memory>

namespace cairn::store {

/// A state that has been cut and hashed. Lifetime: refers to the state's memory.
struct TakenState {
  std::unique_ptr<const CutState> cut{};  // the contents of `checkpoint.chunks` point into it
  NewCheckpoint checkpoint{};
};

/// Cuts and hashes on several threads; copies nothing that lies in memory in one piece.
/// Errors: invalid_argument for a state or options that cannot be saved; io (a source).
TakenState take_state(const CheckpointState& state, const SaveOptions& options,
                      std::uint64_t chunk_bytes);

}  // namespace cairn::store
