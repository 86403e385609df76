// Names: what stands at a path, and the directories that hold it.
#include "base/text.h"
#include "io/failure.h"
#include "io/file.h"

#include <algorithm>
#include <climits>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace cairn::io {
namespace {

// The parent of a path without a slash is "", which the system does not know.
std::filesystem::path or_here(const std::filesystem::path& directory) {
  return directory.empty() ? std::filesystem::path(".") : directory;
}

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

}  // namespace

PathKind path_kind(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (means_absent(errno)) return PathKind::kAbsent;
    fail(errno, "cannot inspect", path);
  }
  if (S_ISREG(status.st_mode)) return PathKind::kFile;
  return S_ISDIR(status.st_mode) ? PathKind::kDirectory : PathKind::kOther;
}

std::optional<FileId> file_id(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (means_absent(errno)) return std::nullopt;
    fail(errno, "cannot inspect", path);
  }
  return FileId{.device = status.st_dev, .inode = status.st_ino};
}

std::vector<std::string> list_directory(const std::filesystem::path& directory) {
  const std::filesystem::path path = or_here(directory);
  const std::unique_ptr<DIR, CloseDirectory> stream(::opendir(path.c_str()));
  if (!stream) {
    if (errno == ENOENT) {
      throw Error(ErrorCode::kNotFound, "there is no such directory",
                  {.path = path, .system_errno = ENOENT});
    }
    fail(errno, "cannot list", path);
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) fail(errno, "cannot list", path);
  std::sort(names.begin(), names.end());
  return names;
}

bool make_directory(const std::filesystem::path& directory) {
  if (::mkdir(directory.c_str(), 0777) == 0) return true;
  const int system_errno = errno;
  struct stat status {};
  const bool taken = system_errno == EEXIST && ::stat(directory.c_str(), &status) == 0;
  if (taken && S_ISDIR(status.st_mode)) return false;
  fail(taken ? ENOTDIR : system_errno, "cannot make the directory", directory);
}

// Some file systems refuse to flush a directory with EINVAL: they have nothing to flush, or no way
// to, and failing here would only make them unusable. PostgreSQL tolerates the same.
void sync_directory(const std::filesystem::path& directory) {
  const std::filesystem::path path = or_here(directory);
  const int descriptor =
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (descriptor < 0) fail(errno, "cannot open the directory to flush it", path);
  const int result = ::fsync(descriptor);
  const int system_errno = errno;
  ::close(descriptor);
  if (result != 0 && system_errno != EINVAL) {
    fail_to_flush(system_errno, "cannot flush the directory", path);
  }
}

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int system_errno = errno;
    fail(system_errno, "cannot rename to " + base::quoted(to.native(), PATH_MAX), from);
  }
}

bool remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) == 0) return true;
  if (means_absent(errno)) return false;
  fail(errno, "cannot remove", path);
}

std::optional<std::uint64_t> free_bytes(const std::filesystem::path& path) noexcept {
  std::error_code unknown;
  const auto space = std::filesystem::space(path, unknown);
  return unknown ? std::nullopt : std::optional<std::uint64_t>(space.available);
}

void remove_tree(const std::filesystem::path& path) noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace cairn::io
