// How a backup goes from one state to the next.
//
//  1. One read transaction of the store's catalog is the snapshot; it keeps the extents in place.
//  2. What the backup's newest root says is its state: which checkpoints and chunks it has, and
//     what is free. There is no catalog, and nobody reads it meanwhile but its own copies.
//  3. That root's slot is written again; flush. The run that wrote it may have been killed before
//     its last flush: the disk may still have the slot before, whose space is free by now. Then the
//     superblocks, if one is bad, or says too little of the chunks to come.
//  4. Missing chunks, as they are stored, and all new indexes go to free space, checkpoint by
//     checkpoint.
//  5. Flush; then the new checkpoints are read back.
//  6. The slot, which points to the new root, goes where the newest root's is not; flush.
//
// Until step 6 the state before is whole, after it the new one. A backup that is made for the first
// time gets its name at the end.
//
// Offsets differ from the store's, so indexes are encoded anew. All else of a checkpoint is as it
// was, its id and the sequence of its save included: by them and by its time it is known again.
#include "store/backup.h"

#include "base/checked.h"
#include "base/digest.h"
#include "io/range_lock.h"
#include "pack/free_space.h"
#include "store/checks.h"
#include "store/commit.h"
#include "store/rebuild.h"

#include <cairn/error.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cairn::store {

namespace {

using catalog::CheckpointRow;
using catalog::ChunkKey;
using catalog::ChunkRow;
using format::ChunkRef;
using format::Extent;

/// What a backup holds before it is brought up to date.
struct Held {
  format::Root root{.sequence = 0};
  std::uint64_t highest_sequence = 0;
  std::optional<format::Slot> slot{};             // of that root
  std::map<std::uint64_t, CheckpointRow> rows{};  // those whose index can be read
  std::map<ChunkKey, ChunkRow> chunks{};
  pack::FreeSpace free{};
};

Held read_held(const pack::PackFile& pack) {
  const auto chosen = choose_root(pack);
  if (!chosen) {
    throw Error(ErrorCode::kDamaged,
                "the backup has no root that can be read; move it away and make a new one",
                {.path = pack.path()});
  }
  const DerivedCatalog derived = derive_catalog(pack, chosen->slot, chosen->root);
  Held held{.root = chosen->root};
  const pack::SlotTable slots = pack.read_slots();
  held.highest_sequence = std::max(slots.highest_sequence(), chosen->root.sequence);
  if (const format::Slot* slot = slots.find(chosen->root.sequence)) held.slot = *slot;
  for (const CheckpointRow& row : derived.checkpoints) {
    if (!derived.unreadable.contains(row.id)) held.rows.emplace(row.id, row);
  }
  held.chunks.insert(derived.chunks.begin(), derived.chunks.end());
  std::vector<pack::FreeExtent> free;
  for (const Extent& extent : derived.free) {
    free.push_back({.offset = extent.offset, .bytes = extent.bytes});
  }
  held.free = pack::FreeSpace(free, derived.info.data_end);
  held.free.begin(0);
  return held;
}

bool is_same(const CheckpointRow& a, const CheckpointRow& b) {
  return a.id == b.id && a.sequence == b.sequence &&
         a.summary.created_unix_ns == b.summary.created_unix_ns;
}

format::RootEntry entry_of(const CheckpointRow& named, const Extent& index,
                           const format::ChunkId& digest) {
  return {.id = named.id,
          .sequence = named.sequence,
          .name = named.name,
          .pinned = named.pinned,
          .index = index,
          .index_digest = digest};
}

class Backup {
 public:
  Backup(const pack::PackFile& from, const catalog::Catalog& catalog, const BackupOptions& options)
      : from_(from), view_(catalog.read()), info_(view_.info()), options_(options) {
    view_.for_each_checkpoint([&](const CheckpointRow& row) { rows_.push_back(row); });
  }

