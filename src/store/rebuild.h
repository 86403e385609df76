// Making the catalog anew from the pack: a root makes the whole catalog a pure function of it.
#pragma once

#include "catalog/catalog.h"
#include "format/root.h"
#include "format/slot.h"
#include "pack/pack_file.h"
#include "store/paths.h"

#include <cairn/store.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace cairn::store {

/// The root that a rebuild takes, and why not a newer one.
struct ChosenRoot {
  format::Slot slot{};  // `number` says nothing when the root was found by a scan
  format::Root root{};
  std::vector<std::string> notes{};  // one line for each root that was passed over
};

/// Chooses the root to rebuild from.
///
/// Candidates are the slots, newest first. A root is taken only if the index and every chunk of
/// each checkpoint that it adds over its parent verify; else its parent, which was committed and
/// which the reuse rule kept whole, so that damage there is rot; an older one, where the parent
/// cannot be read, only after verifying every chunk that it refers to. When no slot can be read,
/// root records found by a scan of the pack take the slots' place.
/// Nothing when none can be read.
std::optional<ChosenRoot> choose_root(const pack::PackFile& pack);

/// Everything that the catalog says, derived from a root and the indexes that it lists.
struct DerivedCatalog {
  catalog::InfoRow info{};
  std::vector<catalog::CheckpointRow> checkpoints{};
  std::vector<std::pair<catalog::ChunkKey, catalog::ChunkRow>> chunks{};  // ascending by key
  std::vector<format::Extent> free{};                                     // ascending by offset
  /// Ids of checkpoints whose index cannot be read. They are listed as damaged; what they held is
  /// unknown, so the space of chunks that nobody else holds counts as free.
  std::set<std::uint64_t> unreadable{};
};

/// Errors: damaged when extents of different contents overlap; io.
DerivedCatalog derive_catalog(const pack::PackFile& pack, const format::Slot& slot,
                              const format::Root& root);

/// Writes a new catalog file and puts it in the old one's place, which is renamed aside and never
/// deleted. The caller holds the handle's lock exclusively, or the store is only being made.
/// Durability: on return the new catalog survives power loss.
/// Returns the old one's new name, or nothing when there was none.
std::optional<std::filesystem::path> install_catalog(const StorePaths& paths,
                                                     const DerivedCatalog& derived);

/// An index record that a scan found.
struct FoundIndex {
  format::Extent record{};
  format::ChunkId digest{};
  std::uint64_t sequence = 0;

  format::Index read(const pack::PackFile& pack) const;
};

/// For each id that an index in the pack has, the newest one. Compaction leaves two that are
/// equally new, with chunks in different places: of those one whose chunks are whole.
std::map<std::uint64_t, FoundIndex> find_indexes(const pack::PackFile& pack);

/// Checks every chunk of an index; returns the ids of those that are damaged, with messages.
struct DamagedChunk {
  std::size_t chunk = 0;  // position in the index
  std::string message{};
};
std::vector<DamagedChunk> check_chunks(const pack::PackFile& pack, const format::Index& index,
                                       const std::function<void(std::uint64_t bytes)>& seen = {});

}  // namespace cairn::store
