#include "store/healing.h"

#include "base/little_endian.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "io/aligned_buffer.h"
#include "store/checks.h"
#include "store/compress.h"

#include <cairn/error.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace cairn::store {

using catalog::ChunkKey;
using format::ChunkRef;

namespace {

/// A chunk's bytes as they are to stand in its extent, or nothing when, as another version of zstd
/// encodes them, they do not fit there.
std::optional<pack::ExtentWrite> write_in_place(const ChunkKey& key, const SharedChunk& chunk) {
  pack::ExtentWrite write{
      .offset = chunk.row.offset, .bytes = chunk.row.stored_bytes, .fill = *chunk.fill};
  if (chunk.row.encoding == format::Encoding::kRaw) return write;
  io::AlignedBuffer plain(key.plain_bytes);
  (*chunk.fill)(plain.span().first(key.plain_bytes));
  const auto layout = layout_that_fits(plain.span().first(key.plain_bytes), chunk.row.stored_bytes);
  if (!layout) return std::nullopt;
  write.fill = [bytes = key.plain_bytes, layout = *layout,
                fill = *chunk.fill](std::span<std::byte> out) {
    io::AlignedBuffer again(bytes);
    fill(again.span().first(bytes));
    std::vector<std::byte> encoded(codec::most_encoded_bytes(bytes));
    encoded.resize(codec::encode(again.span().first(bytes), layout, encoded));
    encoded.resize(out.size());  // zeros
    std::copy(encoded.begin(), encoded.end(), out.begin());
  };
  return write;
}

}  // namespace

bool HealingTurn::includes(const ChunkKey& key) const noexcept {
  if (every == 0) return false;
  return base::load_le<std::uint64_t>(key.id.bytes, 0) % every == id % every;
}

std::string chunk_problem(const pack::PackFile& pack, const ChunkRef& chunk) {
  thread_local io::AlignedBuffer buffer;
  if (buffer.size() < chunk.plain_bytes) buffer = io::AlignedBuffer(chunk.plain_bytes);
  try {
    pack.read_chunk(chunk, buffer.span().first(chunk.plain_bytes));
  } catch (const Error& error) {
    if (!is_lost(error)) throw;
    return error.what();
  }
  return {};
}

Healing Healer::plan(const SharedChunks& shared, const HealingTurn& turn,
                     std::span<const catalog::CheckpointRow* const> known_damaged,
                     std::uint64_t data_end) {
  std::set<ChunkKey> wanted;
  for (const auto& [key, chunk] : shared) {
    if (turn.includes(key)) wanted.insert(key);
  }
  struct Damaged {
    const catalog::CheckpointRow* row = nullptr;
    format::Index index{};
  };
  std::vector<Damaged> damaged;
  for (const catalog::CheckpointRow* row : known_damaged) {
    try {
      Damaged one{.row = row, .index = read_index_of(pack_, *row, data_end)};
      bool is_shared = false;
      for (const ChunkRef& chunk : one.index.chunks) {
        const ChunkKey key = catalog::key_of(chunk);
        if (!shared.contains(key)) continue;
        wanted.insert(key);
        is_shared = true;
      }
      if (is_shared) damaged.push_back(std::move(one));
    } catch (const Error& error) {
      if (!is_damage(error)) throw;  // Its index is lost: nothing that is known can make it whole.
    }
  }

  // Where the catalog says that a chunk lies, not a damaged checkpoint's index: after a rebuild the
  // extents of such a one may have become another's.
  const std::vector<ChunkKey> keys(wanted.begin(), wanted.end());
  std::vector<std::string> problems(keys.size());
  base::parallel_for(keys.size(), [&](std::size_t i) {
    const catalog::ChunkRow& row = shared.at(keys[i]).row;
    problems[i] = chunk_problem(pack_, {.id = keys[i].id,
                                        .offset = row.offset,
                                        .plain_bytes = keys[i].plain_bytes,
                                        .stored_bytes = row.stored_bytes,
                                        .encoding = row.encoding});
  });
  Healing healing;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (problems[i].empty()) continue;
    const SharedChunk& chunk = shared.at(keys[i]);
    auto write = write_in_place(keys[i], chunk);
    if (!write) {
      wanted.erase(keys[i]);
      healing.notes.push_back("cannot be stored anew in its place, as it no longer fits: " +
                              problems[i]);
      continue;
    }
    healing.writes.push_back(*std::move(write));
    healing.notes.push_back("stored anew, from the state being saved: " + problems[i]);
  }

  const auto becomes_good = [&](const ChunkRef& chunk) {
    const ChunkKey key = catalog::key_of(chunk);
    return wanted.contains(key) && shared.at(key).row.offset == chunk.offset;
  };
  for (const Damaged& one : damaged) {
    const std::uint64_t id = one.row->id;
    const auto is_bad = [&](const ChunkRef& chunk) {
      return !becomes_good(chunk) && !chunk_problem(pack_, chunk).empty();
    };
    const auto known = still_bad_.find(id);
    if (known != still_bad_.end() && is_bad(known->second)) continue;
    const auto bad = std::find_if(one.index.chunks.begin(), one.index.chunks.end(), is_bad);
    if (bad != one.index.chunks.end()) {
      still_bad_.insert_or_assign(id, *bad);
      continue;
    }
    still_bad_.erase(id);
    healing.whole.push_back(id);
    healing.notes.push_back("checkpoint " + base::quoted(one.row->name) + " (id " +
                            std::to_string(id) + ") was damaged and is whole again");
  }
  return healing;
}

}  // namespace cairn::store
