// Taking the bytes of a tensor, row-major and contiguous, from wherever they lie.
#pragma once

#include <cairn/state.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::store {

/// True when the elements lie row-major without gaps; strides of dimensions of length 1 and of
/// empty tensors do not matter.
bool is_contiguous(const TensorInput& tensor) noexcept;

/// Copies bytes [offset, offset + out.size()) of the tensor's row-major form. Both ends lie on
/// element boundaries unless the tensor is contiguous. The range lies inside the tensor.
void gather(const TensorInput& tensor, std::uint64_t offset, std::span<std::byte> out);

}  // namespace cairn::store
