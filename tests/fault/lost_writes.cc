#include "fault/lost_writes.h"

#include "support/real.h"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace cairn::fault {
namespace {

constexpr std::uint64_t kPage = 4096;

std::vector<char> read_all(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::optional<LostWrites::Inode> value_in(const LostWrites::Names& names, const std::string& name) {
  const auto at = names.find(name);
  return at == names.end() ? std::nullopt : std::optional(at->second);
}

}  // namespace

LostWrites::LostWrites(std::filesystem::path directory) : directory_(std::move(directory)) {
  if (!std::filesystem::exists(directory_)) return;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    struct stat status {};
    if (__real_lstat(entry.path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    files_[{status.st_dev, status.st_ino}].flushed = read_all(entry.path());
  }
  flushed_names_ = names_now();
}

LostWrites::Names LostWrites::names_now() const {
  Names names;
  if (!std::filesystem::exists(directory_)) return names;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    struct stat status {};
    if (__real_lstat(entry.path().c_str(), &status) != 0) continue;
    names[entry.path().filename().string()] = {status.st_dev, status.st_ino};
  }
  return names;
}

bool LostWrites::is_directory(int descriptor) const {
  struct stat flushed {};
  struct stat watched {};
  return __real_fstat(descriptor, &flushed) == 0 && S_ISDIR(flushed.st_mode) &&
         __real_lstat(directory_.c_str(), &watched) == 0 && flushed.st_dev == watched.st_dev &&
         flushed.st_ino == watched.st_ino;
}

LostWrites::State& LostWrites::state_of(int descriptor) {
  struct stat status {};
  __real_fstat(descriptor, &status);
  return files_[{status.st_dev, status.st_ino}];
}

void LostWrites::written(int descriptor, std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0) return;
  State& state = state_of(descriptor);
  for (std::uint64_t page = offset / kPage; page <= (offset + bytes - 1) / kPage; ++page) {
    state.lost.erase(page);
    state.dirty.insert(page);
  }
}

void LostWrites::flushed(int descriptor) {
  if (is_directory(descriptor)) {
    const Names now = names_now();
    Names flushed = now;
    for (const auto& [name, lost] : std::exchange(lost_names_, {})) {
      if (value_in(now, name) != lost) continue;
      lost_names_[name] = lost;
      flushed.erase(name);
      if (const auto before = value_in(flushed_names_, name)) flushed[name] = *before;
    }
    flushed_names_ = std::move(flushed);
    return;
  }
  State& state = state_of(descriptor);
  for (const std::uint64_t page : state.dirty) {
    if (state.flushed.size() < (page + 1) * kPage) state.flushed.resize((page + 1) * kPage);
    // Through a name, since the descriptor may be open for writing only.
    const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
    const int fd = __real_open(path.c_str(), O_RDONLY | O_CLOEXEC);
    __real_pread(fd, state.flushed.data() + page * kPage, kPage, static_cast<off_t>(page * kPage));
    ::close(fd);
  }
  state.dirty.clear();
}

void LostWrites::flush_failed(int descriptor) {
  if (is_directory(descriptor)) {
    const Names now = names_now();
    for (const Names* names : {&now, &std::as_const(flushed_names_)}) {
      for (const auto& [name, inode] : *names) {
        if (value_in(now, name) != value_in(flushed_names_, name)) {
          lost_names_[name] = value_in(now, name);
        }
      }
    }
    return;
  }
  State& state = state_of(descriptor);
  state.lost.insert(state.dirty.begin(), state.dirty.end());
  state.dirty.clear();
}

void LostWrites::take_names_away() const {
  const Names now = names_now();
  for (const auto& [name, lost] : lost_names_) {
    if (value_in(now, name) != lost) continue;
    std::filesystem::remove(directory_ / name);
    const auto before = value_in(flushed_names_, name);
    if (!before) continue;
    const std::vector<char>& bytes = files_.at(*before).flushed;
    std::ofstream(directory_ / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
}

void LostWrites::take_away() const {
  if (!std::filesystem::exists(directory_)) return;
  take_names_away();
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    struct stat status {};
    if (__real_lstat(entry.path().c_str(), &status) != 0) continue;
    const auto found = files_.find({status.st_dev, status.st_ino});
    if (found == files_.end()) continue;
    const State& state = found->second;
    const int fd = __real_open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
    for (const std::uint64_t page : state.lost) {
      const auto end = static_cast<std::uint64_t>(status.st_size);
      if (page * kPage >= end) continue;
      std::vector<char> bytes(std::min(kPage, end - page * kPage), '\0');
      for (std::size_t i = 0; i < bytes.size() && page * kPage + i < state.flushed.size(); ++i) {
        bytes[i] = state.flushed[page * kPage + i];
      }
      __real_pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(page * kPage));
    }
    ::close(fd);
  }
}

LostWrites*& watching_lost_writes() noexcept {
  static LostWrites* watching = nullptr;
  return watching;
}

}  // namespace cairn::fault
