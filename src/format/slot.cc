#include "format/slot.h"

#include "base/checked.h"
#include "base/little_endian.h"
#include "format/fixed.h"
#include "format/record.h"

#include <array>

namespace cairn::format {
namespace {

using base::load_le;
using base::store_le;

constexpr std::array<std::uint8_t, 8> kMagic = {0x89, 'C', 'N', 'S', 'L', 'O', 'T', 0x0A};

constexpr std::size_t kVersionAt = 8;          // u32
constexpr std::size_t kNumberAt = 12;          // u32
constexpr std::size_t kUuidAt = 16;            // 16 bytes
constexpr std::size_t kSequenceAt = 32;        // u64
constexpr std::size_t kParentSequenceAt = 40;  // u64
constexpr std::size_t kParentDigestAt = 48;    // 16 bytes
constexpr std::size_t kFirstOffsetAt = 64;     // u64
constexpr std::size_t kSecondOffsetAt = 72;    // u64
constexpr std::size_t kRootBytesAt = 80;       // u64, of each copy
constexpr std::size_t kDataEndAt = 88;         // u64
constexpr std::size_t kRootDigestAt = 96;      // 16 bytes
constexpr std::size_t kReservedAt = 112;       // zero up to the digest
constexpr std::size_t kDigestAt = kSlotBytes - kDigestBytes;
static_assert(kMagic.size() == kVersionAt);
static_assert(kUuidAt + sizeof(Uuid) == kSequenceAt);
static_assert(kRootDigestAt + kDigestBytes == kReservedAt && kReservedAt < kDigestAt);

std::string extent_problem(const char* which, const Extent& extent, std::uint64_t data_end) {
  if (extent.offset % kAlignment != 0 || extent.offset < kDataBegin) {
    return fmt::format("the slot's {} root lies at {}, not at a multiple of {} from {} on", which,
                       extent.offset, kAlignment, kDataBegin);
  }
  if (extent.bytes <= kRecordHeaderBytes || extent.bytes > kRecordHeaderBytes + kMaxPayloadBytes) {
    return fmt::format("the slot's root length is {}; allowed are {} to {}", extent.bytes,
                       kRecordHeaderBytes + 1, kRecordHeaderBytes + kMaxPayloadBytes);
  }
  if (!base::range_fits(extent.offset, extent.bytes, data_end)) {
    return fmt::format("the slot's {} root at {} runs beyond the end of data, {}", which,
                       extent.offset, data_end);
  }
  return {};
}

/// What is wrong with the slot's meaning; empty: nothing. Both directions hold it.
std::string problem_of(const Slot& slot) {
  if (slot.number >= kSlotCount) {
    return fmt::format("slot number {} is not below {}", slot.number, kSlotCount);
  }
  if (slot.sequence == 0) return "the slot's sequence is 0";
  if (slot.parent_sequence >= slot.sequence) {
    return fmt::format("the slot's parent sequence {} is not below its sequence {}",
                       slot.parent_sequence, slot.sequence);
  }
  if (slot.parent_sequence == 0 && !slot.parent_digest.is_zero()) {
    return "the slot has a parent's digest but no parent";
  }
  if (slot.data_end % kAlignment != 0 || slot.data_end > kMaxPackBytes) {
    return fmt::format("the slot's end of data {} is not a multiple of {} up to {}", slot.data_end,
                       kAlignment, kMaxPackBytes);
  }
  const Extent& first = slot.root.first;
  const Extent& second = slot.root.second;
  if (auto problem = extent_problem("first", first, slot.data_end); !problem.empty()) {
    return problem;
  }
  if (auto problem = extent_problem("second", second, slot.data_end); !problem.empty()) {
    return problem;
  }
  const Extent& low = first.offset <= second.offset ? first : second;
  const Extent& high = first.offset <= second.offset ? second : first;
  if (high.offset < low.offset + low.bytes) return "the slot's two roots overlap";
  return {};
}

Slot load_slot(std::span<const std::byte> part) {
  Slot slot;
  slot.number = load_le<std::uint32_t>(part, kNumberAt);
  slot.sequence = load_le<std::uint64_t>(part, kSequenceAt);
  slot.parent_sequence = load_le<std::uint64_t>(part, kParentSequenceAt);
  slot.parent_digest = load_bytes<ChunkId>(part, kParentDigestAt);
  const auto root_bytes = load_le<std::uint64_t>(part, kRootBytesAt);
  slot.root.first = {load_le<std::uint64_t>(part, kFirstOffsetAt), root_bytes};
  slot.root.second = {load_le<std::uint64_t>(part, kSecondOffsetAt), root_bytes};
  slot.root.digest = load_bytes<ChunkId>(part, kRootDigestAt);
  slot.data_end = load_le<std::uint64_t>(part, kDataEndAt);
  return slot;
}

/// Why the sector is no slot of this store at this place; empty: it is one.
std::string problem_of_sector(std::span<const std::byte> part, const Uuid& uuid,
                              std::uint32_t number) {
  if (!begins_with(part, kMagic)) return "the slot's magic is wrong";
  if (!is_sealed(part)) return "the slot does not match its digest (torn or damaged)";
  const auto version = load_le<std::uint32_t>(part, kVersionAt);
  if (version == 0 || version > kFormatVersion) {
    return fmt::format("the slot has version {}; this Cairn knows {}", version, kFormatVersion);
  }
  if (load_bytes<Uuid>(part, kUuidAt) != uuid) return "the slot belongs to another store";
  const Slot slot = load_slot(part);
  if (slot.number != number) {
    return fmt::format("slot {} stands in the place of slot {}", slot.number, number);
  }
  if (!all_zero(part.subspan(kReservedAt, kDigestAt - kReservedAt))) {
    return "a reserved byte of the slot is not zero";
  }
  return problem_of(slot);
}

}  // namespace

std::vector<std::byte> encode_slot(const Slot& slot, const Uuid& uuid) {
  if (slot.root.first.bytes != slot.root.second.bytes) {
    fail(ErrorCode::kInvalidArgument, "the root's copies differ in length: {} and {} bytes",
         slot.root.first.bytes, slot.root.second.bytes);
  }
  if (const std::string problem = problem_of(slot); !problem.empty()) {
    throw Error(ErrorCode::kInvalidArgument, problem);
  }
  std::vector<std::byte> part(kSlotBytes);
  std::memcpy(part.data(), kMagic.data(), kMagic.size());
  store_le(part, kVersionAt, kFormatVersion);
  store_le(part, kNumberAt, slot.number);
  store_bytes(part, kUuidAt, uuid);
  store_le(part, kSequenceAt, slot.sequence);
  store_le(part, kParentSequenceAt, slot.parent_sequence);
  store_bytes(part, kParentDigestAt, slot.parent_digest);
  store_le(part, kFirstOffsetAt, slot.root.first.offset);
  store_le(part, kSecondOffsetAt, slot.root.second.offset);
  store_le(part, kRootBytesAt, slot.root.first.bytes);
  store_le(part, kDataEndAt, slot.data_end);
  store_bytes(part, kRootDigestAt, slot.root.digest);
  seal(part);
  return part;
}

std::optional<Slot> decode_slot(std::span<const std::byte> sector, const Uuid& uuid,
                                std::uint32_t number, std::string* error) {
  if (error != nullptr) error->clear();
  std::string problem;
  if (sector.size() < kSlotBytes) {
    problem = fmt::format("the slot is cut short: {} of {} bytes", sector.size(), kSlotBytes);
  } else if (all_zero(sector.first(kSlotBytes))) {
    return std::nullopt;
  } else {
    problem = problem_of_sector(sector.first(kSlotBytes), uuid, number);
    if (problem.empty()) return load_slot(sector.first(kSlotBytes));
  }
  if (error != nullptr) *error = std::move(problem);
  return std::nullopt;
}

std::optional<Uuid> uuid_of_slot(std::span<const std::byte> sector, std::uint32_t number) {
  if (sector.size() < kSlotBytes) return std::nullopt;
  const Uuid uuid = load_bytes<Uuid>(sector, kUuidAt);
  return decode_slot(sector, uuid, number) ? std::optional(uuid) : std::nullopt;
}

}  // namespace cairn::format
