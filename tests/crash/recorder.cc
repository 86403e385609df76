#include "crash/recorder.h"

#include "crash/tree.h"
#include "io/file.h"
#include "support/real.h"

#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <random>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

// The names are the linker's (ld(1), --wrap).
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
std::int64_t __real__ZNSt6chrono3_V212system_clock3nowEv();
}
// NOLINTEND(bugprone-reserved-identifier)

namespace cairn::crash {
namespace {

Recorder* active = nullptr;

struct Seeded {
  std::mt19937_64 random;
  std::int64_t now_ns = 1'700'000'000'000'000'000;
};
std::optional<Seeded> seeded;

int fail_with(int system_errno) {
  errno = system_errno;
  return -1;
}

}  // namespace

Determinism::Determinism(std::uint64_t seed) {
  seeded.emplace();
  seeded->random.seed(seed);
}

Determinism::~Determinism() {
  seeded.reset();
}

Recorder::Recorder(std::filesystem::path directory, Interference interference)
    : directory_(std::move(directory)), interference_(std::move(interference)) {
  if (active != nullptr) throw std::logic_error("one recorder at a time");
  const Tree tree = read_tree(directory_, is_left_out);
  log_ = log_of(tree);
  for (const Event& event : log_) {
    if (event.kind != EventKind::kMakeDirectory && event.kind != EventKind::kCreate) continue;
    const auto parent = paths_.find(event.directory);
    const std::string path =
        parent == paths_.end() ? event.name : parent->second + "/" + event.name;
    nodes_[path] = event.node;
    paths_[event.node] = path;
    next_node_ = event.node + 1;
  }
  active = this;
}

Recorder::~Recorder() {
  const std::lock_guard lock(mutex_);
  if (active == this) active = nullptr;
}

void Recorder::note(std::string text) {
  const std::lock_guard lock(mutex_);
  log_.push_back({.kind = EventKind::kNote, .name = std::move(text)});
}

void Recorder::set_interference(Interference interference) {
  const std::lock_guard lock(mutex_);
  interference_ = std::move(interference);
}

std::uint64_t Recorder::direct_writes() const {
  const std::lock_guard lock(mutex_);
  return direct_writes_;
}

EventLog Recorder::finish() {
  const std::lock_guard lock(mutex_);
  check_mappings();
  active = nullptr;
  if (replay(log_) != read_tree(directory_, is_left_out)) {
    escapes_.push_back("the log does not replay to the real files");
  }
  if (!escapes_.empty()) {
    std::string all = "something escaped the recorder:";
    for (const std::string& escape : escapes_) all += "\n  " + escape;
    throw std::runtime_error(all);
  }
  return std::move(log_);
}

// Another way to the same file, such as mremap or a mapping made before, shows here.
void Recorder::check_mappings() {
  std::ifstream maps("/proc/self/maps");
  const std::string prefix = directory_.string() + "/";
  for (std::string line; std::getline(maps, line);) {
    const std::size_t space = line.find(' ');
    const std::size_t path = line.find(prefix);
    if (path == std::string::npos || space == std::string::npos) continue;
    const std::string permissions = line.substr(space + 1, 4);
    if (permissions[1] == 'w' && permissions[3] == 's' && !is_left_out(line)) {
      escaped("a shared writable mapping of " + line.substr(path));
    }
  }
}

std::optional<std::string> Recorder::below(const char* path) const {
  std::string text = std::filesystem::path(path).lexically_normal().string();
  if (text.ends_with('/')) text.pop_back();
  const std::string top = directory_.string();
  if (text == top) return "";
  if (!text.starts_with(top + "/")) return std::nullopt;
  text.erase(0, top.size() + 1);
  if (is_left_out(text)) return std::nullopt;
  return text;
}

std::optional<Recorder::Place> Recorder::place_of(const std::string& path) const {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return Place{kTop, path};
  const auto parent = nodes_.find(path.substr(0, slash));
  if (parent == nodes_.end()) return std::nullopt;
  return Place{parent->second, path.substr(slash + 1)};
}

Call Recorder::call_of(EventKind kind, const std::string& path) const {
  Call call{.kind = kind, .name = path.substr(path.rfind('/') + 1)};
  if (kind == EventKind::kSyncDirectory) {
    call.name = path;
    const Node node = path.empty() ? kTop : nodes_.at(path);
    if (const auto at = last_in_.find(node); at != last_in_.end()) {
      call.last_name_event = at->second;
    }
  }
  return call;
}

void Recorder::add(Event event) {
  switch (event.kind) {
    case EventKind::kMakeDirectory:
      last_in_[event.directory] = "mkdir " + event.name;
      break;
    case EventKind::kCreate:
      last_in_[event.directory] = "create " + event.name;
      break;
    case EventKind::kRename:
      last_in_[event.to_directory] = "rename " + event.to_name;
      break;
    case EventKind::kUnlink:
      last_in_[event.directory] = "unlink " + event.name;
      break;
    default:
      break;
  }
  log_.push_back(std::move(event));
}

void Recorder::escaped(std::string how) {
  escapes_.push_back(std::move(how));
}

/// What the wrapped calls do when a recorder is active. Each call and its event are one step under
/// the recorder's mutex, so that the log is in the order in which the system saw the calls.
struct Wraps {
  static int open(const char* path, int flags, mode_t mode) {
    if (active == nullptr) return __real_open(path, flags, mode);
    if ((flags & (O_CREAT | O_TRUNC)) != 0) before(-1, path);
    const std::lock_guard lock(active->mutex_);
    const auto name = active->below(path);
    if (!name) return __real_open(path, flags, mode);
    struct stat status {};
    const bool existed = ::stat(path, &status) == 0;
    const bool creates = !existed && (flags & O_CREAT) != 0;
    if (creates) {
      if (const int error = failure(EventKind::kCreate, *name)) return fail_with(error);
    }
    int fd = __real_open(path, flags, mode);
    // Not every file system in memory can do without the page cache. Where the bytes wait for a
    // flush does not matter here, and what it asks of them is checked all the same.
    if (fd < 0 && errno == EINVAL && (flags & O_DIRECT) != 0) {
      fd = __real_open(path, flags & ~O_DIRECT, mode);
    }
    if (fd < 0) return fd;
    Recorder::Open open{.is_directory = existed && S_ISDIR(status.st_mode),
                        .is_synchronous = (flags & O_DSYNC) != 0,
                        .is_direct = (flags & O_DIRECT) != 0};
    if (creates) {
      const auto place = active->place_of(*name);
      open.node = active->next_node_++;
      active->nodes_[*name] = open.node;
      active->paths_[open.node] = *name;
      active->add({.kind = EventKind::kCreate,
                   .node = open.node,
                   .directory = place->directory,
                   .name = place->name});
    } else if (!name->empty()) {
      const auto known = active->nodes_.find(*name);
      if (known == active->nodes_.end()) {
        active->escaped("a file appeared unseen: " + *name);
        return fd;
      }
      open.node = known->second;
      if ((flags & O_TRUNC) != 0 && status.st_size > 0) {
        active->add({.kind = EventKind::kTruncate, .node = open.node});
      }
    }
    active->open_[fd] = open;
    return fd;
  }

