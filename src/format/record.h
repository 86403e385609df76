// The header before every index and root payload in the pack. Chunks have none.
#pragma once

#include "format/layout.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cairn::format {

enum class RecordType : std::uint32_t { kIndex = 1, kRoot = 2 };

inline constexpr std::uint64_t kRecordHeaderBytes = 128;

struct RecordHeader {
  RecordType type = RecordType::kIndex;
  std::uint64_t own_offset = 0;  // finds misdirected writes, and copies of a pack inside a tensor
  std::uint64_t sequence = 0;    // of the commit that wrote it
  std::uint64_t payload_bytes = 0;
  ChunkId payload_digest{};
  friend bool operator==(const RecordHeader&, const RecordHeader&) = default;
};

/// Header and payload as they stand in the pack, without padding behind. The payload's length and
/// digest are computed; those in `header` are not looked at. Errors: invalid_argument (an empty or
/// overlong payload, a sequence of 0).
std::vector<std::byte> encode_record(const RecordHeader& header, const Uuid& uuid,
                                     std::span<const std::byte> payload);
/// The same into `out`, which is exactly so long.
void encode_record(const RecordHeader& header, const Uuid& uuid, std::span<const std::byte> payload,
                   std::span<std::byte> out);

/// Checks magic, header checksum, version, UUID, own offset, reserved bytes and the length's
/// bounds; not the payload. `bytes` holds at least the header. Errors: truncated; damaged;
/// unsupported_version.
RecordHeader decode_record_header(std::span<const std::byte> bytes, const Uuid& uuid,
                                  std::uint64_t own_offset);

/// The payload of a whole record, after checking the header, `type`, and the payload's digest.
/// Errors: truncated; damaged; unsupported_version.
std::span<const std::byte> decode_record(std::span<const std::byte> record, const Uuid& uuid,
                                         std::uint64_t own_offset, RecordType type,
                                         RecordHeader* header = nullptr);

/// The store that a good header belongs to, whichever that is; nothing for any other bytes.
std::optional<Uuid> uuid_of_record(std::span<const std::byte> bytes, std::uint64_t own_offset);

/// Quick test for a scan: do these bytes begin like a record?
bool looks_like_record(std::span<const std::byte> bytes) noexcept;

}  // namespace cairn::format
