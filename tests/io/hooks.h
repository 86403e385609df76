// Stands between Cairn and the system: every call named in wrap.txt goes through these.
#pragma once

#include <cstddef>
#include <functional>
#include <sys/types.h>
#include <sys/vfs.h>

namespace cairn::io::testing {

/// What a test does instead of a system call; an empty one lets the call through.
struct Hooks {
  std::function<int(const char* path, int flags)> open;
  std::function<ssize_t(int fd, void* data, std::size_t bytes, off_t offset)> pread;
  std::function<ssize_t(int fd, const void* data, std::size_t bytes, off_t offset)> pwrite;
  std::function<int(int fd)> fdatasync;
  std::function<int(int fd)> fsync;
  std::function<int(int fd, off_t bytes)> ftruncate;
  std::function<int(int fd, int mode, off_t offset, off_t bytes)> fallocate;
  std::function<int(int fd, int command)> fcntl;
  std::function<int(const char* path, struct statfs* out)> statfs;
  std::function<ssize_t(void* data, std::size_t bytes)> getrandom;
};

/// In force now.
Hooks& hooks();

/// Fails a call: sets errno and returns -1.
int fails_with(int system_errno);

/// The system itself, for hooks that change only a part of a call.
ssize_t real_pread(int fd, void* data, std::size_t bytes, off_t offset);
ssize_t real_pwrite(int fd, const void* data, std::size_t bytes, off_t offset);
ssize_t real_getrandom(void* data, std::size_t bytes);

}  // namespace cairn::io::testing
