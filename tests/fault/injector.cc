#include "fault/injector.h"

#include "fault/lost_writes.h"
#include "support/counted_new.h"
#include "support/real.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <sys/uio.h>
#include <utility>

namespace cairn::fault {
namespace {

enum class Call : std::uint32_t {
  kOpen = 1U << 0U,
  kCreate = 1U << 1U,  // an open that may make a file; mkdir
  kRead = 1U << 2U,
  kWrite = 1U << 3U,
  kFlush = 1U << 4U,
  kResize = 1U << 5U,
  kReserve = 1U << 6U,
  kLock = 1U << 7U,
  kSeek = 1U << 8U,
  kMap = 1U << 9U,
  kName = 1U << 10U,  // rename, unlink
  kInspect = 1U << 11U,
  kRandom = 1U << 12U,
  kNew = 1U << 13U,
  kMalloc = 1U << 14U,
};

constexpr std::uint32_t operator|(Call a, Call b) {
  return static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b);
}
constexpr std::uint32_t operator|(std::uint32_t a, Call b) {
  return a | static_cast<std::uint32_t>(b);
}

struct Row {
  Kind kind;
  std::string_view name;
  int system_errno;
  std::uint32_t calls;
};

constexpr std::uint32_t kGrows =
    Call::kCreate | Call::kWrite | Call::kFlush | Call::kResize | Call::kReserve;

constexpr std::array kRows = {
    Row{Kind::kEio, "EIO", EIO,
        Call::kOpen | Call::kCreate | Call::kRead | Call::kWrite | Call::kFlush | Call::kResize |
            Call::kReserve | Call::kLock | Call::kSeek | Call::kName | Call::kInspect |
            Call::kRandom},
    Row{Kind::kEnospc, "ENOSPC", ENOSPC, kGrows | Call::kName},
    Row{Kind::kEdquot, "EDQUOT", EDQUOT, kGrows},
    Row{Kind::kEintr, "EINTR", EINTR,
        Call::kOpen | Call::kCreate | Call::kRead | Call::kWrite | Call::kFlush | Call::kResize |
            Call::kReserve | Call::kLock | Call::kRandom},
    Row{Kind::kShortRead, "short read", 0, 0U | Call::kRead},
    Row{Kind::kShortWrite, "short write", 0, 0U | Call::kWrite},
    Row{Kind::kEmfile, "EMFILE", EMFILE, Call::kOpen | Call::kCreate},
    Row{Kind::kEnomem, "ENOMEM from mmap", ENOMEM, 0U | Call::kMap},
    Row{Kind::kBadAlloc, "bad_alloc", 0, 0U | Call::kNew},
    Row{Kind::kMalloc, "malloc", ENOMEM, 0U | Call::kMalloc},
    Row{Kind::kLostFlush, "lost flush", EIO, 0U | Call::kFlush},
};

constexpr const Row& row_of(Kind kind) {
  return kRows[static_cast<std::size_t>(kind)];
}

struct Armed {
  std::atomic<bool> is_on{false};
  Fault fault{};
  std::atomic<std::uint64_t> calls{0};
  std::atomic<std::uint64_t> hits{0};
  std::atomic<bool> hit_pack_flush{false};
};

Armed& armed() {
  static Armed instance;
  return instance;
}

/// Counts a call; true when the fault hits it.
bool is_hit(Call call) noexcept {
  Armed& a = armed();
  if (!a.is_on.load(std::memory_order_relaxed)) return false;
  if ((row_of(a.fault.kind).calls & static_cast<std::uint32_t>(call)) == 0) return false;
  const std::uint64_t number = ++a.calls;
  if (a.fault.at == 0 || number < a.fault.at) return false;
  if (number > a.fault.at) {
    if (a.fault.duration == Duration::kOnce) return false;
    if (a.fault.kind == Kind::kEintr && (number - a.fault.at) % 2 != 0) return false;
  }
  ++a.hits;
  errno = row_of(a.fault.kind).system_errno;
  return true;
}

bool new_fails() noexcept {
  return is_hit(Call::kNew);
}

// What operator new is about to take from malloc, which then lets it pass.
thread_local bool new_is_taking = false;

bool note_new() noexcept {
  new_is_taking = true;
  return false;
}

bool malloc_fails() noexcept {
  return !std::exchange(new_is_taking, false) && is_hit(Call::kMalloc);
}

Kind kind() noexcept {
  return armed().fault.kind;
}

bool is_pack(int fd) {
  std::error_code ignored;
  const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored);
  return path.filename() == "pack";
}