  /// What is to be done with what a backup holds.
  void plan(Held held, const std::filesystem::path& file) {
    held_ = std::move(held);
    if (held_.root.next_id > info_.next_id) {
      throw Error(ErrorCode::kAlreadyExists,
                  "the backup holds newer checkpoints than the store; it was not touched. Choose "
                  "another file",
                  {.path = file});
    }
    root_ = {.sequence = std::max(info_.sequence, held_.highest_sequence + 1),
             .parent_sequence = held_.root.sequence,
             .next_id = info_.next_id};
    std::set<std::string> names;
    std::set<std::uint64_t> ids;
    for (const CheckpointRow& row : rows_) {
      names.insert(row.name);
      const auto at = held_.rows.find(row.id);
      if (at != held_.rows.end() && is_same(at->second, row)) {
        root_.checkpoints.push_back(entry_of(row, at->second.index, at->second.index_digest));
        ids.insert(row.id);
      } else {
        missing_.push_back(row);
      }
    }
    // One of the same id that is another checkpoint comes of a store that went on from an older
    // backup. Ids are unique, so it cannot be kept.
    std::set<std::uint64_t> taken;
    for (const CheckpointRow& row : missing_) taken.insert(row.id);
    for (const auto& [id, row] : held_.rows) {
      if (ids.contains(id)) continue;
      if (options_.keep_deleted && !names.contains(row.name) && !taken.contains(id)) {
        root_.checkpoints.push_back(entry_of(row, row.index, row.index_digest));
      } else {
        report_.deleted.push_back(info_of(row));
      }
    }
    count_bytes();
  }

  /// Steps 3 to 6; or in a dry run what they would report.
  BackupReport run(pack::PackFile* to) {
    const std::uint64_t old_bytes = to != nullptr ? to->file().bytes() : 0;
    try {
      if (to != nullptr) settle(*to);
      for (const CheckpointRow& row : missing_) copy(row, to);
      std::sort(root_.checkpoints.begin(), root_.checkpoints.end(),
                [](const auto& a, const auto& b) { return a.id < b.id; });
      report_.checkpoints = root_.checkpoints.size();
      if (to != nullptr && root_.checkpoints != held_.root.checkpoints) publish(*to);
    } catch (...) {
      // What was written lies in space that is free; what was added to the file goes back.
      if (to != nullptr && !published_) give_back(*to, old_bytes);
      throw;
    }
    return std::move(report_);
  }

 private:
  void count_bytes() {
    std::set<ChunkKey> seen;
    for (const CheckpointRow& row : missing_) {
      try {
        for (const ChunkRef& chunk : read_index_of(from_, row, info_.data_end).chunks) {
          const ChunkKey key = catalog::key_of(chunk);
          if (!held_.chunks.contains(key) && seen.insert(key).second) {
            total_bytes_ += chunk.stored_bytes;
            if (chunk.encoding != format::Encoding::kRaw) features_ = format::kIncompatCompressed;
          }
        }
      } catch (const Error& error) {
        if (!is_damage(error)) throw;  // told when its turn comes
      }
    }
  }

  /// One checkpoint, or the reason why not.
  void copy(const CheckpointRow& row, const pack::PackFile* to) {
    std::map<ChunkKey, ChunkRow> fresh;
    std::vector<pack::ExtentWrite> writes;
    std::uint64_t new_bytes = 0;
    try {
      format::Index index = read_index_of(from_, row, info_.data_end);
      const std::vector<ChunkRef> sources = index.chunks;
      for (std::size_t i = 0; i < sources.size(); ++i) {
        const ChunkKey key{.id = sources[i].id, .plain_bytes = sources[i].plain_bytes};
        auto at = held_.chunks.find(key);
        if (at == held_.chunks.end()) {
          auto [place, is_new] = fresh.try_emplace(key);
          if (is_new) {
            const Extent extent = held_.free.allocate(sources[i].stored_bytes);
            place->second = {.offset = extent.offset,
                             .stored_bytes = extent.bytes,
                             .encoding = sources[i].encoding};
            writes.push_back(chunk_write(extent, sources[i]));
            new_bytes += extent.bytes;
          }
          at = place;
        }
        index.chunks[i].offset = at->second.offset;
        index.chunks[i].stored_bytes = at->second.stored_bytes;
        index.chunks[i].encoding = at->second.encoding;
      }
      if (to != nullptr) {
        write(*to, row, index, std::move(writes));
      } else {
        root_.checkpoints.push_back(entry_of(row, {}, {}));
      }
    } catch (const Error& error) {
      // Only the store is read here, so it is the store's damage.
      if (!is_damage(error)) throw;
      report_.lost.push_back({.checkpoint = info_of(row), .why = error.what()});
      return;
    }
    held_.chunks.merge(fresh);
    report_.new_bytes += new_bytes;
    report_.copied.push_back(info_of(row));
  }

