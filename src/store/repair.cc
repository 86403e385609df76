// Repair, from the outside in, under both locks:
//  1. superblocks: a bad copy is written anew from the good one, two from what slots, records and
//     indexes show;
//  2. length: a pack that was cut short gets zeros, so that what is left of it can be used;
//  3. the catalog: kept if it is sound and belongs to the pack, else derived from a root; if no
//  root
//     can be read, from the checkpoints that a scan finds and the user names;
//  4. root and slots: written anew by a commit that changes nothing;
//  5. checkpoints: all are read; damaged ones are marked, or deleted when asked.
// A dry run takes the same decisions and leaves out the writing.

#include "store/repair.h"

#include "base/checked.h"
#include "base/text.h"
#include "format/names.h"
#include "store/checks.h"
#include "store/commit.h"
#include "store/locks.h"
#include "store/paths.h"
#include "store/rebuild.h"
#include "store/verify.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace cairn::store {

using base::round_up;
using catalog::CheckpointRow;
using format::kAlignment;

namespace {

class Repair {
 public:
  Repair(const std::filesystem::path& directory, const RepairOptions& options)
      : paths_(directory), options_(options) {}

  RepairReport run() {
    require_store();
    // A dry run makes no lock file where there is none.
    StoreLocks locks;
    const bool has_lock = io::path_kind(paths_.lock) != io::PathKind::kAbsent;
    if (!has_lock) act("make the lock file anew");
    if (!options_.dry_run || has_lock) {
      locks = StoreLocks::for_writer(paths_, options_.busy_timeout);
      locks.make_exclusive();
    }
    std::string how;
    pack::PackFile pack = pack::PackFile::open_to_rescue(
        paths_.pack, options_.dry_run ? io::File::Access::kRead : io::File::Access::kReadWrite,
        how);
    if (!how.empty()) act(how);
    mend_superblocks(pack);
    if (!keep_catalog(pack) && !rebuild_catalog(pack)) return std::move(report_);
    mend_features(pack);
    check_checkpoints(pack);
    return std::move(report_);
  }

 private:
  void require_store() const {
    if (io::path_kind(paths_.directory / ".") != io::PathKind::kDirectory) {
      throw Error(ErrorCode::kNotFound, "there is no store here", {.path = paths_.directory});
    }
    if (!options_.allow_network_file_system) {
      if (const auto name = io::network_file_system(paths_.directory)) {
        throw Error(ErrorCode::kInvalidArgument,
                    "the store is on a network file system (" + std::string(*name) +
                        "); set allow_network_file_system (--allow-network-fs) to go on",
                    {.path = paths_.directory});
      }
    }
    if (io::path_kind(paths_.pack) == io::PathKind::kAbsent) {
      throw Error(ErrorCode::kNotFound,
                  "there is no pack here, and the pack holds all data; put it back",
                  {.path = paths_.pack});
    }
  }

  /// Records an action; the caller carries it out unless this is a dry run.
  void act(std::string action) {
    report_.changed = true;
    if (options_.log) options_.log(action);
    report_.actions.push_back(std::move(action));
  }

  void mend_superblocks(const pack::PackFile& pack) {
    const auto errors = pack.superblock_errors();
    for (std::size_t copy = 0; copy < errors.size(); ++copy) {
      if (errors[copy].empty()) continue;
      act("write superblock copy " + std::to_string(copy + 1) + " anew: " + errors[copy]);
      bad_superblocks_.push_back(copy);
    }
  }

  /// Called when everything that was there has been looked at: it may make the pack longer.
  void write_superblocks(const pack::PackFile& pack) {
    if (options_.dry_run || bad_superblocks_.empty()) return;
    for (const std::size_t copy : bad_superblocks_) pack.rewrite_superblock(copy);
    pack.sync();
    bad_superblocks_.clear();
  }

  void extend_pack(const pack::PackFile& pack, std::uint64_t data_end) {
    const std::uint64_t bytes = pack.file().bytes();
    write_superblocks(pack);
    if (bytes >= data_end) return;
    act("extend the pack with zeros from " + std::to_string(bytes) + " to " +
        std::to_string(data_end) + " bytes: it was cut short, and tensors there are lost");
    if (options_.dry_run) return;
    pack.file().resize(data_end);
    pack.file().sync_all();
  }

