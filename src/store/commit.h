// The commit protocol: how a change reaches the disk whole or not at all (DESIGN.md section 5).
//
//  1. One thread at a time, in the process that holds the writer's lock.
//  2. Plan: look chunks up, choose extents, encode index and root. Nothing is written yet; when the
//     disk has no room, the plan is dropped and nothing has happened.
//     Compressed chunks are the exception: room is reserved for them as if they were plain, then
//     they are encoded and written while the plan is made, to space that is free.
//  3. Write root, chunks, index, second copy of the root, then the slot that points to it. All of
//     it goes to space that is free in the committed catalog, and to a slot that is neither the
//     committed root's nor its parent's.
//  4. Flush the pack. If that fails the handle is poisoned: what the disk holds is unknown.
//  5. One LMDB transaction. Its commit is the commit point.
//  6. Take over the new state in memory.
//
// A failure between the slot and the commit point leaves a root in the pack that the catalog does
// not know. Before anything else is allocated, such a stranded root is superseded: a commit that
// changes nothing gets a higher sequence, so that no later rebuild takes the stranded one.
#pragma once

#include "catalog/catalog.h"
#include "format/index.h"
#include "format/root.h"
#include "pack/free_space.h"
#include "pack/pack_file.h"
#include "store/checkpoint_list.h"
#include "store/checks.h"
#include "store/healing.h"

#include <cairn/store.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn::store {

/// A chunk of a new checkpoint: `fill` gets exactly `key.plain_bytes` bytes to fill, is called only
/// if the chunk is not stored yet, and may be called on any thread. It may be null for a chunk that
/// is sure to be stored.
struct ChunkContent {
  catalog::ChunkKey key{};
  std::function<void(std::span<std::byte>)> fill{};
  /// Of a chunk that comes from a pack where it is compressed: how long it is there, and the same
  /// for its bytes as they are. They are taken where chunks are compressed here, too.
  std::uint64_t compressed_bytes = 0;
  std::function<void(std::span<std::byte>)> fill_compressed{};
};

/// A checkpoint to save, hashed: what asynchronous saves hand over.
struct NewCheckpoint {
  std::vector<format::IndexRecoverable> recoverables{};  // tensors refer to `chunks` by position
  std::vector<ChunkContent> chunks{};
  Metadata meta{};
  std::string name{};  // empty: made from the id
  bool replace = false;
  bool pinned = false;  // as is one that takes the name of a pinned one
  std::int64_t created_unix_ns = 0;
};

/// What one commit changes. Ids must exist.
struct Change {
  const NewCheckpoint* add = nullptr;
  std::vector<std::uint64_t> remove{};
  RetentionCallback retention{};  // asked with `add`
  struct Flags {
    std::uint64_t id = 0;
    std::optional<bool> pinned{};
    std::optional<bool> damaged{};
  };
  std::vector<Flags> flags{};
  /// Roots go as low as they can, and free space at the end of the pack is given up.
  bool compact = false;
  /// Chunks that are stored plain in this part of the pack become compressed where that pays.
  format::Extent compress{};
  std::function<void(std::uint64_t plain_bytes)> seen{};  // told of each that was read for that
};

/// The one writer of a store. Threads: safe at once; changes run one after another.
class Writer {
 public:
  /// Takes the committed state from the catalog. `pack` and `catalog` outlive the writer.
  /// `heal_every`, `compression`: as `StoreOptions` says. `listing`: of the committed state; read
  /// if there is none.
  Writer(const pack::PackFile& pack, const catalog::Catalog& catalog, LogCallback log,
         std::uint64_t heal_every = 0, std::optional<Listing> listing = {},
         Compression compression = Compression::kNone);

  /// Makes a change durable. Errors: as `Store::save` says.
  SaveResult commit(const Change& change);

  /// Commits that change nothing but write the root and its slot anew: one, and as many more as
  /// there are slots that cannot be read.
  void renew_roots();

  /// Gives free space back to the file system; see compact.cc.
  CompactReport compact(const CompactOptions& options);

