#include "tensor_bridge.h"

#include <cairn/error.h>

#include <torch/torch.h>

#include <array>
#include <memory>
#include <sstream>
#include <utility>

namespace cairn::detail {

namespace {

// By name rather than by enumerator: later LibTorch versions have more of them than 1.13.
struct DTypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array kNames = {
    DTypeName{DType::kBool, "Bool"},
    DTypeName{DType::kU8, "Byte"},
    DTypeName{DType::kI8, "Char"},
    DTypeName{DType::kI16, "Short"},
    DTypeName{DType::kI32, "Int"},
    DTypeName{DType::kI64, "Long"},
    DTypeName{DType::kF16, "Half"},
    DTypeName{DType::kBF16, "BFloat16"},
    DTypeName{DType::kF32, "Float"},
    DTypeName{DType::kF64, "Double"},
    DTypeName{DType::kC32, "ComplexHalf"},
    DTypeName{DType::kC64, "ComplexFloat"},
    DTypeName{DType::kC128, "ComplexDouble"},
    DTypeName{DType::kU16, "UInt16"},
    DTypeName{DType::kU32, "UInt32"},
    DTypeName{DType::kU64, "UInt64"},
    DTypeName{DType::kF8E5M2, "Float8_e5m2"},
    DTypeName{DType::kF8E4M3FN, "Float8_e4m3fn"},
    DTypeName{DType::kF8E5M2FNUZ, "Float8_e5m2fnuz"},
    DTypeName{DType::kF8E4M3FNUZ, "Float8_e4m3fnuz"},
    DTypeName{DType::kF8E8M0FNU, "Float8_e8m0fnu"},
};

std::vector<std::int64_t> to_vector(at::IntArrayRef values) {
  return {values.begin(), values.end()};
}

}  // namespace

std::optional<DType> dtype_of(at::ScalarType type) {
  const std::string_view name = c10::toString(type);
  for (const DTypeName& entry : kNames) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

std::optional<at::ScalarType> scalar_type_of(DType dtype) {
  for (const DTypeName& entry : kNames) {
    if (entry.dtype != dtype) continue;
    for (int i = 0; i < static_cast<int>(at::ScalarType::NumOptions); ++i) {
      const auto type = static_cast<at::ScalarType>(i);
      if (entry.name == c10::toString(type)) return type;
    }
  }
  return std::nullopt;
}

std::string tensor_problem(const at::Tensor& tensor) {
  if (!tensor.defined()) return "it is undefined: give it a value, or leave it out";
  if (tensor.is_nested()) return "it is a nested tensor: save its parts as tensors of their own";
  if (tensor.layout() != at::kStrided) {
    std::ostringstream text;
    text << "its layout is " << tensor.layout() << ": save `to_dense()` of it";
    return text.str();
  }
  if (tensor.is_quantized()) return "it is quantized: save `int_repr()`, scales and zero points";
  if (tensor.is_meta()) return "it is on the meta device and has no data";
  if (!tensor.has_storage()) return "it has no storage of its own";
  if (!dtype_of(tensor.scalar_type())) {
    return std::string("a store cannot hold its dtype ") + c10::toString(tensor.scalar_type());
  }
  return {};
}

bool matches(DType dtype, std::span<const std::int64_t> shape, const at::Tensor& tensor) {
  return dtype_of(tensor.scalar_type()) == dtype &&
         tensor.sizes() == at::IntArrayRef(shape.data(), shape.size());
}

std::string describe(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t length : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(length);
  }
  return text + "]";
}

std::string describe(DType dtype, std::span<const std::int64_t> shape) {
  return std::string(to_string(dtype)) + " " + describe(shape);
}

std::string describe(const at::Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  const auto dtype = dtype_of(tensor.scalar_type());
  const std::string name =
      dtype ? std::string(to_string(*dtype)) : c10::toString(tensor.scalar_type());
  return name + " " + describe({tensor.sizes().data(), tensor.sizes().size()});
}

TensorIdentity identity_of(const at::Tensor& tensor) {
  return {tensor.data_ptr(),           tensor.scalar_type(), to_vector(tensor.sizes()),
          to_vector(tensor.strides()), tensor.is_conj(),     tensor.is_neg()};
}

TensorInput tensor_input(std::string key, const at::Tensor& tensor, std::string_view place,
                         HostCopies& copies) {
  if (const std::string problem = tensor_problem(tensor); !problem.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "cannot save tensor " + in_quotes(place) + ": " + problem);
  }
  at::Tensor host = tensor.detach();
  if (!host.device().is_cpu() || host.is_conj() || host.is_neg()) {
    at::Tensor& copy = copies[identity_of(host)];
    if (!copy.defined()) {
      const at::NoGradGuard no_grad;
      copy = host.resolve_conj().resolve_neg().to(at::kCPU).contiguous();
    }
    host = copy;
  }
  TensorInput input;
  input.key = std::move(key);
  input.dtype = *dtype_of(host.scalar_type());
  input.shape = to_vector(host.sizes());
  if (!host.is_contiguous()) input.strides = to_vector(host.strides());
  input.data = host.data_ptr();
  input.owner = std::make_shared<at::Tensor>(std::move(host));
  return input;
}

bool writable_in_place(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.is_contiguous() && !tensor.is_conj() &&
         !tensor.is_neg();
}

bool overlaps_itself(const at::Tensor& tensor) {
  if (tensor.numel() < 2) return false;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) {
    if (tensor.stride(i) == 0 && tensor.size(i) > 1) return true;
  }
  return false;
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

at::Tensor empty_tensor(DType dtype, std::span<const std::int64_t> shape, at::Device device) {
  const auto type = scalar_type_of(dtype);
  if (!type) {
    throw Error(ErrorCode::kUnsupportedVersion, "this LibTorch (" TORCH_VERSION ") has no dtype " +
                                                    std::string(to_string(dtype)) +
                                                    "; load the checkpoint with a newer LibTorch");
  }
  return at::empty(at::IntArrayRef(shape.data(), shape.size()),
                   at::TensorOptions().dtype(*type).device(device));
}

std::string in_quotes(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

std::string in_quotes(std::span<const std::string> texts) {
  std::string out;
  for (const std::string& text : texts) {
    if (!out.empty()) out += ", ";
    out += in_quotes(text);
  }
  return out;
}

}  // namespace cairn::detail
