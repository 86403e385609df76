#include "format/index.h"

#include "base/checked.h"
#include "base/text.h"
#include "format/names.h"
#include "format/pack_generated.h"
#include "format/payload.h"
#include "format/value_codec.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace cairn::format {
namespace {

constexpr const char* kIdentifier = "CNIX";
constexpr std::uint64_t kTableRoomBytes = 256;  // a table, its vtable, vector lengths, padding

static_assert(sizeof(fb::Tensor) == 16 && sizeof(fb::Chunk) == 48);

// ---- meaning: what encoding and decoding both hold ----------------------------------------------

std::string tensor_name(const IndexRecoverable& recoverable, const IndexTensor& tensor) {
  return base::quoted(recoverable.name + "/" + tensor.key);
}

/// Where the chunks' plain bytes end, counted through all chunks from the first on.
class ChunkEnds {
 public:
  explicit ChunkEnds(const std::vector<ChunkRef>& chunks) {
    ends_.reserve(chunks.size());
    std::uint64_t end = 0;
    for (const ChunkRef& chunk : chunks) ends_.push_back(end += chunk.plain_bytes);
  }

  std::uint64_t begin(std::size_t chunk) const { return chunk == 0 ? 0 : ends_[chunk - 1]; }
  std::uint64_t all() const { return ends_.empty() ? 0 : ends_.back(); }

  /// The chunk that holds the byte before `end`, at `first` or behind it.
  std::size_t last_of(std::size_t first, std::uint64_t end) const {
    const auto from = ends_.begin() + static_cast<std::ptrdiff_t>(first);
    if (end <= *from) return first;
    return static_cast<std::size_t>(std::lower_bound(from, ends_.end(), end) - ends_.begin());
  }

 private:
  std::vector<std::uint64_t> ends_;
};

/// Checks an index. `code` is what its errors carry: invalid_argument on the way out, damaged on
/// the way in.
class Checker {
 public:
  Checker(const Index& index, std::uint64_t max_end, ErrorCode code)
      : index_(index), max_end_(std::min(max_end, kMaxPackBytes)), code_(code) {}

  void check() {
    if (index_.id == 0) fail(code_, "the checkpoint's id is 0");
    if (index_.sequence == 0) fail(code_, "the checkpoint's sequence is 0");
    validate_checkpoint_name(index_.name, code_);
    check_counts();
    check_chunks();
    check_apart();
    check_shared();
    check_recoverables();
  }

 private:
  void check_counts() const {
    if (index_.recoverables.size() > kMaxRecoverables) {
      fail(code_, "the checkpoint has {} recoverables; at most {} are allowed",
           index_.recoverables.size(), kMaxRecoverables);
    }
    if (index_.chunks.size() > std::numeric_limits<std::uint32_t>::max()) {
      fail(code_, "the checkpoint has {} chunks; at most {} are allowed", index_.chunks.size(),
           std::numeric_limits<std::uint32_t>::max());
    }
    std::uint64_t tensor_count = 0;
    std::uint64_t key_bytes = 0;
    for (const IndexRecoverable& recoverable : index_.recoverables) {
      tensor_count += recoverable.tensors.size();
      for (const IndexTensor& tensor : recoverable.tensors) key_bytes += tensor.key.size();
    }
    if (tensor_count > kMaxTensors) {
      fail(code_, "the checkpoint has {} tensors; at most {} are allowed", tensor_count,
           kMaxTensors);
    }
    if (key_bytes > kMaxKeysBytes) {
      fail(code_, "the tensors' keys have {} bytes in sum; at most {} are allowed", key_bytes,
           kMaxKeysBytes);
    }
  }

