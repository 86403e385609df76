#include "format/root.h"

#include "base/checked.h"
#include "base/text.h"
#include "format/names.h"
#include "format/pack_generated.h"
#include "format/payload.h"
#include "format/record.h"

#include <algorithm>

namespace cairn::format {
namespace {

constexpr const char* kIdentifier = "CNRT";
constexpr std::uint16_t kFlagPinned = 1;
constexpr std::uint16_t kFlagDamaged = 2;
constexpr std::uint64_t kTableRoomBytes = 256;  // the root table, its vtable, padding

static_assert(sizeof(fb::RootEntry) == 56 && sizeof(fb::Digest) == sizeof(ChunkId));

void check_order(const Root& root, ErrorCode code) {
  if (root.sequence == 0) fail(code, "the root's sequence is 0");
  if (root.parent_sequence >= root.sequence) {
    fail(code, "the root's parent sequence {} is not below its sequence {}", root.parent_sequence,
         root.sequence);
  }
  if (root.parent_sequence == 0 && !root.parent_digest.is_zero()) {
    fail(code, "the root has a parent's digest but no parent");
  }
  std::uint64_t last_id = 0;
  for (const RootEntry& entry : root.checkpoints) {
    if (entry.id <= last_id) {
      fail(code, "the root's checkpoint ids are not ascending: {} after {}", entry.id, last_id);
    }
    last_id = entry.id;
    if (entry.sequence == 0 || entry.sequence > root.sequence) {
      fail(code, "checkpoint {} has sequence {}; the root has {}", entry.id, entry.sequence,
           root.sequence);
    }
  }
  if (root.next_id <= last_id) {
    fail(code, "the root's next id {} is not above the last id {}", root.next_id, last_id);
  }
}

void check_names(const Root& root, ErrorCode code) {
  std::vector<std::string_view> names;
  names.reserve(root.checkpoints.size());
  for (const RootEntry& entry : root.checkpoints) {
    validate_checkpoint_name(entry.name, code);
    names.push_back(entry.name);
  }
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
    fail(code, "two checkpoints in the root have the name {}", base::quoted(*twice));
  }
}

void check_extents(const Root& root, std::uint64_t max_end, ErrorCode code) {
  max_end = std::min(max_end, kMaxPackBytes);
  std::vector<const RootEntry*> by_offset;
  by_offset.reserve(root.checkpoints.size());
  for (const RootEntry& entry : root.checkpoints) {
    const Extent& index = entry.index;
    if (index.offset % kAlignment != 0 || index.offset < kDataBegin) {
      fail(code, "the index of checkpoint {} lies at {}, not at a multiple of {} from {} on",
           entry.id, index.offset, kAlignment, kDataBegin);
    }
    if (index.bytes <= kRecordHeaderBytes || index.bytes > kRecordHeaderBytes + kMaxPayloadBytes) {
      fail(code, "the index of checkpoint {} has a length of {}; allowed are {} to {}", entry.id,
           index.bytes, kRecordHeaderBytes + 1, kRecordHeaderBytes + kMaxPayloadBytes);
    }
    if (!base::range_fits(index.offset, index.bytes, max_end)) {
      fail(code, "the index of checkpoint {} at {} with {} bytes runs beyond {}", entry.id,
           index.offset, index.bytes, max_end);
    }
    by_offset.push_back(&entry);
  }
  std::sort(by_offset.begin(), by_offset.end(), [](const RootEntry* a, const RootEntry* b) {
    return a->index.offset < b->index.offset;
  });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const RootEntry& low = *by_offset[i - 1];
    const RootEntry& high = *by_offset[i];
    if (high.index.offset < low.index.offset + low.index.bytes) {
      fail(code, "the indexes of checkpoints {} and {} overlap at {}", low.id, high.id,
           high.index.offset);
    }
  }
}

void check_root(const Root& root, std::uint64_t max_end, ErrorCode code) {
  check_order(root, code);
  check_names(root, code);
  check_extents(root, max_end, code);
}

