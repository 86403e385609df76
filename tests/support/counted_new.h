// Replaces operator new of the whole program by one that counts and can be told to fail. Include it
// in exactly one .cc file of a test program; what other files need of it they declare themselves.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <malloc.h>
#include <new>

namespace cairn::testing {

struct Allocations {
  std::atomic<std::int64_t> live_blocks{0};
  std::atomic<std::int64_t> live_bytes{0};
  std::atomic<std::int64_t> peak_bytes{0};
  /// Asked for every allocation, unless it is null: whether that one must fail.
  std::atomic<bool (*)() noexcept> fails{nullptr};
};

inline Allocations allocations;

namespace detail {

inline void* counted(std::size_t bytes, std::size_t alignment) noexcept {
  const auto fails = allocations.fails.load(std::memory_order_relaxed);
  if (fails != nullptr && fails()) return nullptr;
  void* block = nullptr;
  if (alignment <= alignof(std::max_align_t)) {
    block = std::malloc(bytes == 0 ? 1 : bytes);
  } else if (::posix_memalign(&block, alignment, bytes) != 0) {
    block = nullptr;
  }
  if (block == nullptr) return nullptr;
  ++allocations.live_blocks;
  const auto taken = static_cast<std::int64_t>(::malloc_usable_size(block));
  const std::int64_t live = allocations.live_bytes += taken;
  std::int64_t peak = allocations.peak_bytes;
  while (peak < live && !allocations.peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return block;
}

inline void* counted_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const block = counted(bytes, alignment);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

inline void release(void* block) noexcept {
  if (block == nullptr) return;
  --allocations.live_blocks;
  allocations.live_bytes -= static_cast<std::int64_t>(::malloc_usable_size(block));
  std::free(block);
}

}  // namespace detail
}  // namespace cairn::testing

// NOLINTBEGIN(misc-definitions-in-headers)
void* operator new(std::size_t bytes) {
  return cairn::testing::detail::counted_or_throw(bytes, 0);
}
void* operator new[](std::size_t bytes) {
  return cairn::testing::detail::counted_or_throw(bytes, 0);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return cairn::testing::detail::counted_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return cairn::testing::detail::counted_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return cairn::testing::detail::counted(bytes, 0);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return cairn::testing::detail::counted(bytes, 0);
}
void operator delete(void* block) noexcept {
  cairn::testing::detail::release(block);
}
void operator delete[](void* block) noexcept {
  cairn::testing::detail::release(block);
}
void operator delete(void* block, std::size_t) noexcept {
  cairn::testing::detail::release(block);
}
void operator delete[](void* block, std::size_t) noexcept {
  cairn::testing::detail::release(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
  cairn::testing::detail::release(block);
}
void operator delete[](void* block, std::align_val_t) noexcept {
  cairn::testing::detail::release(block);
}
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  cairn::testing::detail::release(block);
}
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
  cairn::testing::detail::release(block);
}
// NOLINTEND(misc-definitions-in-headers)
