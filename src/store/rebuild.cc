#include "store/rebuild.h"

#include "base/checked.h"
#include "base/mutant.h"
#include "base/text.h"
#include "io/file.h"
#include "store/checks.h"

#include <cairn/error.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

namespace cairn::store {

using base::round_up;
using catalog::ChunkKey;
using catalog::ChunkRow;
using format::ChunkRef;
using format::Extent;
using format::kAlignment;
using format::kDataBegin;
using format::RecordType;
using format::Root;
using format::RootEntry;
using format::Slot;

namespace {

/// Why the listed checkpoints cannot be taken as whole, or nothing.
std::optional<std::string> verify_entries(const pack::PackFile& pack, std::uint64_t data_end,
                                          std::span<const RootEntry* const> entries) {
  for (const RootEntry* entry : entries) {
    try {
      const auto index = read_index_of(pack, *entry, data_end);
      const auto damaged = check_chunks(pack, index);
      if (!damaged.empty()) return damaged.front().message;
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      return error.what();
    }
  }
  return std::nullopt;
}

/// The entries of `root` that `parent` does not list.
std::vector<const RootEntry*> added_entries(const Root& root, const Root* parent) {
  std::vector<const RootEntry*> added;
  const std::span<const RootEntry> old = parent != nullptr
                                             ? std::span<const RootEntry>(parent->checkpoints)
                                             : std::span<const RootEntry>();
  auto at = old.begin();  // both lists ascend by id
  for (const RootEntry& entry : root.checkpoints) {
    while (at != old.end() && at->id < entry.id) ++at;
    const bool known =
        at != old.end() && at->id == entry.id && at->index_digest == entry.index_digest;
    if (!known) added.push_back(&entry);
  }
  return added;
}

/// The extents that are in use, padding included.
class Occupied {
 public:
  void add(const Extent& extent) {
    extents_.emplace(extent.offset, extent.offset + round_up(extent.bytes, kAlignment));
  }

  bool overlaps(const Extent& extent) const {
    const auto after = extents_.upper_bound(extent.offset);
    if (after != extents_.begin() && std::prev(after)->second > extent.offset) return true;
    return after != extents_.end() &&
           after->first < extent.offset + round_up(extent.bytes, kAlignment);
  }

  /// By offset: where each begins and ends.
  const std::multimap<std::uint64_t, std::uint64_t>& extents() const { return extents_; }

