// The checkpoints of the committed state, as the writer keeps them: one row each, ascending by id.
#pragma once

#include "catalog/rows.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace cairn::store {

/// Rows are held by pointer, so that taking one out of the middle moves eight bytes for each that
/// follows, and copies none.
class CheckpointList {
 public:
  using Rows = std::vector<std::unique_ptr<const catalog::CheckpointRow>>;

  CheckpointList() = default;
  explicit CheckpointList(std::vector<catalog::CheckpointRow> rows);

  const Rows& rows() const noexcept { return rows_; }
  /// Null when there is none.
  const catalog::CheckpointRow* find(std::uint64_t id) const noexcept;
  /// Those that are known to be damaged.
  std::vector<const catalog::CheckpointRow*> damaged() const;

  /// Makes room, so that what follows cannot fail.
  void reserve_one_more();
  void erase(std::uint64_t id) noexcept;
  /// Puts a row in the place of the one with its id.
  void replace(std::unique_ptr<const catalog::CheckpointRow> row) noexcept;
  /// Its id is above all others; `reserve_one_more` has been called.
  void append(std::unique_ptr<const catalog::CheckpointRow> row) noexcept;

 private:
  std::size_t position_of(std::uint64_t id) const noexcept;

  Rows rows_;
  std::size_t damaged_count_ = 0;
};

}  // namespace cairn::store
