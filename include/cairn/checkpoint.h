// Reading one committed checkpoint.
#pragma once

#include <cairn/dtype.h>
#include <cairn/meta_value.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

namespace store {
class CheckpointReader;
}

/// What is known of a checkpoint without reading its index. A value: it holds nothing open.
struct CheckpointInfo {
  std::uint64_t id = 0;
  std::string name = {};
  std::uint64_t sequence = 0;        ///< Of the commit that saved it; orders checkpoints.
  std::int64_t created_unix_ns = 0;  ///< By the wall clock; informs, never orders.
  Metadata meta = {};
  std::vector<std::string> recoverables = {};
  std::uint64_t tensors = 0;
  std::uint64_t logical_bytes = 0;  ///< Sum of the tensors' sizes, before deduplication.
  bool pinned = false;
  bool damaged = false;  ///< A recovery or verification found it so; remembered in the store.
};

/// One tensor of a checkpoint. Lifetime: the views live as long as the `Checkpoint`.
struct TensorInfo {
  std::string_view recoverable = {};
  std::string_view key = {};
  DType dtype = DType::kF32;
  std::span<const std::int64_t> shape = {};
  std::uint64_t bytes = 0;
};

/// Identity of a piece of a tensor's bytes: equal for equal bytes, across checkpoints and stores.
struct ChunkInfo {
  std::string digest = {};  ///< XXH3-128 of the plain bytes, 32 hexadecimal digits.
  std::uint64_t plain_bytes = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t pack_offset = 0;  ///< Bytes from the start of the pack.
};

/// How a load treats its targets when bytes turn out to be damaged.
enum class LoadMode {
  kVerifyFirst,  ///< Checks every chunk, then reads again into the target, checking again.
                 ///< Only a failure that appears between the two can leave a target half written.
  kStaged,       ///< Reads into new memory, checks, then copies: the target is never half written.
  kSinglePass,  ///< Reads straight into the target and checks there: damage leaves it half written.
};

/// Where the bytes of one tensor go. `out` must be exactly as long as the tensor.
struct LoadTarget {
  std::size_t tensor = 0;  ///< Position in `Checkpoint::tensors()`.
  std::span<std::byte> out = {};
};

/// A handle that reads one checkpoint.
///
/// Holds a snapshot of the store: what it refers to stays in place while it lives, also when the
/// checkpoint is deleted meanwhile; so do not keep it longer than needed (`Store::stat` shows it).
/// Threads: safe for concurrent use. Lifetime: may outlive the `Store` that opened it.
/// Errors of every function: `forked` in a child of the process that opened it.
class Checkpoint {
 public:
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const CheckpointInfo& info() const;

  /// All tensors, by recoverable, then by key, both in byte order.
  std::span<const TensorInfo> tensors() const;
  /// Those of one recoverable. Errors: not_found.
  std::span<const TensorInfo> tensors(std::string_view recoverable) const;
  /// The tensor's position in `tensors()`, or nothing.
  std::optional<std::size_t> find_tensor(std::string_view recoverable, std::string_view key) const;

  bool has_recoverable(std::string_view recoverable) const;
  /// The values that a recoverable saved beside its tensors. Errors: not_found.
  const MetaValue::Map& values(std::string_view recoverable) const;

  /// The chunks that hold a tensor, in order. Small tensors share a chunk with their neighbours.
  std::vector<ChunkInfo> chunks(std::size_t tensor) const;

  /// Reads one tensor, verified, in one pass. Errors: damaged (names the tensor), truncated, io.
  std::vector<std::byte> read(std::size_t tensor) const;
  /// Reads `out.size()` bytes of one tensor from `offset` on. Only the chunks that hold them are
  /// read, and each is verified whole. Errors: invalid_argument (outside), damaged, truncated, io.
  void read_range(std::size_t tensor, std::uint64_t offset, std::span<std::byte> out) const;

  /// Fills all targets or, as far as `mode` promises, none.
  ///
  /// Errors: invalid_argument (a target of the wrong length); damaged, naming every damaged tensor
  /// and its place in the pack; truncated; io.
  void load(std::span<const LoadTarget> targets, LoadMode mode = LoadMode::kVerifyFirst) const;

 private:
  friend class Store;
  explicit Checkpoint(std::unique_ptr<store::CheckpointReader> reader);
  std::unique_ptr<store::CheckpointReader> reader_;
};

}  // namespace cairn
