#include "tensor_stream.h"

#include <algorithm>
#include <vector>

namespace cairn::cli {
namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{8} << 20;

/// Whole chunks, so that none is read twice: a multiple of their length, which is one of 4096.
std::uint64_t piece_bytes(const Checkpoint& checkpoint, std::size_t tensor) {
  const auto chunks = checkpoint.chunks(tensor);
  if (chunks.size() <= 1) return std::max(kPieceBytes, checkpoint.tensors()[tensor].bytes);
  const std::uint64_t chunk = chunks.front().plain_bytes;
  return chunk * std::max<std::uint64_t>(1, kPieceBytes / chunk);
}

}  // namespace

void for_each_piece(
    const Checkpoint& checkpoint, std::size_t tensor,
    const std::function<void(std::uint64_t offset, std::span<const std::byte>)>& see) {
  const std::uint64_t bytes = checkpoint.tensors()[tensor].bytes;
  if (bytes == 0) return;
  const std::uint64_t piece = piece_bytes(checkpoint, tensor);
  std::vector<std::byte> buffer(std::min(piece, bytes));
  for (std::uint64_t offset = 0; offset < bytes; offset += piece) {
    const std::span<std::byte> part =
        std::span(buffer).first(std::min<std::uint64_t>(piece, bytes - offset));
    checkpoint.read_range(tensor, offset, part);
    see(offset, part);
  }
}

}  // namespace cairn::cli
