// A pickle machine that runs nothing.
//
// Python's pickle is a program for a stack machine that may call any function. This machine knows
// the instructions and a short list of functions that the state files of PyTorch need, builds plain
// values from them itself, and refuses every other name. What it takes is bounded by the length of
// its input.
//
// Source: Python's documentation of pickletools (the instructions, protocols 0 to 5); PyTorch's
// torch/serialization.py and torch/_utils.py (what its files ask for).
#pragma once

#include <cairn/dtype.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::interop {

/// A storage of a PyTorch file, as a pickle refers to it.
struct PickledStorage {
  std::string key{};         // its name in the file
  DType dtype = DType::kU8;  // of its elements
  std::uint64_t elements = 0;
  bool is_untyped = false;  // then `elements` are bytes, and the tensor tells the dtype
};

struct PickledTensor {
  PickledStorage storage{};
  DType dtype = DType::kU8;
  std::uint64_t storage_offset = 0;  // in elements
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> strides{};
};

/// What a pickle builds. Values live in the `Pickle` that made them, and may share and contain each
/// other in any way, circles included.
struct PickledValue {
  enum class Kind : std::uint8_t {
    kNone,
    kBool,
    kInt,
    kBigInt,  // `text`: two's complement, little-endian
    kFloat,
    kString,
    kBytes,
    kList,
    kTuple,
    kDict,    // `items`: key, value, key, value, ...
    kGlobal,  // `text`: the whole name of a function or class
    kStorage,
    kTensor
  };
  Kind kind = Kind::kNone;
  std::int64_t integer = 0;  // 0 or 1 for a bool
  double number = 0;
  std::string text{};
  std::vector<const PickledValue*> items{};
  std::unique_ptr<PickledTensor> tensor{};  // of a storage, its `storage` alone
};

/// A pickle that was run to its end.
struct Pickle {
  std::deque<PickledValue> values{};
  const PickledValue* root = nullptr;
  std::size_t bytes = 0;  // so long was the pickle
};

/// Runs the pickle that begins `bytes`.
///
/// Errors, none with a path: damaged (malformed, or it ends early); invalid_argument for a name or
/// an instruction that is refused, naming it.
Pickle run_pickle(std::span<const std::byte> bytes);

}  // namespace cairn::interop
