#include "store/gather.h"

#include <algorithm>
#include <cstring>

namespace cairn::store {

bool is_contiguous(const TensorInput& tensor) noexcept {
  if (tensor.strides.empty()) return true;
  std::int64_t expected = 1;
  for (std::size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] == 0) return true;
  }
  for (std::size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

namespace {

/// Copies `count` elements whose addresses are `stride` bytes apart.
void copy_elements(std::byte* out, const std::byte* from, std::int64_t stride, std::size_t count,
                   std::size_t element_bytes) {
  if (stride == static_cast<std::int64_t>(element_bytes)) {
    std::memcpy(out, from, count * element_bytes);
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(out, from, element_bytes);
    out += element_bytes;
    from += stride;
  }
}

}  // namespace

void gather(const TensorInput& tensor, std::uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return;
  if (tensor.source) {
    tensor.source->read(offset, out);
    return;
  }
  const auto* base = static_cast<const std::byte*>(tensor.data);
  if (is_contiguous(tensor)) {
    std::memcpy(out.data(), base + offset, out.size());
    return;
  }
  const std::size_t element_bytes = bits_per_element(tensor.dtype) / 8;
  const std::size_t rank = tensor.shape.size();  // at least 1: a scalar is contiguous
  // The position of the first element, one index a dimension, as an odometer.
  std::vector<std::int64_t> index(rank);
  std::uint64_t rest = offset / element_bytes;
  for (std::size_t d = rank; d-- > 0;) {
    const auto length = static_cast<std::uint64_t>(tensor.shape[d]);
    index[d] = static_cast<std::int64_t>(rest % length);
    rest /= length;
  }
  const std::size_t inner = rank - 1;
  std::size_t wanted = out.size() / element_bytes;
  std::byte* to = out.data();
  while (wanted > 0) {
    std::int64_t element = 0;
    for (std::size_t d = 0; d < rank; ++d) element += index[d] * tensor.strides[d];
    const std::size_t run =
        std::min(wanted, static_cast<std::size_t>(tensor.shape[inner] - index[inner]));
    const auto width = static_cast<std::int64_t>(element_bytes);
    copy_elements(to, base + element * width, tensor.strides[inner] * width, run, element_bytes);
    to += run * element_bytes;
    wanted -= run;
    index[inner] = 0;
    for (std::size_t d = inner; d-- > 0;) {
      if (++index[d] < tensor.shape[d]) break;
      index[d] = 0;
    }
  }
}

}  // namespace cairn::store
