#include "io/buffer_pool.h"

#include <cstring>
#include <sys/mman.h>

namespace cairn::io {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

AlignedBuffer huge_buffer(std::size_t bytes) {
  if (bytes < kHugePageBytes / 2) return AlignedBuffer(bytes);
  AlignedBuffer buffer(bytes, kHugePageBytes);
  ::madvise(buffer.data(), buffer.size(), MADV_HUGEPAGE);  // A wish; what comes of it is no matter.
  return buffer;
}

BufferPool::Lease BufferPool::take() {
  {
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [&] { return !free_.empty() || made_ < most_; });
    if (!free_.empty()) {
      AlignedBuffer last = std::move(free_.back());
      free_.pop_back();
      return {*this, std::move(last)};
    }
    free_.reserve(most_);  // so that giving back cannot fail
    ++made_;
  }
  try {
    AlignedBuffer fresh = huge_buffer(buffer_bytes_);
    std::memset(fresh.data(), 0, fresh.size());
    return {*this, std::move(fresh)};
  } catch (...) {
    const std::lock_guard lock(mutex_);
    --made_;
    returned_.notify_one();
    throw;
  }
}

void BufferPool::give_back(AlignedBuffer buffer) noexcept {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(buffer));
  returned_.notify_one();
}

}  // namespace cairn::io