std::uint16_t flags_of(const RootEntry& entry) {
  return static_cast<std::uint16_t>((entry.pinned ? kFlagPinned : 0) |
                                    (entry.damaged ? kFlagDamaged : 0));
}

RootEntry decode_entry(const fb::RootEntry& from, std::string_view& names) {
  RootEntry entry;
  entry.id = from.id();
  entry.sequence = from.sequence();
  entry.index = {from.index_offset(), from.index_bytes()};
  entry.index_digest = copy_digest<ChunkId>(from.index_digest());
  if ((from.flags() & ~(kFlagPinned | kFlagDamaged)) != 0 || from.reserved() != 0) {
    fail(ErrorCode::kDamaged, "a reserved flag or byte of checkpoint {} in the root is not zero",
         entry.id);
  }
  entry.pinned = (from.flags() & kFlagPinned) != 0;
  entry.damaged = (from.flags() & kFlagDamaged) != 0;
  if (from.name_bytes() > names.size()) {
    fail(ErrorCode::kDamaged, "the name of checkpoint {} runs beyond the root's names", entry.id);
  }
  entry.name = names.substr(0, from.name_bytes());
  names.remove_prefix(from.name_bytes());
  return entry;
}

}  // namespace

std::vector<std::byte> encode_root(const Root& root) {
  check_root(root, kMaxPackBytes, ErrorCode::kInvalidArgument);
  std::string all_names;
  for (const RootEntry& entry : root.checkpoints) all_names += entry.name;
  auto builder = make_builder(
      kTableRoomBytes + all_names.size() + root.checkpoints.size() * sizeof(fb::RootEntry), "root");
  flatbuffers::Offset<flatbuffers::Vector<const fb::RootEntry*>> checkpoints;
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> names;
  if (!root.checkpoints.empty()) {
    names = builder.CreateVector(reinterpret_cast<const std::uint8_t*>(all_names.data()),
                                 all_names.size());
    checkpoints = builder.CreateVectorOfStructs<fb::RootEntry>(
        root.checkpoints.size(), [&](std::size_t i, fb::RootEntry* to) {
          const RootEntry& entry = root.checkpoints[i];
          *to = fb::RootEntry(entry.id, entry.sequence, entry.index.offset, entry.index.bytes,
                              copy_digest<fb::Digest>(entry.index_digest),
                              static_cast<std::uint16_t>(entry.name.size()), flags_of(entry), 0);
        });
  }
  const auto parent_digest = copy_digest<fb::Digest>(root.parent_digest);
  fb::RootBuilder table(builder);
  table.add_sequence(root.sequence);
  table.add_parent_sequence(root.parent_sequence);
  table.add_next_id(root.next_id);
  if (!root.checkpoints.empty()) {
    table.add_checkpoints(checkpoints);
    table.add_names(names);
  }
  table.add_parent_digest(&parent_digest);
  return finish(builder, table.Finish(), kIdentifier);
}

Root decode_root(std::span<const std::byte> payload, std::uint64_t max_end) {
  const Payload copy(payload);
  const auto& from = copy.verified<fb::Root>(kIdentifier);
  Root root;
  root.sequence = from.sequence();
  root.parent_sequence = from.parent_sequence();
  if (from.parent_digest() == nullptr) {
    fail(ErrorCode::kDamaged, "the root has no digest of its parent");
  }
  root.parent_digest = copy_digest<ChunkId>(*from.parent_digest());
  root.next_id = from.next_id();
  const std::span<const fb::RootEntry> entries = elements(from.checkpoints(), "checkpoints");
  std::string_view names = as_text(elements(from.names(), "names"));
  Budget budget(copy.bytes());
  budget.spend(entries.size_bytes() + names.size());
  root.checkpoints.reserve(entries.size());
  for (const fb::RootEntry& entry : entries) {
    root.checkpoints.push_back(decode_entry(entry, names));
  }
  if (!names.empty()) {
    fail(ErrorCode::kDamaged, "{} bytes of the root's names belong to no checkpoint", names.size());
  }
  check_root(root, max_end, ErrorCode::kDamaged);
  return root;
}

}  // namespace cairn::format
