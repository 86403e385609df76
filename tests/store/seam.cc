#include "store/seam.h"

#include "support/real.h"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/vfs.h>

namespace cairn::testing {

SystemCounts& system_counts() {
  static SystemCounts counts;
  return counts;
}

SystemFaults& system_faults() {
  static SystemFaults faults;
  return faults;
}

void reset_system() {
  system_faults() = {};
  system_counts().flushes = 0;
  system_counts().synced_writes = 0;
  system_counts().written_bytes = 0;
}

std::string path_of(int fd) {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored).string();
}

namespace {

/// Counts a write; true when it must fail, with errno set.
bool write_fails(int fd, std::size_t bytes, off_t offset) {
  if (system_faults().on_write) {
    if (const int error = system_faults().on_write(fd, bytes, offset); error != 0) {
      errno = error;
      return true;
    }
  }
  if ((::fcntl(fd, F_GETFL) & O_DSYNC) != 0) ++system_counts().synced_writes;
  system_counts().written_bytes += bytes;
  return false;
}

bool flush_fails(int fd) {
  ++system_counts().flushes;
  if (!system_faults().on_flush) return false;
  errno = system_faults().on_flush(fd);
  return errno != 0;
}

std::size_t length_of(const iovec* pieces, int count) {
  std::size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += pieces[i].iov_len;
  return bytes;
}

}  // namespace
}  // namespace cairn::testing

using namespace cairn::testing;  // NOLINT(google-build-using-namespace)

// The names are the linker's (ld(1), --wrap).
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

ssize_t __wrap_pread(int fd, void* data, size_t bytes, off_t offset) {
  if (system_faults().on_read) {
    errno = system_faults().on_read(fd, bytes, offset);
    if (errno != 0) return -1;
  }
  return __real_pread(fd, data, bytes, offset);
}
ssize_t __wrap_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  if (write_fails(fd, bytes, offset)) return -1;
  const ssize_t written = __real_pwrite(fd, data, bytes, offset);
  if (system_faults().after_write) system_faults().after_write(fd);
  return written;
}
ssize_t __wrap_pwritev(int fd, const iovec* pieces, int count, off_t offset) {
  if (write_fails(fd, length_of(pieces, count), offset)) return -1;
  return __real_pwritev(fd, pieces, count, offset);
}
ssize_t __wrap_writev(int fd, const iovec* pieces, int count) {
  if (write_fails(fd, length_of(pieces, count), ::lseek(fd, 0, SEEK_CUR))) return -1;
  return __real_writev(fd, pieces, count);
}
ssize_t __wrap_write(int fd, const void* data, size_t bytes) {
  if (write_fails(fd, bytes, ::lseek(fd, 0, SEEK_CUR))) return -1;
  return __real_write(fd, data, bytes);
}
int __wrap_fdatasync(int fd) {
  return flush_fails(fd) ? -1 : __real_fdatasync(fd);
}
int __wrap_fsync(int fd) {
  return flush_fails(fd) ? -1 : __real_fsync(fd);
}
int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (system_faults().on_reserve) {
    errno = system_faults().on_reserve(fd, offset, bytes);
    if (errno != 0) return -1;
  }
  return __real_fallocate(fd, mode, offset, bytes);
}
int __wrap_statfs(const char* path, struct statfs* out) {
  const int result = __real_statfs(path, out);
  if (result == 0 && system_faults().file_system_type != 0) {
    out->f_type = system_faults().file_system_type;
  }
  if (result == 0 && system_faults().file_system_is_read_only) out->f_flags |= ST_RDONLY;
  return result;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
