#include "costs/calls.h"

#include "support/real.h"

#include <atomic>
#include <fcntl.h>
#include <ostream>
#include <sys/uio.h>
#include <unistd.h>

namespace cairn::testing {
namespace {

struct Counters {
  std::atomic<std::uint64_t> flushes{0};
  std::atomic<std::uint64_t> synced_writes{0};
  std::atomic<std::uint64_t> writes{0};
  std::atomic<std::uint64_t> written_bytes{0};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> read_bytes{0};
  std::atomic<std::uint64_t> size_changes{0};

  Calls now() const {
    return {.flushes = flushes,
            .synced_writes = synced_writes,
            .writes = writes,
            .written_bytes = written_bytes,
            .reads = reads,
            .read_bytes = read_bytes,
            .size_changes = size_changes};
  }
};

Counters& counters() {
  static Counters counters;
  return counters;
}

std::atomic<std::size_t> hole_bytes{0};

void count_write(int fd, ssize_t bytes) {
  if (bytes <= 0) return;
  if ((::fcntl(fd, F_GETFL) & O_DSYNC) != 0) {
    ++counters().synced_writes;
  } else {
    ++counters().writes;
  }
  counters().written_bytes += static_cast<std::uint64_t>(bytes);
}

}  // namespace

void leave_holes(std::size_t bytes) {
  hole_bytes = bytes;
}

Calls calls_of(const std::function<void()>& work) {
  const Calls before = counters().now();
  work();
  Calls calls = counters().now();
  calls.flushes -= before.flushes;
  calls.synced_writes -= before.synced_writes;
  calls.writes -= before.writes;
  calls.written_bytes -= before.written_bytes;
  calls.reads -= before.reads;
  calls.read_bytes -= before.read_bytes;
  calls.size_changes -= before.size_changes;
  return calls;
}

std::ostream& operator<<(std::ostream& out, const Calls& calls) {
  return out << calls.flushes << " flushes, " << calls.synced_writes << " synced writes, "
             << calls.writes << " writes, " << calls.written_bytes << " bytes written, "
             << calls.reads << " reads, " << calls.read_bytes << " bytes read, "
             << calls.size_changes << " changes of size";
}

}  // namespace cairn::testing

using namespace cairn::testing;  // NOLINT(google-build-using-namespace)

// The names are the linker's (ld(1), --wrap).
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

ssize_t __wrap_pread(int fd, void* data, size_t bytes, off_t offset) {
  const ssize_t got = __real_pread(fd, data, bytes, offset);
  ++counters().reads;
  if (got > 0) counters().read_bytes += static_cast<std::uint64_t>(got);
  return got;
}
ssize_t __wrap_pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  ssize_t put = static_cast<ssize_t>(bytes);
  if (bytes == 0 || bytes != hole_bytes) {
    put = __real_pwrite(fd, data, bytes, offset);
  } else {
    // The last page alone, so that the file is as long as it would be.
    constexpr std::size_t kPageBytes = 4096;
    const std::size_t before = bytes - kPageBytes;
    if (__real_pwrite(fd, static_cast<const char*>(data) + before, kPageBytes,
                      offset + static_cast<off_t>(before)) < 0) {
      return -1;
    }
  }
  count_write(fd, put);
  return put;
}
ssize_t __wrap_pwritev(int fd, const iovec* pieces, int count, off_t offset) {
  const ssize_t put = __real_pwritev(fd, pieces, count, offset);
  count_write(fd, put);
  return put;
}
ssize_t __wrap_writev(int fd, const iovec* pieces, int count) {
  const ssize_t put = __real_writev(fd, pieces, count);
  count_write(fd, put);
  return put;
}
ssize_t __wrap_write(int fd, const void* data, size_t bytes) {
  const ssize_t put = __real_write(fd, data, bytes);
  count_write(fd, put);
  return put;
}
int __wrap_fdatasync(int fd) {
  ++counters().flushes;
  return __real_fdatasync(fd);
}
int __wrap_fsync(int fd) {
  ++counters().flushes;
  return __real_fsync(fd);
}
int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  ++counters().size_changes;
  return hole_bytes == 0 ? __real_fallocate(fd, mode, offset, bytes) : 0;
}
int __wrap_ftruncate(int fd, off_t bytes) {
  ++counters().size_changes;
  return __real_ftruncate(fd, bytes);
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