  /// The ids that a commit of `add` would delete: by its name, and by `retention`, which is asked.
  /// Errors: already_exists; not_found.
  std::vector<std::uint64_t> deletes_of(const NewCheckpoint& add,
                                        const RetentionCallback& retention) const;

  /// Which stored chunks the next save will look at again, besides those of damaged checkpoints.
  HealingTurn healing_turn() const;

  /// All checkpoints, ascending by id. Waits for no commit.
  std::vector<CheckpointInfo> checkpoints() const;
  /// Those that are known to be damaged.
  std::vector<catalog::CheckpointRow> damaged_rows() const;

 private:
  struct Plan;
  struct Choice;

  void require_usable() const;
  void load_free_space(const catalog::ReadTransaction& view);
  void renew_free_space();
  void publish(const Change& change, SaveResult& result);
  /// The same, which on a full disk makes a commit before it if that gives it room.
  void publish_with_room(const Change& change, SaveResult& result);
  void publish_nothing();
  Choice choose(const Change& change, const catalog::ReadTransaction& view) const;
  void plan(const Change& change, Plan& plan, SaveResult& result);
  void plan_new_checkpoint(const NewCheckpoint& add, const CheckpointInfo& info, Plan& plan,
                           SaveResult& result);
  struct Unencoded;
  /// Encodes chunks and writes them before the rest of the plan is made: only then are their
  /// lengths known. `place` says where, one call after the other, or not at all.
  void write_encoded(
      const std::vector<Unencoded>& chunks,
      const std::function<std::optional<format::Extent>(std::size_t, const catalog::ChunkRow&)>&
          place);
  void write_compressed(const NewCheckpoint& add, Plan& plan, SaveResult& result);
  void plan_compression(const catalog::ReadTransaction& view, const Change& change, Plan& plan,
                        SaveResult& result);
  /// All of `compact` with `compress`: one commit for each part of the pack.
  void compress_stored(const CompactOptions& options, CompactReport& report);
  /// Writes good bytes over stored ones that are not; see healing.h.
  void plan_healing(const NewCheckpoint& add, std::uint64_t id, Plan& plan, SaveResult& result);
  bool set_flags(const Change::Flags& flags, Plan& plan) const;
  bool stays_compressed(const ChunkContent& chunk) const noexcept {
    return compression_ != Compression::kNone && chunk.compressed_bytes > 0;
  }
  HealingTurn healing_turn_of(std::uint64_t id) const { return {.every = heal_every_, .id = id}; }
  void plan_root(Plan& plan, bool compact);
  std::vector<std::byte> encode_rewritten_root(const Plan& plan) const;
  void reserve_space(const Plan& plan);
  void reserve_until(std::uint64_t data_end, std::uint64_t root_bytes);
  /// What was reserved and is not needed: for chunks that became shorter, or by a save that failed.
  void give_back_reserved();
  /// What deletions need of the disk, behind the end of the pack, beside a root of so many bytes.
  static std::uint64_t bytes_kept_back(std::uint64_t root_bytes);
  void write_pack(Plan& plan);
  void record_in_catalog(const Plan& plan);
  void take_over(Plan& plan) noexcept;
  void poison(std::string why);
  std::uint32_t free_slot() const;

  const pack::PackFile& pack_;
  const catalog::Catalog& catalog_;
  LogCallback log_;
  std::uint64_t heal_every_;
  Compression compression_;
  Healer healer_;

  mutable std::mutex mutex_;
  std::string poisoned_;  // why, when it is
  catalog::InfoRow info_;
  std::vector<std::byte> root_payload_;
  CheckpointList list_;
  mutable std::mutex list_mutex_;  // for those who read `list_` during a commit
  pack::FreeSpace free_space_;
  bool free_space_is_stale_ = false;  // a commit that was cut short has changed it
  std::uint64_t reserved_end_ = 0;    // up to here the disk has room for the pack, as far as known
  pack::SlotTable slots_;
  std::uint64_t highest_sequence_ = 0;
  bool must_supersede_ = false;
};

/// What a catalog row says of a checkpoint.
CheckpointInfo info_of(const catalog::CheckpointRow& row);

}  // namespace cairn::store
