#include "io/range_lock.h"

#include "io/failure.h"

#include <algorithm>
#include <fcntl.h>
#include <thread>

namespace cairn::io {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstPause{1};
constexpr milliseconds kLongestPause{50};

struct flock one_byte(std::uint64_t byte, short type) noexcept {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(byte);
  range.l_len = 1;
  return range;
}

// Zero, or the errno.
int set_lock(const File& file, std::uint64_t byte, short type) {
  struct flock range = one_byte(byte, type);
  const int result =
      retry_interrupted([&] { return ::fcntl(file.descriptor(), F_OFD_SETLK, &range); });
  return result == 0 ? 0 : errno;
}

[[noreturn]] void fail_to_lock(int system_errno, const File& file, std::uint64_t byte) {
  const bool unsupported =
      system_errno == EINVAL || system_errno == ENOLCK || system_errno == EOPNOTSUPP;
  fail(system_errno,
       unsupported
           ? "cannot lock: this file system (a network one?) or kernel (before Linux 3.15?) "
             "has no open file description locks"
           : "cannot lock",
       file.path(), byte);
}

}  // namespace

// Asks again and again: F_OFD_SETLKW would wait for the lock in the kernel, but without a time
// limit.
bool lock_byte(const File& file, std::uint64_t byte, LockKind kind, milliseconds timeout) {
  const short type = kind == LockKind::kShared ? F_RDLCK : F_WRLCK;
  const steady_clock::time_point start = steady_clock::now();
  for (milliseconds pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    const int system_errno = set_lock(file, byte, type);
    if (system_errno == 0) return true;
    if (system_errno != EAGAIN && system_errno != EACCES) fail_to_lock(system_errno, file, byte);
    // In whole milliseconds: the longest timeouts do not fit into the clock's nanoseconds.
    const auto waited = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
    if (waited >= timeout) return false;
    std::this_thread::sleep_for(std::min(pause, timeout - waited));
  }
}

void unlock_byte(const File& file, std::uint64_t byte) {
  const int system_errno = set_lock(file, byte, F_UNLCK);
  if (system_errno != 0) fail_to_lock(system_errno, file, byte);
}

bool byte_is_locked_elsewhere(const File& file, std::uint64_t byte) {
  struct flock range = one_byte(byte, F_WRLCK);
  const int result =
      retry_interrupted([&] { return ::fcntl(file.descriptor(), F_OFD_GETLK, &range); });
  if (result != 0) fail_to_lock(errno, file, byte);
  return range.l_type != F_UNLCK;
}

}  // namespace cairn::io
