// The index: everything that one checkpoint holds, except the bytes of its chunks.
#pragma once

#include "format/layout.h"

#include <cairn/dtype.h>
#include <cairn/meta_value.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::format {

enum class Encoding : std::uint8_t {
  kRaw = 0,
  kGrouped = 1,  // codec/grouped.h; in stores with the feature kIncompatCompressed
};

bool is_known(Encoding encoding) noexcept;
/// May a chunk of so many plain bytes take so many when stored?
bool lengths_fit(Encoding encoding, std::uint64_t plain_bytes, std::uint64_t stored_bytes) noexcept;

/// A chunk as an index refers to it.
struct ChunkRef {
  ChunkId id{};  // XXH3-128 of the plain bytes
  std::uint64_t offset = 0;
  std::uint64_t plain_bytes = 0;
  std::uint64_t stored_bytes = 0;  // equal to plain_bytes for kRaw, else less
  Encoding encoding = Encoding::kRaw;
  friend bool operator==(const ChunkRef&, const ChunkRef&) = default;
};

/// A tensor's bytes begin `offset_in_chunk` bytes into chunk `first_chunk` and run on through the
/// plain bytes of the chunks behind it. An empty tensor refers to no chunk (both 0).
struct IndexTensor {
  std::string key{};
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape{};
  std::uint32_t first_chunk = 0;
  std::uint32_t offset_in_chunk = 0;
  friend bool operator==(const IndexTensor&, const IndexTensor&) = default;
};

struct IndexRecoverable {
  std::string name{};
  MetaValue::Map values{};
  std::vector<IndexTensor> tensors{};  // ascending by key
  friend bool operator==(const IndexRecoverable&, const IndexRecoverable&) = default;
};

struct Index {
  std::uint64_t id = 0;
  std::uint64_t sequence = 0;
  std::string name{};
  std::int64_t created_unix_ns = 0;
  Metadata meta{};
  std::vector<IndexRecoverable> recoverables{};  // ascending by name
  std::vector<ChunkRef> chunks{};
  friend bool operator==(const Index&, const Index&) = default;
};

/// Bytes of a tensor; nothing when shape and dtype overflow, are negative, or do not fill whole
/// bytes, or the rank is beyond kMaxRank.
std::optional<std::uint64_t> tensor_bytes(DType dtype,
                                          std::span<const std::int64_t> shape) noexcept;

/// How many chunks, from `first_chunk` on, a tensor of so many bytes touches.
std::size_t chunk_count(const Index& index, const IndexTensor& tensor,
                        std::uint64_t bytes) noexcept;

/// The FlatBuffers payload. Deterministic. Errors: invalid_argument for everything that
/// decode_index would refuse, e.g. when a limit of the format is exceeded (the message names it and
/// what exceeds it).
std::vector<std::byte> encode_index(const Index& index);

/// Verifies the FlatBuffer (limits derived from its length) on an aligned private copy, then its
/// meaning: enum ranges, UTF-8, unique sorted names and keys, shape products and offset sums
/// without overflow, every tensor inside its chunks, every chunk referred to, chunk lengths above
/// zero and at most kMaxChunkBytes, extents aligned, at or after kDataBegin, before `max_end`, and
/// apart (equal digests and lengths share one extent; different ones never overlap), reserved bytes
/// zero. Never allocates more than a small multiple of the payload. Errors: damaged.
Index decode_index(std::span<const std::byte> payload, std::uint64_t max_end);

/// What the catalog keeps of an index, so that listing needs no index.
struct IndexSummary {
  std::int64_t created_unix_ns = 0;
  Metadata meta{};
  std::vector<std::string> recoverables{};
  std::uint64_t tensors = 0;
  std::uint64_t logical_bytes = 0;
  friend bool operator==(const IndexSummary&, const IndexSummary&) = default;
};

IndexSummary summarize(const Index& index);
/// The same of what an index will hold.
IndexSummary summarize(const Metadata& meta, std::span<const IndexRecoverable> recoverables,
                       std::int64_t created_unix_ns = 0);

/// FlatBuffers form of a summary, for a catalog row. Errors of decode: damaged.
std::vector<std::byte> encode_summary(const IndexSummary& summary);
IndexSummary decode_summary(std::span<const std::byte> payload);

}  // namespace cairn::format