  void check_chunks() const {
    for (std::size_t i = 0; i < index_.chunks.size(); ++i) {
      const ChunkRef& chunk = index_.chunks[i];
      if (!is_known(chunk.encoding)) {
        fail(code_, "chunk {} has the unknown encoding {}", i, static_cast<int>(chunk.encoding));
      }
      if (chunk.plain_bytes == 0 || chunk.plain_bytes > kMaxChunkBytes) {
        fail(code_, "chunk {} has {} plain bytes; allowed are 1 to {}", i, chunk.plain_bytes,
             kMaxChunkBytes);
      }
      if (!lengths_fit(chunk.encoding, chunk.plain_bytes, chunk.stored_bytes)) {
        fail(code_, "chunk {} has {} stored bytes, but {} plain ones and {}", i, chunk.stored_bytes,
             chunk.plain_bytes,
             chunk.encoding == Encoding::kRaw ? "no encoding" : "a compressing encoding");
      }
      if (chunk.offset % kAlignment != 0 || chunk.offset < kDataBegin) {
        fail(code_, "chunk {} lies at {}, not at a multiple of {} from {} on", i, chunk.offset,
             kAlignment, kDataBegin);
      }
      if (!base::range_fits(chunk.offset, chunk.stored_bytes, max_end_)) {
        fail(code_, "chunk {} at {} with {} bytes runs beyond {}", i, chunk.offset,
             chunk.stored_bytes, max_end_);
      }
    }
  }

  /// Chunks at one offset are the same chunk; chunks at different offsets do not overlap.
  void check_apart() {
    by_offset_.resize(index_.chunks.size());
    for (std::size_t i = 0; i < by_offset_.size(); ++i) {
      by_offset_[i] = static_cast<std::uint32_t>(i);
    }
    const auto& chunks = index_.chunks;
    std::sort(by_offset_.begin(), by_offset_.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::pair(chunks[a].offset, a) < std::pair(chunks[b].offset, b);
    });
    for (std::size_t i = 1; i < by_offset_.size(); ++i) {
      const ChunkRef& low = chunks[by_offset_[i - 1]];
      const ChunkRef& high = chunks[by_offset_[i]];
      if (low.offset == high.offset ? low != high : high.offset < low.offset + low.stored_bytes) {
        fail(code_, "chunks {} and {} overlap at {}", by_offset_[i - 1], by_offset_[i],
             high.offset);
      }
    }
    const auto same_place = [&](std::uint32_t a, std::uint32_t b) {
      return chunks[a].offset == chunks[b].offset;
    };
    by_offset_.erase(std::unique(by_offset_.begin(), by_offset_.end(), same_place),
                     by_offset_.end());
  }

