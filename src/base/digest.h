// XXH3 digests: XXH3-128 identifies and protects bytes, XXH3-64 protects small catalog values.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace cairn::base {

/// XXH3-128 in canonical (big-endian) form, which is how it stands in files and in hexadecimal.
struct Digest128 {
  std::array<std::byte, 16> bytes{};

  /// In the order of the bytes, compared as two numbers, without a call: each commit sorts many.
  friend std::strong_ordering operator<=>(const Digest128& a, const Digest128& b) noexcept {
    if (const auto first = a.word(0) <=> b.word(0); first != 0) return first;
    return a.word(1) <=> b.word(1);
  }
  friend bool operator==(const Digest128& a, const Digest128& b) noexcept {
    return a.word(0) == b.word(0) && a.word(1) == b.word(1);
  }
  bool is_zero() const noexcept { return *this == Digest128{}; }
  std::string to_hex() const;

  /// The first or the second half as a number, big-endian.
  std::uint64_t word(std::size_t half) const noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + half * sizeof(word), sizeof(word));
    return __builtin_bswap64(word);
  }
};

/// Source: XXH3_128bits with seed 0, xxHash 0.8 (https://github.com/Cyan4973/xxHash).
Digest128 xxh3_128(std::span<const std::byte> bytes) noexcept;

std::uint64_t xxh3_64(std::span<const std::byte> bytes) noexcept;

/// XXH3-128 of bytes that come in pieces. Not copyable: its state is large.
class Hasher128 {
 public:
  Hasher128();
  ~Hasher128();
  Hasher128(const Hasher128&) = delete;
  Hasher128& operator=(const Hasher128&) = delete;

  void reset() noexcept;
  void update(std::span<const std::byte> bytes) noexcept;
  Digest128 digest() const noexcept;

 private:
  void* state_;
};

/// A hash for hash maps: digests are uniform already.
struct DigestHash {
  std::size_t operator()(const Digest128& digest) const noexcept { return digest.word(0); }
};

}  // namespace cairn::base
