#include "format/superblock.h"

#include "base/little_endian.h"
#include "format/fixed.h"

#include <array>
#include <string>

namespace cairn::format {
namespace {

using base::load_le;
using base::store_le;

// Source: the reasons of PNG's signature (W3C PNG, section 12.12): 89 is damaged by 7-bit transfer,
// 0D 0A and 0A by conversion of line ends, and 1A stops a listing under DOS.
constexpr std::array<std::uint8_t, 16> kMagic = {0x89, 'C',  'A', 'I', 'R', 'N', 0x0D, 0x0A,
                                                 0x1A, 0x0A, 0,   0,   0,   0,   0,    0};

constexpr std::size_t kVersionAt = 16;        // u32
constexpr std::size_t kHashAlgorithmAt = 20;  // u32
constexpr std::size_t kCompatAt = 24;         // u64
constexpr std::size_t kRoCompatAt = 32;       // u64
constexpr std::size_t kIncompatAt = 40;       // u64
constexpr std::size_t kUuidAt = 48;           // 16 bytes
constexpr std::size_t kAlignmentAt = 64;      // u32
constexpr std::size_t kReservedAAt = 68;      // 4 zero bytes
constexpr std::size_t kChunkBytesAt = 72;     // u64
constexpr std::size_t kReservedBAt = 80;      // zero up to the digest
constexpr std::size_t kDigestAt = kSuperblockBytes - kDigestBytes;
static_assert(kMagic.size() == kVersionAt);
static_assert(kUuidAt + sizeof(Uuid) == kAlignmentAt);
static_assert(kChunkBytesAt + sizeof(std::uint64_t) == kReservedBAt && kReservedBAt < kDigestAt);

// How a magic looks after a transfer that took the file for text, up to the first difference.
struct TextDamage {
  std::string_view begin;
  std::string_view what;
};
using namespace std::string_view_literals;
constexpr std::array<TextDamage, 6> kTextDamages = {{
    {"\x09"
     "CAIRN"sv,
     "the high bit of each byte was cleared"sv},
    {"\x89"
     "CAIRN\x0A"sv,
     "line ends were converted"sv},
    {"\x89"
     "CAIRN\x0D\x0D"sv,
     "line ends were converted"sv},
    {"\x89"
     "CAIRN\x0D\x0A\x1A\x0D"sv,
     "line ends were converted"sv},
    {"\xC2\x89"
     "CAIRN"sv,
     "it was taken for Latin-1 and turned into UTF-8"sv},
    {"\xEF\xBF\xBD"
     "CAIRN"sv,
     "it was taken for UTF-8, and other bytes were replaced"sv},
}};

[[noreturn]] void fail_magic(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const TextDamage& damage : kTextDamages) {
    if (text.starts_with(damage.begin)) {
      fail(ErrorCode::kDamaged, "the pack was damaged by a transfer in text mode: {}", damage.what);
    }
  }
  if (all_zero(bytes)) fail(ErrorCode::kDamaged, "the superblock is all zero");
  fail(ErrorCode::kDamaged, "not a pack of Cairn: the superblock's magic is wrong");
}

void check_magic(std::span<const std::byte> bytes) {
  const std::size_t present = std::min(bytes.size(), kMagic.size());
  if (!begins_with(bytes, std::span(kMagic).first(present))) fail_magic(bytes);
  if (bytes.size() < kSuperblockBytes) {
    fail(ErrorCode::kTruncated, "the superblock is cut short: {} of {} bytes", bytes.size(),
         kSuperblockBytes);
  }
}

void check_features(const Superblock& superblock) {
  if (superblock.version > kFormatVersion) {
    fail(ErrorCode::kUnsupportedVersion,
         "format version {} is newer than {}, the newest that this Cairn knows", superblock.version,
         kFormatVersion);
  }
  if (superblock.version == 0) fail(ErrorCode::kDamaged, "the superblock's format version is 0");
  if (const std::uint64_t unknown = superblock.incompat & ~kKnownIncompat; unknown != 0) {
    fail(ErrorCode::kUnsupportedVersion,
         "the store uses features that this Cairn does not know (incompat bits {:#x})", unknown);
  }
  if (superblock.hash_algorithm != kHashXxh3_128) {
    fail(ErrorCode::kUnsupportedVersion,
         "hash algorithm {} is unknown to this Cairn; it knows {} (XXH3-128)",
         superblock.hash_algorithm, kHashXxh3_128);
  }
}

void check_ranges(const Superblock& superblock) {
  if (superblock.alignment != kAlignment) {
    fail(ErrorCode::kDamaged, "the superblock's alignment is {}, not {}", superblock.alignment,
         kAlignment);
  }
  if (superblock.chunk_bytes < kMinChunkBytes || superblock.chunk_bytes > kMaxChunkBytes ||
      superblock.chunk_bytes % kAlignment != 0) {
    fail(ErrorCode::kDamaged,
         "the superblock's chunk size is {}; allowed are multiples of {} from {} to {}",
         superblock.chunk_bytes, kAlignment, kMinChunkBytes, kMaxChunkBytes);
  }
}

// A compatible feature that this version does not know may keep its parameters in reserved bytes.
bool may_use_reserved(const Superblock& superblock) {
  return (superblock.compat & ~kKnownCompat) != 0 || is_read_only_for_us(superblock);
}

void check_reserved(std::span<const std::byte> part) {
  const auto check = [&](std::size_t begin, std::size_t end) {
    if (all_zero(part.subspan(begin, end - begin))) return;
    for (std::size_t at = begin; at < end; ++at) {
      if (part[at] != std::byte{0}) {
        fail(ErrorCode::kDamaged, "the superblock's reserved byte {} is not zero", at);
      }
    }
  };
  check(kReservedAAt, kChunkBytesAt);
  check(kReservedBAt, kDigestAt);
}

}  // namespace

