// Reading one checkpoint: the implementation behind `Checkpoint`.
#pragma once

#include "catalog/catalog.h"
#include "format/index.h"
#include "store/handle.h"

#include <cairn/checkpoint.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::store {

class CheckpointReader {
 public:
  /// Errors: not_found; damaged, truncated (the index).
  CheckpointReader(std::shared_ptr<const StoreHandle> handle, std::uint64_t id);

  const CheckpointInfo& info() const;
  std::span<const TensorInfo> tensors() const;
  std::span<const TensorInfo> tensors(std::string_view recoverable) const;
  std::optional<std::size_t> find_tensor(std::string_view recoverable, std::string_view key) const;
  const format::IndexRecoverable* find_recoverable(std::string_view recoverable) const;
  const MetaValue::Map& values(std::string_view recoverable) const;
  std::vector<ChunkInfo> chunks(std::size_t tensor) const;

  void read_range(std::size_t tensor, std::uint64_t offset, std::span<std::byte> out) const;
  void load(std::span<const LoadTarget> targets, LoadMode mode) const;

  /// The checkpoint as one to be saved elsewhere. Lifetime: refers to the reader.
  NewCheckpoint copy(const CopyOptions& options) const;

 private:
  /// Bytes of a target that one chunk holds.
  struct Part {
    std::size_t tensor = 0;
    std::uint64_t chunk_offset = 0;
    std::span<std::byte> out{};
  };
  /// The chunks that a load needs, each with what it is needed for.
  using Parts = std::map<std::size_t, std::vector<Part>>;

  void require_usable() const { handle_->require_not_forked(); }
  const TensorInfo& tensor_at(std::size_t tensor) const;
  void add_parts(std::size_t tensor, std::uint64_t offset, std::span<std::byte> out,
                 Parts& parts) const;
  /// Reads and checks each chunk; `kLoad` fills the targets, `kCheck`, which comes before a load,
  /// leaves them alone. Throws one error that names every damaged tensor.
  enum class Purpose { kCheck, kLoad };
  void run(const Parts& parts, Purpose purpose) const;
  std::string place_of(std::size_t tensor) const;

  std::shared_ptr<const StoreHandle> handle_;
  catalog::ReadTransaction view_;  // keeps the extents in place
  CheckpointInfo info_;
  format::Index index_;
  std::vector<TensorInfo> tensors_;
  struct TensorPlace {
    std::uint32_t first_chunk = 0;
    std::uint32_t offset_in_chunk = 0;
  };
  std::vector<TensorPlace> places_;        // in step with tensors_
  std::vector<std::size_t> first_tensor_;  // by recoverable, one more at the end
};

}  // namespace cairn::store
