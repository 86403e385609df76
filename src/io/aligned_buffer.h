// Memory aligned for direct I/O and for decoding in place.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <utility>

namespace cairn::io {

/// A block of memory aligned to 4096 bytes, or to more; its contents begin undefined.
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 4096;

  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes, std::size_t alignment = kAlignment)
      : data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{alignment})),
              Delete{alignment}),
        bytes_(bytes) {}
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::move(other.data_)), bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }

  std::span<std::byte> span() noexcept { return {data_.get(), bytes_}; }
  std::span<const std::byte> span() const noexcept { return {data_.get(), bytes_}; }
  std::byte* data() noexcept { return data_.get(); }
  std::size_t size() const noexcept { return bytes_; }

 private:
  struct Delete {
    std::size_t alignment;
    void operator()(std::byte* data) const noexcept {
      ::operator delete (data, std::align_val_t{alignment});
    }
  };
  std::unique_ptr<std::byte[], Delete> data_{nullptr, Delete{kAlignment}};
  std::size_t bytes_ = 0;
};

}  // namespace cairn::io
