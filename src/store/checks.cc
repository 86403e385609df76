#include "store/checks.h"

#include "base/checked.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <utility>

namespace cairn::store {

bool is_damage(const Error& error) noexcept {
  return error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated;
}

bool is_lost(const Error& error) noexcept {
  return is_damage(error) || error.system_errno() == EIO;
}

void check_identity(const StorePaths& paths, const pack::PackFile& pack,
                    const pack::SlotTable& slots, const catalog::InfoRow& info, bool is_rebuilt) {
  if (info.uuid != pack.uuid()) {
    throw Error(ErrorCode::kDamaged,
                "the catalog belongs to another store than the pack beside it; put the right one "
                "back, or run `cairn repair` to make it anew from the pack",
                {.path = paths.catalog});
  }
  for (const auto& slot : slots.slots) {
    if (slot && slot->parent_sequence > info.sequence && !is_rebuilt) {
      throw Error(ErrorCode::kDamaged,
                  "the catalog is an older copy: it ends at commit " +
                      std::to_string(info.sequence) + ", but commit " +
                      std::to_string(slot->parent_sequence) +
                      " was made after it; put the right one back, or run `cairn repair` to make "
                      "it anew from the pack",
                  {.path = paths.catalog});
    }
  }
}

void check_length(const StorePaths& paths, const pack::PackFile& pack,
                  const catalog::InfoRow& info) {
  const std::uint64_t pack_bytes = pack.file().bytes();
  if (pack_bytes >= info.data_end) return;
  throw Error(ErrorCode::kTruncated,
              "the pack has " + std::to_string(pack_bytes) + " bytes where the catalog says " +
                  std::to_string(info.data_end) + "; run `cairn repair` to save what is left",
              {.path = paths.pack, .offset = pack_bytes});
}

namespace {

/// Reads both copies of the committed root by `read`, which throws for a bad one.
template <typename Read>
void check_root_copies(const StorePaths& paths, const pack::PackFile& pack,
                       const pack::SlotTable& slots, const catalog::InfoRow& info,
                       std::vector<std::string>& notes, const Read& read) {
  bool any_good = false;
  for (const format::Extent* copy : {&info.root.first, &info.root.second}) {
    try {
      read(*copy);
      any_good = true;
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      notes.push_back(std::string("a copy of the root is damaged; opening for writing mends it: ") +
                      error.what());
    }
  }
  if (!any_good) {
    throw Error(ErrorCode::kDamaged,
                "both copies of the root are damaged; run `cairn repair` to write them anew from "
                "the catalog",
                {.path = paths.pack, .offset = info.root.first.offset});
  }
  // A reader may have read the slots before the commit that its snapshot shows.
  const bool is_there = slots.find(info.sequence) != nullptr;
  for (std::string& text : lost_slots(is_there ? slots : pack.read_slots(), info)) {
    notes.push_back(std::move(text) + "; opening for writing mends it");
  }
}

}  // namespace

format::Root check_root(const StorePaths& paths, const pack::PackFile& pack,
                        const pack::SlotTable& slots, const catalog::InfoRow& info,
                        std::vector<std::string>& notes) {
  std::optional<format::Root> root;
  check_root_copies(paths, pack, slots, info, notes, [&](const format::Extent& copy) {
    root = pack.read_root_copy(copy, info.root.digest, info.data_end);
  });
  return *root;
}

// The committed slot is written over by the third commit after it at the earliest, its parent's by
// the second one.
std::vector<std::string> lost_slots(const pack::SlotTable& slots, const catalog::InfoRow& info) {
  std::vector<std::string> lost;
  const std::uint64_t highest = slots.highest_sequence();
  const format::Slot* slot = slots.find(info.sequence);
  const bool is_right = slot != nullptr && slot->root == info.root;
  if (!is_right && highest < info.sequence + 3) {
    lost.push_back("the root slot of commit " + std::to_string(info.sequence) + " is lost");
  }
  if (info.parent_sequence != 0 && slots.find(info.parent_sequence) == nullptr &&
      highest < info.sequence + 2) {
    lost.push_back("the root slot of commit " + std::to_string(info.parent_sequence) +
                   ", the one before, is lost");
  }
  return lost;
}

format::RootEntry entry_of(const catalog::CheckpointRow& row) {
  return {.id = row.id,
          .sequence = row.sequence,
          .name = row.name,
          .pinned = row.pinned,
          .damaged = row.damaged,
          .index = row.index,
          .index_digest = row.index_digest};
}

std::vector<catalog::CheckpointRow> read_rows(const catalog::ReadTransaction& view) {
  std::vector<catalog::CheckpointRow> rows;
  view.for_each_checkpoint([&](const catalog::CheckpointRow& row) { rows.push_back(row); });
  return rows;
}

std::vector<std::byte> encode_root_of(const catalog::InfoRow& info,
                                      std::span<const catalog::CheckpointRow> rows) {
  format::Root root{.sequence = info.sequence,
                    .parent_sequence = info.parent_sequence,
                    .parent_digest = info.parent_digest,
                    .next_id = info.next_id};
  root.checkpoints.reserve(rows.size());
  for (const catalog::CheckpointRow& row : rows) root.checkpoints.push_back(entry_of(row));
  return format::encode_root(root);
}

void check_listing(const StorePaths& paths, const format::Root& root, const catalog::InfoRow& info,
                   std::span<const catalog::CheckpointRow> rows) {
  const bool same_state = root.sequence == info.sequence && root.next_id == info.next_id &&
                          root.parent_sequence == info.parent_sequence &&
                          root.parent_digest == info.parent_digest;
  const auto is_same = [](const format::RootEntry& listed, const catalog::CheckpointRow& row) {
    format::RootEntry entry = entry_of(row);
    // A rebuild may have set the mark of known damage before it wrote a root of its own.
    entry.damaged = listed.damaged;
    return entry == listed;
  };
  if (same_state && std::equal(root.checkpoints.begin(), root.checkpoints.end(), rows.begin(),
                               rows.end(), is_same)) {
    return;
  }
  throw Error(ErrorCode::kDamaged,
              "the catalog and the root that it points to list different checkpoints; run `cairn "
              "repair`",
              {.path = paths.catalog});
}

namespace {

/// The payload of the committed root, if the rows make it; else nothing, whatever the reason.
std::optional<std::vector<std::byte>> committed_root_of(
    const catalog::InfoRow& info, std::span<const catalog::CheckpointRow> rows) {
  try {
    std::vector<std::byte> payload = encode_root_of(info, rows);
    const bool fits = std::all_of(rows.begin(), rows.end(), [&](const auto& row) {
      return base::range_fits(row.index.offset, row.index.bytes, info.data_end);
    });
    if (fits && base::xxh3_128(payload) == info.root.digest) return payload;
  } catch (const Error&) {  // The rows make no root; what is wrong with them is told elsewhere.
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> check_store(const StorePaths& paths, const pack::PackFile& pack,
                                     const pack::SlotTable& slots,
                                     const catalog::ReadTransaction& view,
                                     std::vector<catalog::CheckpointRow> rows, Listing* listing,
                                     bool is_rebuilt) {
  std::vector<std::string> notes;
  const catalog::InfoRow info = view.info();
  check_identity(paths, pack, slots, info, is_rebuilt);
  check_length(paths, pack, info);
  auto payload = committed_root_of(info, rows);
  if (payload) {
    check_root_copies(paths, pack, slots, info, notes, [&](const format::Extent& copy) {
      pack.check_root_copy(copy, info.root.digest);
    });
  } else {
    check_listing(paths, check_root(paths, pack, slots, info, notes), info, rows);
  }
  if (listing != nullptr) {
    if (!payload) payload = encode_root_of(info, rows);
    *listing = {.rows = std::move(rows), .root_payload = *std::move(payload)};
  }
  return notes;
}

std::optional<std::string> stranded_note(const pack::SlotTable& slots,
                                         std::uint64_t committed_sequence) {
  const std::uint64_t highest = slots.highest_sequence();
  if (highest <= committed_sequence) return std::nullopt;
  return "commit " + std::to_string(highest) +
         " was under way when its writer ended and is not part of the store; the last commit is " +
         std::to_string(committed_sequence);
}

}  // namespace cairn::store
