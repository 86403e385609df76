// LibTorch's tensors as the core sees them: dtype, shape, bytes in host memory.
#pragma once

#include <cairn/dtype.h>
#include <cairn/state.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace cairn::detail {

/// The dtype of LibTorch's scalar type, or nothing for one that a store cannot hold.
std::optional<DType> dtype_of(at::ScalarType type);

/// The inverse, or nothing where this LibTorch has no such type.
std::optional<at::ScalarType> scalar_type_of(DType dtype);

/// Why a tensor can be neither saved nor loaded into, with what to do about it; empty if it can.
std::string tensor_problem(const at::Tensor& tensor);

/// Whether a saved tensor of this dtype and shape fits `tensor`.
bool matches(DType dtype, std::span<const std::int64_t> shape, const at::Tensor& tensor);

/// "f32 [2, 3]".
std::string describe(DType dtype, std::span<const std::int64_t> shape);
std::string describe(const at::Tensor& tensor);

/// "[2, 3]".
std::string describe(std::span<const std::int64_t> shape);

/// Which elements in memory a tensor stands for. Two tensors with the same are tied.
using TensorIdentity = std::tuple<const void*, at::ScalarType, std::vector<std::int64_t>,
                                  std::vector<std::int64_t>, bool, bool>;
TensorIdentity identity_of(const at::Tensor& tensor);

/// Tensors that had to be copied to be saved, so that tied ones are copied, and stored, once.
using HostCopies = std::map<TensorIdentity, at::Tensor>;

/// The tensor for a save: its own memory where that is the CPU's, whatever the strides, else a copy
/// in host memory with conjugation and negation carried out.
/// Errors: invalid_argument, naming `place`, for a tensor with a `tensor_problem`.
TensorInput tensor_input(std::string key, const at::Tensor& tensor, std::string_view place,
                         HostCopies& copies);

/// Whether a load may write the tensor's bytes straight into its memory.
bool writable_in_place(const at::Tensor& tensor);

/// Whether several elements of the tensor lie at the same address.
bool overlaps_itself(const at::Tensor& tensor);

/// The bytes of a contiguous tensor in host memory.
std::span<std::byte> bytes_of(const at::Tensor& tensor);

/// A new tensor. Errors: unsupported_version when this LibTorch has no such dtype.
at::Tensor empty_tensor(DType dtype, std::span<const std::int64_t> shape,
                        at::Device device = at::kCPU);

/// `text` in quotes, control characters escaped.
std::string in_quotes(std::string_view text);
/// Each of them in quotes, with commas between.
std::string in_quotes(std::span<const std::string> texts);

}  // namespace cairn::detail
