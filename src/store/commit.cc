#include "store/commit.h"

#include "base/checked.h"
#include "base/mutant.h"
#include "base/text.h"
#include "format/names.h"
#include "format/record.h"
#include "store/plan.h"

#include <cairn/error.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace cairn::store {

using base::round_up;
using catalog::CheckpointRow;
using catalog::ChunkKey;
using format::Extent;
using format::kAlignment;
using format::kRecordHeaderBytes;
using format::RecordType;

namespace {

/// The pack keeps room for so many roots behind its end, so that deletions work on a full disk:
/// each writes two copies, and the space of a freed one comes back with the second commit after.
constexpr std::uint64_t kRootsKeptBack = 8;

/// What is reserved and not needed stays so, up to so much: the next save will want it, and giving
/// back makes the flush that follows slower.
constexpr std::uint64_t kReservedAhead = std::uint64_t{1} << 20;

}  // namespace

CheckpointInfo info_of(const catalog::CheckpointRow& row) {
  return {.id = row.id,
          .name = row.name,
          .sequence = row.sequence,
          .created_unix_ns = row.summary.created_unix_ns,
          .meta = row.summary.meta,
          .recoverables = row.summary.recoverables,
          .tensors = row.summary.tensors,
          .logical_bytes = row.summary.logical_bytes,
          .pinned = row.pinned,
          .damaged = row.damaged};
}

Writer::Writer(const pack::PackFile& pack, const catalog::Catalog& catalog, LogCallback log,
               std::uint64_t heal_every, std::optional<Listing> listing, Compression compression)
    : pack_(pack),
      catalog_(catalog),
      log_(std::move(log)),
      heal_every_(heal_every),
      compression_(compression),
      healer_(pack) {
  const catalog::ReadTransaction view = catalog.read();
  info_ = view.info();
  if (!listing) {
    listing.emplace(Listing{.rows = read_rows(view)});
    listing->root_payload = encode_root_of(info_, listing->rows);
  }
  root_payload_ = std::move(listing->root_payload);
  list_ = CheckpointList(std::move(listing->rows));
  load_free_space(view);
  slots_ = pack.read_slots();
  highest_sequence_ = std::max(info_.sequence, slots_.highest_sequence());
  must_supersede_ = highest_sequence_ > info_.sequence && !CAIRN_MUTANT(kNoSuperseding);
}

void Writer::load_free_space(const catalog::ReadTransaction& view) {
  std::vector<pack::FreeExtent> free;
  view.for_each_free([&](const catalog::FreeRow& row) {
    free.push_back({.offset = row.offset, .bytes = row.bytes, .freed_by = row.freed_by});
  });
  free_space_ = pack::FreeSpace(free, info_.data_end);
  free_space_is_stale_ = false;
}

void Writer::renew_free_space() {
  if (free_space_is_stale_) load_free_space(catalog_.read());
}

void Writer::require_usable() const {
  if (!poisoned_.empty()) {
    throw Error(ErrorCode::kPoisoned,
                "this handle cannot be used any more, because " + poisoned_ +
                    "; close it and open the store again",
                {.path = pack_.path()});
  }
}

void Writer::poison(std::string why) {
  poisoned_ = std::move(why);
}

std::vector<CheckpointInfo> Writer::checkpoints() const {
  const std::lock_guard lock(list_mutex_);
  std::vector<CheckpointInfo> infos;
  infos.reserve(list_.rows().size());
  for (const auto& row : list_.rows()) infos.push_back(info_of(*row));
  return infos;
}

std::vector<catalog::CheckpointRow> Writer::damaged_rows() const {
  const std::lock_guard lock(mutex_);
  std::vector<catalog::CheckpointRow> rows;
  for (const catalog::CheckpointRow* row : list_.damaged()) rows.push_back(*row);
  return rows;
}

HealingTurn Writer::healing_turn() const {
  const std::lock_guard lock(mutex_);
  return healing_turn_of(info_.next_id);
}

SaveResult Writer::commit(const Change& change) {
  const std::lock_guard lock(mutex_);
  require_usable();
  SaveResult result;
  if (must_supersede_) publish_nothing();
  publish_with_room(change, result);
  return result;
}