  pack::ExtentWrite chunk_write(const Extent& extent, const ChunkRef& source) {
    return {
        .offset = extent.offset,
        .bytes = extent.bytes,
        .fill = [this, source](std::span<std::byte> out) {
          from_.read_stored(source, out);
          if (!options_.progress) return;
          options_.progress({.done_bytes = done_bytes_ += out.size(), .total_bytes = total_bytes_});
        }};
  }

  void write(const pack::PackFile& to, const CheckpointRow& row, const format::Index& index,
             std::vector<pack::ExtentWrite> writes) {
    const std::vector<std::byte> payload = format::encode_index(index);
    const Extent record = held_.free.allocate(format::kRecordHeaderBytes + payload.size());
    writes.push_back(
        pack::record_write(format::RecordType::kIndex, record, row.sequence, to.uuid(), payload));
    reserve(to);
    to.write_extents(std::move(writes));
    root_.checkpoints.push_back(entry_of(row, record, base::xxh3_128(payload)));
    written_.insert(row.id);
  }

  /// Step 3. Also when nothing is to be copied: on return the backup survives power loss.
  void settle(pack::PackFile& to) const {
    if (held_.slot) to.write_slot(*held_.slot);
    to.sync();
    to.renew_superblocks(features_);
  }

  static void give_back(const pack::PackFile& to, std::uint64_t old_bytes) noexcept {
    try {
      to.file().resize(old_bytes);
    } catch (const std::exception&) {  // Bytes behind the end of the data are ignored.
    }
  }

  void reserve(const pack::PackFile& to) const {
    const std::uint64_t begin = to.file().bytes();
    if (held_.free.data_end() > begin) to.file().reserve(begin, held_.free.data_end() - begin);
  }

  void publish(const pack::PackFile& to) {
    root_.parent_digest = parent_digest(to);
    const std::vector<std::byte> payload = format::encode_root(root_);
    format::RootLocation location{.digest = base::xxh3_128(payload)};
    std::vector<pack::ExtentWrite> writes;
    for (Extent* copy : {&location.first, &location.second}) {
      *copy = held_.free.allocate(format::kRecordHeaderBytes + payload.size());
      writes.push_back(
          pack::record_write(format::RecordType::kRoot, *copy, root_.sequence, to.uuid(), payload));
    }
    reserve(to);
    to.write_extents(std::move(writes));
    to.sync();
    check_written(to);
    published_ = true;
    to.write_slot({.number = free_slot(to),
                   .sequence = root_.sequence,
                   .parent_sequence = root_.parent_sequence,
                   .parent_digest = root_.parent_digest,
                   .root = location,
                   .data_end = held_.free.data_end()});
    to.sync();
  }

  /// Errors: damaged, when what was written does not read back.
  void check_written(const pack::PackFile& to) const {
    std::set<std::uint64_t> seen;  // by offset: chunks that checkpoints share are read once
    for (const format::RootEntry& entry : root_.checkpoints) {
      if (!written_.contains(entry.id)) continue;
      std::string problem;
      try {
        format::Index index = read_index_of(to, entry, held_.free.data_end());
        std::erase_if(index.chunks,
                      [&](const ChunkRef& chunk) { return !seen.insert(chunk.offset).second; });
        const auto damaged = check_chunks(to, index);
        if (damaged.empty()) continue;
        problem = damaged.front().message;
      } catch (const Error& error) {
        if (!is_damage(error)) throw;
        problem = error.what();
      }
      throw Error(ErrorCode::kDamaged,
                  "the backup is damaged (" + problem + "); move it away and make a new one",
                  {.path = to.path()});
    }
  }

  format::ChunkId parent_digest(const pack::PackFile& to) const {
    const pack::SlotTable slots = to.read_slots();
    const format::Slot* parent = slots.find(root_.parent_sequence);
    return parent != nullptr ? parent->root.digest
                             : base::xxh3_128(format::encode_root(held_.root));
  }

  std::uint32_t free_slot(const pack::PackFile& to) const {
    const pack::SlotTable slots = to.read_slots();
    std::optional<std::uint32_t> best;
    const auto age = [&](std::uint32_t number) {
      return slots.slots[number] ? slots.slots[number]->sequence : 0;
    };
    for (std::uint32_t number = 0; number < format::kSlotCount; ++number) {
      if (held_.slot && number == held_.slot->number) continue;
      if (!best || age(number) < age(*best)) best = number;
    }
    return *best;
  }

