#include "catalog/row_codec.h"

#include "base/checked.h"
#include "base/little_endian.h"
#include "base/mutant.h"
#include "base/text.h"
#include "format/fixed.h"
#include "format/names.h"

#include <algorithm>
#include <cstring>

namespace cairn::catalog {
namespace {

using base::load_le;
using base::store_le;
using format::all_zero;
using format::fail;
using format::load_bytes;
using format::store_bytes;

constexpr std::size_t kChecksumBytes = 8;

// ---- info ----
constexpr std::size_t kInfoRowFormat = 0;
constexpr std::size_t kInfoFormatVersion = 4;
constexpr std::size_t kInfoUuid = 8;
constexpr std::size_t kInfoSequence = 24;
constexpr std::size_t kInfoNextId = 32;
constexpr std::size_t kInfoFirstRoot = 40;
constexpr std::size_t kInfoSecondRoot = 56;
constexpr std::size_t kInfoRootDigest = 72;
constexpr std::size_t kInfoParentSequence = 88;
constexpr std::size_t kInfoParentDigest = 96;
constexpr std::size_t kInfoDataEnd = 112;
constexpr std::size_t kInfoTransaction = 120;
constexpr std::size_t kInfoRowSum = 128;
constexpr std::size_t kInfoBytes = 136 + kChecksumBytes;

// ---- checkpoints: the fixed part, then the name, then the summary ----
constexpr std::size_t kCheckpointSequence = 0;
constexpr std::size_t kCheckpointIndex = 8;
constexpr std::size_t kCheckpointIndexDigest = 24;
constexpr std::size_t kCheckpointFlags = 40;
constexpr std::size_t kCheckpointNameBytes = 44;
constexpr std::size_t kCheckpointReserved = 46;
constexpr std::size_t kCheckpointFixedBytes = 48;

constexpr std::uint32_t kFlagPinned = 1;
constexpr std::uint32_t kFlagDamaged = 2;

// ---- names ----
constexpr std::size_t kNameBytes = 8 + kChecksumBytes;

// ---- chunks ----
constexpr std::size_t kChunkOffset = 0;
constexpr std::size_t kChunkStoredBytes = 8;
constexpr std::size_t kChunkReferences = 16;
constexpr std::size_t kChunkEncoding = 24;
constexpr std::size_t kChunkReserved = 25;
constexpr std::size_t kChunkBytes = 32 + kChecksumBytes;

// ---- free ----
constexpr std::size_t kFreeBytes = 0;
constexpr std::size_t kFreeFreedBy = 8;
constexpr std::size_t kFreeRowBytes = 16 + kChecksumBytes;

constexpr std::string_view kInfoKey = "state";

void store_be(std::span<std::byte> bytes, std::size_t offset, std::uint64_t value) noexcept {
  store_le(bytes, offset, __builtin_bswap64(value));
}

std::uint64_t load_be(Bytes bytes, std::size_t offset) noexcept {
  return __builtin_bswap64(load_le<std::uint64_t>(bytes, offset));
}

// XXH3-64 of: table number (4 bytes), length of the key (4 bytes), key, value without its checksum.
std::uint64_t checksum(Table table, Bytes key, Bytes body) {
  constexpr std::size_t kPrefixBytes = 8;
  std::array<std::byte, 256> on_stack;
  std::vector<std::byte> on_heap;
  std::span<std::byte> all(on_stack);
  const std::size_t total_bytes = kPrefixBytes + key.size() + body.size();
  if (total_bytes > on_stack.size()) {
    on_heap.resize(total_bytes);
    all = on_heap;
  }
  all = all.first(total_bytes);
  store_le(all, 0, static_cast<std::uint32_t>(table));
  store_le(all, 4, static_cast<std::uint32_t>(key.size()));
  std::copy(key.begin(), key.end(), all.begin() + kPrefixBytes);
  std::copy(body.begin(), body.end(),
            all.begin() + kPrefixBytes + static_cast<std::ptrdiff_t>(key.size()));
  return base::xxh3_64(all);
}

void seal(Table table, Bytes key, std::vector<std::byte>& value) {
  const std::size_t body_bytes = value.size() - kChecksumBytes;
  store_le(std::span(value), body_bytes, checksum(table, key, Bytes(value).first(body_bytes)));
}

// The value without its checksum, which matched.
Bytes unseal(Table table, Bytes key, Bytes value) {
  if (value.size() < kChecksumBytes) {
    fail(ErrorCode::kDamaged, "the catalog is damaged: a row of table {} is {} bytes short",
         name_of(table), kChecksumBytes - value.size());
  }
  const Bytes body = value.first(value.size() - kChecksumBytes);
  if (!CAIRN_MUTANT(kRowChecksumsIgnored) &&
      checksum(table, key, body) != load_le<std::uint64_t>(value, body.size())) {
    fail(ErrorCode::kDamaged,
         "the catalog is damaged: a row of table {} does not match its checksum", name_of(table));
  }
  return body;
}

Bytes unseal(Table table, Bytes key, Bytes value, std::size_t value_bytes) {
  if (value.size() != value_bytes) {
    fail(ErrorCode::kDamaged, "the catalog is damaged: a row of table {} has {} bytes, not {}",
         name_of(table), value.size(), value_bytes);
  }
  return unseal(table, key, value);
}

bool is_aligned_extent(const FreeRow& row) noexcept {
  return row.bytes != 0 && row.bytes % format::kAlignment == 0 &&
         row.offset % format::kAlignment == 0 && base::checked_add(row.offset, row.bytes);
}

// What a checksum does not catch was written so: by a mistake, or on purpose.
[[noreturn]] void fail_meaning(Table table, std::string_view what) {
  fail(ErrorCode::kDamaged, "the catalog is damaged: a row of table {} {}", name_of(table), what);
}

void store_extent(std::span<std::byte> part, std::size_t at, const format::Extent& extent) {
  store_le(part, at, extent.offset);
  store_le(part, at + 8, extent.bytes);
}

format::Extent load_extent(Bytes part, std::size_t at) {
  return {.offset = load_le<std::uint64_t>(part, at),
          .bytes = load_le<std::uint64_t>(part, at + 8)};
}

}  // namespace

std::string_view name_of(Table table) noexcept {
  switch (table) {
    case Table::kInfo:
      return "info";
    case Table::kCheckpoints:
      return "checkpoints";
    case Table::kNames:
      return "names";
    case Table::kChunks:
      return "chunks";
    case Table::kFree:
      return "free";
  }
  return "unknown";
}

std::span<const std::byte> info_key() noexcept {
  return std::as_bytes(std::span(kInfoKey));
}

std::array<std::byte, 8> number_key(std::uint64_t number) noexcept {
  std::array<std::byte, 8> key{};
  store_be(key, 0, number);
  return key;
}

std::array<std::byte, 24> chunk_key(const ChunkKey& key) noexcept {
  std::array<std::byte, 24> bytes{};
  store_bytes(bytes, 0, key.id);
  store_be(bytes, 16, key.plain_bytes);
  return bytes;
}

std::span<const std::byte> name_key(std::string_view name) noexcept {
  return std::as_bytes(std::span(name));
}

std::uint64_t decode_number_key(Table table, Bytes key) {
  if (key.size() != 8) fail_meaning(table, "has a key of the wrong length");
  return load_be(key, 0);
}

ChunkKey decode_chunk_key(Bytes key) {
  if (key.size() != 24) fail_meaning(Table::kChunks, "has a key of the wrong length");
  return {.id = load_bytes<format::ChunkId>(key, 0), .plain_bytes = load_be(key, 16)};
}

std::uint64_t checksum_of(Bytes value) noexcept {
  if (value.size() < kChecksumBytes) return 0;
  return load_le<std::uint64_t>(value, value.size() - kChecksumBytes);
}

std::vector<std::byte> encode_info(const InfoRow& row) {
  std::vector<std::byte> value(kInfoBytes);
  const std::span<std::byte> part(value);
  store_le(part, kInfoRowFormat, kRowFormat);
  store_le(part, kInfoFormatVersion, row.format_version);
  store_bytes(part, kInfoUuid, row.uuid);
  store_le(part, kInfoSequence, row.sequence);
  store_le(part, kInfoNextId, row.next_id);
  store_extent(part, kInfoFirstRoot, row.root.first);
  store_extent(part, kInfoSecondRoot, row.root.second);
  store_bytes(part, kInfoRootDigest, row.root.digest);
  store_le(part, kInfoParentSequence, row.parent_sequence);
  store_bytes(part, kInfoParentDigest, row.parent_digest);
  store_le(part, kInfoDataEnd, row.data_end);
  store_le(part, kInfoTransaction, row.transaction);
  store_le(part, kInfoRowSum, row.row_sum);
  seal(Table::kInfo, info_key(), value);
  return value;
}

InfoRow decode_info(Bytes key, Bytes value) {
  // A newer row may have another length: first the checksum and the version, then the rest.
  const Bytes part = unseal(Table::kInfo, key, value);
  if (part.size() < kInfoFormatVersion) fail_meaning(Table::kInfo, "is too short");
  const auto row_format = load_le<std::uint32_t>(part, kInfoRowFormat);
  if (row_format > kRowFormat) {
    fail(ErrorCode::kUnsupportedVersion,
         "the catalog's rows have format {}; this version knows format {}: use a newer Cairn",
         row_format, kRowFormat);
  }
  if (row_format != kRowFormat || value.size() != kInfoBytes) {
    fail_meaning(Table::kInfo, "has a wrong format or length");
  }
  if (!std::equal(key.begin(), key.end(), info_key().begin(), info_key().end())) {
    fail_meaning(Table::kInfo, "has an unknown key");
  }
  InfoRow row;
  row.format_version = load_le<std::uint32_t>(part, kInfoFormatVersion);
  row.uuid = load_bytes<format::Uuid>(part, kInfoUuid);
  row.sequence = load_le<std::uint64_t>(part, kInfoSequence);
  row.next_id = load_le<std::uint64_t>(part, kInfoNextId);
  row.root.first = load_extent(part, kInfoFirstRoot);
  row.root.second = load_extent(part, kInfoSecondRoot);
  row.root.digest = load_bytes<format::ChunkId>(part, kInfoRootDigest);
  row.parent_sequence = load_le<std::uint64_t>(part, kInfoParentSequence);
  row.parent_digest = load_bytes<format::ChunkId>(part, kInfoParentDigest);
  row.data_end = load_le<std::uint64_t>(part, kInfoDataEnd);
  row.transaction = load_le<std::uint64_t>(part, kInfoTransaction);
  row.row_sum = load_le<std::uint64_t>(part, kInfoRowSum);
  if (row.format_version > format::kFormatVersion) {
    fail(ErrorCode::kUnsupportedVersion,
         "the catalog describes a pack of format {}; this version knows format {}: use a newer "
         "Cairn",
         row.format_version, format::kFormatVersion);
  }
  return row;
}

std::vector<std::byte> encode_checkpoint(const CheckpointRow& row) {
  format::validate_checkpoint_name(row.name);
  const std::vector<std::byte> summary = format::encode_summary(row.summary);
  const std::size_t summary_at = kCheckpointFixedBytes + row.name.size();
  std::vector<std::byte> value(summary_at + summary.size() + kChecksumBytes);
  const std::span<std::byte> part(value);
  store_le(part, kCheckpointSequence, row.sequence);
  store_extent(part, kCheckpointIndex, row.index);
  store_bytes(part, kCheckpointIndexDigest, row.index_digest);
  store_le(part, kCheckpointFlags,
           (row.pinned ? kFlagPinned : 0U) | (row.damaged ? kFlagDamaged : 0U));
  store_le(part, kCheckpointNameBytes, static_cast<std::uint16_t>(row.name.size()));
  std::memcpy(part.data() + kCheckpointFixedBytes, row.name.data(), row.name.size());
  std::memcpy(part.data() + summary_at, summary.data(), summary.size());
  seal(Table::kCheckpoints, number_key(row.id), value);
  return value;
}

CheckpointRow decode_checkpoint(Bytes key, Bytes value) {
  constexpr Table kTable = Table::kCheckpoints;
  const Bytes part = unseal(kTable, key, value);
  if (part.size() < kCheckpointFixedBytes) fail_meaning(kTable, "is too short");
  CheckpointRow row;
  row.id = decode_number_key(kTable, key);
  row.sequence = load_le<std::uint64_t>(part, kCheckpointSequence);
  row.index = load_extent(part, kCheckpointIndex);
  row.index_digest = load_bytes<format::ChunkId>(part, kCheckpointIndexDigest);
  const auto flags = load_le<std::uint32_t>(part, kCheckpointFlags);
  if ((flags & ~(kFlagPinned | kFlagDamaged)) != 0) fail_meaning(kTable, "has unknown flags");
  row.pinned = (flags & kFlagPinned) != 0;
  row.damaged = (flags & kFlagDamaged) != 0;
  const std::size_t name_bytes = load_le<std::uint16_t>(part, kCheckpointNameBytes);
  if (load_le<std::uint16_t>(part, kCheckpointReserved) != 0) {
    fail_meaning(kTable, "has reserved bytes that are not zero");
  }
  if (name_bytes > part.size() - kCheckpointFixedBytes) {
    fail_meaning(kTable, "has a name that is longer than the row");
  }
  row.name.assign(reinterpret_cast<const char*>(part.data()) + kCheckpointFixedBytes, name_bytes);
  format::validate_checkpoint_name(row.name, ErrorCode::kDamaged);
  row.summary = format::decode_summary(part.subspan(kCheckpointFixedBytes + name_bytes));
  return row;
}

std::vector<std::byte> encode_name(std::string_view name, std::uint64_t checkpoint_id) {
  format::validate_checkpoint_name(name);
  std::vector<std::byte> value(kNameBytes);
  store_le(std::span(value), 0, checkpoint_id);
  seal(Table::kNames, name_key(name), value);
  return value;
}

std::uint64_t decode_name(Bytes key, Bytes value) {
  format::validate_checkpoint_name({reinterpret_cast<const char*>(key.data()), key.size()},
                                   ErrorCode::kDamaged);
  return load_le<std::uint64_t>(unseal(Table::kNames, key, value, kNameBytes), 0);
}

std::vector<std::byte> encode_chunk(const ChunkKey& key, const ChunkRow& row) {
  if (row.references == 0 || !base::checked_add(row.offset, row.stored_bytes)) {
    fail(ErrorCode::kInvalidArgument, "a chunk's row needs a reference and an extent");
  }
  std::vector<std::byte> value(kChunkBytes);
  const std::span<std::byte> part(value);
  store_le(part, kChunkOffset, row.offset);
  store_le(part, kChunkStoredBytes, row.stored_bytes);
  store_le(part, kChunkReferences, row.references);
  store_le(part, kChunkEncoding, static_cast<std::uint8_t>(row.encoding));
  seal(Table::kChunks, chunk_key(key), value);
  return value;
}

ChunkRow decode_chunk(Bytes key, Bytes value) {
  constexpr Table kTable = Table::kChunks;
  const Bytes part = unseal(kTable, key, value, kChunkBytes);
  ChunkRow row;
  row.offset = load_le<std::uint64_t>(part, kChunkOffset);
  row.stored_bytes = load_le<std::uint64_t>(part, kChunkStoredBytes);
  row.references = load_le<std::uint64_t>(part, kChunkReferences);
  row.encoding = static_cast<format::Encoding>(load_le<std::uint8_t>(part, kChunkEncoding));
  if (!format::is_known(row.encoding)) fail_meaning(kTable, "has an unknown encoding");
  if (!all_zero(part.subspan(kChunkReserved))) {
    fail_meaning(kTable, "has reserved bytes that are not zero");
  }
  if (!base::checked_add(row.offset, row.stored_bytes)) fail_meaning(kTable, "overflows");
  if (row.references == 0) fail_meaning(kTable, "has no references");
  return row;
}

std::vector<std::byte> encode_free(const FreeRow& row) {
  if (!is_aligned_extent(row)) {
    fail(ErrorCode::kInvalidArgument, "a free extent begins and ends at a multiple of {}",
         format::kAlignment);
  }
  std::vector<std::byte> value(kFreeRowBytes);
  const std::span<std::byte> part(value);
  store_le(part, kFreeBytes, row.bytes);
  store_le(part, kFreeFreedBy, row.freed_by);
  seal(Table::kFree, number_key(row.offset), value);
  return value;
}

FreeRow decode_free(Bytes key, Bytes value) {
  constexpr Table kTable = Table::kFree;
  const Bytes part = unseal(kTable, key, value, kFreeRowBytes);
  FreeRow row;
  row.offset = decode_number_key(kTable, key);
  row.bytes = load_le<std::uint64_t>(part, kFreeBytes);
  row.freed_by = load_le<std::uint64_t>(part, kFreeFreedBy);
  if (!is_aligned_extent(row)) fail_meaning(kTable, "is no aligned extent");
  return row;
}

}  // namespace cairn::catalog
