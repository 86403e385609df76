#include "store/checkpoint_list.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace cairn::store {

using catalog::CheckpointRow;

CheckpointList::CheckpointList(std::vector<CheckpointRow> rows) {
  rows_.reserve(rows.size() + 1);
  for (CheckpointRow& row : rows) {
    append(std::make_unique<const CheckpointRow>(std::move(row)));
  }
}

// Of the first row whose id is not below.
std::size_t CheckpointList::position_of(std::uint64_t id) const noexcept {
  const auto at =
      std::lower_bound(rows_.begin(), rows_.end(), id,
                       [](const auto& row, std::uint64_t wanted) { return row->id < wanted; });
  return static_cast<std::size_t>(at - rows_.begin());
}

const CheckpointRow* CheckpointList::find(std::uint64_t id) const noexcept {
  const std::size_t at = position_of(id);
  return at < rows_.size() && rows_[at]->id == id ? rows_[at].get() : nullptr;
}

std::vector<const CheckpointRow*> CheckpointList::damaged() const {
  std::vector<const CheckpointRow*> damaged;
  if (damaged_count_ == 0) return damaged;
  for (const auto& row : rows_) {
    if (row->damaged) damaged.push_back(row.get());
  }
  return damaged;
}

void CheckpointList::reserve_one_more() {
  if (rows_.size() == rows_.capacity()) rows_.reserve(2 * rows_.size() + 1);
}

void CheckpointList::erase(std::uint64_t id) noexcept {
  const auto at = rows_.begin() + static_cast<std::ptrdiff_t>(position_of(id));
  assert(at != rows_.end() && (*at)->id == id);
  if ((*at)->damaged) --damaged_count_;
  rows_.erase(at);
}

void CheckpointList::replace(std::unique_ptr<const CheckpointRow> row) noexcept {
  auto& at = rows_[position_of(row->id)];
  assert(at->id == row->id);
  if (at->damaged) --damaged_count_;
  if (row->damaged) ++damaged_count_;
  at = std::move(row);
}

void CheckpointList::append(std::unique_ptr<const CheckpointRow> row) noexcept {
  assert(rows_.size() < rows_.capacity() && (rows_.empty() || rows_.back()->id < row->id));
  if (row->damaged) ++damaged_count_;
  rows_.push_back(std::move(row));
}

}  // namespace cairn::store
