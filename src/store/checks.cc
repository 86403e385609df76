#include "store/checks.h"

#include <cstddef>

namespace cairn::store {

bool is_damage(const Error& error) noexcept {
  return error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated;
}

void check_identity(const StorePaths& paths, const pack::PackFile& pack,
                    const pack::SlotTable& slots, const catalog::InfoRow& info) {
  if (info.uuid != pack.uuid()) {
    throw Error(ErrorCode::kDamaged,
                "the catalog belongs to another store than the pack beside it; put the right one "
                "back, or run `cairn repair` to make it anew from the pack",
                {.path = paths.catalog});
  }
  for (const auto& slot : slots.slots) {
    if (slot && slot->parent_sequence > info.sequence) {
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

format::Root check_root(const StorePaths& paths, const pack::PackFile& pack,
                        const pack::SlotTable& slots, const catalog::InfoRow& info,
                        std::vector<std::string>& notes) {
  std::optional<format::Root> root;
  for (const format::Extent* copy : {&info.root.first, &info.root.second}) {
    try {
      root = pack.read_root_copy(*copy, info.root.digest, info.data_end);
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      notes.push_back(std::string("a copy of the root is damaged; opening for writing mends it: ") +
                      error.what());
    }
  }
  if (!root) {
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

void check_listing(const StorePaths& paths, const format::Root& root,
                   const catalog::ReadTransaction& view) {
  const catalog::InfoRow info = view.info();
  bool same = root.sequence == info.sequence && root.next_id == info.next_id &&
              root.parent_sequence == info.parent_sequence &&
              root.parent_digest == info.parent_digest;
  std::size_t position = 0;
  view.for_each_checkpoint([&](const catalog::CheckpointRow& row) {
    if (position >= root.checkpoints.size()) {
      same = false;
      return;
    }
    // Not the mark of known damage: a rebuild may have set it before it wrote a root of its own.
    const format::RootEntry& entry = root.checkpoints[position++];
    same = same && entry.id == row.id && entry.sequence == row.sequence && entry.name == row.name &&
           entry.pinned == row.pinned && entry.index == row.index &&
           entry.index_digest == row.index_digest;
  });
  if (same && position == root.checkpoints.size()) return;
  throw Error(ErrorCode::kDamaged,
              "the catalog and the root that it points to list different checkpoints; run `cairn "
              "repair`",
              {.path = paths.catalog});
}

std::vector<std::string> check_store(const StorePaths& paths, const pack::PackFile& pack,
                                     const pack::SlotTable& slots,
                                     const catalog::ReadTransaction& view) {
  std::vector<std::string> notes;
  const catalog::InfoRow info = view.info();
  check_identity(paths, pack, slots, info);
  check_length(paths, pack, info);
  check_listing(paths, check_root(paths, pack, slots, info, notes), view);
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