  static int close(int fd) {
    if (active == nullptr) return __real_close(fd);
    const std::lock_guard lock(active->mutex_);
    active->open_.erase(fd);
    return __real_close(fd);
  }

  /// What no file system with O_DIRECT refuses is aligned to the largest block of any.
  static void check_direct(int fd, const void* memory, std::size_t bytes, off_t offset) {
    if (active == nullptr) return;
    const std::lock_guard lock(active->mutex_);
    const auto open = active->open_.find(fd);
    if (open == active->open_.end() || !open->second.is_direct) return;
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    if (((address | bytes | static_cast<std::uint64_t>(offset)) % io::File::kDirectBlock) == 0)
      return;
    active->escaped("a direct transfer that is not aligned: " + std::to_string(bytes) +
                    " bytes at " + std::to_string(offset) + ", in memory at " +
                    std::to_string(address));
  }

  /// `write` moves at most what it is given; `gather` collects so many bytes of it.
  template <typename Write, typename Gather>
  static ssize_t write(int fd, off_t offset, const Write& call, const Gather& gather) {
    before(fd);
    const std::lock_guard lock(active->mutex_);
    const auto open = active->open_.find(fd);
    if (open == active->open_.end()) return call();
    const std::string& path = active->paths_.at(open->second.node);
    if (const int error = failure(EventKind::kWrite, path)) return fail_with(error);
    const ssize_t put = call();
    if (put <= 0) return put;
    Event event{.kind = EventKind::kWrite,
                .node = open->second.node,
                .offset = static_cast<std::uint64_t>(offset),
                .bytes = static_cast<std::uint64_t>(put),
                .data = gather(static_cast<std::size_t>(put))};
    const Event synced{.kind = EventKind::kSyncRange,
                       .node = event.node,
                       .offset = event.offset,
                       .bytes = event.bytes};
    if (open->second.is_direct) ++active->direct_writes_;
    active->add(std::move(event));
    if (open->second.is_synchronous && !is_deaf(EventKind::kSyncRange, path)) active->add(synced);
    return put;
  }

  static bool records(int fd) {
    if (active == nullptr) return false;
    const std::lock_guard lock(active->mutex_);
    return active->open_.contains(fd);
  }