  /// Equal chunks share one extent. Uses what check_apart left: one chunk for each extent.
  void check_shared() {
    std::vector<std::uint32_t> by_digest = std::move(by_offset_);
    const auto& chunks = index_.chunks;
    const auto key = [&](std::uint32_t i) { return std::tie(chunks[i].id, chunks[i].plain_bytes); };
    std::sort(by_digest.begin(), by_digest.end(),
              [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
    const auto twice =
        std::adjacent_find(by_digest.begin(), by_digest.end(),
                           [&](std::uint32_t a, std::uint32_t b) { return key(a) == key(b); });
    if (twice != by_digest.end()) {
      fail(code_, "chunks {} and {} are the same bytes in two places, {} and {}", twice[0],
           twice[1], chunks[twice[0]].offset, chunks[twice[1]].offset);
    }
  }

  void check_recoverables() const {
    const ChunkEnds ends(index_.chunks);
    // How many tensors touch a chunk more than the chunk before it.
    std::vector<std::int32_t> steps(index_.chunks.size() + 1);
    std::uint64_t touches = 0;
    std::uint64_t parts = index_.chunks.size();
    const IndexRecoverable* last = nullptr;
    for (const IndexRecoverable& recoverable : index_.recoverables) {
      validate_recoverable_name(recoverable.name, code_);
      if (last != nullptr && recoverable.name <= last->name) {
        fail(code_, "the recoverables are not ascending by name: {} after {}",
             base::quoted(recoverable.name), base::quoted(last->name));
      }
      last = &recoverable;
      check_keys(recoverable);
      for (const IndexTensor& tensor : recoverable.tensors) {
        touches += check_tensor(recoverable, tensor, ends, steps);
      }
      parts += recoverable.tensors.size();
    }
    if (const auto limit = std::max(kMaxTouches, kMaxSharing * parts); touches > limit) {
      fail(code_, "the tensors run through {} chunks, each tensor counted; at most {} are allowed",
           touches, limit);
    }
    std::int32_t users = 0;
    for (std::size_t i = 0; i < index_.chunks.size(); ++i) {
      users += steps[i];
      if (users == 0) fail(code_, "chunk {} belongs to no tensor", i);
    }
  }

  void check_keys(const IndexRecoverable& recoverable) const {
    const IndexTensor* last = nullptr;
    for (const IndexTensor& tensor : recoverable.tensors) {
      validate_key(tensor.key, "tensor key", code_);
      if (last != nullptr && tensor.key <= last->key) {
        fail(code_, "the tensors are not ascending by key: {} after {}",
             tensor_name(recoverable, tensor), tensor_name(recoverable, *last));
      }
      last = &tensor;
    }
  }

  /// Returns how many chunks the tensor runs through.
  std::uint64_t check_tensor(const IndexRecoverable& recoverable, const IndexTensor& tensor,
                             const ChunkEnds& ends, std::vector<std::int32_t>& steps) const {
    const std::uint64_t bytes = checked_tensor_bytes(recoverable, tensor);
    if (bytes == 0) {
      if (tensor.first_chunk != 0 || tensor.offset_in_chunk != 0) {
        fail(code_, "tensor {} is empty, but refers to chunk {}", tensor_name(recoverable, tensor),
             tensor.first_chunk);
      }
      return 0;
    }
    const std::size_t first = tensor.first_chunk;
    if (first >= index_.chunks.size()) {
      fail(code_, "tensor {} refers to chunk {} of {}", tensor_name(recoverable, tensor), first,
           index_.chunks.size());
    }
    if (tensor.offset_in_chunk >= index_.chunks[first].plain_bytes) {
      fail(code_, "tensor {} begins at byte {} of chunk {}, which has {}",
           tensor_name(recoverable, tensor), tensor.offset_in_chunk, first,
           index_.chunks[first].plain_bytes);
    }
    const std::uint64_t begin = ends.begin(first) + tensor.offset_in_chunk;
    if (!base::range_fits(begin, bytes, ends.all())) {
      fail(code_, "tensor {} of {} bytes runs beyond the last chunk",
           tensor_name(recoverable, tensor), bytes);
    }
    const std::size_t last = ends.last_of(first, begin + bytes);
    ++steps[first];
    --steps[last + 1];
    return last - first + 1;
  }

  std::uint64_t checked_tensor_bytes(const IndexRecoverable& recoverable,
                                     const IndexTensor& tensor) const {
    if (!dtype_from_number(static_cast<std::uint8_t>(tensor.dtype))) {
      fail(code_, "tensor {} has the unknown dtype {}", tensor_name(recoverable, tensor),
           static_cast<int>(tensor.dtype));
    }
    if (tensor.shape.size() > kMaxRank) {
      fail(code_, "tensor {} has {} dimensions; at most {} are allowed",
           tensor_name(recoverable, tensor), tensor.shape.size(), kMaxRank);
    }
    for (const std::int64_t dimension : tensor.shape) {
      if (dimension < 0) {
        fail(code_, "tensor {} has a dimension of {}", tensor_name(recoverable, tensor), dimension);
      }
    }
    const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
    if (!bytes) {
      fail(code_, "tensor {} has a shape whose size overflows, or does not fill whole bytes",
           tensor_name(recoverable, tensor));
    }
    return *bytes;
  }

  const Index& index_;
  std::uint64_t max_end_;
  ErrorCode code_;
  std::vector<std::uint32_t> by_offset_;
};

// ---- encoding -----------------------------------------------------------------------------------

using Builder = flatbuffers::FlatBufferBuilder;
using Bytes = flatbuffers::Vector<std::uint8_t>;

std::string values_of(const IndexRecoverable& recoverable) {
  return "values of " + base::quoted(recoverable.name);
}

/// An upper bound of what a recoverable takes.
std::uint64_t weigh(const IndexRecoverable& recoverable) {
  std::uint64_t weight = kTableRoomBytes + recoverable.name.size() +
                         recoverable.tensors.size() * sizeof(fb::Tensor) +
                         weigh_values(recoverable.values, values_of(recoverable));
  for (const IndexTensor& tensor : recoverable.tensors) {
    weight += tensor.key.size() + tensor.shape.size() * sizeof(std::int64_t);
  }
  return weight;
}

std::uint64_t weigh(const Index& index) {
  std::uint64_t weight = kTableRoomBytes + index.name.size() + weigh_metadata(index.meta) +
                         index.chunks.size() * sizeof(fb::Chunk);
  for (const IndexRecoverable& recoverable : index.recoverables) weight += weigh(recoverable);
  return weight;
}

flatbuffers::Offset<Bytes> encode_keys(Builder& builder, const IndexRecoverable& recoverable) {
  std::size_t key_bytes = 0;
  for (const IndexTensor& tensor : recoverable.tensors) key_bytes += tensor.key.size();
  if (key_bytes == 0) return {};
  std::uint8_t* to = nullptr;
  const auto offset = builder.CreateUninitializedVector<std::uint8_t>(key_bytes, &to);
  for (const IndexTensor& tensor : recoverable.tensors) {
    std::memcpy(to, tensor.key.data(), tensor.key.size());
    to += tensor.key.size();
  }
  return offset;
}

flatbuffers::Offset<flatbuffers::Vector<std::int64_t>> encode_dims(
    Builder& builder, const IndexRecoverable& recoverable) {
  std::size_t dim_count = 0;
  for (const IndexTensor& tensor : recoverable.tensors) dim_count += tensor.shape.size();
  if (dim_count == 0) return {};
  std::int64_t* to = nullptr;
  const auto offset = builder.CreateUninitializedVector<std::int64_t>(dim_count, &to);
  for (const IndexTensor& tensor : recoverable.tensors) {
    to = std::copy(tensor.shape.begin(), tensor.shape.end(), to);
  }
  return offset;
}

flatbuffers::Offset<fb::Recoverable> encode_recoverable(Builder& builder,
                                                        const IndexRecoverable& recoverable) {
  const auto keys = encode_keys(builder, recoverable);
  const auto dims = encode_dims(builder, recoverable);
  flatbuffers::Offset<flatbuffers::Vector<const fb::Tensor*>> tensors;
  if (!recoverable.tensors.empty()) {
    tensors = builder.CreateVectorOfStructs<fb::Tensor>(
        recoverable.tensors.size(), [&](std::size_t i, fb::Tensor* to) {
          const IndexTensor& tensor = recoverable.tensors[i];
          *to = fb::Tensor(static_cast<std::uint16_t>(tensor.key.size()),
                           static_cast<std::uint8_t>(tensor.dtype),
                           static_cast<std::uint8_t>(tensor.shape.size()), 0, tensor.first_chunk,
                           tensor.offset_in_chunk);
        });
  }
  const auto values = encode_values(builder, recoverable.values);
  const auto name = builder.CreateString(recoverable.name);
  fb::RecoverableBuilder table(builder);
  table.add_name(name);
  if (!tensors.IsNull()) table.add_tensors(tensors);
  if (!keys.IsNull()) table.add_keys(keys);
  if (!dims.IsNull()) table.add_dims(dims);
  if (!values.IsNull()) table.add_values(values);
  return table.Finish();
}

flatbuffers::Offset<flatbuffers::Vector<const fb::Chunk*>> encode_chunks(
    Builder& builder, const std::vector<ChunkRef>& chunks) {
  if (chunks.empty()) return {};
  return builder.CreateVectorOfStructs<fb::Chunk>(chunks.size(), [&](std::size_t i, fb::Chunk* to) {
    const ChunkRef& chunk = chunks[i];
    *to = fb::Chunk(copy_digest<fb::Digest>(chunk.id), chunk.offset, chunk.plain_bytes,
                    chunk.stored_bytes, static_cast<std::uint8_t>(chunk.encoding), 0);
  });
}

// ---- decoding -----------------------------------------------------------------------------------

/// Takes pieces from the front of a vector that all tensors of a recoverable share.
template <typename T>
std::span<const T> take(std::span<const T>& rest, std::size_t count, std::string_view what,
                        const IndexRecoverable& recoverable, std::size_t tensor) {
  if (count > rest.size()) {
    fail(ErrorCode::kDamaged, "tensor {} of recoverable {} runs beyond its {}", tensor,
         base::quoted(recoverable.name), what);
  }
  const std::span<const T> piece = rest.first(count);
  rest = rest.subspan(count);
  return piece;
}

void decode_tensors(const fb::Recoverable& from, Budget& budget, IndexRecoverable& recoverable) {
  const std::span<const fb::Tensor> tensors = elements(from.tensors(), "tensors");
  std::span<const std::uint8_t> keys = elements(from.keys(), "keys");
  std::span<const std::int64_t> dims = elements(from.dims(), "dimensions");
  budget.spend(tensors.size_bytes() + keys.size_bytes() + dims.size_bytes());
  recoverable.tensors.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const fb::Tensor& tensor = tensors[i];
    if (tensor.reserved() != 0) {
      fail(ErrorCode::kDamaged, "a reserved byte of tensor {} of recoverable {} is not zero", i,
           base::quoted(recoverable.name));
    }
    // Before its dimensions are copied, so that they cost no more than they may.
    if (tensor.rank() > kMaxRank) {
      fail(ErrorCode::kDamaged,
           "tensor {} of recoverable {} has {} dimensions; at most {} are allowed", i,
           base::quoted(recoverable.name), tensor.rank(), kMaxRank);
    }
    IndexTensor& to = recoverable.tensors.emplace_back();
    to.key = as_text(take(keys, tensor.key_bytes(), "keys", recoverable, i));
    to.dtype = static_cast<DType>(tensor.dtype());
    const auto shape = take(dims, tensor.rank(), "dimensions", recoverable, i);
    to.shape.assign(shape.begin(), shape.end());
    to.first_chunk = tensor.first_chunk();
    to.offset_in_chunk = tensor.offset_in_chunk();
  }
  if (!keys.empty() || !dims.empty()) {
    fail(ErrorCode::kDamaged,
         "{} bytes of keys and {} dimensions of recoverable {} belong to no tensor", keys.size(),
         dims.size(), base::quoted(recoverable.name));
  }
}

IndexRecoverable decode_recoverable(const fb::Recoverable& from, Budget& budget) {
  const std::string_view name = as_text(from.name());
  budget.spend(kLeastTableBytes + (from.name() != nullptr ? kLeastStringBytes : 0) + name.size());
  IndexRecoverable recoverable;
  recoverable.name = name;
  decode_tensors(from, budget, recoverable);
  recoverable.values = decode_values(from.values(), budget, values_of(recoverable));
  return recoverable;
}

std::vector<ChunkRef> decode_chunks(const fb::Index& from, Budget& budget) {
  const std::span<const fb::Chunk> chunks = elements(from.chunks(), "chunks");
  budget.spend(chunks.size_bytes());
  std::vector<ChunkRef> decoded;
  decoded.reserve(chunks.size());
  for (const fb::Chunk& chunk : chunks) {
    const auto* reserved = chunk.reserved();
    if (reserved->Get(0) != 0 || reserved->Get(1) != 0 || reserved->Get(2) != 0 ||
        chunk.flags() != 0) {
      fail(ErrorCode::kDamaged, "a reserved byte or flag of chunk {} is not zero", decoded.size());
    }
    decoded.push_back({copy_digest<ChunkId>(chunk.digest()), chunk.offset(), chunk.plain_bytes(),
                       chunk.stored_bytes(), static_cast<Encoding>(chunk.encoding())});
  }
  return decoded;
}

}  // namespace

