#include "format/record.h"

#include "base/little_endian.h"
#include "format/fixed.h"

#include <algorithm>
#include <array>

namespace cairn::format {
namespace {

using base::load_le;
using base::store_le;

constexpr std::array<std::uint8_t, 8> kMagic = {0x89, 'C', 'N', 'R', 'E', 'C', 0x0D, 0x0A};

constexpr std::size_t kVersionAt = 8;         // u32
constexpr std::size_t kTypeAt = 12;           // u32
constexpr std::size_t kUuidAt = 16;           // 16 bytes
constexpr std::size_t kOwnOffsetAt = 32;      // u64
constexpr std::size_t kSequenceAt = 40;       // u64
constexpr std::size_t kPayloadBytesAt = 48;   // u64
constexpr std::size_t kPayloadDigestAt = 56;  // 16 bytes
constexpr std::size_t kReservedAt = 72;       // zero up to the digest
constexpr std::size_t kDigestAt = kRecordHeaderBytes - kDigestBytes;
static_assert(kMagic.size() == kVersionAt);
static_assert(kUuidAt + sizeof(Uuid) == kOwnOffsetAt);
static_assert(kPayloadDigestAt + kDigestBytes == kReservedAt && kReservedAt < kDigestAt);

bool is_known(RecordType type) {
  return type == RecordType::kIndex || type == RecordType::kRoot;
}

void check_payload_bytes(std::uint64_t payload_bytes, ErrorCode code) {
  if (payload_bytes == 0 || payload_bytes > kMaxPayloadBytes) {
    fail(code, "the record's payload is {} bytes long; allowed are 1 to {}", payload_bytes,
         kMaxPayloadBytes);
  }
}

}  // namespace

std::vector<std::byte> encode_record(const RecordHeader& header, const Uuid& uuid,
                                     std::span<const std::byte> payload) {
  std::vector<std::byte> record(kRecordHeaderBytes + payload.size());
  encode_record(header, uuid, payload, record);
  return record;
}

void encode_record(const RecordHeader& header, const Uuid& uuid, std::span<const std::byte> payload,
                   std::span<std::byte> out) {
  if (!is_known(header.type)) {
    fail(ErrorCode::kInvalidArgument, "record type {} is unknown",
         static_cast<std::uint32_t>(header.type));
  }
  if (header.sequence == 0) fail(ErrorCode::kInvalidArgument, "the record's sequence is 0");
  check_payload_bytes(payload.size(), ErrorCode::kInvalidArgument);
  const std::span<std::byte> part = out.first(kRecordHeaderBytes);
  std::fill(part.begin(), part.end(), std::byte{0});
  std::memcpy(part.data(), kMagic.data(), kMagic.size());
  store_le(part, kVersionAt, kFormatVersion);
  store_le(part, kTypeAt, static_cast<std::uint32_t>(header.type));
  store_bytes(part, kUuidAt, uuid);
  store_le(part, kOwnOffsetAt, header.own_offset);
  store_le(part, kSequenceAt, header.sequence);
  store_le(part, kPayloadBytesAt, static_cast<std::uint64_t>(payload.size()));
  store_bytes(part, kPayloadDigestAt, base::xxh3_128(payload));
  seal(part);
  std::memcpy(out.data() + kRecordHeaderBytes, payload.data(), payload.size());
}

RecordHeader decode_record_header(std::span<const std::byte> bytes, const Uuid& uuid,
                                  std::uint64_t own_offset) {
  if (bytes.size() < kRecordHeaderBytes) {
    fail(ErrorCode::kTruncated, "the record's header is cut short: {} of {} bytes", bytes.size(),
         kRecordHeaderBytes);
  }
  const std::span<const std::byte> part = bytes.first(kRecordHeaderBytes);
  if (!begins_with(part, kMagic)) fail(ErrorCode::kDamaged, "the record's magic is wrong");
  if (!is_sealed(part)) {
    fail(ErrorCode::kDamaged, "the record's header does not match its digest");
  }
  const auto version = load_le<std::uint32_t>(part, kVersionAt);
  if (version > kFormatVersion) {
    fail(ErrorCode::kUnsupportedVersion,
         "record version {} is newer than {}, the newest that this Cairn knows", version,
         kFormatVersion);
  }
  if (version == 0) fail(ErrorCode::kDamaged, "the record's version is 0");
  if (load_bytes<Uuid>(part, kUuidAt) != uuid) {
    fail(ErrorCode::kDamaged, "the record belongs to another store");
  }
  RecordHeader header;
  header.own_offset = load_le<std::uint64_t>(part, kOwnOffsetAt);
  if (header.own_offset != own_offset) {
    fail(ErrorCode::kDamaged, "the record was written for offset {}, but stands at {}",
         header.own_offset, own_offset);
  }
  header.type = static_cast<RecordType>(load_le<std::uint32_t>(part, kTypeAt));
  if (!is_known(header.type)) {
    fail(ErrorCode::kDamaged, "record type {} is unknown", static_cast<std::uint32_t>(header.type));
  }
  header.sequence = load_le<std::uint64_t>(part, kSequenceAt);
  if (header.sequence == 0) fail(ErrorCode::kDamaged, "the record's sequence is 0");
  header.payload_bytes = load_le<std::uint64_t>(part, kPayloadBytesAt);
  check_payload_bytes(header.payload_bytes, ErrorCode::kDamaged);
  header.payload_digest = load_bytes<ChunkId>(part, kPayloadDigestAt);
  for (std::size_t at = kReservedAt; at < kDigestAt; ++at) {
    if (part[at] != std::byte{0}) {
      fail(ErrorCode::kDamaged, "the record's reserved byte {} is not zero", at);
    }
  }
  return header;
}

std::span<const std::byte> decode_record(std::span<const std::byte> record, const Uuid& uuid,
                                         std::uint64_t own_offset, RecordType type,
                                         RecordHeader* header) {
  const RecordHeader decoded = decode_record_header(record, uuid, own_offset);
  if (decoded.type != type) {
    fail(ErrorCode::kDamaged, "the record is of type {}, not {}",
         static_cast<std::uint32_t>(decoded.type), static_cast<std::uint32_t>(type));
  }
  const std::span<const std::byte> rest = record.subspan(kRecordHeaderBytes);
  if (rest.size() < decoded.payload_bytes) {
    fail(ErrorCode::kTruncated, "the record's payload is cut short: {} of {} bytes", rest.size(),
         decoded.payload_bytes);
  }
  const std::span<const std::byte> payload = rest.first(decoded.payload_bytes);
  if (base::xxh3_128(payload) != decoded.payload_digest) {
    fail(ErrorCode::kDamaged, "the record's payload does not match its digest");
  }
  if (header != nullptr) *header = decoded;
  return payload;
}

std::optional<Uuid> uuid_of_record(std::span<const std::byte> bytes, std::uint64_t own_offset) {
  if (bytes.size() < kRecordHeaderBytes || !looks_like_record(bytes)) return std::nullopt;
  const Uuid uuid = load_bytes<Uuid>(bytes, kUuidAt);
  try {
    decode_record_header(bytes, uuid, own_offset);
  } catch (const Error&) {
    return std::nullopt;
  }
  return uuid;
}

bool looks_like_record(std::span<const std::byte> bytes) noexcept {
  return begins_with(bytes, kMagic);
}

}  // namespace cairn::format
