// What the fixed-length parts of a pack (superblock, slot, record header) have in common: a magic
// in front, numbers at constant offsets, zeros, and XXH3-128 over all of it in the last 16 bytes.
#pragma once

#include "base/digest.h"

#include <cairn/error.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace cairn::format {

inline constexpr std::size_t kDigestBytes = 16;
static_assert(sizeof(base::Digest128) == kDigestBytes);

template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> message, Args&&... args) {
  throw Error(code, fmt::format(message, std::forward<Args>(args)...));
}

/// 16 bytes that are copied as they are: a digest, a UUID.
template <typename Bytes16>
void store_bytes(std::span<std::byte> part, std::size_t offset, const Bytes16& value) noexcept {
  static_assert(sizeof(value) == kDigestBytes);
  std::memcpy(part.data() + offset, &value, sizeof(value));
}

template <typename Bytes16>
Bytes16 load_bytes(std::span<const std::byte> part, std::size_t offset) noexcept {
  static_assert(sizeof(Bytes16) == kDigestBytes);
  std::array<std::byte, kDigestBytes> value;
  std::memcpy(value.data(), part.data() + offset, sizeof(value));
  return std::bit_cast<Bytes16>(value);
}

inline bool begins_with(std::span<const std::byte> part,
                        std::span<const std::uint8_t> magic) noexcept {
  return part.size() >= magic.size() && std::memcmp(part.data(), magic.data(), magic.size()) == 0;
}

/// The first is zero, and each equals the one before it.
inline bool all_zero(std::span<const std::byte> bytes) noexcept {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// Fills the last 16 bytes of `part` with the digest of what stands before them.
inline void seal(std::span<std::byte> part) noexcept {
  store_bytes(part, part.size() - kDigestBytes,
              base::xxh3_128(part.first(part.size() - kDigestBytes)));
}

/// Does the digest at the end of `part` match?
inline bool is_sealed(std::span<const std::byte> part) noexcept {
  return load_bytes<base::Digest128>(part, part.size() - kDigestBytes) ==
         base::xxh3_128(part.first(part.size() - kDigestBytes));
}

}  // namespace cairn::format