  /// A call about a file that changes or flushes it.
  template <typename Real>
  static int change(int fd, Event event, const Real& call) {
    if (active == nullptr) return call();
    before(fd);
    const std::lock_guard lock(active->mutex_);
    const auto open = active->open_.find(fd);
    if (open == active->open_.end()) return call();
    event.node = open->second.node;
    if (open->second.is_directory) event.kind = EventKind::kSyncDirectory;
    const std::string path = event.node == kTop ? "" : active->paths_.at(event.node);
    if (const int error = failure(event.kind, path)) return fail_with(error);
    if (is_deaf(event.kind, path)) return 0;
    const int result = call();
    if (result == 0) active->add(std::move(event));
    return result;
  }

  static int fallocate(int fd, int mode, off_t offset, off_t bytes) {
    const auto call = [&] { return __real_fallocate(fd, mode, offset, bytes); };
    if (mode == FALLOC_FL_KEEP_SIZE || !records(fd)) return call();  // space, but no contents
    if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
      active->escaped("fallocate with mode " + std::to_string(mode));
      return call();
    }
    return change(fd,
                  {.kind = EventKind::kPunch,
                   .offset = static_cast<std::uint64_t>(offset),
                   .bytes = static_cast<std::uint64_t>(bytes)},
                  call);
  }

  static void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if ((flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0 && fd >= 0 && records(fd)) {
      active->escaped("a shared writable mapping");
    }
    return __real_mmap(address, bytes, protection, flags, fd, offset);
  }

  template <typename Real>
  static int change_name(EventKind kind, const char* path, const char* to, const Real& call) {
    if (active == nullptr) return call();
    before(-1, path);
    const std::lock_guard lock(active->mutex_);
    const auto from_name = active->below(path);
    const auto to_name = to != nullptr ? active->below(to) : from_name;
    if (!from_name && !to_name) return call();
    if (!from_name || !to_name) active->escaped(std::string("a name that comes or goes: ") + path);
    if (const int error = failure(kind, *from_name)) return fail_with(error);
    const int result = call();
    if (result != 0) return result;
    const auto from = active->place_of(*from_name);
    const auto target = active->place_of(*to_name);
    Event event{.kind = kind, .directory = from->directory, .name = from->name};
    if (kind == EventKind::kMakeDirectory) {
      event.node = active->next_node_++;
      active->nodes_[*from_name] = event.node;
      active->paths_[event.node] = *from_name;
    } else {
      const Node node = active->nodes_.at(*from_name);
      active->nodes_.erase(*from_name);
      if (kind == EventKind::kRename) {
        event.to_directory = target->directory;
        event.to_name = target->name;
        active->nodes_[*to_name] = node;
        active->paths_[node] = *to_name;
      }
    }
    active->add(std::move(event));
    return result;
  }

  static void forbid(const char* what, const char* path) {
    if (active == nullptr) return;
    const std::lock_guard lock(active->mutex_);
    if (path == nullptr || active->below(path)) active->escaped(what);
  }

 private:
  /// Gives the interference its say about a descriptor's file, or a path.
  static void before(int fd, const char* path = nullptr) {
    std::function<void()> call;
    {
      const std::lock_guard lock(active->mutex_);
      if (path != nullptr ? active->below(path).has_value() : active->open_.contains(fd)) {
        call = active->interference_.before;
      }
    }
    if (call) call();
  }

  static int failure(EventKind kind, const std::string& path) {
    const auto& fails_with = active->interference_.fails_with;
    return fails_with ? fails_with(active->call_of(kind, path)) : 0;
  }

  static bool is_deaf(EventKind kind, const std::string& path) {
    const auto& deaf = active->interference_.is_deaf;
    const bool flush = kind == EventKind::kSync || kind == EventKind::kSyncRange ||
                       kind == EventKind::kSyncDirectory;
    return flush && deaf && deaf(active->call_of(kind, path));
  }
};

}  // namespace cairn::crash

using cairn::crash::Bytes;
using cairn::crash::EventKind;
using cairn::crash::Wraps;