  /// True when the catalog can stay; then its rows are taken, and bad roots are written anew.
  bool keep_catalog(const pack::PackFile& pack) {
    std::optional<catalog::Catalog> catalog;
    bool supersede = false;
    try {
      catalog = catalog::Catalog::open(
          paths_.catalog, options_.dry_run ? catalog::Mode::kReadOnly : catalog::Mode::kReadWrite);
      const pack::SlotTable slots = pack.read_slots();
      const catalog::ReadTransaction view = catalog->read();
      const catalog::InfoRow info = view.info();
      check_identity(paths_, pack, slots, info);
      std::vector<std::string> notes;
      std::optional<format::Root> root;
      try {
        root = check_root(paths_, pack, slots, info, notes);
      } catch (const Error& error) {
        if (!is_damage(error)) throw;
        notes.push_back(error.what());
      }
      std::vector<CheckpointRow> rows = read_rows(view);
      if (root) check_listing(paths_, *root, info, rows);
      for (const std::string& error : slots.errors) {
        if (!error.empty()) notes.push_back("a root slot is damaged: " + error);
      }
      for (const std::string& note : notes) act("write root and slot anew: " + note);
      extend_pack(pack, info.data_end);
      if (const auto text = stranded_note(slots, info.sequence)) {
        act("supersede a commit that was cut short: " + *text);
      }
      supersede = !notes.empty() || slots.highest_sequence() > info.sequence;
      data_end_ = info.data_end;
      rows_ = std::move(rows);
    } catch (const Error& error) {
      if (!is_damage(error) && error.code() != ErrorCode::kNotFound) throw;
      why_rebuild_ = error.what();
      return false;
    }
    if (supersede && !options_.dry_run) {
      Writer(pack, *catalog, options_.log).renew_roots();
      data_end_ = catalog->read().info().data_end;
    }
    return true;
  }

  /// False when no root can be read and the user has named nothing to take in.
  bool rebuild_catalog(const pack::PackFile& pack) {
    std::optional<ChosenRoot> chosen = choose_root(pack);
    if (chosen) {
      for (const std::string& note : chosen->notes) act(note);
    } else {
      chosen = adopt_found(pack);
      if (!chosen) return false;
    }
    extend_pack(pack, chosen->slot.data_end);
    const DerivedCatalog derived = derive_catalog(pack, chosen->slot, chosen->root);
    act("make the catalog anew from commit " + std::to_string(chosen->root.sequence) +
        " of the pack: " + why_rebuild_);
    rows_ = derived.checkpoints;
    data_end_ = derived.info.data_end;
    if (io::path_kind(paths_.catalog) != io::PathKind::kAbsent) {
      act("keep the old catalog beside it, as " +
          base::quoted(paths_.catalog.filename().string() + ".old-TIME"));
    }
    if (options_.dry_run) return true;
    install_catalog(paths_, derived);
    const auto catalog = catalog::Catalog::open(paths_.catalog, catalog::Mode::kReadWrite);
    Writer(pack, catalog, options_.log).renew_roots();
    data_end_ = catalog.read().info().data_end;
    return true;
  }

  /// A root made of those checkpoints, found by their index records, that the user names.
  std::optional<ChosenRoot> adopt_found(const pack::PackFile& pack) {
    std::map<std::uint64_t, CheckpointRow> found;  // by id
    std::uint64_t highest = pack.read_slots().highest_sequence();
    for (const auto& [id, record] : find_indexes(pack)) {
      const format::Index index = record.read(pack);
      highest = std::max(highest, record.sequence);
      found[id] = {.id = id,
                   .sequence = record.sequence,
                   .name = index.name,
                   .index = record.record,
                   .index_digest = record.digest,
                   .summary = format::summarize(index)};
    }
    for (auto row = found.rbegin(); row != found.rend(); ++row) {
      report_.found.push_back(info_of(row->second));
    }
    if (options_.adopt.empty()) return std::nullopt;

    ChosenRoot chosen;
    chosen.root = {.sequence = highest + 1, .next_id = 1};
    std::set<std::string> names;
    for (const std::uint64_t id : std::set(options_.adopt.begin(), options_.adopt.end())) {
      const auto row = found.find(id);
      if (row == found.end()) {
        throw Error(ErrorCode::kNotFound,
                    "the scan found no checkpoint with id " + std::to_string(id),
                    {.path = paths_.pack});
      }
      // Two that were never alive together may have one name.
      row->second.name = format::free_checkpoint_name(row->second.name, names);
      chosen.root.checkpoints.push_back({.id = id,
                                         .sequence = row->second.sequence,
                                         .name = row->second.name,
                                         .index = row->second.index,
                                         .index_digest = row->second.index_digest});
      chosen.root.next_id = id + 1;
      act("take in checkpoint " + base::quoted(row->second.name) + " (id " + std::to_string(id) +
          ") that a scan found");
    }
    if (!found.empty()) {
      chosen.root.next_id = std::max(chosen.root.next_id, found.rbegin()->first + 1);
    }
    write_root(pack, round_up(pack.file().bytes(), kAlignment), chosen);
    return chosen;
  }