  const pack::PackFile& from_;
  catalog::ReadTransaction view_;
  catalog::InfoRow info_;
  const BackupOptions& options_;
  std::vector<CheckpointRow> rows_;  // of the store
  std::vector<CheckpointRow> missing_;
  Held held_;
  format::Root root_;
  std::set<std::uint64_t> written_;  // ids
  std::uint64_t features_ = 0;       // `incompat`, that the chunks to come need
  std::atomic<std::uint64_t> done_bytes_{0};
  std::uint64_t total_bytes_ = 0;
  bool published_ = false;
  BackupReport report_;
};

/// Errors: invalid_argument when the file is the pack of this store, or lies in any.
void require_no_store(const StorePaths& paths, const std::filesystem::path& file) {
  const auto id = io::file_id(file);
  const bool is_ours = id && id == io::file_id(paths.pack);
  const bool lies_in_one =
      io::path_kind(StorePaths(file.parent_path()).catalog) != io::PathKind::kAbsent;
  if (!is_ours && !lies_in_one) return;
  throw Error(ErrorCode::kInvalidArgument,
              is_ours ? "this is the pack of the store; a backup is a file of its own"
                      : "this lies in a store, among its own files; choose another place",
              {.path = file});
}

void require_kind(const pack::PackFile& to, const format::Uuid& uuid) {
  if (to.uuid() != uuid) {
    throw Error(ErrorCode::kInvalidArgument,
                "this is the pack of another store; it was not touched", {.path = to.path()});
  }
  if (format::is_read_only_for_us(to.superblock())) {
    throw Error(ErrorCode::kUnsupportedVersion, "a newer version of Cairn wrote this backup",
                {.path = to.path()});
  }
}

/// Where the file system has no locks, it is the user who sees to it that one backup runs at a
/// time.
void take_lock(const io::File& file) {
  try {
    if (io::lock_byte(file, 0, io::LockKind::kExclusive)) return;
  } catch (const Error& error) {
    const auto system_errno = error.system_errno();
    if (system_errno != EINVAL && system_errno != ENOLCK && system_errno != EOPNOTSUPP) throw;
    return;
  }
  throw Error(ErrorCode::kBusy, "another backup writes to this file", {.path = file.path()});
}

/// One that gets its name when it is complete. What a crash left of another begins anew.
BackupReport make_backup(Backup& backup, const pack::PackFile& from,
                         const std::filesystem::path& file) {
  std::filesystem::path path = file;
  path += ".partial";
  const io::File partial = io::File::open_or_create(path);
  take_lock(partial);
  try {
    pack::PackFile::create(path, from.superblock());
    pack::PackFile to = pack::PackFile::open(path, io::File::Access::kReadWrite);
    backup.plan(read_held(to), file);
    BackupReport report = backup.run(&to);
    io::rename_file(path, file);
    io::sync_directory(file.parent_path());
    return report;
  } catch (...) {
    io::remove_tree(path);
    throw;
  }
}

}  // namespace

BackupReport back_up(const StorePaths& paths, const pack::PackFile& from,
                     const catalog::Catalog& catalog, const std::filesystem::path& file,
                     const BackupOptions& options) {
  require_no_store(paths, file);
  const auto kind = io::path_kind(file);
  if (kind == io::PathKind::kDirectory || file.filename().empty()) {
    throw Error(ErrorCode::kInvalidArgument, "a backup is a file; name one in this directory",
                {.path = file});
  }
  const bool is_new = kind == io::PathKind::kAbsent;
  const std::filesystem::path directory = file.parent_path();
  if (!directory.empty() && io::path_kind(directory) == io::PathKind::kAbsent) {
    throw Error(ErrorCode::kNotFound, "there is no such directory", {.path = directory});
  }
  Backup backup(from, catalog, options);
  if (!is_new) {
    const auto access = options.dry_run ? io::File::Access::kRead : io::File::Access::kReadWrite;
    pack::PackFile to = pack::PackFile::open(file, access);
    require_kind(to, from.uuid());
    if (!options.dry_run) take_lock(to.file());
    backup.plan(read_held(to), file);
    return backup.run(options.dry_run ? nullptr : &to);
  }
  BackupReport report;
  if (options.dry_run) {
    Held nothing;
    nothing.free.begin(0);
    backup.plan(std::move(nothing), file);
    report = backup.run(nullptr);
  } else {
    report = make_backup(backup, from, file);
  }
  report.created = true;
  return report;
}

}  // namespace cairn::store
