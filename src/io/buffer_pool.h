// Buffers for transfers, kept for use again: touching fresh memory costs many times a copy into it.
#pragma once

#include "io/aligned_buffer.h"

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace cairn::io {

/// A buffer in huge pages where the system has them, untouched. Touching memory for the first time
/// costs a fraction there, and a direct transfer of 2 MiB is one piece of memory to the device
/// instead of 512, which more than doubled its speed (docs/decisions/0020).
AlignedBuffer huge_buffer(std::size_t bytes);

/// At most so many buffers, made and touched when first needed, freed with the pool.
/// Threads: safe at once. A thread that holds one must not wait for a second.
class BufferPool {
 public:
  BufferPool(std::size_t buffer_bytes, std::size_t most)
      : buffer_bytes_(buffer_bytes), most_(most) {}

  /// A buffer, given back on destruction.
  class Lease {
   public:
    Lease(BufferPool& pool, AlignedBuffer buffer) noexcept
        : pool_(pool), buffer_(std::move(buffer)) {}
    ~Lease() { pool_.give_back(std::move(buffer_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    std::span<std::byte> span() noexcept { return buffer_.span(); }

   private:
    BufferPool& pool_;
    AlignedBuffer buffer_;
  };

  /// Waits until there is one.
  Lease take();
  std::size_t buffer_bytes() const noexcept { return buffer_bytes_; }
  std::size_t most() const noexcept { return most_; }

 private:
  void give_back(AlignedBuffer buffer) noexcept;

  const std::size_t buffer_bytes_;
  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::size_t made_ = 0;
  std::vector<AlignedBuffer> free_;
};

}  // namespace cairn::io