void Writer::publish_with_room(const Change& change, SaveResult& result) {
  try {
    publish(change, result);
  } catch (const Error& error) {
    // What the last commit freed may be written after one more commit. On a full disk that is worth
    // making one, so that a save finds the space of a deletion just before it.
    // Every commit frees the root before it, which alone helps nobody.
    const std::uint64_t roots = 2 * round_up(info_.root.first.bytes, kAlignment);
    if (poisoned_.empty()) renew_free_space();
    const bool needs_room = change.add != nullptr || change.compress.bytes > 0;
    const bool one_more_helps = error.code() == ErrorCode::kNoSpace && needs_room &&
                                free_space_.waiting_bytes(info_.transaction) > roots;
    if (!one_more_helps) throw;
    publish_nothing();
    result = {};
    publish(change, result);
  }
}

void Writer::publish_nothing() {
  SaveResult nothing;
  publish({}, nothing);
}

void Writer::renew_roots() {
  const std::lock_guard lock(mutex_);
  require_usable();
  const std::ptrdiff_t unreadable =
      std::count_if(slots_.errors.begin(), slots_.errors.end(),
                    [](const std::string& error) { return !error.empty(); });
  // The committed root becomes a parent, whose slot must be there as well.
  const std::ptrdiff_t least = slots_.find(info_.sequence) != nullptr ? 1 : 2;
  for (std::ptrdiff_t i = 0; i < std::max(least, unreadable); ++i) publish_nothing();
}

void Writer::publish(const Change& change, SaveResult& result) {
  Plan plan;
  plan.transaction = info_.transaction + 1;
  std::uint64_t horizon = plan.transaction >= 2 ? plan.transaction - 2 : 0;
  if (CAIRN_MUTANT(kReuseOneCommitTooEarly)) ++horizon;
  if (const auto reader = catalog_.oldest_reader(); reader && !CAIRN_MUTANT(kReuseUnderReader)) {
    horizon = std::min(horizon, reader->transaction);
  }
  // Until this commit is done: whatever ends it, the catalog knows what is free, and asking it
  // cannot go half way, as undoing the changes in memory could when memory is what has run out.
  renew_free_space();
  free_space_is_stale_ = true;
  free_space_.begin(horizon);
  this->plan(change, plan, result);
  reserve_space(plan);
  if (CAIRN_MUTANT(kTruncationBeforeCommit) && change.compact) {
    pack_.file().resize(plan.slot.data_end);
  }
  {
    const std::lock_guard lock(list_mutex_);
    list_.reserve_one_more();
  }
  write_pack(plan);
  record_in_catalog(plan);
  if (CAIRN_MUTANT(kCommitBeforeFlush)) pack_.sync();
  take_over(plan);
  give_back_reserved();
  if (log_) {
    for (const std::string& note : plan.notes) log_(note);
  }
}

// ---- step 2: the plan
// -----------------------------------------------------------------------------

/// Who comes and who goes: what the caller named, what is replaced, what the retention rule says.
struct Writer::Choice {
  const NewCheckpoint* add = nullptr;  // null as well when the rule keeps not even this one
  CheckpointInfo coming{};
  std::set<std::uint64_t> going{};
  bool comes_and_goes = false;
};

Writer::Choice Writer::choose(const Change& change, const catalog::ReadTransaction& view) const {
  Choice choice{.add = change.add, .going = {change.remove.begin(), change.remove.end()}};
  if (change.add == nullptr) return choice;
  const NewCheckpoint& add = *change.add;
  CheckpointInfo& coming = choice.coming;
  coming.id = info_.next_id;
  coming.sequence = highest_sequence_ + 1;
  coming.created_unix_ns = add.created_unix_ns;
  coming.meta = add.meta;
  coming.name = add.name;
  coming.pinned = add.pinned;
  if (coming.name.empty()) {
    coming.name = "ckpt-" + std::to_string(coming.id);
    while (view.checkpoint_by_name(coming.name)) coming.name += '+';
  }
  if (const auto holder = view.checkpoint_by_name(coming.name)) {
    if (!add.replace) {
      throw Error(ErrorCode::kAlreadyExists,
                  "a checkpoint named " + base::quoted(coming.name) + " exists (id " +
                      std::to_string(*holder) + "); choose another name, or set replace",
                  {.path = pack_.path().parent_path()});
    }
    const CheckpointRow* before = list_.find(*holder);
    coming.pinned = coming.pinned || (before != nullptr && before->pinned);
    choice.going.insert(*holder);
  }
  const format::IndexSummary summary = format::summarize(add.meta, add.recoverables);
  coming.recoverables = summary.recoverables;
  coming.tensors = summary.tensors;
  coming.logical_bytes = summary.logical_bytes;
  if (change.retention) {
    std::vector<CheckpointInfo> newest_first{coming};
    for (auto row = list_.rows().rbegin(); row != list_.rows().rend(); ++row) {
      if (!choice.going.contains((*row)->id)) newest_first.push_back(info_of(**row));
    }
    for (const std::uint64_t id : change.retention(newest_first)) choice.going.insert(id);
    choice.comes_and_goes = choice.going.erase(coming.id) > 0;
    if (choice.comes_and_goes) choice.add = nullptr;
  }
  return choice;
}

