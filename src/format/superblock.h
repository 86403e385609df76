// The superblock: what a pack is. Written twice when the store is made; only features are added
// later.
#pragma once

#include "format/layout.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cairn::format {

/// Features that this version knows. Unknown `compat` bits are fine, unknown `ro_compat` bits allow
/// reading only, unknown `incompat` bits allow nothing (the rule of ext4).
inline constexpr std::uint64_t kKnownCompat = 0;
inline constexpr std::uint64_t kKnownRoCompat = 0;
inline constexpr std::uint64_t kIncompatCompressed = 1;  // chunks may have Encoding::kGrouped
inline constexpr std::uint64_t kKnownIncompat = kIncompatCompressed;

struct Superblock {
  std::uint32_t version = kFormatVersion;
  std::uint64_t compat = 0;
  std::uint64_t ro_compat = 0;
  std::uint64_t incompat = 0;
  Uuid uuid{};
  std::uint32_t hash_algorithm = kHashXxh3_128;
  std::uint32_t alignment = kAlignment;
  std::uint64_t chunk_bytes = 0;
  friend bool operator==(const Superblock&, const Superblock&) = default;
};

/// kSuperblockBytes long. Writes what it is given, also what decode_superblock refuses.
std::vector<std::byte> encode_superblock(const Superblock& superblock);

/// Reads one copy; `bytes` may be short. Checks, in this order: magic (not a pack: damaged; damage
/// by text-mode transfer is named), digest, version, `incompat`, hash algorithm, then ranges and
/// reserved bytes. Errors: truncated; damaged; unsupported_version.
Superblock decode_superblock(std::span<const std::byte> bytes);

/// True when unknown `ro_compat` bits forbid writing.
bool is_read_only_for_us(const Superblock& superblock) noexcept;

}  // namespace cairn::format