namespace {

Bytes gather(const iovec* pieces, int count, std::size_t bytes) {
  Bytes all;
  for (int i = 0; i < count && all.size() < bytes; ++i) {
    const auto* data = static_cast<const std::byte*>(pieces[i].iov_base);
    all.insert(all.end(), data, data + std::min(pieces[i].iov_len, bytes - all.size()));
  }
  return all;
}

Bytes copy(const void* data, std::size_t bytes) {
  const auto* first = static_cast<const std::byte*>(data);
  return {first, first + bytes};
}

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return Wraps::open(path, flags, mode);
}
int __wrap_close(int fd) {
  return Wraps::close(fd);
}
ssize_t __wrap_write(int fd, const void* data, size_t bytes) {
  const auto call = [&] { return __real_write(fd, data, bytes); };
  if (!Wraps::records(fd)) return call();
  return Wraps::write(fd, ::lseek(fd, 0, SEEK_CUR), call,
                      [&](std::size_t put) { return copy(data, put); });
}
ssize_t __wrap_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  const auto call = [&] { return __real_pwrite(fd, data, bytes, offset); };
  if (!Wraps::records(fd)) return call();
  Wraps::check_direct(fd, data, bytes, offset);
  return Wraps::write(fd, offset, call, [&](std::size_t put) { return copy(data, put); });
}
ssize_t __wrap_pread(int fd, void* data, size_t bytes, off_t offset) {
  Wraps::check_direct(fd, data, bytes, offset);
  return __real_pread(fd, data, bytes, offset);
}
ssize_t __wrap_writev(int fd, const iovec* pieces, int count) {
  const auto call = [&] { return __real_writev(fd, pieces, count); };
  if (!Wraps::records(fd)) return call();
  return Wraps::write(fd, ::lseek(fd, 0, SEEK_CUR), call,
                      [&](std::size_t put) { return gather(pieces, count, put); });
}
ssize_t __wrap_pwritev(int fd, const iovec* pieces, int count, off_t offset) {
  const auto call = [&] { return __real_pwritev(fd, pieces, count, offset); };
  if (!Wraps::records(fd)) return call();
  return Wraps::write(fd, offset, call,
                      [&](std::size_t put) { return gather(pieces, count, put); });
}
int __wrap_ftruncate(int fd, off_t bytes) {
  return Wraps::change(fd,
                       {.kind = EventKind::kTruncate, .bytes = static_cast<std::uint64_t>(bytes)},
                       [&] { return __real_ftruncate(fd, bytes); });
}
int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  return Wraps::fallocate(fd, mode, offset, bytes);
}
int __wrap_fdatasync(int fd) {
  return Wraps::change(fd, {.kind = EventKind::kSync}, [&] { return __real_fdatasync(fd); });
}
int __wrap_fsync(int fd) {
  return Wraps::change(fd, {.kind = EventKind::kSync}, [&] { return __real_fsync(fd); });
}
int __wrap_msync(void* address, size_t bytes, int flags) {
  Wraps::forbid("msync", nullptr);
  return __real_msync(address, bytes, flags);
}
void* __wrap_mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return Wraps::mmap(address, bytes, protection, flags, fd, offset);
}
int __wrap_rename(const char* from, const char* to) {
  return Wraps::change_name(EventKind::kRename, from, to, [&] { return __real_rename(from, to); });
}
int __wrap_unlink(const char* path) {
  return Wraps::change_name(EventKind::kUnlink, path, nullptr, [&] { return __real_unlink(path); });
}
int __wrap_rmdir(const char* path) {
  return Wraps::change_name(EventKind::kUnlink, path, nullptr, [&] { return __real_rmdir(path); });
}
int __wrap_mkdir(const char* path, mode_t mode) {
  return Wraps::change_name(EventKind::kMakeDirectory, path, nullptr,
                            [&] { return __real_mkdir(path, mode); });
}
int __wrap_link(const char* from, const char* to) {
  Wraps::forbid("link", to);
  return __real_link(from, to);
}
int __wrap_symlink(const char* from, const char* to) {
  Wraps::forbid("symlink", to);
  return __real_symlink(from, to);
}
ssize_t __wrap_copy_file_range(int from, off_t* at, int to, off_t* to_at, size_t bytes,
                               unsigned flags) {
  if (Wraps::records(to)) Wraps::forbid("copy_file_range", nullptr);
  return __real_copy_file_range(from, at, to, to_at, bytes, flags);
}
int __wrap_dup3(int from, int to, int flags) {
  if (Wraps::records(from)) Wraps::forbid("dup3 of a recorded file", nullptr);
  return __real_dup3(from, to, flags);
}
ssize_t __wrap_getrandom(void* data, size_t bytes, unsigned flags) {
  using cairn::crash::seeded;
  if (!seeded) return __real_getrandom(data, bytes, flags);
  auto* out = static_cast<unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<unsigned char>(seeded->random());
  return static_cast<ssize_t>(bytes);
}
// std::chrono::system_clock::now(): its result is one 64-bit count of nanoseconds.
std::int64_t __wrap__ZNSt6chrono3_V212system_clock3nowEv() {
  using cairn::crash::seeded;
  if (!seeded) return __real__ZNSt6chrono3_V212system_clock3nowEv();
  return seeded->now_ns += 1'000'000;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
