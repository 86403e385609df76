#include "store/cut.h"

#include "base/checked.h"
#include "base/text.h"
#include "format/names.h"
#include "store/gather.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <unordered_map>

namespace cairn::store {

using base::round_up;
using format::IndexRecoverable;
using format::kSmallTensorBytes;

namespace {

[[noreturn]] void refuse(const RecoverableState& recoverable, const TensorInput& tensor,
                         std::string_view why) {
  throw Error(ErrorCode::kInvalidArgument, "cannot save tensor " +
                                               base::quoted(recoverable.name + "/" + tensor.key) +
                                               ": " + std::string(why));
}

/// Checks one tensor and returns how many bytes it has.
std::uint64_t check_tensor(const RecoverableState& recoverable, const TensorInput& tensor) {
  if (const auto problem = format::key_problem(tensor.key)) refuse(recoverable, tensor, *problem);
  if (!dtype_from_number(static_cast<std::uint8_t>(tensor.dtype))) {
    refuse(recoverable, tensor, "its dtype is none that Cairn knows");
  }
  if (tensor.shape.size() > format::kMaxRank) {
    refuse(recoverable, tensor,
           "rank " + std::to_string(tensor.shape.size()) + " is above the limit of " +
               std::to_string(format::kMaxRank));
  }
  const auto bytes = format::tensor_bytes(tensor.dtype, tensor.shape);
  if (!bytes) {
    refuse(recoverable, tensor,
           "its shape has a negative dimension, overflows, or does not fill whole bytes");
  }
  if (!tensor.strides.empty()) {
    if (tensor.strides.size() != tensor.shape.size()) {
      refuse(recoverable, tensor, "it has another number of strides than of dimensions");
    }
    if (tensor.source) refuse(recoverable, tensor, "a tensor with a source has no strides");
    if (bits_per_element(tensor.dtype) % 8 != 0 && !is_contiguous(tensor)) {
      refuse(recoverable, tensor, "packed elements must be contiguous");
    }
  }
  if (*bytes > 0 && tensor.data == nullptr && !tensor.source) {
    refuse(recoverable, tensor, "it has neither data nor a source");
  }
  return *bytes;
}

/// Where the bytes of a tensor stand, once they are laid out.
struct Place {
  std::uint32_t first_chunk = 0;
  std::uint32_t offset_in_chunk = 0;
};

/// Where its bytes come from: memory or a source.
const void* origin_of(const TensorInput& tensor) noexcept {
  return tensor.source ? tensor.source.get() : tensor.data;
}

bool is_same_memory(const TensorInput& a, const TensorInput& b) noexcept {
  return origin_of(a) == origin_of(b) && a.dtype == b.dtype && a.shape == b.shape &&
         a.strides == b.strides;
}

/// Lays the tensors of one recoverable after another into chunks.
class Layout {
 public:
  explicit Layout(std::uint64_t chunk_bytes) : chunk_bytes_(chunk_bytes) {}

  Place place(const TensorInput& tensor, std::uint64_t bytes) {
    if (bytes == 0) return {};
    const auto [begin, end] = known_.equal_range(origin_of(tensor));
    for (auto at = begin; at != end; ++at) {
      if (is_same_memory(*at->second.tensor, tensor)) return at->second.place;
    }
    const Place place = lay(tensor, bytes);
    known_.emplace(origin_of(tensor), Known{.tensor = &tensor, .place = place});
    return place;
  }

  /// So many tensors come.
  void reserve(std::size_t tensors) { known_.reserve(known_.size() + tensors); }
  void end_recoverable() { open_chunk_.reset(); }

  std::vector<PlannedChunk> take_chunks() { return std::move(chunks_); }

 private:
  Place lay(const TensorInput& tensor, std::uint64_t bytes) {
    return bytes < kSmallTensorBytes ? lay_small(tensor, bytes) : lay_large(tensor, bytes);
  }

  Place lay_large(const TensorInput& tensor, std::uint64_t bytes) {
    const auto first = static_cast<std::uint32_t>(chunks_.size());
    for (std::uint64_t at = 0; at < bytes; at += chunk_bytes_) {
      const std::uint64_t length = std::min(chunk_bytes_, bytes - at);
      chunks_.push_back({.plain_bytes = length,
                         .pieces = {{.tensor = &tensor, .tensor_offset = at, .bytes = length}}});
    }
    return {.first_chunk = first};
  }