  /// Puts a root behind everything that the pack holds, and points slot 0 to it.
  void write_root(const pack::PackFile& pack, std::uint64_t end, ChosenRoot& chosen) {
    const auto payload = format::encode_root(chosen.root);
    const auto digest = base::xxh3_128(payload);
    const std::uint64_t bytes = format::kRecordHeaderBytes + payload.size();
    const std::uint64_t space = round_up(bytes, kAlignment);
    chosen.slot = {.number = 0,
                   .sequence = chosen.root.sequence,
                   .root = {.first = {.offset = end, .bytes = bytes},
                            .second = {.offset = end + space, .bytes = bytes},
                            .digest = digest},
                   .data_end = end + 2 * space};
    if (options_.dry_run) return;
    for (const format::Extent& copy : {chosen.slot.root.first, chosen.slot.root.second}) {
      pack.write_extents({pack::record_write(format::RecordType::kRoot, copy, chosen.root.sequence,
                                             pack.uuid(), payload)});
    }
    pack.write_slot(chosen.slot);
    pack.sync();
  }

  /// What a superblock says that was made from other parts of the pack, or not by Cairn.
  void mend_features(pack::PackFile& pack) {
    if ((pack.superblock().incompat & format::kIncompatCompressed) != 0) return;
    const bool compresses = std::any_of(rows_.begin(), rows_.end(), [&](const CheckpointRow& row) {
      try {
        const format::Index index = read_index_of(pack, row, data_end_);
        return std::any_of(index.chunks.begin(), index.chunks.end(), [](const auto& chunk) {
          return chunk.encoding != format::Encoding::kRaw;
        });
      } catch (const Error& error) {
        if (!is_damage(error)) throw;
        return false;
      }
    });
    if (!compresses) return;
    act("say in the superblock that chunks may be compressed");
    if (!options_.dry_run) pack.renew_superblocks(format::kIncompatCompressed);
  }

  void check_checkpoints(const pack::PackFile& pack) {
    const VerifyReport contents = verify_contents(pack, data_end_, rows_, options_.progress);
    std::set<std::uint64_t> damaged;
    for (const Damage& damage : contents.damaged) {
      for (const DamagedTensor& touched : damage.touches) damaged.insert(touched.checkpoint_id);
    }
    Change change;
    for (const CheckpointRow& row : rows_) {
      const std::string name = base::quoted(row.name) + " (id " + std::to_string(row.id) + ")";
      CheckpointInfo info = info_of(row);
      info.damaged = damaged.contains(row.id);
      if (info.damaged && options_.drop_damaged) {
        act("delete damaged checkpoint " + name);
        change.remove.push_back(row.id);
        report_.dropped.push_back(std::move(info));
        continue;
      }
      if (info.damaged != row.damaged) {
        act((info.damaged ? "mark as damaged: checkpoint " : "unmark as damaged: checkpoint ") +
            name);
        change.flags.push_back({.id = row.id, .damaged = info.damaged});
      }
      report_.checkpoints.push_back(std::move(info));
    }
    std::reverse(report_.checkpoints.begin(), report_.checkpoints.end());
    if (!options_.drop_damaged) report_.remaining = contents.damaged;
    if (options_.dry_run || (change.remove.empty() && change.flags.empty())) return;
    const auto catalog = catalog::Catalog::open(paths_.catalog, catalog::Mode::kReadWrite);
    Writer(pack, catalog, options_.log).commit(change);
  }

  StorePaths paths_;
  RepairOptions options_;
  RepairReport report_;
  std::string why_rebuild_;
  std::vector<std::size_t> bad_superblocks_;
  std::vector<CheckpointRow> rows_;  // after the catalog was dealt with
  std::uint64_t data_end_ = 0;
};

}  // namespace

RepairReport repair_store(const std::filesystem::path& directory, const RepairOptions& options) {
  return Repair(directory, options).run();
}

}  // namespace cairn::store
