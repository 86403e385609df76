// Counting how many times live checkpoints refer to each chunk, over one commit.
#pragma once

#include "catalog/catalog.h"
#include "format/index.h"
#include "pack/pack_file.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cairn::store {

/// The changes that one commit makes to reference counts. Counts rise before they fall: a chunk
/// that a deleted checkpoint shares with a new one stays where it is, and its row untouched when
/// the count comes out even.
class ReferenceChanges {
 public:
  ReferenceChanges() = default;
  /// `view` must live until `remove_checkpoints` has returned.
  explicit ReferenceChanges(const catalog::ReadTransaction& view) : view_(&view) {}

  /// One more reference for each time that a key is there, in any order. A hit needs an equal
  /// digest and length and a row, whose count is above zero by definition.
  void add(std::vector<catalog::ChunkKey> keys);

  /// Asked for only when it is needed: to list all checkpoints is work.
  using RowsOf = std::function<std::vector<const catalog::CheckpointRow*>()>;

  /// Takes away the references of `removed`, whose indexes are read from the pack. When one of
  /// these indexes is damaged, or contradicts the catalog, all counts are made anew from the
  /// indexes of `remaining`. Errors: damaged when the counts cannot be known; io.
  void remove_checkpoints(const pack::PackFile& pack, std::uint64_t data_end,
                          std::span<const catalog::CheckpointRow* const> removed,
                          const RowsOf& remaining);

  /// The row of a chunk that `add` was called for and that is stored.
  std::optional<catalog::ChunkRow> stored(const catalog::ChunkKey& key) const;
  /// Where a chunk lies that `add` was called for; `allocate`, which gives its place
  /// and encoding, is asked once for one that is new.
  catalog::ChunkRow place(const catalog::ChunkKey& key,
                          const std::function<catalog::ChunkRow()>& allocate);

  /// Rows whose count changed, in the order of the catalog; with count 0: rows to erase.
  std::vector<std::pair<catalog::ChunkKey, catalog::ChunkRow>> changed_rows() const;
  /// Extents of the chunks whose count falls to 0.
  std::vector<format::Extent> freed_extents() const;

 private:
  struct KeyHash {
    std::size_t operator()(const catalog::ChunkKey& key) const noexcept {
      return base::DigestHash{}(key.id) ^ key.plain_bytes;
    }
  };
  struct Count {
    catalog::ChunkRow row{};  // as in the catalog; references 0: it has none
    std::uint64_t added = 0;
    std::uint64_t removed = 0;
    std::uint64_t result() const noexcept { return row.references + added - removed; }
    bool changed() const noexcept { return added != removed; }
  };

  template <typename Visit>
  void for_counts_of(std::vector<catalog::ChunkKey> keys, const Visit& visit);
  void recount(const pack::PackFile& pack, std::uint64_t data_end, const RowsOf& remaining);

  const catalog::ReadTransaction* view_ = nullptr;
  std::unordered_map<catalog::ChunkKey, Count, KeyHash> counts_;
};

}  // namespace cairn::store
