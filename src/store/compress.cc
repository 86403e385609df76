#include "store/compress.h"

#include "base/checked.h"
#include "base/thread_pool.h"
#include "format/layout.h"
#include "format/record.h"
#include "io/buffer_pool.h"
#include "store/checks.h"
#include "store/plan.h"

#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

namespace cairn::store {

namespace {

constexpr std::uint64_t kLeastGain = 16;  // one part in so many

/// So many plain bytes are encoded, then written, by one thread, or one chunk if that is longer.
constexpr std::uint64_t kPieceBytes = std::uint64_t{2} << 20;

/// Bounds the memory of a compressing save, unless one chunk needs more: what each thread holds of
/// plain and of encoded bytes.
constexpr std::uint64_t kMemoryBytes = std::uint64_t{32} << 20;

/// What `compact` compresses in one commit: so many plain bytes, or this part of all. Each commit
/// reads all indexes, and needs room for its part beside what the two before it have freed.
constexpr std::uint64_t kLeastPartBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kParts = 16;

constexpr std::array<codec::Layout, 8> kLayouts = {{{.width = 1},
                                                    {.width = 2},
                                                    {.width = 4},
                                                    {.width = 8},
                                                    {.width = 1, .rotated = true},
                                                    {.width = 2, .rotated = true},
                                                    {.width = 4, .rotated = true},
                                                    {.width = 8, .rotated = true}}};

std::size_t number_of(codec::Layout layout) {
  return static_cast<std::size_t>(std::find(kLayouts.begin(), kLayouts.end(), layout) -
                                  kLayouts.begin());
}

}  // namespace

std::vector<codec::Layout> layouts_of(std::span<const format::IndexRecoverable> recoverables,
                                      std::span<const std::uint64_t> plain_bytes) {
  std::vector<std::array<std::uint32_t, kLayouts.size()>> shares(plain_bytes.size());
  for (const format::IndexRecoverable& recoverable : recoverables) {
    for (const format::IndexTensor& tensor : recoverable.tensors) {
      std::uint64_t left = format::tensor_bytes(tensor.dtype, tensor.shape).value_or(0);
      const std::size_t layout = number_of(codec::layout_of(tensor.dtype));
      std::uint64_t offset = tensor.offset_in_chunk;
      for (std::size_t i = tensor.first_chunk; i < shares.size() && left > 0; ++i) {
        const std::uint64_t here = std::min(left, plain_bytes[i] - offset);
        // Tied tensors count again; a sum that wraps around costs a good layout, nothing else.
        shares[i][layout] += static_cast<std::uint32_t>(here);
        left -= here;
        offset = 0;
      }
    }
  }
  std::vector<codec::Layout> layouts;
  layouts.reserve(shares.size());
  for (const auto& share : shares) {
    const auto most = std::max_element(share.begin(), share.end());
    layouts.push_back(kLayouts[static_cast<std::size_t>(most - share.begin())]);
  }
  return layouts;
}

std::size_t encode_if_worth(std::span<const std::byte> plain, codec::Layout layout,
                            std::span<std::byte> out) {
  const std::uint64_t pages = base::round_up(plain.size(), format::kAlignment);
  if (pages == format::kAlignment) return 0;
  const std::uint64_t most =
      std::min<std::uint64_t>(plain.size() - plain.size() / kLeastGain, pages - format::kAlignment);
  return codec::encode(plain, layout, out.first(most));
}

std::optional<codec::Layout> layout_that_fits(std::span<const std::byte> plain,
                                              std::uint64_t stored_bytes) {
  std::vector<std::byte> out(codec::most_encoded_bytes(plain.size()));
  for (const codec::Layout layout : kLayouts) {
    if (codec::encode(plain, layout, out) <= stored_bytes) return layout;
  }
  return std::nullopt;
}

// ---- the writer's part --------------------------------------------------------------------------

using catalog::CheckpointRow;
using catalog::ChunkKey;
using catalog::ChunkRow;
using catalog::key_of;
using format::Extent;

struct Writer::Unencoded {
  ChunkKey key{};
  codec::Layout layout{};
  std::function<void(std::span<std::byte>)> fill{};
};

void Writer::write_encoded(
    const std::vector<Unencoded>& chunks,
    const std::function<std::optional<Extent>(std::size_t, const ChunkRow&)>& place) {
  pack::FreeSpace at_most = free_space_;
  std::uint64_t total_bytes = 0;
  std::uint64_t piece_bytes = kPieceBytes;
  for (const Unencoded& chunk : chunks) {
    at_most.allocate(chunk.key.plain_bytes);
    total_bytes += chunk.key.plain_bytes;
    piece_bytes = std::max(piece_bytes, chunk.key.plain_bytes);
  }
  reserve_until(at_most.data_end(), info_.root.first.bytes);

  std::vector<std::size_t> begins;  // of pieces; of the one behind the last, too
  std::uint64_t at = piece_bytes;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    if (at + chunks[i].key.plain_bytes > piece_bytes) {
      begins.push_back(i);
      at = 0;
    }
    at += chunks[i].key.plain_bytes;
  }
  begins.push_back(chunks.size());

