// The system's own functions, behind the wrapped ones (ld(1), --wrap). Declared for all tests; each
// calls only those that its wrap.txt names.
#pragma once

#include <cstddef>
#include <sys/types.h>

struct stat;
struct statfs;
struct iovec;
using DirectoryStream = struct __dirstream;  // NOLINT(bugprone-reserved-identifier)

// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
int __real_open(const char* path, int flags, ...);
int __real_close(int fd);
int __real_dup3(int from, int to, int flags);
DirectoryStream* __real_opendir(const char* path);
int __real_eventfd(unsigned value, int flags);
ssize_t __real_pread(int fd, void* data, size_t bytes, off_t offset);
ssize_t __real_pwrite(int fd, const void* data, size_t bytes, off_t offset);
ssize_t __real_pwritev(int fd, const iovec* pieces, int count, off_t offset);
ssize_t __real_writev(int fd, const iovec* pieces, int count);
ssize_t __real_write(int fd, const void* data, size_t bytes);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_ftruncate(int fd, off_t bytes);
int __real_fallocate(int fd, int mode, off_t offset, off_t bytes);
int __real_fcntl(int fd, int command, ...);
off_t __real_lseek(int fd, off_t offset, int whence);
int __real_msync(void* address, size_t bytes, int flags);
ssize_t __real_copy_file_range(int from, off_t* at, int to, off_t* to_at, size_t bytes,
                               unsigned flags);
void* __real_mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset);
void* __real_malloc(size_t bytes);
void* __real_calloc(size_t count, size_t bytes);
int __real_posix_memalign(void** block, size_t alignment, size_t bytes);
void* __real_realloc(void* block, size_t bytes);
int __real_rename(const char* from, const char* to);
int __real_unlink(const char* path);
int __real_rmdir(const char* path);
int __real_link(const char* from, const char* to);
int __real_symlink(const char* from, const char* to);
int __real_mkdir(const char* path, mode_t mode);
int __real_stat(const char* path, struct stat* out);
int __real_lstat(const char* path, struct stat* out);
int __real_fstat(int fd, struct stat* out);
int __real___fxstat(int version, int fd, struct stat* out);
int __real_statfs(const char* path, struct statfs* out);
int __real_fstatfs(int fd, struct statfs* out);
ssize_t __real_getrandom(void* data, size_t bytes, unsigned flags);
}
// NOLINTEND(bugprone-reserved-identifier)