std::vector<std::uint64_t> Writer::deletes_of(const NewCheckpoint& add,
                                              const RetentionCallback& retention) const {
  const std::lock_guard lock(mutex_);
  const Choice choice = choose({.add = &add, .retention = retention}, catalog_.read());
  std::vector<std::uint64_t> ids(choice.going.begin(), choice.going.end());
  if (choice.comes_and_goes) ids.push_back(choice.coming.id);
  return ids;
}

void Writer::plan(const Change& change, Plan& plan, SaveResult& result) {
  plan.root = {.sequence = highest_sequence_ + 1,
               .parent_sequence = info_.sequence,
               .parent_digest = info_.root.digest,
               .next_id = info_.next_id};

  const catalog::ReadTransaction view = catalog_.read();
  const Choice choice = choose(change, view);
  const NewCheckpoint* add = choice.add;
  const CheckpointInfo& coming = choice.coming;
  if (choice.comes_and_goes) {
    result.deleted.push_back(coming.id);
    plan.root.next_id = coming.id + 1;  // the caller is told this id
  }
  if (change.add != nullptr) result.saved = coming;
  if (change.compress.bytes > 0) plan_compression(view, change, plan, result);

  const auto require = [&](bool exists, std::uint64_t id) {
    if (exists) return;
    throw Error(ErrorCode::kNotFound, "no checkpoint has id " + std::to_string(id),
                {.path = pack_.path().parent_path()});
  };
  std::vector<const CheckpointRow*> removed;
  for (const std::uint64_t id : choice.going) {
    const CheckpointRow* row = list_.find(id);
    require(row != nullptr, id);
    removed.push_back(row);
    plan.root.removed.push_back(id);
    plan.released.push_back(row->index);
    result.deleted.push_back(id);
  }
  for (const Change::Flags& flags : change.flags) require(set_flags(flags, plan), flags.id);

  plan.references = ReferenceChanges(view);
  if (add != nullptr) {
    plan.adds = true;
    std::vector<ChunkKey> keys;
    keys.reserve(add->chunks.size());
    for (const ChunkContent& chunk : add->chunks) keys.push_back(chunk.key);
    plan.references.add(std::move(keys));
  }
  plan.references.remove_checkpoints(pack_, info_.data_end, removed, [&] {
    std::vector<const CheckpointRow*> remaining;
    for (const auto& row : list_.rows()) {
      if (!choice.going.contains(row->id)) remaining.push_back(row.get());
    }
    return remaining;
  });
  if (add != nullptr) {
    plan_healing(*add, coming.id, plan, result);
    plan_new_checkpoint(*add, coming, plan, result);
  }
  for (const Extent& extent : plan.references.freed_extents()) plan.released.push_back(extent);
  plan_root(plan, change.compact);

  // Released only after every allocation: what this commit frees, it cannot use.
  plan.released.push_back(info_.root.first);
  // A root that was found by a scan may have one copy only.
  if (info_.root.second != info_.root.first) plan.released.push_back(info_.root.second);
  free_space_.release(plan.released, plan.transaction);
}

// False for a checkpoint that is not there, or goes.
bool Writer::set_flags(const Change::Flags& flags, Plan& plan) const {
  const CheckpointRow* before = list_.find(flags.id);
  const auto& gone = plan.root.removed;
  if (before == nullptr || std::binary_search(gone.begin(), gone.end(), flags.id)) return false;
  auto& row = plan.changed_rows[flags.id];
  if (!row) row = std::make_unique<CheckpointRow>(*before);
  row->pinned = flags.pinned.value_or(row->pinned);
  row->damaged = flags.damaged.value_or(row->damaged);
  return true;
}

