#include "tensor_stats.h"

#include "tensor_stream.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace cairn::cli {
namespace {

class Accumulator {
 public:
  void add(double value) {
    if (std::isnan(value)) {
      ++stats_.nan_count;
    } else if (std::isinf(value)) {
      ++stats_.infinity_count;
    } else {
      stats_.min = stats_.finite_count == 0 ? value : std::min(stats_.min, value);
      stats_.max = stats_.finite_count == 0 ? value : std::max(stats_.max, value);
      ++stats_.finite_count;
      sum_ += value;
    }
  }

  /// Complex numbers have no order: only what is not finite is counted.
  void add_complex(double real, double imaginary) {
    if (std::isnan(real) || std::isnan(imaginary)) {
      ++stats_.nan_count;
    } else if (std::isinf(real) || std::isinf(imaginary)) {
      ++stats_.infinity_count;
    }
  }

  TensorStats result() const {
    TensorStats result = stats_;
    if (stats_.finite_count > 0) {
      result.mean = static_cast<double>(sum_ / static_cast<long double>(stats_.finite_count));
    }
    return result;
  }

 private:
  TensorStats stats_;
  long double sum_ = 0;
};

/// What the largest exponent of a small float means.
enum class Special {
  kIeee,  // infinities and NaN
  kFn,    // NaN with a mantissa of ones, else numbers
  kFnuz,  // numbers; the only NaN has the bits of -0
};

double decode_float(std::uint32_t bits, int exponent_bits, int mantissa_bits, int bias,
                    Special special) {
  const std::uint32_t sign = bits >> (exponent_bits + mantissa_bits) & 1;
  const std::uint32_t top = (1U << exponent_bits) - 1;
  const std::uint32_t exponent = bits >> mantissa_bits & top;
  const std::uint32_t ones = (1U << mantissa_bits) - 1;
  const std::uint32_t mantissa = bits & ones;
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (special == Special::kFnuz && sign == 1 && exponent == 0 && mantissa == 0) return kNan;
  if (special == Special::kFn && exponent == top && mantissa == ones) return kNan;
  double value = 0;
  if (special == Special::kIeee && exponent == top) {
    value = mantissa == 0 ? std::numeric_limits<double>::infinity() : kNan;
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(mantissa + ones + 1, static_cast<int>(exponent) - bias - mantissa_bits);
  }
  return sign == 1 ? -value : value;
}

template <typename T>
void add_all(std::span<const std::byte> bytes, Accumulator& accumulator) {
  for (std::size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    accumulator.add(static_cast<double>(value));
  }
}

/// Eight bits have 256 values, which are decoded once.
using Decoder = double (*)(std::uint32_t);
template <Decoder decode>
void add_all_of_8_bits(std::span<const std::byte> bytes, Accumulator& accumulator) {
  static const std::array<double, 256> values = [] {
    std::array<double, 256> all{};
    for (std::uint32_t bits = 0; bits < 256; ++bits) all[bits] = decode(bits);
    return all;
  }();
  for (const std::byte byte : bytes) accumulator.add(values[std::to_integer<std::size_t>(byte)]);
}

template <Decoder decode>
void add_all_of_16_bits(std::span<const std::byte> bytes, Accumulator& accumulator) {
  for (std::size_t at = 0; at + 2 <= bytes.size(); at += 2) {
    accumulator.add(decode(std::to_integer<std::uint32_t>(bytes[at]) |
                           std::to_integer<std::uint32_t>(bytes[at + 1]) << 8));
  }
}

// Sources: IEEE 754-2019 (f16); OCP 8-bit Floating Point Specification (e5m2, e4m3fn); OCP
// Microscaling Formats (e8m0); Noune et al. 2022, "8-bit Numerical Formats for Deep Neural
// Networks" (fnuz).
double decode_f16(std::uint32_t bits) {
  return decode_float(bits, 5, 10, 15, Special::kIeee);
}
double decode_bf16(std::uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}
double decode_e5m2(std::uint32_t bits) {
  return decode_float(bits, 5, 2, 15, Special::kIeee);
}
double decode_e4m3fn(std::uint32_t bits) {
  return decode_float(bits, 4, 3, 7, Special::kFn);
}
double decode_e5m2fnuz(std::uint32_t bits) {
  return decode_float(bits, 5, 2, 16, Special::kFnuz);
}
double decode_e4m3fnuz(std::uint32_t bits) {
  return decode_float(bits, 4, 3, 8, Special::kFnuz);
}
double decode_e8m0fnu(std::uint32_t bits) {
  return bits == 255 ? std::numeric_limits<double>::quiet_NaN()
                     : std::ldexp(1.0, static_cast<int>(bits) - 127);
}

template <typename T>
void add_all_complex(std::span<const std::byte> bytes, Accumulator& accumulator) {
  for (std::size_t at = 0; at + 2 * sizeof(T) <= bytes.size(); at += 2 * sizeof(T)) {
    T parts[2];
    std::memcpy(parts, bytes.data() + at, sizeof parts);
    accumulator.add_complex(static_cast<double>(parts[0]), static_cast<double>(parts[1]));
  }
}

void add_all_complex_f16(std::span<const std::byte> bytes, Accumulator& accumulator) {
  for (std::size_t at = 0; at + 4 <= bytes.size(); at += 4) {
    std::uint16_t parts[2];
    std::memcpy(parts, bytes.data() + at, sizeof parts);
    accumulator.add_complex(decode_f16(parts[0]), decode_f16(parts[1]));
  }
}

using AddAll = void (*)(std::span<const std::byte>, Accumulator&);

AddAll adder_of(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kU8:
      return add_all<std::uint8_t>;
    case DType::kI8:
      return add_all<std::int8_t>;
    case DType::kI16:
      return add_all<std::int16_t>;
    case DType::kI32:
      return add_all<std::int32_t>;
    case DType::kI64:
      return add_all<std::int64_t>;
    case DType::kU16:
      return add_all<std::uint16_t>;
    case DType::kU32:
      return add_all<std::uint32_t>;
    case DType::kU64:
      return add_all<std::uint64_t>;
    case DType::kF16:
      return add_all_of_16_bits<decode_f16>;
    case DType::kBF16:
      return add_all_of_16_bits<decode_bf16>;
    case DType::kF32:
      return add_all<float>;
    case DType::kF64:
      return add_all<double>;
    case DType::kF8E5M2:
      return add_all_of_8_bits<decode_e5m2>;
    case DType::kF8E4M3FN:
      return add_all_of_8_bits<decode_e4m3fn>;
    case DType::kF8E5M2FNUZ:
      return add_all_of_8_bits<decode_e5m2fnuz>;
    case DType::kF8E4M3FNUZ:
      return add_all_of_8_bits<decode_e4m3fnuz>;
    case DType::kF8E8M0FNU:
      return add_all_of_8_bits<decode_e8m0fnu>;
    case DType::kC32:
      return add_all_complex_f16;
    case DType::kC64:
      return add_all_complex<float>;
    case DType::kC128:
      return add_all_complex<double>;
    case DType::kF6E2M3:
    case DType::kF6E3M2:
    case DType::kF4E2M1:
      break;
  }
  return nullptr;
}

}  // namespace

std::optional<TensorStats> tensor_stats(const Checkpoint& checkpoint, std::size_t tensor,
                                        const std::function<void(std::uint64_t bytes)>& seen) {
  const AddAll add_all_of = adder_of(checkpoint.tensors()[tensor].dtype);
  if (add_all_of == nullptr) return std::nullopt;
  Accumulator accumulator;
  for_each_piece(checkpoint, tensor, [&](std::uint64_t, std::span<const std::byte> bytes) {
    add_all_of(bytes, accumulator);
    if (seen) seen(bytes.size());
  });
  return accumulator.result();
}

}  // namespace cairn::cli