  // One thread more than cores: one of them waits for the disk.
  const std::size_t threads = std::clamp<std::size_t>(kMemoryBytes / 2 / piece_bytes, 1,  //
                                                      base::worker_count() + 1);
  const std::uint64_t most = std::min(piece_bytes, total_bytes);
  io::BufferPool buffers(2 * most, threads);
  std::mutex mutex;  // over `place`
  const auto write_piece = [&](std::size_t piece) {
    io::BufferPool::Lease buffer = buffers.take();
    std::span<std::byte> plain_room = buffer.span().first(most);
    std::span<std::byte> stored_room = buffer.span().last(most);
    struct Encoded {
      std::span<const std::byte> bytes{};
      format::Encoding encoding = format::Encoding::kRaw;
    };
    std::vector<Encoded> encoded;
    for (std::size_t i = begins[piece]; i < begins[piece + 1]; ++i) {
      const auto plain = plain_room.first(chunks[i].key.plain_bytes);
      plain_room = plain_room.subspan(plain.size());
      chunks[i].fill(plain);
      const std::size_t bytes = encode_if_worth(plain, chunks[i].layout, stored_room);
      if (bytes == 0) {
        encoded.push_back({.bytes = plain});
        continue;
      }
      encoded.push_back(
          {.bytes = stored_room.first(bytes), .encoding = format::Encoding::kGrouped});
      stored_room = stored_room.subspan(bytes);
    }
    std::vector<pack::ExtentWrite> writes;
    {
      const std::lock_guard lock(mutex);
      for (std::size_t i = 0; i < encoded.size(); ++i) {
        const auto bytes = encoded[i].bytes;
        const auto extent = place(begins[piece] + i,
                                  {.stored_bytes = bytes.size(), .encoding = encoded[i].encoding});
        if (!extent) continue;
        writes.push_back({.offset = extent->offset,
                          .bytes = extent->bytes,
                          .fill = [bytes](std::span<std::byte> out) {
                            std::memcpy(out.data(), bytes.data(), bytes.size());
                          }});
      }
    }
    pack_.write_extents(std::move(writes));
  };
  base::parallel_for(begins.size() - 1, write_piece, threads);
}

void Writer::write_compressed(const NewCheckpoint& add, Plan& plan, SaveResult& result) {
  std::vector<std::uint64_t> lengths;
  lengths.reserve(add.chunks.size());
  std::vector<std::size_t> fresh;
  std::set<ChunkKey> seen;
  for (std::size_t i = 0; i < add.chunks.size(); ++i) {
    const ChunkKey& key = add.chunks[i].key;
    lengths.push_back(key.plain_bytes);
    const bool is_new = !plan.references.stored(key) && !stays_compressed(add.chunks[i]);
    if (is_new && seen.insert(key).second) fresh.push_back(i);
  }
  if (fresh.empty()) return;
  const std::vector<codec::Layout> layouts = layouts_of(add.recoverables, lengths);
  std::vector<Unencoded> chunks;
  chunks.reserve(fresh.size());
  for (const std::size_t i : fresh) {
    chunks.push_back({.key = add.chunks[i].key, .layout = layouts[i], .fill = add.chunks[i].fill});
  }
  write_encoded(chunks, [&](std::size_t i, ChunkRow row) {
    const Extent extent = free_space_.allocate(row.stored_bytes);
    row.offset = extent.offset;
    plan.references.place(chunks[i].key, [&] { return row; });
    ++result.new_chunks;
    result.new_bytes += chunks[i].key.plain_bytes;
    result.new_stored_bytes += row.stored_bytes;
    return extent;
  });
}

void Writer::compress_stored(const CompactOptions& options, CompactReport& report) {
  std::vector<Extent> plain;
  std::uint64_t total_bytes = 0;
  catalog_.read().for_each_chunk([&](const ChunkKey&, const ChunkRow& row) {
    if (row.encoding != format::Encoding::kRaw) return;
    plain.push_back({.offset = row.offset, .bytes = row.stored_bytes});
    total_bytes += row.stored_bytes;
  });
  std::sort(plain.begin(), plain.end());
  std::atomic<std::uint64_t> done_bytes = 0;
  Change change;
  if (options.progress) {
    change.seen = [&](std::uint64_t bytes) {
      options.progress({.done_bytes = done_bytes += bytes, .total_bytes = total_bytes});
    };
  }
  const std::uint64_t part_bytes = std::max(kLeastPartBytes, total_bytes / kParts);
  for (std::size_t i = 0; i < plain.size();) {
    const std::uint64_t begin = plain[i].offset;
    std::uint64_t end = begin;
    for (std::uint64_t bytes = 0; i < plain.size() && bytes < part_bytes; ++i) {
      bytes += plain[i].bytes;
      end = plain[i].offset + plain[i].bytes;
    }
    change.compress = {.offset = begin, .bytes = end - begin};
    SaveResult compressed;
    publish_with_room(change, compressed);
    report.compressed_chunks += compressed.new_chunks;
  }
}

