// What a failed flush can leave: pages that are in the cache, and marked as clean, but not on the
// disk. A program that goes on sees its writes; after the next start of the machine they are gone.
// (PostgreSQL's "fsyncgate" of 2018; fsync(2) of Linux, section on errors.)
//
// The model: each file's contents as of its last flush are kept. A flush that fails makes the pages
// that were written since lost, until they are written again. `take_away` puts the flushed contents
// in the place of lost pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace cairn::fault {

class LostWrites {
 public:
  /// What `directory` holds now counts as flushed.
  explicit LostWrites(std::filesystem::path directory);

  void written(int descriptor, std::uint64_t offset, std::uint64_t bytes);
  void flushed(int descriptor);
  void flush_failed(int descriptor);

  /// Puts the flushed contents in the place of all lost pages. No handle may be open.
  void take_away() const;

 private:
  using Inode = std::pair<std::uint64_t, std::uint64_t>;
  struct State {
    std::vector<char> flushed{};
    std::set<std::uint64_t> dirty{};  // numbers of pages
    std::set<std::uint64_t> lost{};
  };

  State& state_of(int descriptor);

  std::filesystem::path directory_;
  std::map<Inode, State> files_;
};

/// The one that sees the calls of this process, or null.
LostWrites*& watching_lost_writes() noexcept;

}  // namespace cairn::fault
