// What a failed flush can leave: pages that are in the cache, and marked as clean, but not on the
// disk. A program that goes on sees its writes; after the next start of the machine they are gone.
// (PostgreSQL's "fsyncgate" of 2018; fsync(2) of Linux, section on errors.)
//
// The model: each file's contents as of its last flush are kept. A flush that fails makes the pages
// that were written since lost, until they are written again. `take_away` puts the flushed contents
// in the place of lost pages. The same for the names in the directory: those that came, went or
// changed before a flush of it that failed are lost until they change again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cairn::fault {

class LostWrites {
 public:
  using Inode = std::pair<std::uint64_t, std::uint64_t>;  // with its device
  using Names = std::map<std::string, Inode>;

  /// What `directory` holds now counts as flushed.
  explicit LostWrites(std::filesystem::path directory);

  void written(int descriptor, std::uint64_t offset, std::uint64_t bytes);
  void flushed(int descriptor);
  void flush_failed(int descriptor);

  /// Puts what was flushed in the place of all lost pages and names. No handle may be open.
  void take_away() const;

 private:
  struct State {
    std::vector<char> flushed{};
    std::set<std::uint64_t> dirty{};  // numbers of pages
    std::set<std::uint64_t> lost{};
  };

  State& state_of(int descriptor);
  bool is_directory(int descriptor) const;
  Names names_now() const;
  void take_names_away() const;

  std::filesystem::path directory_;
  std::map<Inode, State> files_;
  Names flushed_names_;
  std::map<std::string, std::optional<Inode>> lost_names_;  // none: it went
};

/// The one that sees the calls of this process, or null.
LostWrites*& watching_lost_writes() noexcept;

}  // namespace cairn::fault
