// Checking a whole store, or some of its checkpoints, without changing anything.
#pragma once

#include "catalog/catalog.h"
#include "format/index.h"
#include "pack/pack_file.h"
#include "store/paths.h"

#include <cairn/store.h>

#include <cstdint>
#include <span>
#include <vector>

namespace cairn::store {

/// Reads and checks superblocks, slots, roots, indexes, chunks, and that the catalog's counts and
/// extents are what the indexes say: live, pending and free extents partition the pack.
/// `ids`: only the chunks of these checkpoints; empty: of all. `slots` were read before `view`.
/// Errors: not_found (an id); io. Damage is in the report.
VerifyReport verify_store(const StorePaths& paths, const pack::PackFile& pack,
                          const pack::SlotTable& slots, const catalog::ReadTransaction& view,
                          std::span<const std::uint64_t> ids,
                          const ProgressCallback& progress = {});

/// The part of it that reads no chunk: what holds the store together, indexes among it. Puts into
/// `chunks` those that the readable indexes name, each once, in the order in which they lie.
VerifyReport verify_frame(const StorePaths& paths, const pack::PackFile& pack,
                          const pack::SlotTable& slots, const catalog::ReadTransaction& view,
                          std::vector<format::ChunkRef>& chunks);

/// Adds the tensors of a checkpoint that have bytes in the chunk at `offset`.
void add_tensors_in(const catalog::CheckpointRow& row, const format::Index& index,
                    std::uint64_t offset, std::vector<DamagedTensor>& tensors);

/// The part of it that needs no catalog: indexes and chunks of the given checkpoints.
VerifyReport verify_contents(const pack::PackFile& pack, std::uint64_t data_end,
                             std::span<const catalog::CheckpointRow> rows,
                             const ProgressCallback& progress = {});

}  // namespace cairn::store
