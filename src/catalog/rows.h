// The rows of the catalog's tables, and their bytes. Every value ends with an XXH3-64 of the
// table's number, the key and the value, so that a rotten, swapped or misplaced row is noticed:
// LMDB has no checksums.
#pragma once

#include "format/index.h"
#include "format/layout.h"
#include "format/slot.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cairn::catalog {

/// Table info, one row: the state that the catalog describes.
struct InfoRow {
  format::Uuid uuid{};
  std::uint32_t format_version = format::kFormatVersion;
  std::uint64_t sequence = 0;  // of the committed root
  std::uint64_t next_id = 1;
  format::RootLocation root{};
  std::uint64_t parent_sequence = 0;
  format::ChunkId parent_digest{};
  std::uint64_t data_end = 0;
  std::uint64_t transaction = 0;  // the LMDB transaction id that it was written in
  std::uint64_t row_sum = 0;      // of the checksums of all checkpoints, chunks and free extents
  friend bool operator==(const InfoRow&, const InfoRow&) = default;
};

/// Table checkpoints, key: id. The name stands in table names too (name -> id).
struct CheckpointRow {
  std::uint64_t id = 0;
  std::uint64_t sequence = 0;
  std::string name{};
  bool pinned = false;
  bool damaged = false;
  format::Extent index{};
  format::ChunkId index_digest{};
  format::IndexSummary summary{};
  friend bool operator==(const CheckpointRow&, const CheckpointRow&) = default;
};

/// Key of table chunks: plain bytes with equal digest and length are the same chunk.
struct ChunkKey {
  format::ChunkId id{};
  std::uint64_t plain_bytes = 0;
  friend auto operator<=>(const ChunkKey&, const ChunkKey&) = default;
};

inline ChunkKey key_of(const format::ChunkRef& chunk) {
  return {.id = chunk.id, .plain_bytes = chunk.plain_bytes};
}

/// Table chunks. A row exists while `references` is above zero: a freed chunk has none.
struct ChunkRow {
  std::uint64_t offset = 0;
  std::uint64_t stored_bytes = 0;
  format::Encoding encoding = format::Encoding::kRaw;
  std::uint64_t references = 0;  // occurrences in the chunk lists of live indexes
  friend bool operator==(const ChunkRow&, const ChunkRow&) = default;
};

/// Table free, key: offset. `bytes` is a multiple of kAlignment.
struct FreeRow {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t freed_by = 0;  // the LMDB transaction id of the commit that freed it
  friend bool operator==(const FreeRow&, const FreeRow&) = default;
};

}  // namespace cairn::catalog