void Writer::plan_new_checkpoint(const NewCheckpoint& add, const CheckpointInfo& info, Plan& plan,
                                 SaveResult& result) {
  format::Index index{.id = info.id,
                      .sequence = info.sequence,
                      .name = info.name,
                      .created_unix_ns = info.created_unix_ns,
                      .meta = add.meta,
                      .recoverables = add.recoverables};
  index.chunks.reserve(add.chunks.size());
  if (compression_ != Compression::kNone) write_compressed(add, plan, result);
  for (const ChunkContent& chunk : add.chunks) {
    const auto place = plan.references.place(chunk.key, [&] {
      const bool as_it_is = stays_compressed(chunk);
      const Extent extent =
          free_space_.allocate(as_it_is ? chunk.compressed_bytes : chunk.key.plain_bytes);
      plan.writes.push_back({.offset = extent.offset,
                             .bytes = extent.bytes,
                             .fill = as_it_is ? chunk.fill_compressed : chunk.fill});
      ++result.new_chunks;
      result.new_bytes += chunk.key.plain_bytes;
      result.new_stored_bytes += extent.bytes;
      return catalog::ChunkRow{
          .offset = extent.offset,
          .stored_bytes = extent.bytes,
          .encoding = as_it_is ? format::Encoding::kGrouped : format::Encoding::kRaw};
    });
    index.chunks.push_back({.id = chunk.key.id,
                            .offset = place.offset,
                            .plain_bytes = chunk.key.plain_bytes,
                            .stored_bytes = place.stored_bytes,
                            .encoding = place.encoding});
  }
  plan.index_payload = format::encode_index(index);
  const format::ChunkId digest = base::xxh3_128(plan.index_payload);
  const Extent extent = free_space_.allocate(kRecordHeaderBytes + plan.index_payload.size());
  plan.writes.push_back(pack::record_write(RecordType::kIndex, extent, info.sequence, pack_.uuid(),
                                           plan.index_payload));
  plan.new_row =
      std::make_unique<const CheckpointRow>(CheckpointRow{.id = info.id,
                                                          .sequence = info.sequence,
                                                          .name = info.name,
                                                          .pinned = info.pinned,
                                                          .index = extent,
                                                          .index_digest = digest,
                                                          .summary = format::summarize(index)});
  plan.root.added = entry_of(*plan.new_row);
  plan.root.next_id = info.id + 1;
}

// A job that recovered from the checkpoint before a damaged one soon saves the same bytes again.
// Without a look at what is stored, its new checkpoint would share the rotten chunk and be damaged,
// too.
void Writer::plan_healing(const NewCheckpoint& add, std::uint64_t id, Plan& plan,
                          SaveResult& result) {
  const HealingTurn turn = healing_turn_of(id);
  const std::vector<const CheckpointRow*> damaged = list_.damaged();
  SharedChunks shared;
  for (const ChunkContent& chunk : add.chunks) {
    if (!chunk.fill || (damaged.empty() && !turn.includes(chunk.key))) continue;
    if (const auto row = plan.references.stored(chunk.key)) {
      shared.emplace(chunk.key, SharedChunk{.row = *row, .fill = &chunk.fill});
    }
  }
  if (shared.empty()) return;
  Healing healing = healer_.plan(shared, turn, damaged, info_.data_end);
  result.healed_chunks = healing.writes.size();
#ifdef CAIRN_MUTANTS
  if (CAIRN_MUTANT(kHealedAfterFlush)) std::swap(healing.writes, plan.late_writes);
#endif
  std::move(healing.writes.begin(), healing.writes.end(), std::back_inserter(plan.writes));
  for (const std::uint64_t whole : healing.whole) {
    set_flags({.id = whole, .damaged = false}, plan);
  }
  plan.notes = std::move(healing.notes);
}

void Writer::plan_root(Plan& plan, bool compact) {
  for (const auto& [id, row] : plan.changed_rows) {
    plan.root.flags.push_back({.id = id, .pinned = row->pinned, .damaged = row->damaged});
  }
  plan.root_payload = plan.rewritten.empty() ? format::encode_next_root(root_payload_, plan.root)
                                             : encode_rewritten_root(plan);
  const format::ChunkId digest = base::xxh3_128(plan.root_payload);
  format::RootLocation location{.digest = digest};
  for (Extent* copy : {&location.first, &location.second}) {
    *copy = free_space_.allocate(kRecordHeaderBytes + plan.root_payload.size(),
                                 compact ? pack::Fit::kLowest : pack::Fit::kBest);
    plan.writes.push_back(pack::record_write(RecordType::kRoot, *copy, plan.root.sequence,
                                             pack_.uuid(), plan.root_payload));
  }
  if (CAIRN_MUTANT(kOneRootCopy)) plan.writes.pop_back();
  if (compact) free_space_.trim();
  plan.slot = {.number = free_slot(),
               .sequence = plan.root.sequence,
               .parent_sequence = plan.root.parent_sequence,
               .parent_digest = plan.root.parent_digest,
               .root = location,
               .data_end = free_space_.data_end()};
}