std::vector<std::byte> encode_superblock(const Superblock& superblock) {
  std::vector<std::byte> part(kSuperblockBytes);
  std::memcpy(part.data(), kMagic.data(), kMagic.size());
  store_le(part, kVersionAt, superblock.version);
  store_le(part, kHashAlgorithmAt, superblock.hash_algorithm);
  store_le(part, kCompatAt, superblock.compat);
  store_le(part, kRoCompatAt, superblock.ro_compat);
  store_le(part, kIncompatAt, superblock.incompat);
  store_bytes(part, kUuidAt, superblock.uuid);
  store_le(part, kAlignmentAt, superblock.alignment);
  store_le(part, kChunkBytesAt, superblock.chunk_bytes);
  seal(part);
  return part;
}

Superblock decode_superblock(std::span<const std::byte> bytes) {
  check_magic(bytes);
  const std::span<const std::byte> part = bytes.first(kSuperblockBytes);
  if (!is_sealed(part)) {
    fail(ErrorCode::kDamaged, "the superblock does not match its digest");
  }
  Superblock superblock;
  superblock.version = load_le<std::uint32_t>(part, kVersionAt);
  superblock.hash_algorithm = load_le<std::uint32_t>(part, kHashAlgorithmAt);
  superblock.compat = load_le<std::uint64_t>(part, kCompatAt);
  superblock.ro_compat = load_le<std::uint64_t>(part, kRoCompatAt);
  superblock.incompat = load_le<std::uint64_t>(part, kIncompatAt);
  superblock.uuid = load_bytes<Uuid>(part, kUuidAt);
  superblock.alignment = load_le<std::uint32_t>(part, kAlignmentAt);
  superblock.chunk_bytes = load_le<std::uint64_t>(part, kChunkBytesAt);
  check_features(superblock);
  check_ranges(superblock);
  if (!may_use_reserved(superblock)) check_reserved(part);
  return superblock;
}

bool is_read_only_for_us(const Superblock& superblock) noexcept {
  return (superblock.ro_compat & ~kKnownRoCompat) != 0;
}

}  // namespace cairn::format