 private:
  std::multimap<std::uint64_t, std::uint64_t> extents_;
};

/// Errors: damaged, when the index places a chunk where something else is, or elsewhere than an
/// index before it. The good one's bytes must not be freed with the bad one's.
void check_places(const pack::PackFile& pack, const format::Index& index,
                  const std::map<ChunkKey, ChunkRow>& chunks, const Occupied& occupied) {
  for (const ChunkRef& chunk : index.chunks) {
    const auto known = chunks.find(catalog::key_of(chunk));
    const bool fits = known != chunks.end() ? known->second.offset == chunk.offset
                                            : !occupied.overlaps({.offset = chunk.offset,  //
                                                                  .bytes = chunk.stored_bytes});
    if (!fits) {
      throw Error(ErrorCode::kDamaged,
                  "the index places chunk " + chunk.id.to_hex() + " where it cannot be",
                  {.path = pack.path(), .offset = chunk.offset});
    }
  }
}

/// A slot, or what a scan found, and its root when that can be read.
struct Candidate {
  Slot slot{};
  std::optional<Root> root{};
  std::string error{};
};

std::vector<Candidate> candidates_from_slots(const pack::PackFile& pack) {
  std::vector<Candidate> candidates;
  const pack::SlotTable table = pack.read_slots();
  for (const Slot* slot : table.newest_first()) {
    Candidate& candidate = candidates.emplace_back();
    candidate.slot = *slot;
    try {
      candidate.root = pack.read_root(slot->root, slot->data_end);
      if (candidate.root->sequence != slot->sequence ||
          candidate.root->parent_sequence != slot->parent_sequence ||
          candidate.root->parent_digest != slot->parent_digest) {
        candidate.root.reset();
        candidate.error = "its slot and its root contradict each other";
      }
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      candidate.error = error.what();
    }
  }
  return candidates;
}

std::vector<Candidate> candidates_from_scan(const pack::PackFile& pack) {
  // Both copies of a root have one sequence and digest; a copy alone stands for both.
  std::map<std::pair<std::uint64_t, format::ChunkId>, Candidate> by_root;
  const std::uint64_t data_end = round_up(pack.file().bytes(), kAlignment);
  for (const pack::FoundRecord& found : pack.scan(RecordType::kRoot)) {
    auto& candidate = by_root[{found.header.sequence, found.header.payload_digest}];
    format::RootLocation& location = candidate.slot.root;
    if (!candidate.root) {
      try {
        candidate.root = pack.read_root_copy(found.extent, found.header.payload_digest, data_end);
      } catch (const Error& error) {
        if (!is_damage(error)) throw;
        continue;
      }
      location = {
          .first = found.extent, .second = found.extent, .digest = found.header.payload_digest};
    } else {
      location.second = found.extent;
    }
    candidate.slot.sequence = candidate.root->sequence;
    candidate.slot.parent_sequence = candidate.root->parent_sequence;
    candidate.slot.parent_digest = candidate.root->parent_digest;
    candidate.slot.data_end = data_end;
  }
  std::vector<Candidate> candidates;
  for (auto& [key, candidate] : by_root) {
    if (candidate.root) candidates.push_back(std::move(candidate));
  }
  std::reverse(candidates.begin(), candidates.end());  // newest first
  return candidates;
}

std::string describe(const Candidate& candidate) {
  return "commit " + std::to_string(candidate.slot.sequence);
}

std::optional<ChosenRoot> choose_among(const pack::PackFile& pack,
                                       const std::vector<Candidate>& candidates, bool from_slots) {
  std::vector<std::string> notes;
  const auto find_parent = [&](const Candidate& child) -> const Candidate* {
    for (const Candidate& candidate : candidates) {
      if (candidate.slot.sequence == child.slot.parent_sequence &&
          candidate.slot.root.digest == child.slot.parent_digest) {
        return &candidate;
      }
    }
    return nullptr;
  };
  /// Why a candidate will not do, by what it lists and `parent` does not.
  const auto problem_of = [&](const Candidate& candidate,
                              const Candidate* parent) -> std::optional<std::string> {
    if (!candidate.root) return candidate.error;
    if (CAIRN_MUTANT(kUncheckedRoot)) return std::nullopt;
    const Root* known = parent != nullptr && parent->root ? &*parent->root : nullptr;
    return verify_entries(pack, candidate.slot.data_end, added_entries(*candidate.root, known));
  };
  const auto take = [&](const Candidate& candidate) {
    return ChosenRoot{.slot = candidate.slot, .root = *candidate.root, .notes = notes};
  };
  const auto pass_over = [&](const Candidate& candidate, const std::string& why) {
    notes.push_back(describe(candidate) + " was passed over: " + why);
  };

  auto rest = candidates.begin();
  if (from_slots && rest != candidates.end()) {
    const Candidate& newest = *rest++;
    const Candidate* parent = find_parent(newest);
    const auto problem = problem_of(newest, parent);
    if (!problem) return take(newest);
    pass_over(newest, *problem);
    // When the newest slot was written, its parent was committed: whatever of that is not whole
    // has rotted since, and is found when it is loaded.
    if (parent != nullptr && parent->root) return take(*parent);
  }
  for (; rest != candidates.end(); ++rest) {
    const auto problem = problem_of(*rest, nullptr);
    if (!problem) return take(*rest);
    pass_over(*rest, *problem);
  }
  // No root is whole. Rot in one checkpoint must not cost the others: the newest root that can be
  // read still says what there is, and each checkpoint is checked when it is loaded.
  for (const Candidate& candidate : candidates) {
    if (!candidate.root) continue;
    notes.push_back(describe(candidate) +
                    " was taken although it lists damaged checkpoints, because no other is whole");
    return take(candidate);
  }
  return std::nullopt;
}

}  // namespace

std::vector<DamagedChunk> check_chunks(const pack::PackFile& pack, const format::Index& index,
                                       const std::function<void(std::uint64_t bytes)>& seen) {
  std::vector<DamagedChunk> damaged;
  std::mutex mutex;
  pack::ChunkReader reader;
  reader.damaged = [&](std::size_t i, const Error& error) {
    const std::lock_guard lock(mutex);
    damaged.push_back({.chunk = i, .message = error.what()});
  };
  if (seen) {
    reader.use = [&](std::size_t, std::span<const std::byte> plain) { seen(plain.size()); };
  }
  std::vector<pack::ChunkRead> reads;
  reads.reserve(index.chunks.size());
  for (std::size_t i = 0; i < index.chunks.size(); ++i) {
    reads.push_back({.chunk = &index.chunks[i], .tag = i});
  }
  pack.read_chunks(std::move(reads), reader);
  std::sort(damaged.begin(), damaged.end(),
            [](const DamagedChunk& a, const DamagedChunk& b) { return a.chunk < b.chunk; });
  return damaged;
}

format::Index FoundIndex::read(const pack::PackFile& pack) const {
  return pack.read_index(record, digest, round_up(pack.file().bytes(), kAlignment));
}

std::map<std::uint64_t, FoundIndex> find_indexes(const pack::PackFile& pack) {
  std::map<std::uint64_t, FoundIndex> newest;
  for (const pack::FoundRecord& record : pack.scan(RecordType::kIndex)) {
    FoundIndex found{.record = record.extent,
                     .digest = record.header.payload_digest,
                     .sequence = record.header.sequence};
    try {
      const format::Index index = found.read(pack);
      FoundIndex& known = newest[index.id];
      const bool is_newer =
          known.sequence < found.sequence ||
          (known.sequence == found.sequence && !check_chunks(pack, known.read(pack)).empty());
      if (is_newer) known = found;
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
    }
  }
  return newest;
}

std::optional<ChosenRoot> choose_root(const pack::PackFile& pack) {
  if (auto chosen = choose_among(pack, candidates_from_slots(pack), true)) return chosen;
  auto chosen = choose_among(pack, candidates_from_scan(pack), false);
  if (chosen) {
    chosen->notes.insert(chosen->notes.begin(),
                         "no root slot leads to a root, so the pack was scanned for roots");
  }
  return chosen;
}

DerivedCatalog derive_catalog(const pack::PackFile& pack, const Slot& slot, const Root& root) {
  DerivedCatalog derived;
  derived.info = {.uuid = pack.uuid(),
                  .sequence = root.sequence,
                  .next_id = root.next_id,
                  .root = slot.root,
                  .parent_sequence = root.parent_sequence,
                  .parent_digest = root.parent_digest,
                  .data_end = slot.data_end};
  // A crash may have kept the pack from growing over a copy of the root; the other one was read.
  const std::uint64_t pack_bytes = pack.file().bytes();
  const auto is_there = [&](const Extent& copy) {
    return copy.offset + round_up(copy.bytes, kAlignment) <= pack_bytes;
  };
  format::RootLocation& copies = derived.info.root;
  if (!is_there(copies.second)) copies.second = copies.first;
  if (!is_there(copies.first)) copies.first = copies.second;
  Occupied occupied;
  occupied.add(copies.first);
  // A scan may have found one copy only.
  if (copies.second != copies.first) occupied.add(copies.second);
  for (const RootEntry& entry : root.checkpoints) occupied.add(entry.index);

  std::map<ChunkKey, ChunkRow> chunks;
  for (const RootEntry& entry : root.checkpoints) {
    catalog::CheckpointRow& row = derived.checkpoints.emplace_back();
    row = {.id = entry.id,
           .sequence = entry.sequence,
           .name = entry.name,
           .pinned = entry.pinned,
           .damaged = entry.damaged,
           .index = entry.index,
           .index_digest = entry.index_digest};
    try {
      const auto index = read_index_of(pack, entry, slot.data_end);
      row.summary = format::summarize(index);
      check_places(pack, index, chunks, occupied);
      for (const ChunkRef& chunk : index.chunks) {
        const auto [at, is_new] =
            chunks.try_emplace(catalog::key_of(chunk), ChunkRow{.offset = chunk.offset,
                                                                .stored_bytes = chunk.stored_bytes,
                                                                .encoding = chunk.encoding});
        if (is_new) occupied.add({.offset = chunk.offset, .bytes = chunk.stored_bytes});
        ++at->second.references;
      }
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      derived.unreadable.insert(entry.id);
      row.damaged = true;
    }
  }
  derived.chunks.assign(chunks.begin(), chunks.end());

  std::uint64_t end = kDataBegin;
  for (const auto& [begin, extent_end] : occupied.extents()) {
    if (begin < end) {
      throw Error(ErrorCode::kDamaged, "extents of different contents overlap",
                  {.path = pack.path(), .offset = begin});
    }
    if (begin > end) derived.free.push_back({.offset = end, .bytes = begin - end});
    end = extent_end;
  }
  // A pack that was cut since this root was written lacks only what was free in it; see compact.cc.
  if (pack_bytes < derived.info.data_end && end <= pack_bytes) derived.info.data_end = end;
  if (end > derived.info.data_end) {
    throw Error(ErrorCode::kDamaged, "an extent ends behind the end of data",
                {.path = pack.path(), .offset = end});
  }
  if (end < derived.info.data_end) {
    derived.free.push_back({.offset = end, .bytes = derived.info.data_end - end});
  }
  return derived;
}

std::optional<std::filesystem::path> install_catalog(const StorePaths& paths,
                                                     const DerivedCatalog& derived) {
  const auto lock_of = [](const std::filesystem::path& file) {
    return catalog::Catalog::lock_file_of(file);
  };
  io::remove_file(paths.catalog_new);
  io::remove_file(lock_of(paths.catalog_new));
  {
    const auto catalog = catalog::Catalog::create(paths.catalog_new);
    auto change = catalog.write();
    for (const catalog::CheckpointRow& row : derived.checkpoints) change.put_checkpoint(row);
    for (const auto& [key, row] : derived.chunks) change.put_chunk(key, row);
    for (const Extent& extent : derived.free) {
      change.put_free({.offset = extent.offset, .bytes = extent.bytes, .freed_by = change.id()});
    }
    change.put_info(derived.info);
    int system_errno = 0;
    const auto outcome = change.commit(&system_errno);
    if (outcome != catalog::CommitOutcome::kCommitted) {
      throw Error(
          outcome == catalog::CommitOutcome::kNoSpace ? ErrorCode::kNoSpace : ErrorCode::kIo,
          "cannot write a new catalog; the store is as before",
          {.path = paths.catalog_new, .system_errno = system_errno});
    }
  }
  io::remove_file(lock_of(paths.catalog_new));

  std::optional<std::filesystem::path> aside;
  if (io::path_kind(paths.catalog) != io::PathKind::kAbsent) {
    aside = paths.catalog;
    *aside += ".old-" + std::to_string(io::unix_time_ns());
    io::rename_file(paths.catalog, *aside);
  }
  // A lock file that belongs to the old catalog would let readers of a dead process hold back
  // extents for ever.
  io::remove_file(lock_of(paths.catalog));
  io::rename_file(paths.catalog_new, paths.catalog);
  io::sync_directory(paths.directory);
  return aside;
}

}  // namespace cairn::store
