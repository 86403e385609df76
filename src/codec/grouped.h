// The encoding of compressed chunks: bytes grouped by their position in the element, each group
// entropy coded by zstd where that pays. See format/SPEC.md, "Compressed chunks".
//
// The weights of a trained network are noise but for their exponents. Put side by side, the bytes
// that hold exponents cost about a third of their length; the others are stored as they are, and
// read back at the speed of a copy. The sign is moved to the mantissa, where it costs no more than
// it must (docs/decisions/0023).
#pragma once

#include <cairn/dtype.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::codec {

/// Plain bytes are encoded in blocks of this length, so that what is taken apart and put together
/// stays in a core's cache.
inline constexpr std::size_t kBlockBytes = std::size_t{1} << 18;

/// How the bytes of an element are grouped.
struct Layout {
  std::uint8_t width = 1;  // bytes of an element: 1, 2, 4 or 8
  bool rotated = false;    // a float: its sign goes behind its mantissa
  friend bool operator==(const Layout&, const Layout&) = default;
};

/// The layout that fits elements of a dtype. A complex number is two floats.
Layout layout_of(DType dtype) noexcept;

/// So much is enough for any encoding of so many plain bytes.
constexpr std::size_t most_encoded_bytes(std::size_t plain_bytes) noexcept {
  return plain_bytes + plain_bytes / 1024 + 256;
}

/// Encodes `plain` into `out` and returns the encoded length; 0 when it does not fit, or when zstd
/// wants more room on its way there. What comes out is the same in any `out` that is large enough,
/// for one version of zstd. Errors: bad_alloc.
std::size_t encode(std::span<const std::byte> plain, Layout layout, std::span<std::byte> out);

/// Decodes into `plain`, which is as long as what was encoded. Safe on any input: writes nothing
/// beyond `plain`, and takes a fixed amount of memory. Zeros may follow what was encoded.
/// Errors: damaged, and then `plain` holds anything.
void decode(std::span<const std::byte> encoded, std::span<std::byte> plain);

}  // namespace cairn::codec
