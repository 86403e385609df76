// Which parts of the pack are free, and which of them may be written again.
//
// The rule (docs/decisions/0003): space freed by the commit with LMDB transaction id F may be
// written from the second commit after F on, when no reader holds a snapshot older than F. The
// committed root and its parent thereby stay whole whatever the commit under way does.
//
// All changes are made in memory between `begin` and `finish`; `changed_rows` and `erased_rows` are
// what the catalog must record. A change that is not finished is not undone: make the free space
// anew from the catalog.
#pragma once

#include "format/layout.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace cairn::pack {

/// A free piece of the pack; `bytes` is a multiple of kAlignment.
struct FreeExtent {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t freed_by = 0;  // LMDB transaction id of the commit that freed it
  friend bool operator==(const FreeExtent&, const FreeExtent&) = default;
};

/// Which hole an extent goes to.
enum class Fit {
  kBest,    ///< The smallest that holds it, the lowest of equals. Keeps large holes for large
            ///< chunks, and lets equal saves recycle each other's extents.
  kLowest,  ///< The lowest that holds it, so that the end of the pack becomes free.
};

class FreeSpace {
 public:
  FreeSpace() = default;
  FreeSpace(std::span<const FreeExtent> extents, std::uint64_t data_end);

  /// Begins a change. Extents freed by transaction `horizon` or an earlier one may be written.
  void begin(std::uint64_t horizon);

  /// Space for `bytes` bytes (above zero), rounded up to kAlignment: in a reusable hole, else at
  /// the end. Returns the extent with `bytes` as asked for.
  format::Extent allocate(std::uint64_t bytes, Fit fit = Fit::kBest);

  /// Takes the end of data back to before a reusable hole that ends there.
  void trim();

  /// Gives extents back as freed by `transaction`; neighbours among them become one.
  void release(std::vector<format::Extent> extents, std::uint64_t transaction);

  /// End of data: every extent, live or free, ends at or before it.
  std::uint64_t data_end() const noexcept { return data_end_; }

  /// What has changed since `begin`: rows to write, and offsets of rows to erase first.
  std::vector<FreeExtent> changed_rows() const;
  std::vector<std::uint64_t> erased_rows() const;

  void finish();

  std::uint64_t free_bytes() const noexcept { return free_bytes_; }
  /// Bytes that `transaction` freed and that may not be written yet.
  std::uint64_t waiting_bytes(std::uint64_t transaction) const;
  std::vector<FreeExtent> extents() const;
  /// Those that may be written, by the horizon of the last `begin`.
  std::vector<FreeExtent> reusable_extents() const;

 private:
  struct Piece {
    std::uint64_t bytes = 0;
    std::uint64_t freed_by = 0;
    bool reusable = false;
  };
  struct Step {
    bool inserted = false;
    std::uint64_t offset = 0;
    Piece piece{};
  };
  using PieceMap = std::map<std::uint64_t, Piece>;

  void insert(std::uint64_t offset, const Piece& piece);
  void erase(PieceMap::iterator at);
  void make_reusable(std::uint64_t offset);
  PieceMap::iterator find_hole(std::uint64_t space, Fit fit);
  /// The reusable hole that ends at the end of data, or the end of the map.
  PieceMap::iterator hole_at_end();

  PieceMap pieces_;                                             // by offset
  std::set<std::pair<std::uint64_t, std::uint64_t>> reusable_;  // bytes, offset
  std::set<std::pair<std::uint64_t, std::uint64_t>> waiting_;   // freed_by, offset
  std::uint64_t data_end_ = format::kDataBegin;
  std::uint64_t free_bytes_ = 0;
  std::vector<Step> journal_;
};

}  // namespace cairn::pack
