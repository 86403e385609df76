#include "format/root.h"

#include "base/checked.h"
#include "base/text.h"
#include "format/names.h"
#include "format/pack_generated.h"
#include "format/payload.h"
#include "format/record.h"

#include <algorithm>
#include <cstring>

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

namespace {

fb::RootEntry raw_entry(const RootEntry& entry) {
  return {entry.id,
          entry.sequence,
          entry.index.offset,
          entry.index.bytes,
          copy_digest<fb::Digest>(entry.index_digest),
          static_cast<std::uint16_t>(entry.name.size()),
          flags_of(entry),
          0};
}

/// Lays out a root of so many checkpoints; `fill` writes their entries and names.
template <typename Header, typename Fill>
std::vector<std::byte> lay_out(const Header& root, std::size_t count, std::size_t names_bytes,
                               const Fill& fill) {
  auto builder =
      make_builder(kTableRoomBytes + names_bytes + count * sizeof(fb::RootEntry), "root");
  flatbuffers::Offset<flatbuffers::Vector<const fb::RootEntry*>> checkpoints;
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> names;
  if (count > 0) {
    std::uint8_t* name = nullptr;
    names = builder.CreateUninitializedVector(names_bytes, &name);
    // All at once, at the first: the builder had room for everything from the start, and neither
    // vector moves.
    checkpoints =
        builder.CreateVectorOfStructs<fb::RootEntry>(count, [&](std::size_t i, fb::RootEntry* to) {
          if (i == 0) fill(to, name);
        });
  }
  const auto parent_digest = copy_digest<fb::Digest>(root.parent_digest);
  fb::RootBuilder table(builder);
  table.add_sequence(root.sequence);
  table.add_parent_sequence(root.parent_sequence);
  table.add_next_id(root.next_id);
  if (count > 0) {
    table.add_checkpoints(checkpoints);
    table.add_names(names);
  }
  table.add_parent_digest(&parent_digest);
  return finish(builder, table.Finish(), kIdentifier);
}

template <typename T>
T* copy_to(T* to, std::span<const T> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size_bytes());
  return to + from.size();
}

}  // namespace

std::vector<std::byte> encode_root(const Root& root) {
  check_root(root, kMaxPackBytes, ErrorCode::kInvalidArgument);
  std::size_t names_bytes = 0;
  for (const RootEntry& entry : root.checkpoints) names_bytes += entry.name.size();
  return lay_out(root, root.checkpoints.size(), names_bytes,
                 [&](fb::RootEntry* to, std::uint8_t* name) {
                   for (const RootEntry& entry : root.checkpoints) {
                     *to++ = raw_entry(entry);
                     name = std::copy(entry.name.begin(), entry.name.end(), name);
                   }
                 });
}

namespace {

/// A piece of the list that stays as it is, with its names.
struct Run {
  std::span<const fb::RootEntry> entries{};
  std::span<const std::uint8_t> names{};
};

/// What is left of a list without the checkpoints in `removed`.
std::vector<Run> runs_without(std::span<const fb::RootEntry> entries,
                              std::span<const std::uint8_t> names,
                              std::span<const std::uint64_t> removed) {
  std::vector<Run> runs;
  for (const std::uint64_t id : removed) {
    std::size_t at = 0;
    std::size_t name_at = 0;
    for (; at < entries.size() && entries[at].id() < id; ++at) name_at += entries[at].name_bytes();
    if (at == entries.size() || entries[at].id() != id) {
      fail(ErrorCode::kInvalidArgument, "the root has no checkpoint {} to remove", id);
    }
    runs.push_back({entries.first(at), names.first(name_at)});
    names = names.subspan(name_at + entries[at].name_bytes());
    entries = entries.subspan(at + 1);
  }
  runs.push_back({entries, names});
  return runs;
}

/// The checks of `check_root` that concern the one that is new.
void check_added(const RootChange& change, std::span<const Run> others) {
  constexpr ErrorCode kCode = ErrorCode::kInvalidArgument;
  const RootEntry& added = *change.added;
  check_root({.sequence = change.sequence,
              .parent_sequence = change.parent_sequence,
              .parent_digest = change.parent_digest,
              .next_id = change.next_id,
              .checkpoints = {added}},
             kMaxPackBytes, kCode);
  for (Run run : others) {
    for (const fb::RootEntry& entry : run.entries) {
      if (entry.id() >= added.id) {
        fail(kCode, "the root's checkpoint ids are not ascending: {} after {}", added.id,
             entry.id());
      }
      if (added.index.offset < entry.index_offset() + entry.index_bytes() &&
          entry.index_offset() < added.index.offset + added.index.bytes) {
        fail(kCode, "the indexes of checkpoints {} and {} overlap at {}", entry.id(), added.id,
             std::max(entry.index_offset(), added.index.offset));
      }
      if (as_text(run.names.first(entry.name_bytes())) == added.name) {
        fail(kCode, "two checkpoints in the root have the name {}", base::quoted(added.name));
      }
      run.names = run.names.subspan(entry.name_bytes());
    }
  }
}

}  // namespace

std::vector<std::byte> encode_next_root(std::span<const std::byte> payload,
                                        const RootChange& change) {
  const auto& from = *flatbuffers::GetRoot<fb::Root>(payload.data());
  const std::span<const fb::RootEntry> entries = elements(from.checkpoints(), "checkpoints");
  if (change.next_id < from.next_id() || change.sequence <= from.sequence()) {
    fail(ErrorCode::kInvalidArgument, "the next root's id or sequence goes back");
  }
  const std::vector<Run> runs =
      runs_without(entries, elements(from.names(), "names"), change.removed);
  if (change.added) check_added(change, runs);
  std::size_t count = change.added ? 1 : 0;
  std::size_t names_bytes = change.added ? change.added->name.size() : 0;
  for (const Run& run : runs) {
    count += run.entries.size();
    names_bytes += run.names.size();
  }
  return lay_out(change, count, names_bytes, [&](fb::RootEntry* const first, std::uint8_t* name) {
    fb::RootEntry* end = first;
    for (const Run& run : runs) {
      end = copy_to(end, run.entries);
      name = copy_to(name, run.names);
    }
    for (const RootChange::Flags& flags : change.flags) {
      fb::RootEntry* const at = std::lower_bound(
          first, end, flags.id,
          [](const fb::RootEntry& entry, std::uint64_t id) { return entry.id() < id; });
      if (at == end || at->id() != flags.id) {
        fail(ErrorCode::kInvalidArgument, "the root has no checkpoint {} to change", flags.id);
      }
      *at = fb::RootEntry(at->id(), at->sequence(), at->index_offset(), at->index_bytes(),
                          at->index_digest(), at->name_bytes(),
                          flags_of({.pinned = flags.pinned, .damaged = flags.damaged}), 0);
    }
    if (change.added) {
      *end = raw_entry(*change.added);
      std::copy(change.added->name.begin(), change.added->name.end(), name);
    }
  });
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