// Chunks have one place, so all indexes that name one change in the same commit. What they replace
// is released and stays as it is until the second commit after: the parent remains whole.
void Writer::plan_compression(const catalog::ReadTransaction& view, const Change& change,
                              Plan& plan, SaveResult& result) {
  const auto index_of = [&](const CheckpointRow& row) {
    try {
      return read_index_of(pack_, row, info_.data_end);
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      throw Error(ErrorCode::kDamaged,
                  "the index of checkpoint " + std::to_string(row.id) +
                      " is damaged, so it cannot be known what it needs; run `cairn repair` first",
                  {.path = pack_.path(), .offset = row.index.offset});
    }
  };
  const auto is_in_part = [&](const format::ChunkRef& chunk) {
    return chunk.encoding == format::Encoding::kRaw && chunk.offset >= change.compress.offset &&
           chunk.offset - change.compress.offset < change.compress.bytes;
  };

  std::map<ChunkKey, std::pair<format::ChunkRef, codec::Layout>> plain;
  std::vector<const CheckpointRow*> holders;
  for (const auto& row : list_.rows()) {
    const format::Index index = index_of(*row);
    if (std::none_of(index.chunks.begin(), index.chunks.end(), is_in_part)) continue;
    holders.push_back(row.get());
    std::vector<std::uint64_t> lengths;
    lengths.reserve(index.chunks.size());
    for (const format::ChunkRef& chunk : index.chunks) lengths.push_back(chunk.plain_bytes);
    const std::vector<codec::Layout> layouts = layouts_of(index.recoverables, lengths);
    for (std::size_t i = 0; i < index.chunks.size(); ++i) {
      const format::ChunkRef& chunk = index.chunks[i];
      // Where the catalog says: an index that contradicts it is that of a damaged checkpoint.
      const auto row_of = is_in_part(chunk) ? view.chunk(key_of(chunk)) : std::nullopt;
      if (!row_of || row_of->offset != chunk.offset) continue;
      plain.try_emplace(key_of(chunk), chunk, layouts[i]);
    }
  }
  if (plain.empty()) return;

  std::vector<Unencoded> chunks;
  const auto is_bad = std::make_unique<std::atomic<bool>[]>(plain.size());
  chunks.reserve(plain.size());
  for (const auto& [key, chunk] : plain) {
    chunks.push_back({.key = key,
                      .layout = chunk.second,
                      .fill = [this, &change, ref = chunk.first,
                               &bad = is_bad[chunks.size()]](std::span<std::byte> out) {
                        try {
                          pack_.read_chunk(ref, out);
                        } catch (const Error& error) {
                          if (!is_lost(error)) throw;
                          bad = true;  // stays as it is, for `verify` to find and a save to heal
                        }
                        if (change.seen) change.seen(out.size());
                      }});
  }
  std::map<ChunkKey, ChunkRow> moved;
  write_encoded(chunks, [&](std::size_t i, ChunkRow row) -> std::optional<Extent> {
    if (row.encoding == format::Encoding::kRaw || is_bad[i]) return std::nullopt;
    const ChunkKey& key = chunks[i].key;
    const Extent extent = free_space_.allocate(row.stored_bytes);
    row.offset = extent.offset;
    row.references = view.chunk(key)->references;
    moved.emplace(key, row);
    plan.rewritten.emplace_back(key, row);
    plan.released.push_back({.offset = plain.at(key).first.offset, .bytes = key.plain_bytes});
    ++result.new_chunks;
    return extent;
  });

  for (const CheckpointRow* row : holders) {
    format::Index index = index_of(*row);
    bool changes = false;
    for (format::ChunkRef& chunk : index.chunks) {
      const auto to = moved.find(key_of(chunk));
      // One that places the chunk elsewhere was never counted, and must not come to look right.
      if (to == moved.end() || plain.at(to->first).first.offset != chunk.offset) continue;
      chunk.offset = to->second.offset;
      chunk.stored_bytes = to->second.stored_bytes;
      chunk.encoding = to->second.encoding;
      changes = true;
    }
    if (!changes) continue;
    const std::vector<std::byte> payload = format::encode_index(index);
    auto changed = std::make_unique<CheckpointRow>(*row);
    changed->index = free_space_.allocate(format::kRecordHeaderBytes + payload.size());
    changed->index_digest = base::xxh3_128(payload);
    reserve_until(free_space_.data_end(), info_.root.first.bytes);
    pack_.write_extents({pack::record_write(format::RecordType::kIndex, changed->index,
                                            row->sequence, pack_.uuid(), payload)});
    plan.released.push_back(row->index);
    plan.changed_rows[row->id] = std::move(changed);
  }
}

}  // namespace cairn::store