std::uint64_t length_of(const iovec* pieces, int count) {
  std::uint64_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += pieces[i].iov_len;
  return bytes;
}

}  // namespace

std::string_view name_of(Kind kind) noexcept {
  return row_of(kind).name;
}

std::string describe(const Fault& fault) {
  return std::string(name_of(fault.kind)) +
         (fault.duration == Duration::kLasting ? ", lasting," : "") + " at call " +
         std::to_string(fault.at);
}

Injection::Injection(const Fault& fault) {
  Armed& a = armed();
  a.fault = fault;
  a.calls = 0;
  a.hits = 0;
  a.hit_pack_flush = false;
  a.is_on = true;
  if (fault.kind == Kind::kBadAlloc) cairn::testing::allocations.fails = new_fails;
  if (fault.kind == Kind::kMalloc) cairn::testing::allocations.fails = note_new;
}

Injection::~Injection() {
  cairn::testing::allocations.fails = nullptr;
  armed().is_on = false;
}

std::uint64_t Injection::calls() const noexcept {
  return armed().calls;
}
std::uint64_t Injection::hits() const noexcept {
  return armed().hits;
}
bool Injection::hit_a_flush_of_the_pack() const noexcept {
  return armed().hit_pack_flush;
}

std::int64_t live_allocations() noexcept {
  return cairn::testing::allocations.live_blocks;
}

namespace {

int flush(int fd, int (*real)(int)) {
  if (is_hit(Call::kFlush)) {
    if (LostWrites* watching = watching_lost_writes()) watching->flush_failed(fd);
    if (is_pack(fd)) armed().hit_pack_flush = true;
    errno = row_of(kind()).system_errno;
    return -1;
  }
  const int result = real(fd);
  if (LostWrites* watching = watching_lost_writes(); watching != nullptr && result == 0) {
    watching->flushed(fd);
  }
  return result;
}

/// Writes `bytes` or as many as a fault lets through; `put` writes so many.
template <typename Put>
ssize_t write_through(int fd, std::uint64_t bytes, off_t offset, const Put& put) {
  // Kept: what watches the call may not change the errno that LMDB finds after a short write.
  const int errno_before = errno;
  const bool is_synced = (__real_fcntl(fd, F_GETFL) & O_DSYNC) != 0;
  std::uint64_t allowed = bytes;
  if (is_hit(Call::kWrite)) {
    if (kind() != Kind::kShortWrite) return -1;
    allowed = (bytes + 1) / 2;  // half of one byte would be nothing at all
  }
  errno = errno_before;
  const ssize_t done = put(allowed);
  if (LostWrites* watching = watching_lost_writes(); watching != nullptr && done > 0) {
    const int errno_after = errno;
    watching->written(fd, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(done));
    if (is_synced && kind() == Kind::kLostFlush && is_hit(Call::kFlush)) {
      watching->flush_failed(fd);
      errno = EIO;
      return -1;
    }
    if (is_synced) watching->flushed(fd);
    errno = errno_after;
  }
  return done;
}

}  // namespace
}  // namespace cairn::fault

using namespace cairn::fault;  // NOLINT(google-build-using-namespace)

// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (is_hit((flags & O_CREAT) != 0 ? Call::kCreate : Call::kOpen)) return -1;
  return __real_open(path, flags, mode);
}

DirectoryStream* __wrap_opendir(const char* path) {
  return is_hit(Call::kOpen) ? nullptr : __real_opendir(path);
}

int __wrap_eventfd(unsigned value, int flags) {
  return is_hit(Call::kOpen) ? -1 : __real_eventfd(value, flags);
}

ssize_t __wrap_pread(int fd, void* data, size_t bytes, off_t offset) {
  if (!is_hit(Call::kRead)) return __real_pread(fd, data, bytes, offset);
  // Half of one byte would be the end of the file.
  if (kind() == Kind::kShortRead) return __real_pread(fd, data, (bytes + 1) / 2, offset);
  return -1;
}

ssize_t __wrap_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  return write_through(fd, bytes, offset, [&](std::uint64_t allowed) {
    return __real_pwrite(fd, data, allowed, offset);
  });
}

ssize_t __wrap_write(int fd, const void* data, size_t bytes) {
  const off_t offset = __real_lseek(fd, 0, SEEK_CUR);
  return write_through(fd, bytes, offset,
                       [&](std::uint64_t allowed) { return __real_write(fd, data, allowed); });
}

