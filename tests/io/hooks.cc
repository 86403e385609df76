#include "io/hooks.h"

#include "support/real.h"

#include <cerrno>
#include <cstdarg>
#include <fcntl.h>

namespace cairn::io::testing {

Hooks& hooks() {
  static Hooks instance;
  return instance;
}

int fails_with(int system_errno) {
  errno = system_errno;
  return -1;
}

}  // namespace cairn::io::testing

using cairn::io::testing::hooks;

// The names are the linker's (ld(1), --wrap).
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

int __wrap_open(const char* path, int flags, ...) {
  if (hooks().open) return hooks().open(path, flags);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return __real_open(path, flags, mode);
}

ssize_t __wrap_pread(int fd, void* data, size_t bytes, off_t offset) {
  if (hooks().pread) return hooks().pread(fd, data, bytes, offset);
  return __real_pread(fd, data, bytes, offset);
}

ssize_t __wrap_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  if (hooks().pwrite) return hooks().pwrite(fd, data, bytes, offset);
  return __real_pwrite(fd, data, bytes, offset);
}

int __wrap_fdatasync(int fd) {
  return hooks().fdatasync ? hooks().fdatasync(fd) : __real_fdatasync(fd);
}

int __wrap_fsync(int fd) {
  return hooks().fsync ? hooks().fsync(fd) : __real_fsync(fd);
}

int __wrap_ftruncate(int fd, off_t bytes) {
  return hooks().ftruncate ? hooks().ftruncate(fd, bytes) : __real_ftruncate(fd, bytes);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (hooks().fallocate) return hooks().fallocate(fd, mode, offset, bytes);
  return __real_fallocate(fd, mode, offset, bytes);
}

// Every command that is used here takes a pointer, an int or nothing: all fit a pointer's place.
int __wrap_fcntl(int fd, int command, ...) {
  if (hooks().fcntl) return hooks().fcntl(fd, command);
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return __real_fcntl(fd, command, argument);
}

int __wrap_statfs(const char* path, struct statfs* out) {
  return hooks().statfs ? hooks().statfs(path, out) : __real_statfs(path, out);
}

ssize_t __wrap_getrandom(void* data, size_t bytes, unsigned flags) {
  return hooks().getrandom ? hooks().getrandom(data, bytes) : __real_getrandom(data, bytes, flags);
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)

namespace cairn::io::testing {

ssize_t real_pread(int fd, void* data, std::size_t bytes, off_t offset) {
  return __real_pread(fd, data, bytes, offset);
}

ssize_t real_pwrite(int fd, const void* data, std::size_t bytes, off_t offset) {
  return __real_pwrite(fd, data, bytes, offset);
}

ssize_t real_getrandom(void* data, std::size_t bytes) {
  return __real_getrandom(data, bytes, 0);
}

}  // namespace cairn::io::testing
