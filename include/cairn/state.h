// What a checkpoint is made from: the seam between taking a job's state and persisting it.
#pragma once

#include <cairn/dtype.h>
#include <cairn/meta_value.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cairn {

/// Bytes of a tensor that do not lie in memory, e.g. in a file that is being imported.
///
/// The bytes must not change between the first and the last read of a save; a save notices when
/// they do and fails with `io`.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  /// Fills `out` with the tensor's bytes from `offset` on; the range lies inside the tensor.
  /// Threads: called from several threads at once.
  virtual void read(std::uint64_t offset, std::span<std::byte> out) const = 0;
};

/// One tensor to save. Its bytes are taken row-major and contiguous whatever the strides are.
///
/// Shape: rank 0 (one element) to 64; a dimension of 0 makes it empty, then `data` may be null.
/// Lifetime: `data` must stay valid and unchanged until the save has returned; `owner` may hold it.
struct TensorInput {
  std::string key = {};  ///< Unique within its recoverable; any UTF-8 up to 65,535 bytes.
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape = {};
  std::vector<std::int64_t> strides = {};  ///< In elements; empty means contiguous.
  const void* data = nullptr;              ///< The element at index (0, ..., 0).
  std::shared_ptr<const void> owner = {};
  /// Instead of `data`; then without strides. Tensors that share one are tied: stored once.
  std::shared_ptr<const TensorSource> source = {};
};

/// The state of one recoverable: its tensors and its values.
struct RecoverableState {
  std::string name = {};  ///< UTF-8, 1 to 255 bytes, without '/' and control characters.
  std::vector<TensorInput> tensors = {};
  MetaValue::Map values = {};
};

/// Everything that one checkpoint holds. Names of recoverables are unique.
using CheckpointState = std::vector<RecoverableState>;

}  // namespace cairn
