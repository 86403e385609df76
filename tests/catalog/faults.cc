#include "catalog/faults.h"

#include "support/real.h"

#include <cerrno>
#include <cstddef>
#include <sys/types.h>
#include <sys/uio.h>

namespace cairn::catalog::faults {
namespace {

constexpr std::size_t kShorterThanAPage = 4096;

Call failing = Call::kNone;
int failing_errno = 0;

bool fails(Call call) {
  if (failing != call) return false;
  errno = failing_errno;
  return true;
}

}  // namespace

Fault::Fault(Call call, int system_errno) {
  failing = call;
  failing_errno = system_errno;
}

Fault::~Fault() {
  failing = Call::kNone;
}

extern "C" {

ssize_t __wrap_pwrite(int descriptor, const void* bytes, std::size_t count, off_t offset);
ssize_t __wrap_pwrite(int descriptor, const void* bytes, std::size_t count, off_t offset) {
  if (!fails(count < kShorterThanAPage ? Call::kMetaWrite : Call::kPageWrite)) {
    return __real_pwrite(descriptor, bytes, count, offset);
  }
  return failing_errno != 0 ? -1 : __real_pwrite(descriptor, bytes, count - 1, offset);
}

ssize_t __wrap_writev(int descriptor, const struct iovec* parts, int count);
ssize_t __wrap_writev(int descriptor, const struct iovec* parts, int count) {
  if (!fails(Call::kPageWrite)) return __real_writev(descriptor, parts, count);
  return failing_errno != 0 ? -1 : __real_writev(descriptor, parts, count - 1);
}

int __wrap_fdatasync(int descriptor);
int __wrap_fdatasync(int descriptor) {
  return fails(Call::kFlush) ? -1 : __real_fdatasync(descriptor);
}

}  // extern "C"

}  // namespace cairn::catalog::faults
