#include "pack/free_space.h"

#include "base/checked.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace cairn::pack {

using base::round_up;
using format::Extent;
using format::kAlignment;

FreeSpace::FreeSpace(std::span<const FreeExtent> extents, std::uint64_t data_end)
    : data_end_(data_end) {
  for (const FreeExtent& extent : extents) {
    insert(extent.offset, {.bytes = extent.bytes, .freed_by = extent.freed_by, .reusable = false});
  }
  journal_.clear();
}

void FreeSpace::insert(std::uint64_t offset, const Piece& piece) {
  pieces_.emplace(offset, piece);
  if (piece.reusable) {
    reusable_.emplace(piece.bytes, offset);
  } else {
    waiting_.emplace(piece.freed_by, offset);
  }
  free_bytes_ += piece.bytes;
  journal_.push_back({.inserted = true, .offset = offset, .piece = piece});
}

void FreeSpace::erase(PieceMap::iterator at) {
  const auto [offset, piece] = *at;
  if (piece.reusable) {
    reusable_.erase({piece.bytes, offset});
  } else {
    waiting_.erase({piece.freed_by, offset});
  }
  free_bytes_ -= piece.bytes;
  pieces_.erase(at);
  journal_.push_back({.inserted = false, .offset = offset, .piece = piece});
}

void FreeSpace::begin(std::uint64_t horizon) {
  journal_.clear();
  while (!waiting_.empty() && waiting_.begin()->first <= horizon) {
    make_reusable(waiting_.begin()->second);
  }
}

// Joins the piece with its reusable neighbours, so that holes do not stay cut where they were
// freed.
void FreeSpace::make_reusable(std::uint64_t offset) {
  auto at = pieces_.find(offset);
  Piece joined = at->second;
  joined.reusable = true;
  std::uint64_t begin = offset;
  if (at != pieces_.begin()) {
    const auto before = std::prev(at);
    if (before->second.reusable && before->first + before->second.bytes == begin) {
      begin = before->first;
      joined.bytes += before->second.bytes;
      joined.freed_by = std::max(joined.freed_by, before->second.freed_by);
      erase(before);
    }
  }
  const auto after = std::next(at);
  if (after != pieces_.end() && after->second.reusable && begin + joined.bytes == after->first) {
    joined.bytes += after->second.bytes;
    joined.freed_by = std::max(joined.freed_by, after->second.freed_by);
    erase(after);
  }
  erase(at);
  insert(begin, joined);
}

FreeSpace::PieceMap::iterator FreeSpace::find_hole(std::uint64_t space, Fit fit) {
  if (fit == Fit::kLowest) {
    return std::find_if(pieces_.begin(), pieces_.end(), [&](const auto& entry) {
      return entry.second.reusable && entry.second.bytes >= space;
    });
  }
  const auto found = reusable_.lower_bound({space, 0});
  return found == reusable_.end() ? pieces_.end() : pieces_.find(found->second);
}

FreeSpace::PieceMap::iterator FreeSpace::hole_at_end() {
  if (pieces_.empty()) return pieces_.end();
  const auto last = std::prev(pieces_.end());
  const bool is_at_end = last->second.reusable && last->first + last->second.bytes == data_end_;
  return is_at_end ? last : pieces_.end();
}

Extent FreeSpace::allocate(std::uint64_t bytes, Fit fit) {
  assert(bytes > 0);
  const std::uint64_t space = round_up(bytes, kAlignment);
  if (const auto hole = find_hole(space, fit); hole != pieces_.end()) {
    const std::uint64_t offset = hole->first;
    Piece rest = hole->second;
    erase(hole);
    rest.bytes -= space;
    if (rest.bytes > 0) insert(offset + space, rest);
    return {.offset = offset, .bytes = bytes};
  }
  std::uint64_t offset = data_end_;
  // A hole right before the end is grown instead of left behind.
  if (const auto last = hole_at_end(); last != pieces_.end()) {
    offset = last->first;
    erase(last);
  }
  data_end_ = offset + space;
  return {.offset = offset, .bytes = bytes};
}

void FreeSpace::trim() {
  const auto last = hole_at_end();
  if (last == pieces_.end()) return;
  data_end_ = last->first;
  erase(last);
}

void FreeSpace::release(std::vector<Extent> extents, std::uint64_t transaction) {
  std::sort(extents.begin(), extents.end());
  std::size_t i = 0;
  while (i < extents.size()) {
    const std::uint64_t begin = extents[i].offset;
    std::uint64_t end = begin + round_up(extents[i].bytes, kAlignment);
    for (++i; i < extents.size() && extents[i].offset == end; ++i) {
      end += round_up(extents[i].bytes, kAlignment);
    }
    insert(begin, {.bytes = end - begin, .freed_by = transaction, .reusable = false});
  }
}

// A row of the catalog is known by its offset: where the first step on an offset is an erasure, the
// catalog has that row.
std::vector<std::uint64_t> FreeSpace::erased_rows() const {
  std::vector<std::uint64_t> erased;
  std::set<std::uint64_t> seen;
  for (const Step& step : journal_) {
    if (seen.insert(step.offset).second && !step.inserted) erased.push_back(step.offset);
  }
  return erased;
}

std::vector<FreeExtent> FreeSpace::changed_rows() const {
  std::vector<FreeExtent> changed;
  std::set<std::uint64_t> seen;
  for (const Step& step : journal_) {
    if (!seen.insert(step.offset).second) continue;
    const auto at = pieces_.find(step.offset);
    if (at == pieces_.end()) continue;
    changed.push_back(
        {.offset = at->first, .bytes = at->second.bytes, .freed_by = at->second.freed_by});
  }
  return changed;
}

void FreeSpace::finish() {
  journal_.clear();
}

std::uint64_t FreeSpace::waiting_bytes(std::uint64_t transaction) const {
  std::uint64_t bytes = 0;
  for (auto at = waiting_.lower_bound({transaction, 0});
       at != waiting_.end() && at->first == transaction; ++at) {
    bytes += pieces_.at(at->second).bytes;
  }
  return bytes;
}

std::vector<FreeExtent> FreeSpace::extents() const {
  std::vector<FreeExtent> all;
  all.reserve(pieces_.size());
  for (const auto& [offset, piece] : pieces_) {
    all.push_back({.offset = offset, .bytes = piece.bytes, .freed_by = piece.freed_by});
  }
  return all;
}

std::vector<FreeExtent> FreeSpace::reusable_extents() const {
  std::vector<FreeExtent> all;
  for (const auto& [offset, piece] : pieces_) {
    if (piece.reusable) {
      all.push_back({.offset = offset, .bytes = piece.bytes, .freed_by = piece.freed_by});
    }
  }
  return all;
}

}  // namespace cairn::pack
