#include "store/references.h"

#include "base/mutant.h"
#include "store/checks.h"

#include <cairn/error.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace cairn::store {

using catalog::CheckpointRow;
using catalog::ChunkKey;
using catalog::ChunkRow;
using catalog::key_of;
using format::Extent;

#ifdef CAIRN_MUTANTS
namespace {
std::map<ChunkKey, ChunkRow> freed_rows;  // as if rows stayed behind when nobody refers to them
}
#endif

// In the order of the catalog, in which it answers fastest.
template <typename Visit>
void ReferenceChanges::for_counts_of(std::vector<ChunkKey> keys, const Visit& visit) {
  std::sort(keys.begin(), keys.end());
  counts_.reserve(counts_.size() + keys.size());
  for (const ChunkKey& key : keys) {
    const auto [at, is_new] = counts_.try_emplace(key);
    Count& count = at->second;
    if (is_new) {
      if (const auto row = view_->chunk(key)) count.row = *row;
#ifdef CAIRN_MUTANTS
      if (const auto row = freed_rows.find(key); CAIRN_MUTANT(kHitOnRowWithoutReferences) &&
                                                 count.row.stored_bytes == 0 &&
                                                 row != freed_rows.end()) {
        count.row = row->second;
      }
#endif
    }
    visit(count);
  }
}

void ReferenceChanges::add(std::vector<ChunkKey> keys) {
  for_counts_of(std::move(keys), [](Count& count) { ++count.added; });
}

void ReferenceChanges::remove_checkpoints(const pack::PackFile& pack, std::uint64_t data_end,
                                          std::span<const CheckpointRow* const> removed,
                                          const RowsOf& remaining) {
  std::vector<format::Index> indexes;
  indexes.reserve(removed.size());
  for (const CheckpointRow* entry : removed) {
    try {
      indexes.push_back(read_index_of(pack, *entry, data_end));
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      recount(pack, data_end, remaining);
      return;
    }
  }
  std::vector<ChunkKey> keys;
  for (const format::Index& index : indexes) {
    for (const format::ChunkRef& chunk : index.chunks) keys.push_back(key_of(chunk));
  }
  for_counts_of(std::move(keys), [](const Count&) {});
  for (const format::Index& index : indexes) {
    for (const format::ChunkRef& chunk : index.chunks) {
      Count& count = counts_.at(key_of(chunk));
      // An index that contradicts the catalog was not counted when a rebuild found it so.
      if (count.row.offset != chunk.offset || count.removed == count.row.references) {
        for (auto& [key, each] : counts_) each.removed = 0;
        recount(pack, data_end, remaining);
        return;
      }
      ++count.removed;
    }
  }
}

// The index of a checkpoint that goes is lost, so which chunks it held is known only from what the
// others hold.
void ReferenceChanges::recount(const pack::PackFile& pack, std::uint64_t data_end,
                               const RowsOf& remaining) {
  std::unordered_map<ChunkKey, std::uint64_t, KeyHash> held;
  for (const CheckpointRow* entry : remaining()) {
    try {
      const auto index = read_index_of(pack, *entry, data_end);
      for (const format::ChunkRef& chunk : index.chunks) {
        ++held[key_of(chunk)];
      }
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      throw Error(ErrorCode::kDamaged,
                  "several indexes are damaged, so it cannot be known which chunks are in use; "
                  "run `cairn repair --drop-damaged`. One of them is that of checkpoint " +
                      std::to_string(entry->id),
                  {.path = pack.path(), .offset = entry->index.offset});
    }
  }
  view_->for_each_chunk([&](const ChunkKey& key, const ChunkRow& row) {
    Count& count = counts_[key];
    count.row = row;
    const auto at = held.find(key);
    const std::uint64_t references = at == held.end() ? 0 : at->second;
    if (references < row.references) count.removed = row.references - references;
  });
}

std::optional<ChunkRow> ReferenceChanges::stored(const ChunkKey& key) const {
  const Count& count = counts_.at(key);
  return count.row.references > 0 ? std::optional(count.row) : std::nullopt;
}

ChunkRow ReferenceChanges::place(const ChunkKey& key, const std::function<ChunkRow()>& allocate) {
  Count& count = counts_.at(key);
  if (count.row.references == 0 && count.row.stored_bytes == 0) {
    count.row = allocate();
    count.row.references = 0;
  }
  return count.row;
}

std::vector<std::pair<ChunkKey, ChunkRow>> ReferenceChanges::changed_rows() const {
  std::vector<std::pair<ChunkKey, ChunkRow>> changed;
  for (const auto& [key, count] : counts_) {
    if (!count.changed()) continue;
    ChunkRow row = count.row;
    row.references = count.result();
#ifdef CAIRN_MUTANTS
    if (row.references == 0) freed_rows[key] = row;
#endif
    changed.emplace_back(key, row);
  }
  const auto by_key = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::sort(changed.begin(), changed.end(), by_key);
  return changed;
}

std::vector<Extent> ReferenceChanges::freed_extents() const {
  std::vector<Extent> freed;
  for (const auto& [key, count] : counts_) {
    if (count.changed() && count.result() == 0) {
      freed.push_back({.offset = count.row.offset, .bytes = count.row.stored_bytes});
    }
  }
  return freed;
}

}  // namespace cairn::store
