#include "fault/small_disk.h"

#include "fault/real.h"

#include <algorithm>
#include <limits>
#include <sys/stat.h>

namespace cairn::fault {
namespace {

SmallDisk* current = nullptr;

}  // namespace

SmallDisk* small_disk() noexcept {
  return current;
}

SmallDisk::SmallDisk(const std::filesystem::path& directory, std::uint64_t free_pages)
    : free_pages_(free_pages) {
  if (std::filesystem::exists(directory)) {
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      struct stat status {};
      if (__real_lstat(entry.path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
      const auto end = static_cast<std::uint64_t>(
          std::max<std::int64_t>(status.st_size, std::int64_t{512} * status.st_blocks));
      auto& pages = pages_[{status.st_dev, status.st_ino}];
      for (std::uint64_t page = 0; page * kPage < end; ++page) pages.insert(pages.end(), page);
    }
  }
  current = this;
}

SmallDisk::~SmallDisk() {
  current = nullptr;
}

std::set<std::uint64_t>& SmallDisk::pages_of(int descriptor) {
  struct stat status {};
  __real_fstat(descriptor, &status);
  return pages_[{status.st_dev, status.st_ino}];
}

std::uint64_t SmallDisk::take(int descriptor, std::uint64_t offset, std::uint64_t bytes) {
  auto& pages = pages_of(descriptor);
  const std::uint64_t end = offset + bytes;
  for (std::uint64_t page = offset / kPage; page * kPage < end; ++page) {
    if (pages.contains(page)) continue;
    if (free_pages_ == 0) {
      ++refusals_;
      return std::max(offset, page * kPage) - offset;
    }
    --free_pages_;
    pages.insert(page);
  }
  return bytes;
}

bool SmallDisk::reserve(int descriptor, std::uint64_t offset, std::uint64_t bytes) {
  // As ext4 does it, a part stays reserved when the whole does not fit.
  return take(descriptor, offset, bytes) == bytes;
}

void SmallDisk::give_back(int descriptor, std::uint64_t begin, std::uint64_t end) {
  auto& pages = pages_of(descriptor);
  const auto first = pages.lower_bound((begin + kPage - 1) / kPage);
  const auto last = end == std::numeric_limits<std::uint64_t>::max()
                        ? pages.end()
                        : pages.lower_bound(end / kPage);
  if (first == pages.end() || (last != pages.end() && *last <= *first)) return;
  free_pages_ += static_cast<std::uint64_t>(std::distance(first, last));
  pages.erase(first, last);
}

void SmallDisk::give_back_file(const char* path) {
  struct stat status {};
  if (__real_lstat(path, &status) != 0) return;
  const auto found = pages_.find({status.st_dev, status.st_ino});
  if (found == pages_.end()) return;
  free_pages_ += found->second.size();
  pages_.erase(found);
}

}  // namespace cairn::fault