  Place lay_small(const TensorInput& tensor, std::uint64_t bytes) {
    std::uint64_t offset = 0;
    if (open_chunk_) {
      offset = round_up(chunks_[*open_chunk_].plain_bytes, kSmallAlignment);
      if (offset + bytes > kSmallTensorBytes) {
        open_chunk_.reset();
        offset = 0;
      }
    }
    if (!open_chunk_) {
      open_chunk_ = chunks_.size();
      chunks_.emplace_back();
    }
    PlannedChunk& chunk = chunks_[*open_chunk_];
    chunk.pieces.push_back({.tensor = &tensor, .bytes = bytes, .chunk_offset = offset});
    chunk.plain_bytes = offset + bytes;
    return {.first_chunk = static_cast<std::uint32_t>(*open_chunk_),
            .offset_in_chunk = static_cast<std::uint32_t>(offset)};
  }

  std::uint64_t chunk_bytes_;
  std::vector<PlannedChunk> chunks_;
  std::optional<std::size_t> open_chunk_;  // of the small tensors
  struct Known {
    const TensorInput* tensor = nullptr;
    Place place{};
  };
  std::unordered_multimap<const void*, Known> known_;  // by address
};

template <typename T, typename Name>
std::vector<const T*> sorted_by(const std::vector<T>& items, Name name) {
  std::vector<const T*> sorted;
  sorted.reserve(items.size());
  for (const T& item : items) sorted.push_back(&item);
  const auto before = [&](const T* a, const T* b) { return name(*a) < name(*b); };
  if (!std::is_sorted(sorted.begin(), sorted.end(), before)) {
    std::sort(sorted.begin(), sorted.end(), before);
  }
  return sorted;
}

}  // namespace

CutState cut(const CheckpointState& state, std::uint64_t chunk_bytes) {
  CutState result;
  Layout layout(chunk_bytes);
  const RecoverableState* previous = nullptr;
  std::uint64_t tensor_count = 0;
  for (const RecoverableState* recoverable : sorted_by(
           state, [](const RecoverableState& r) -> const auto& { return r.name; })) {
    if (const auto problem = format::recoverable_name_problem(recoverable->name)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "cannot save recoverable " + base::quoted(recoverable->name) + ": " + *problem);
    }
    if (previous != nullptr && previous->name == recoverable->name) {
      throw Error(ErrorCode::kInvalidArgument,
                  "two recoverables have the name " + base::quoted(recoverable->name));
    }
    previous = recoverable;
    IndexRecoverable& out = result.recoverables.emplace_back();
    out.name = recoverable->name;
    out.values = recoverable->values;
    out.tensors.reserve(recoverable->tensors.size());
    layout.reserve(recoverable->tensors.size());
    tensor_count += recoverable->tensors.size();
    if (tensor_count > format::kMaxTensors) {
      throw Error(ErrorCode::kInvalidArgument,
                  "a checkpoint holds at most " + std::to_string(format::kMaxTensors) + " tensors");
    }
    for (const TensorInput* tensor : sorted_by(
             recoverable->tensors, [](const TensorInput& t) -> const auto& { return t.key; })) {
      const std::uint64_t bytes = check_tensor(*recoverable, *tensor);
      if (!out.tensors.empty() && out.tensors.back().key == tensor->key) {
        refuse(*recoverable, *tensor, "another tensor of this recoverable has the same key");
      }
      const Place place = layout.place(*tensor, bytes);
      out.tensors.push_back({.key = tensor->key,
                             .dtype = tensor->dtype,
                             .shape = tensor->shape,
                             .first_chunk = place.first_chunk,
                             .offset_in_chunk = place.offset_in_chunk});
    }
    layout.end_recoverable();
  }
  result.chunks = layout.take_chunks();
  return result;
}

void fill(const PlannedChunk& chunk, std::span<std::byte> out) {
  std::uint64_t at = 0;
  for (const Piece& piece : chunk.pieces) {
    std::memset(out.data() + at, 0, piece.chunk_offset - at);
    gather(*piece.tensor, piece.tensor_offset, out.subspan(piece.chunk_offset, piece.bytes));
    at = piece.chunk_offset + piece.bytes;
  }
}

std::span<const std::byte> view_or_fill(const PlannedChunk& chunk, std::span<std::byte> buffer) {
  if (chunk.pieces.size() == 1) {
    const Piece& piece = chunk.pieces.front();
    if (!piece.tensor->source && is_contiguous(*piece.tensor)) {
      return {static_cast<const std::byte*>(piece.tensor->data) + piece.tensor_offset, piece.bytes};
    }
  }
  const auto out = buffer.first(chunk.plain_bytes);
  fill(chunk, out);
  return out;
}

}  // namespace cairn::store
