#include "same.h"

#include <algorithm>
#include <span>
#include <vector>

namespace cairn::cli {
namespace {

bool same_type(const TensorInfo& a, const TensorInfo& b) {
  return a.dtype == b.dtype &&
         std::equal(a.shape.begin(), a.shape.end(), b.shape.begin(), b.shape.end());
}

bool fills_its_chunks(const TensorInfo& tensor, std::span<const ChunkInfo> chunks) {
  std::uint64_t bytes = 0;
  for (const ChunkInfo& chunk : chunks) bytes += chunk.plain_bytes;
  return bytes == tensor.bytes;
}

bool cut_alike(std::span<const ChunkInfo> a, std::span<const ChunkInfo> b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(),
      [](const ChunkInfo& x, const ChunkInfo& y) { return x.plain_bytes == y.plain_bytes; });
}

}  // namespace

Sameness compare(const Checkpoint& a, std::size_t tensor_a, const Checkpoint& b,
                 std::size_t tensor_b) {
  const TensorInfo& info_a = a.tensors()[tensor_a];
  const TensorInfo& info_b = b.tensors()[tensor_b];
  if (!same_type(info_a, info_b)) return Sameness::kDifferent;
  if (info_a.bytes == 0) return Sameness::kSame;
  const std::vector<ChunkInfo> chunks_a = a.chunks(tensor_a);
  const std::vector<ChunkInfo> chunks_b = b.chunks(tensor_b);
  const bool alone = fills_its_chunks(info_a, chunks_a) && fills_its_chunks(info_b, chunks_b);
  const bool same_chunks =
      std::equal(chunks_a.begin(), chunks_a.end(), chunks_b.begin(), chunks_b.end(),
                 [](const ChunkInfo& x, const ChunkInfo& y) { return x.digest == y.digest; });
  if (alone && same_chunks) return Sameness::kSame;
  if (alone && cut_alike(chunks_a, chunks_b)) return Sameness::kDifferent;
  return Sameness::kUnknown;
}

bool same_contents(const Checkpoint& a, const Checkpoint& b) {
  if (a.info().recoverables != b.info().recoverables) return false;
  for (const std::string& recoverable : a.info().recoverables) {
    if (a.values(recoverable) != b.values(recoverable)) return false;
  }
  const auto tensors_a = a.tensors();
  const auto tensors_b = b.tensors();
  if (tensors_a.size() != tensors_b.size()) return false;
  for (std::size_t i = 0; i < tensors_a.size(); ++i) {
    if (tensors_a[i].recoverable != tensors_b[i].recoverable ||
        tensors_a[i].key != tensors_b[i].key || !same_type(tensors_a[i], tensors_b[i])) {
      return false;
    }
    // Within a shared chunk the tensors lie by key, so that equal chunks mean equal tensors.
    const std::vector<ChunkInfo> chunks_a = a.chunks(i);
    const std::vector<ChunkInfo> chunks_b = b.chunks(i);
    if (!std::equal(chunks_a.begin(), chunks_a.end(), chunks_b.begin(), chunks_b.end(),
                    [](const ChunkInfo& x, const ChunkInfo& y) { return x.digest == y.digest; })) {
      return false;
    }
  }
  return true;
}

}  // namespace cairn::cli