std::vector<std::byte> Writer::encode_rewritten_root(const Plan& plan) const {
  catalog::InfoRow info = info_;
  info.sequence = plan.root.sequence;
  info.parent_sequence = plan.root.parent_sequence;
  info.parent_digest = plan.root.parent_digest;
  info.next_id = plan.root.next_id;
  std::vector<CheckpointRow> rows;
  rows.reserve(list_.rows().size());
  for (const auto& row : list_.rows()) {
    const auto changed = plan.changed_rows.find(row->id);
    rows.push_back(changed == plan.changed_rows.end() ? *row : *changed->second);
  }
  return encode_root_of(info, rows);
}

// The slot of the oldest commit, or one that cannot be read; never the committed root's or its
// parent's.
std::uint32_t Writer::free_slot() const {
  std::optional<std::uint32_t> best;
  std::uint64_t best_sequence = 0;
  for (std::uint32_t number = 0; number < format::kSlotCount; ++number) {
    const auto& slot = slots_.slots[number];
    const std::uint64_t sequence = slot ? slot->sequence : 0;
    if (CAIRN_MUTANT(kCommittedSlotOverwritten) && sequence == info_.sequence) return number;
    if (slot && (sequence == info_.sequence || sequence == info_.parent_sequence)) continue;
    if (!best || sequence < best_sequence) {
      best = number;
      best_sequence = sequence;
    }
  }
  return *best;  // at most two of the four are protected
}

std::uint64_t Writer::bytes_kept_back(std::uint64_t root_bytes) {
  return kRootsKeptBack * round_up(root_bytes, kAlignment);
}

void Writer::reserve_space(const Plan& plan) {
  if (!plan.adds) return;  // a deletion lives on what earlier saves kept back
  reserve_until(free_space_.data_end(), kRecordHeaderBytes + plan.root_payload.size());
  catalog_.reserve_for_deletion();
}

void Writer::reserve_until(std::uint64_t data_end, std::uint64_t root_bytes) {
  const std::uint64_t kept_back = bytes_kept_back(root_bytes);
  const std::uint64_t end = data_end + kept_back;
  // Reserving what is reserved already would change nothing but the file's times, for which the
  // flush that follows would have to write the file system's journal.
  if (end <= reserved_end_) return;
  const io::File& file = pack_.file();
  const std::uint64_t file_bytes = file.bytes();
  const std::uint64_t begin = std::min(info_.data_end, file_bytes);
  try {
    file.reserve(begin, end - begin);
    reserved_end_ = end;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNoSpace) throw;
    // A part may have been reserved: it goes back, and what deletions need stays.
    file.resize(file_bytes);
    reserved_end_ = 0;
    try {
      file.reserve(begin, kept_back);
    } catch (const Error&) {
      // Another program was faster; deletions then need what is free already.
    }
    throw Error(ErrorCode::kNoSpace,
                "no space for " + std::to_string(data_end - begin) +
                    " more bytes; nothing was changed. Delete checkpoints, free disk space, or "
                    "close readers of deleted checkpoints (`cairn stat` shows them)",
                {.path = file.path(), .system_errno = error.system_errno()});
  }
}

void Writer::give_back_reserved() {
  const std::uint64_t needed = bytes_kept_back(info_.root.first.bytes);
  if (reserved_end_ <= info_.data_end + needed + kReservedAhead) return;
  const io::File& file = pack_.file();
  reserved_end_ = 0;
  try {
    file.resize(file.bytes());  // drops what is reserved behind the end
    file.reserve(info_.data_end, needed);
    reserved_end_ = info_.data_end + needed;
  } catch (const Error&) {
    // The commit is made; the next save reserves what it needs, and `compact` gives back.
  }
}

// ---- steps 3 and 4: the pack
// ------------------------------------------------------------------------