ssize_t __wrap_pwritev(int fd, const iovec* pieces, int count, off_t offset) {
  const std::uint64_t bytes = length_of(pieces, count);
  return write_through(fd, bytes, offset, [&](std::uint64_t allowed) {
    if (allowed == bytes) return __real_pwritev(fd, pieces, count, offset);
    const std::uint64_t first = std::min<std::uint64_t>(allowed, pieces[0].iov_len);
    return __real_pwrite(fd, pieces[0].iov_base, first, offset);
  });
}

ssize_t __wrap_writev(int fd, const iovec* pieces, int count) {
  const std::uint64_t bytes = length_of(pieces, count);
  return write_through(fd, bytes, __real_lseek(fd, 0, SEEK_CUR), [&](std::uint64_t allowed) {
    if (allowed == bytes) return __real_writev(fd, pieces, count);
    const std::uint64_t first = std::min<std::uint64_t>(allowed, pieces[0].iov_len);
    return __real_write(fd, pieces[0].iov_base, first);
  });
}

int __wrap_fdatasync(int fd) {
  return flush(fd, __real_fdatasync);
}

int __wrap_fsync(int fd) {
  return flush(fd, __real_fsync);
}

int __wrap_ftruncate(int fd, off_t bytes) {
  if (is_hit(Call::kResize)) return -1;
  return __real_ftruncate(fd, bytes);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (is_hit(Call::kReserve)) return -1;
  return __real_fallocate(fd, mode, offset, bytes);
}

// Every command that is used here takes a pointer, an int or nothing: all fit a pointer's place.
int __wrap_fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const bool locks = command == F_SETLK || command == F_SETLKW || command == F_GETLK ||
                     command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
  const bool unlocks = locks && static_cast<const struct flock*>(argument)->l_type == F_UNLCK;
  if (locks && !unlocks && is_hit(Call::kLock)) return -1;
  return __real_fcntl(fd, command, argument);
}

off_t __wrap_lseek(int fd, off_t offset, int whence) {
  return is_hit(Call::kSeek) ? -1 : __real_lseek(fd, offset, whence);
}

void* __wrap_mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  if (is_hit(Call::kMap)) return MAP_FAILED;
  return __real_mmap(address, bytes, protection, flags, fd, offset);
}

int __wrap_rename(const char* from, const char* to) {
  return is_hit(Call::kName) ? -1 : __real_rename(from, to);
}

void* __wrap_malloc(size_t bytes) {
  return malloc_fails() ? nullptr : __real_malloc(bytes);
}

void* __wrap_calloc(size_t count, size_t bytes) {
  return malloc_fails() ? nullptr : __real_calloc(count, bytes);
}

int __wrap_posix_memalign(void** block, size_t alignment, size_t bytes) {
  return malloc_fails() ? ENOMEM : __real_posix_memalign(block, alignment, bytes);
}

void* __wrap_realloc(void* block, size_t bytes) {
  return malloc_fails() ? nullptr : __real_realloc(block, bytes);
}

int __wrap_unlink(const char* path) {
  if (is_hit(Call::kName)) return -1;
  return __real_unlink(path);
}

int __wrap_mkdir(const char* path, mode_t mode) {
  return is_hit(Call::kCreate) ? -1 : __real_mkdir(path, mode);
}

int __wrap_stat(const char* path, struct stat* out) {
  return is_hit(Call::kInspect) ? -1 : __real_stat(path, out);
}

int __wrap_lstat(const char* path, struct stat* out) {
  return is_hit(Call::kInspect) ? -1 : __real_lstat(path, out);
}

int __wrap_fstat(int fd, struct stat* out) {
  return is_hit(Call::kInspect) ? -1 : __real_fstat(fd, out);
}

int __wrap___fxstat(int version, int fd, struct stat* out) {
  return is_hit(Call::kInspect) ? -1 : __real___fxstat(version, fd, out);
}

int __wrap_statfs(const char* path, struct statfs* out) {
  return is_hit(Call::kInspect) ? -1 : __real_statfs(path, out);
}

int __wrap_fstatfs(int fd, struct statfs* out) {
  return is_hit(Call::kInspect) ? -1 : __real_fstatfs(fd, out);
}

ssize_t __wrap_getrandom(void* data, size_t bytes, unsigned flags) {
  return is_hit(Call::kRandom) ? -1 : __real_getrandom(data, bytes, flags);
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
