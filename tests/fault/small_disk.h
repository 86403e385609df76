// A disk with room for so many pages, for the files of one directory: what has no page on it yet
// needs one, be it written or reserved, and when there is none the call fails with ENOSPC.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

namespace cairn::fault {

class SmallDisk {
 public:
  static constexpr std::uint64_t kPage = 4096;

  /// `free_pages` besides those that the files in `directory` occupy now.
  SmallDisk(const std::filesystem::path& directory, std::uint64_t free_pages);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  /// How many bytes of a range there are pages for, from its start on; they are taken.
  std::uint64_t take(int descriptor, std::uint64_t offset, std::uint64_t bytes);
  /// The same for all of it, or nothing.
  bool reserve(int descriptor, std::uint64_t offset, std::uint64_t bytes);
  void give_back(int descriptor, std::uint64_t begin, std::uint64_t end);
  void give_back_file(const char* path);

  std::uint64_t refusals() const noexcept { return refusals_; }

 private:
  using Inode = std::pair<std::uint64_t, std::uint64_t>;
  std::set<std::uint64_t>& pages_of(int descriptor);

  std::uint64_t free_pages_;
  std::uint64_t refusals_ = 0;
  std::map<Inode, std::set<std::uint64_t>> pages_;
};

/// The one that this process writes to, or null.
SmallDisk* small_disk() noexcept;

}  // namespace cairn::fault
