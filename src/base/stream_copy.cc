#include "base/stream_copy.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace cairn::base {
namespace {

#if defined(__x86_64__)

constexpr std::size_t kLineBytes = 64;
/// What is shorter may be read again before it would have left the cache.
constexpr std::size_t kLeastBytes = 64 * 1024;

/// Copies whole lines to the beginning of a line; the number of bytes copied.
std::size_t stream_lines(std::byte* out, const std::byte* in, std::size_t bytes) noexcept {
  const std::size_t end = bytes / kLineBytes * kLineBytes;
  for (std::size_t at = 0; at < end; at += kLineBytes) {
    __m128i words[4];
    std::memcpy(words, in + at, kLineBytes);
    for (std::size_t i = 0; i < 4; ++i) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(out + at) + i, words[i]);
    }
  }
  _mm_sfence();  // such stores are not ordered with others, nor with what tells another thread
  return end;
}

#endif

}  // namespace

void stream_copy(std::span<std::byte> out, std::span<const std::byte> in) noexcept {
  std::size_t done = 0;
#if defined(__x86_64__)
  if (in.size() >= kLeastBytes) {
    done = (kLineBytes - reinterpret_cast<std::uintptr_t>(out.data()) % kLineBytes) % kLineBytes;
    std::memcpy(out.data(), in.data(), done);
    done += stream_lines(out.data() + done, in.data() + done, in.size() - done);
  }
#endif
  if (done < in.size()) std::memcpy(out.data() + done, in.data() + done, in.size() - done);
}

}  // namespace cairn::base
