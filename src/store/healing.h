// Healing: a save puts the good bytes that it has at hand in place of stored ones that have rotted.
//
//  1. Of the chunks that a save finds stored already, it looks again at those that a checkpoint
//     known to be damaged shares, and at one in so many of the others, in turn (`HealingTurn`).
//  2. A chunk that does not match its digest, or that the disk cannot read, is written anew in the
//     extent where it lies. That extent is live, and is written all the same: the chunk as a whole
//     is lost already, and what is written is what ought to stand there. After a crash each sector
//     holds the old bytes or the right ones, so nothing that was good can become bad; no row, count
//     or index changes.
//  3. A checkpoint known to be damaged whose chunks are then all good is marked as whole by the
//  same
//     commit. The pack is flushed before the commit, so the mark never outruns the bytes.
//
// Chunks are read as any reader reads them: what the page cache holds is checked in memory, not on
// the disk (docs/decisions/0021).
#pragma once

#include "catalog/rows.h"
#include "format/index.h"
#include "pack/pack_file.h"

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace cairn::store {

/// Which stored chunks one save looks at again: one in `every`, by the digest; another part for
/// each id of a new checkpoint, so that `every` saves in a row look at all of them.
struct HealingTurn {
  std::uint64_t every = 0;  // 0: none
  std::uint64_t id = 0;

  bool includes(const catalog::ChunkKey& key) const noexcept;
};

/// A chunk that a save shares with checkpoints before it, and how to make its bytes.
struct SharedChunk {
  catalog::ChunkRow row{};
  const std::function<void(std::span<std::byte>)>* fill = nullptr;
};
using SharedChunks = std::map<catalog::ChunkKey, SharedChunk>;

/// What one save heals.
struct Healing {
  std::vector<pack::ExtentWrite> writes{};
  std::vector<std::uint64_t> whole{};  // checkpoints known as damaged that `writes` make whole
  std::vector<std::string> notes{};
};

/// Threads: one at a time.
class Healer {
 public:
  /// `pack` outlives the healer.
  explicit Healer(const pack::PackFile& pack) : pack_(pack) {}

  /// Looks at the stored chunks among `shared` that `turn` includes or that one of
  /// `known_damaged` holds. Errors: io (not for a chunk that the disk cannot read).
  Healing plan(const SharedChunks& shared, const HealingTurn& turn,
               std::span<const catalog::CheckpointRow* const> known_damaged,
               std::uint64_t data_end);

 private:
  const pack::PackFile& pack_;
  // By id: a damaged chunk of a checkpoint that no save had at hand, looked at first the next time.
  std::map<std::uint64_t, format::ChunkRef> still_bad_;
};

/// Why a chunk is not good where it lies, or nothing.
/// Errors: io, unless the disk cannot read the chunk, which makes it as good as lost.
std::string chunk_problem(const pack::PackFile& pack, const format::ChunkRef& chunk);

}  // namespace cairn::store