void Writer::write_pack(Plan& plan) {
  pack_.write_extents(std::move(plan.writes));
  // From here on a crash, or an error, may leave a root that the catalog does not know.
  highest_sequence_ = plan.slot.sequence;
  must_supersede_ = !CAIRN_MUTANT(kNoSuperseding);
  slots_.slots[plan.slot.number] = plan.slot;
  pack_.write_slot(plan.slot);
  if (CAIRN_MUTANT(kCommitBeforeFlush)) return;
  try {
    pack_.sync();
  } catch (const Error& error) {
    poison(std::string("a flush of the pack failed (") + error.what() + ")");
    throw;
  }
#ifdef CAIRN_MUTANTS
  pack_.write_extents(std::move(plan.late_writes));
#endif
}

// ---- step 5: the catalog
// ------------------------------------------------------------------------------

void Writer::record_in_catalog(const Plan& plan) {
  catalog::WriteTransaction change = catalog_.write();
  if (change.id() != plan.transaction || change.info().sequence != info_.sequence) {
    poison("another writer has changed the catalog");
    throw Error(ErrorCode::kBusy,
                "the catalog was changed by another writer that did not hold the lock; find out "
                "who writes to this store",
                {.path = catalog_.path()});
  }
  for (const std::uint64_t id : plan.root.removed) change.erase_checkpoint(id);
  for (const auto& [id, row] : plan.changed_rows) change.put_checkpoint(*row);
  if (plan.new_row) change.put_checkpoint(*plan.new_row);
  for (const auto& [key, row] : plan.references.changed_rows()) {
    if (row.references == 0) {
      change.erase_chunk(key);
    } else {
      change.put_chunk(key, row);
    }
  }
  for (const auto& [key, row] : plan.rewritten) change.put_chunk(key, row);
  for (const std::uint64_t offset : free_space_.erased_rows()) change.erase_free(offset);
  for (const pack::FreeExtent& row : free_space_.changed_rows()) {
    change.put_free({.offset = row.offset, .bytes = row.bytes, .freed_by = row.freed_by});
  }
  change.put_info({.uuid = info_.uuid,
                   .sequence = plan.root.sequence,
                   .next_id = plan.root.next_id,
                   .root = plan.slot.root,
                   .parent_sequence = plan.root.parent_sequence,
                   .parent_digest = plan.root.parent_digest,
                   .data_end = plan.slot.data_end});
  int system_errno = 0;
  switch (change.commit(&system_errno)) {
    case catalog::CommitOutcome::kCommitted:
      return;
    case catalog::CommitOutcome::kNoSpace:
      throw Error(ErrorCode::kNoSpace,
                  "no space for the catalog; nothing was changed. Delete checkpoints or free disk "
                  "space, then try again",
                  {.path = catalog_.path(), .system_errno = system_errno});
    case catalog::CommitOutcome::kFailed:
      poison("the catalog could not be written");
      throw Error(ErrorCode::kIo,
                  "the catalog could not be written; nothing was changed. Open the store again",
                  {.path = catalog_.path(), .system_errno = system_errno});
    case catalog::CommitOutcome::kUnknown:
      poison("the outcome of a commit is unknown");
      throw Error(ErrorCode::kCommitUnknown,
                  "the catalog's commit failed so that its outcome is unknown: the store holds the "
                  "state before or after it, whole. Open the store again to see which",
                  {.path = catalog_.path(), .system_errno = system_errno});
  }
}

// ---- step 6
// -------------------------------------------------------------------------------------------

void Writer::take_over(Plan& plan) noexcept {
  info_.sequence = plan.root.sequence;
  info_.next_id = plan.root.next_id;
  info_.root = plan.slot.root;
  info_.parent_sequence = plan.root.parent_sequence;
  info_.parent_digest = plan.root.parent_digest;
  info_.data_end = plan.slot.data_end;
  info_.transaction = plan.transaction;
  root_payload_.swap(plan.root_payload);
  {
    const std::lock_guard lock(list_mutex_);
    for (const std::uint64_t id : plan.root.removed) list_.erase(id);
    for (auto& [id, row] : plan.changed_rows) list_.replace(std::move(row));
    if (plan.new_row) list_.append(std::move(plan.new_row));
  }
  free_space_.finish();
  free_space_is_stale_ = false;
  must_supersede_ = false;
}

}  // namespace cairn::store