bool is_known(Encoding encoding) noexcept {
  return encoding == Encoding::kRaw || encoding == Encoding::kGrouped;
}

bool lengths_fit(Encoding encoding, std::uint64_t plain_bytes,
                 std::uint64_t stored_bytes) noexcept {
  if (encoding == Encoding::kRaw) return stored_bytes == plain_bytes;
  return stored_bytes > 0 && stored_bytes < plain_bytes;
}

std::optional<std::uint64_t> tensor_bytes(DType dtype,
                                          std::span<const std::int64_t> shape) noexcept {
  if (shape.size() > kMaxRank || !dtype_from_number(static_cast<std::uint8_t>(dtype))) {
    return std::nullopt;
  }
  // Dimensions of 0 are left out of the product: it bounds the strides too.
  std::uint64_t bits = bits_per_element(dtype);
  const bool whole_bytes = bits % 8 == 0;
  std::uint64_t product = whole_bytes ? bits / 8 : bits;
  bool empty = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    if (dimension == 0) {
      empty = true;
      continue;
    }
    const auto next = base::checked_multiply(product, static_cast<std::uint64_t>(dimension));
    if (!next || *next > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return std::nullopt;
    }
    product = *next;
  }
  if (empty) return 0;
  if (whole_bytes) return product;
  if (product % 8 != 0) return std::nullopt;
  return product / 8;
}

