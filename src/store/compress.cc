#include "store/compress.h"

#include "base/checked.h"
#include "base/thread_pool.h"
#include "format/layout.h"
#include "format/record.h"
#include "io/aligned_buffer.h"
#include "store/checks.h"
#include "store/plan.h"

#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <set>

namespace cairn::store {

namespace {

constexpr std::uint64_t kLeastGain = 16;  // one part in so many

/// So many plain bytes are encoded before they are written, or one chunk if that is longer: bounds
/// the memory of a compressing save.
constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;

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
using format::Extent;

struct Writer::Unencoded {
  ChunkKey key{};
  codec::Layout layout{};
  std::function<void(std::span<std::byte>)> fill{};
};

void Writer::write_encoded(
    const std::vector<Unencoded>& chunks, Plan& plan,
    const std::function<std::optional<Extent>(std::size_t, const ChunkRow&)>& place) {
  pack::FreeSpace at_most = free_space_;
  std::uint64_t batch_bytes = kBatchBytes;
  for (const Unencoded& chunk : chunks) {
    at_most.allocate(chunk.key.plain_bytes);
    batch_bytes = std::max(batch_bytes, chunk.key.plain_bytes);
  }
  plan.bytes_before_reserving = pack_.file().bytes();
  reserve_until(at_most.data_end(), info_.root.first.bytes);

  struct Encoded {
    std::span<std::byte> plain{};
    std::span<std::byte> stored{};  // as long as `plain`, until it is encoded
    format::Encoding encoding = format::Encoding::kRaw;
  };
  io::AlignedBuffer plain_memory(batch_bytes);
  io::AlignedBuffer stored_memory(batch_bytes);
  for (std::size_t first = 0; first < chunks.size();) {
    std::vector<Encoded> batch;
    std::uint64_t at = 0;
    for (std::size_t i = first; i < chunks.size(); ++i) {
      const std::uint64_t bytes = chunks[i].key.plain_bytes;
      if (at + bytes > batch_bytes) break;
      batch.push_back({.plain = plain_memory.span().subspan(at, bytes),
                       .stored = stored_memory.span().subspan(at, bytes)});
      at += bytes;
    }
    base::parallel_for(batch.size(), [&](std::size_t i) {
      Encoded& one = batch[i];
      const Unencoded& chunk = chunks[first + i];
      chunk.fill(one.plain);
      const std::size_t bytes = encode_if_worth(one.plain, chunk.layout, one.stored);
      if (bytes > 0) one.encoding = format::Encoding::kGrouped;
      one.stored = bytes > 0 ? one.stored.first(bytes) : one.plain;
    });
    std::vector<pack::ExtentWrite> writes;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const Encoded& one = batch[i];
      const auto extent =
          place(first + i, {.stored_bytes = one.stored.size(), .encoding = one.encoding});
      if (!extent) continue;
      writes.push_back({.offset = extent->offset,
                        .bytes = extent->bytes,
                        .fill = [bytes = one.stored](std::span<std::byte> out) {
                          std::memcpy(out.data(), bytes.data(), bytes.size());
                        }});
    }
    pack_.write_extents(std::move(writes));
    first += batch.size();
  }
}

void Writer::write_compressed(const NewCheckpoint& add, Plan& plan, SaveResult& result) {
  std::vector<std::uint64_t> lengths;
  lengths.reserve(add.chunks.size());
  std::vector<std::size_t> fresh;
  std::set<ChunkKey> seen;
  for (std::size_t i = 0; i < add.chunks.size(); ++i) {
    const ChunkKey& key = add.chunks[i].key;
    lengths.push_back(key.plain_bytes);
    if (!plan.references.stored(key) && seen.insert(key).second) fresh.push_back(i);
  }
  if (fresh.empty()) return;
  const std::vector<codec::Layout> layouts = layouts_of(add.recoverables, lengths);
  std::vector<Unencoded> chunks;
  chunks.reserve(fresh.size());
  for (const std::size_t i : fresh) {
    chunks.push_back({.key = add.chunks[i].key, .layout = layouts[i], .fill = add.chunks[i].fill});
  }
  write_encoded(chunks, plan, [&](std::size_t i, ChunkRow row) {
    const Extent extent = free_space_.allocate(row.stored_bytes);
    row.offset = extent.offset;
    plan.references.place(chunks[i].key, [&] { return row; });
    ++result.new_chunks;
    result.new_bytes += chunks[i].key.plain_bytes;
    result.new_stored_bytes += row.stored_bytes;
    return extent;
  });
}

// Chunks have one place, so all indexes that name one change in the same commit. What they replace
// is released and stays as it is until the second commit after: the parent remains whole.
void Writer::plan_compression(const catalog::ReadTransaction& view,
                              const ProgressCallback& progress, Plan& plan, SaveResult& result) {
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

  std::map<ChunkKey, std::pair<format::ChunkRef, codec::Layout>> plain;
  for (const auto& row : list_.rows()) {
    const format::Index index = index_of(*row);
    std::vector<std::uint64_t> lengths;
    lengths.reserve(index.chunks.size());
    for (const format::ChunkRef& chunk : index.chunks) lengths.push_back(chunk.plain_bytes);
    const std::vector<codec::Layout> layouts = layouts_of(index.recoverables, lengths);
    for (std::size_t i = 0; i < index.chunks.size(); ++i) {
      const format::ChunkRef& chunk = index.chunks[i];
      if (chunk.encoding != format::Encoding::kRaw) continue;
      plain.try_emplace({.id = chunk.id, .plain_bytes = chunk.plain_bytes}, chunk, layouts[i]);
    }
  }
  if (plain.empty()) return;

  std::vector<Unencoded> chunks;
  std::vector<format::ChunkRef> refs;
  const auto is_bad = std::make_unique<std::atomic<bool>[]>(plain.size());
  std::uint64_t total_bytes = 0;
  for (const auto& [key, chunk] : plain) total_bytes += key.plain_bytes;
  std::atomic<std::uint64_t> done_bytes{0};
  const auto tell = [&](std::uint64_t more) {
    if (progress) progress({.done_bytes = done_bytes += more, .total_bytes = total_bytes});
  };
  chunks.reserve(plain.size());
  for (const auto& [key, chunk] : plain) {
    refs.push_back(chunk.first);
    chunks.push_back({.key = key,
                      .layout = chunk.second,
                      .fill = [this, &tell, ref = chunk.first,
                               &bad = is_bad[chunks.size()]](std::span<std::byte> out) {
                        try {
                          pack_.read_chunk(ref, out);
                        } catch (const Error& error) {
                          if (!is_damage(error)) throw;
                          bad = true;  // stays as it is, for `verify` to find and a save to heal
                        }
                        tell(out.size());
                      }});
  }
  std::map<ChunkKey, ChunkRow> moved;
  write_encoded(chunks, plan, [&](std::size_t i, ChunkRow row) -> std::optional<Extent> {
    const auto before = view.chunk(chunks[i].key);
    if (row.encoding == format::Encoding::kRaw || is_bad[i] || !before ||
        before->offset != refs[i].offset) {
      return std::nullopt;
    }
    const Extent extent = free_space_.allocate(row.stored_bytes);
    row.offset = extent.offset;
    row.references = before->references;
    moved.emplace(chunks[i].key, row);
    plan.rewritten.emplace_back(chunks[i].key, row);
    plan.released.push_back({.offset = before->offset, .bytes = before->stored_bytes});
    ++result.new_chunks;
    return extent;
  });

  for (const auto& row : list_.rows()) {
    format::Index index = index_of(*row);
    bool changes = false;
    for (format::ChunkRef& chunk : index.chunks) {
      const auto to = moved.find({.id = chunk.id, .plain_bytes = chunk.plain_bytes});
      if (to == moved.end()) continue;
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
