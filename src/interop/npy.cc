#include "base/text.h"

#include <cairn/error.h>
#include <cairn/numpy.h>

#include <fmt/format.h>

namespace cairn {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kFixedBytes = 10;  // magic, version, length

std::string descr_of(const TensorInfo& tensor) {
  switch (tensor.dtype) {
    case DType::kBool:
      return "|b1";
    case DType::kU8:
      return "|u1";
    case DType::kI8:
      return "|i1";
    case DType::kI16:
      return "<i2";
    case DType::kI32:
      return "<i4";
    case DType::kI64:
      return "<i8";
    case DType::kU16:
      return "<u2";
    case DType::kU32:
      return "<u4";
    case DType::kU64:
      return "<u8";
    case DType::kF16:
      return "<f2";
    case DType::kF32:
      return "<f4";
    case DType::kF64:
      return "<f8";
    case DType::kC64:
      return "<c8";
    case DType::kC128:
      return "<c16";
    default:
      break;
  }
  const std::uint32_t bits = bits_per_element(tensor.dtype);
  if (bits % 8 != 0) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("a NumPy file cannot hold tensor {} of {}, whose elements are {} bits",
                    base::quoted(std::string(tensor.recoverable) + "/" + std::string(tensor.key)),
                    to_string(tensor.dtype), bits));
  }
  return fmt::format("|V{}", bits / 8);
}

}  // namespace

std::string npy_header(const TensorInfo& tensor) {
  std::string shape;
  for (const std::int64_t dimension : tensor.shape) shape += fmt::format("{}, ", dimension);
  if (tensor.shape.size() > 1) shape.resize(shape.size() - 2);  // only a single one needs its comma
  if (tensor.shape.size() == 1) shape.pop_back();
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
                                 descr_of(tensor), shape);
  const std::size_t unpadded = kFixedBytes + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xff);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace cairn