std::size_t chunk_count(const Index& index, const IndexTensor& tensor,
                        std::uint64_t bytes) noexcept {
  if (bytes == 0) return 0;
  std::uint64_t left = base::checked_add(bytes, tensor.offset_in_chunk)
                           .value_or(std::numeric_limits<std::uint64_t>::max());
  std::size_t count = 0;
  for (std::size_t i = tensor.first_chunk; i < index.chunks.size() && left != 0; ++i) {
    left -= std::min(left, index.chunks[i].plain_bytes);
    ++count;
  }
  return count;
}

std::vector<std::byte> encode_index(const Index& index) {
  Checker(index, kMaxPackBytes, ErrorCode::kInvalidArgument).check();
  auto builder = make_builder(weigh(index), "index");
  const auto chunks = encode_chunks(builder, index.chunks);
  std::vector<flatbuffers::Offset<fb::Recoverable>> offsets;
  offsets.reserve(index.recoverables.size());
  for (const IndexRecoverable& recoverable : index.recoverables) {
    offsets.push_back(encode_recoverable(builder, recoverable));
  }
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<fb::Recoverable>>> recoverables;
  if (!offsets.empty()) recoverables = builder.CreateVector(offsets);
  const auto meta = encode_values(builder, index.meta.map());
  const auto name = builder.CreateString(index.name);
  fb::IndexBuilder table(builder);
  table.add_id(index.id);
  table.add_sequence(index.sequence);
  table.add_created_unix_ns(index.created_unix_ns);
  table.add_name(name);
  if (!meta.IsNull()) table.add_meta(meta);
  if (!recoverables.IsNull()) table.add_recoverables(recoverables);
  if (!chunks.IsNull()) table.add_chunks(chunks);
  return finish(builder, table.Finish(), kIdentifier);
}

Index decode_index(std::span<const std::byte> payload, std::uint64_t max_end) {
  const Payload copy(payload);
  const auto& from = copy.verified<fb::Index>(kIdentifier);
  Budget budget(copy.bytes());
  Index index;
  index.id = from.id();
  index.sequence = from.sequence();
  index.created_unix_ns = from.created_unix_ns();
  const std::string_view name = as_text(from.name());
  budget.spend(name.size());
  index.name = name;
  index.meta = decode_metadata(from.meta(), budget);
  index.chunks = decode_chunks(from, budget);
  if (from.recoverables() != nullptr) {
    if (from.recoverables()->size() > kMaxRecoverables) {
      fail(ErrorCode::kDamaged, "the checkpoint has {} recoverables; at most {} are allowed",
           from.recoverables()->size(), kMaxRecoverables);
    }
    for (const fb::Recoverable* recoverable : *from.recoverables()) {
      index.recoverables.push_back(decode_recoverable(*recoverable, budget));
    }
  }
  Checker(index, max_end, ErrorCode::kDamaged).check();
  return index;
}

}  // namespace cairn::format
