// The store: a directory that holds checkpoints, and the handle that saves, deletes and opens them.
#pragma once

#include <cairn/async.h>
#include <cairn/checkpoint.h>
#include <cairn/error.h>
#include <cairn/meta_value.h>
#include <cairn/progress.h>
#include <cairn/retention.h>
#include <cairn/state.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

namespace store {
class StoreHandle;
}

/// Receives what Cairn has to say besides results: recoveries, stranded commits, rebuilt catalogs.
/// Each message is one line without a newline. Threads: called on the thread of the call at hand,
/// on that of an asynchronous save, and on that of the scrub.
using LogCallback = std::function<void(std::string_view message)>;

/// How chunks are stored.
enum class Compression : std::uint8_t {
  kNone,
  /// Bytes of equal position in their elements together, then zstd's entropy coding; each chunk
  /// only where it saves enough. Lossless.
  kZstd,
};

struct StoreOptions {
  bool read_only = false;  ///< Never changes a file and never takes the writer lock.
  bool create = true;      ///< Makes the store when the directory is absent or empty.
  /// How long to wait for another writer before `busy`; 0: fail at once.
  std::chrono::milliseconds busy_timeout{0};
  bool allow_network_file_system = false;  ///< Locks and flushes may lie there; see the README.
  /// For a read-only file system, where readers cannot be registered: the caller vouches that no
  /// process writes to the store while this handle lives. Needs `read_only`.
  bool assume_no_writer = false;
  /// For a new store: large tensors are cut into chunks of so many bytes (a multiple of 4096, at
  /// least 65,536 and at most 64 MiB).
  std::uint64_t chunk_bytes = std::uint64_t{1} << 20;
  /// How new chunks are stored. What is stored already stays as it is, and a chunk is found again
  /// however it is stored. A store that was ever opened with `kZstd` compresses from then on,
  /// unless it is told `kNone`; others do not. Cost: about a core for each GB/s when saving, less
  /// when loading; so this is for disks that are slower than that, or full.
  std::optional<Compression> compression = std::nullopt;
  /// Large transfers go past the page cache where the file system allows it; false: never.
  bool direct_io = true;
  /// Of the chunks that a save finds stored already, it looks again at one in so many, in turn, and
  /// stores anew, in the same place, what has rotted: 1 looks at all, 0 only at what a checkpoint
  /// known to be damaged shares. Checkpoints that become whole by it lose the mark of damage. What
  /// the system still holds in memory is checked there, not on the disk.
  /// Cost: reads and hashes that part of the state; an asynchronous save also copies it.
  std::uint64_t heal_every = 512;
  /// Looks again at everything that is stored, a little at a time, so many bytes a second, on a
  /// thread of its own while the store is open; 0: not at all. Checkpoints that it finds damaged
  /// are marked, so that recovery and retention know, and the log says so. See `Store::scrub`.
  std::uint64_t scrub_bytes_per_second = 0;
  LogCallback log = {};
};

/// Chooses what a save deletes in its own commit. Gets all checkpoints, newest first, the one being
/// saved at their head; returns ids. Called under the writer's mutex: do not call the store from
/// it.
using RetentionCallback =
    std::function<std::vector<std::uint64_t>(std::span<const CheckpointInfo>)>;

struct SaveOptions {
  Metadata meta = {};
  bool end_of_epoch = true;  ///< Recorded as "end-of-epoch".
  /// UTF-8, 1 to 255 bytes, no '/', no control characters, not "latest" and not beginning with
  /// "best:", "id:" or "name:". Empty: a name is made from the id.
  std::string name = {};
  /// Deletes a checkpoint of the same name in the same commit. Its pin passes to the new one.
  bool replace = false;
  RetentionCallback retention = {};
  /// Of all bytes, which are hashed first, and of those that are new, which are written then. The
  /// total counts all as new.
  ProgressCallback progress = {};
};

/// How a checkpoint of another store is taken in.
struct CopyOptions {
  std::string name = {};           ///< Empty: the name that it has there.
  bool replace = false;            ///< Deletes a checkpoint of the same name in the same commit.
  ProgressCallback progress = {};  ///< Of the chunks that are read, without a total.
};

struct BackupOptions {
  bool keep_deleted = false;  ///< Keeps what the store has deleted since, unless its name is taken.
  bool dry_run = false;       ///< Reports what would be done; no file is changed or made.
  ProgressCallback progress = {};
};

/// A checkpoint that a backup lacks.
struct BackupLoss {
  CheckpointInfo checkpoint = {};
  std::string why = {};
};

struct BackupReport {
  bool created = false;                      ///< There was no backup before.
  std::vector<CheckpointInfo> copied = {};   ///< Oldest first.
  std::vector<CheckpointInfo> deleted = {};  ///< They are not in the store any more.
  std::vector<BackupLoss> lost = {};         ///< Damaged in the store, so not copied.
  std::uint64_t checkpoints = 0;             ///< In the backup now.
  std::uint64_t new_bytes = 0;               ///< Of chunks that were copied, as they are stored.
};

struct SaveResult {
  CheckpointInfo saved = {};
  std::uint64_t new_bytes = 0;              ///< Plain bytes of chunks that were not stored before.
  std::uint64_t new_stored_bytes = 0;       ///< What these take; less where they are compressed.
  std::uint64_t new_chunks = 0;             ///< How many of them.
  std::vector<std::uint64_t> deleted = {};  ///< Ids, by `replace` and `retention`.
  std::uint64_t healed_chunks = 0;          ///< Stored ones that had rotted and were stored anew.
};

/// A tensor that damage touches.
struct DamagedTensor {
  std::uint64_t checkpoint_id = 0;
  std::string checkpoint_name = {};
  std::string tensor = {};  ///< "recoverable/key"; empty when the checkpoint's index is damaged.
};

/// One damaged place, and everything that it touches.
struct Damage {
  std::string what = {};  ///< "superblock", "slot", "root", "index", "chunk" or "catalog".
  std::string message = {};
  std::uint64_t pack_offset = 0;
  std::uint64_t bytes = 0;
  std::vector<DamagedTensor> touches = {};
};

struct VerifyReport {
  bool ok = true;
  std::uint64_t checkpoints = 0;
  std::uint64_t chunks = 0;  ///< Distinct chunks read and checked.
  std::uint64_t bytes = 0;   ///< Bytes read and checked.
  std::vector<Damage> damaged = {};
  std::vector<std::string> notes = {};  ///< What is unusual but no damage.
};

/// What one step of a scrub looked at and found.
struct ScrubReport {
  std::uint64_t chunks = 0;
  std::uint64_t bytes = 0;  ///< Of chunks, index records and roots.
  std::vector<Damage> damaged = {};
  std::vector<std::uint64_t> marked = {};  ///< Ids of checkpoints that are marked as damaged now.
  bool pass_done = false;  ///< All that was stored when the pass began has been looked at.
};

struct RepairOptions {
  bool drop_damaged = false;  ///< Deletes checkpoints that cannot be read whole.
  bool dry_run = false;       ///< Reports what would be done and changes nothing.
  /// Which of the checkpoints found by scanning to take in, when no root can be read.
  std::vector<std::uint64_t> adopt = {};
  bool allow_network_file_system = false;
  std::chrono::milliseconds busy_timeout{0};
  LogCallback log = {};
  ProgressCallback progress = {};  ///< Of the check of what is stored.
};

struct RepairReport {
  bool changed = false;                          ///< Or would be changed, in a dry run.
  std::vector<std::string> actions = {};         ///< What was done, or would be done.
  std::vector<CheckpointInfo> checkpoints = {};  ///< What the store holds afterwards.
  std::vector<CheckpointInfo> dropped = {};
  std::vector<Damage> remaining = {};  ///< Damage that stays.
  /// When no root can be read: checkpoints that a scan found and that `adopt` may name.
  std::vector<CheckpointInfo> found = {};
};

struct StoreStats {
  std::string uuid = {};
  std::uint64_t format_version = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t sequence = 0;
  std::uint64_t next_id = 0;          ///< The id that the next checkpoint gets; none is used twice.
  std::uint64_t chunks = 0;           ///< Distinct chunks.
  std::uint64_t logical_bytes = 0;    ///< Of all tensors of all checkpoints.
  std::uint64_t stored_bytes = 0;     ///< Of live extents: chunks, index records, roots.
  std::uint64_t free_bytes = 0;       ///< Of free extents below the end of data.
  std::uint64_t reusable_bytes = 0;   ///< The part of `free_bytes` that the next commit may use.
  std::uint64_t pack_bytes = 0;       ///< Length of the pack.
  std::uint64_t allocated_bytes = 0;  ///< What the pack occupies on the disk, holes excluded.
  std::uint64_t catalog_bytes = 0;
  std::uint64_t chunk_bytes = 0;
  bool compressed = false;  ///< Whether new chunks are compressed unless an option says otherwise.
  /// The reader with the oldest snapshot that holds freed extents back, if any.
  std::optional<std::int64_t> oldest_reader_pid = std::nullopt;
  std::uint64_t held_back_bytes = 0;
};

/// How the distinct chunks of a store are stored.
struct ChunkStats {
  std::uint64_t chunks = 0;
  std::uint64_t compressed_chunks = 0;
  std::uint64_t plain_bytes = 0;
  std::uint64_t stored_bytes = 0;
};

struct CompactOptions {
  /// First stores compressed what is stored plain and gains by it, in several commits: what is done
  /// stays done when a later one fails. For a store that compresses (`StoreOptions::compression`);
  /// no index may be damaged. What cannot be read stays as it is.
  /// Cost: reads every plain chunk, and each commit every index; a commit needs as much room as if
  /// none of its chunks became shorter, a sixteenth of all or 64 MiB, and what it frees can be used
  /// from the second commit after it.
  bool compress = false;
  /// Of the plain chunks that are read to be compressed, and then, counted anew, of the free space
  /// below the end of the pack that is given back.
  ProgressCallback progress = {};
};

/// What `compact` gave back to the file system.
struct CompactReport {
  std::uint64_t pack_bytes_before = 0;
  std::uint64_t pack_bytes = 0;  ///< Length of the pack.
  std::uint64_t allocated_bytes_before = 0;
  std::uint64_t allocated_bytes = 0;    ///< What it occupies on the disk, holes excluded.
  bool can_punch = true;                ///< Whether the file system can make holes.
  std::uint64_t compressed_chunks = 0;  ///< That were stored plain before.
  /// A reader whose snapshot holds some of it back, if any; once it has gone, compact again.
  std::optional<std::int64_t> oldest_reader_pid = std::nullopt;
};

/// What opening had to do or noticed besides opening.
struct OpenReport {
  bool created = false;
  bool rebuilt_catalog = false;
  std::vector<std::string> notes = {};  ///< The same lines that the log callback got.
};

/// An open store.
///
/// One process at a time holds a store open for writing; any number read it. A writable handle
/// holds the writer lock until it is closed. Every function that changes something is one commit
/// (`compact` makes several): on return its effect survives power loss; on throw the store holds
/// the state before the call, except after `commit_unknown`, where it holds that or the state after
/// it, whole. Threads: safe for concurrent use; calls that change something run one after another
/// and never block readers. Errors of every function: `forked` in a child of the process that
/// opened it; `poisoned` after a failed flush or `commit_unknown`; `invalid_argument` for a change
/// through a read-only handle; `damaged` for a row of the catalog that rotted since it was opened,
/// and `io`.
class Store {
 public:
  /// Opens, or with `options.create` makes, the store in `directory`.
  ///
  /// Errors: not_found (no store there, and not to be created); invalid_argument (the directory is
  /// no store and not empty, or is on a network file system, or an option is out of range); busy,
  /// with pid and host of the other writer; damaged; unsupported_version; io.
  explicit Store(const std::filesystem::path& directory, const StoreOptions& options = {});
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  const std::filesystem::path& directory() const;
  bool read_only() const;
  const OpenReport& open_report() const;

  /// All checkpoints, newest first. Cost: reads a row of the catalog for each, no payload.
  std::vector<CheckpointInfo> checkpoints() const;
  /// The checkpoint with an id, or with a name, or nothing. Cost: reads at most two rows.
  std::optional<CheckpointInfo> find(std::uint64_t id) const;
  std::optional<CheckpointInfo> find_by_name(std::string_view name) const;

  /// Opens a checkpoint for reading. Errors: not_found; damaged (its index).
  Checkpoint open(std::uint64_t id) const;

  /// Saves `state` as a new checkpoint, and deletes what `options` says, in one commit.
  ///
  /// Cost: one flush of the pack and one LMDB commit, besides the bytes that are new; memory of a
  /// few chunks above the state.
  /// Errors: invalid_argument (a name, a shape, a value); already_exists; no_space (nothing
  /// changed, the handle stays usable); io (a failed flush poisons the handle); commit_unknown.
  SaveResult save(const CheckpointState& state, const SaveOptions& options = {});

  /// What `save` would refuse whatever the store holds: to be asked before a store is made for it.
  /// Errors: invalid_argument (a name, a shape, a value).
  static void check(const CheckpointState& state, const SaveOptions& options = {});

  /// Saves `state` as `save` does, but returns as soon as its tensors may change.
  ///
  /// What is saved is the state at the time of the call. The call waits for hashing all of it and
  /// copying what is new, not for the disk; writing, flushing, the commit and what it deletes go on
  /// behind. `options.retention` is asked before the call returns, on its thread.
  /// At most one such save is on its way: another one waits for it, or is skipped, as `async` says.
  /// Every other change of the store waits for it, too, so that changes take effect in the order of
  /// their calls; so does the destructor. After a crash the save is there or not, as with `save`.
  /// Listing, opening and loading do not wait; a checkpoint is listed once it is durable. Memory: a
  /// copy of the new bytes, kept for the next save; see `AsyncOptions`. Errors: invalid_argument,
  /// already_exists and not_found at the call. Others through the future; one that `get` did not
  /// tell is thrown by the next change, which then does nothing else.
  SaveFuture<SaveResult> save_async(const CheckpointState& state, const SaveOptions& options = {},
                                    const AsyncOptions& async = {});

  /// Takes in a checkpoint of another store, with its metadata and the time of its save.
  ///
  /// Only chunks that this store lacks are read, and each is verified on its way; all are kept as
  /// the other store cut them. Pins stay behind.
  /// Errors: damaged, truncated (a chunk of `source`); otherwise as `save`.
  SaveResult copy(const Checkpoint& source, const CopyOptions& options = {});

  /// Brings `file` to the state of this store: a pack alone, which needs neither locks nor LMDB, on
  /// any file system. `salvage` makes a store of it, and so does `repair` in a directory where it
  /// is called "pack".
  ///
  /// Every checkpoint is of one snapshot, however long the copying takes; ids, names, times and
  /// pins are the store's. Only chunks that `file` lacks are copied. Each is verified when it is
  /// read, and every new checkpoint once more from `file`. A checkpoint that is damaged here is
  /// left out, or left as `file` has it. Durability: `file` changes from one state to the next
  /// whole, and survives power loss on return. Threads: as a reader; space that is freed meanwhile
  /// is not reused before the end. Errors: invalid_argument (`file` belongs to a store or is the
  /// backup of another one); already_exists (it is newer than this store); busy (another backup
  /// writes to it); damaged (no pack, or a chunk of it that is needed); no_space (the backup is as
  /// before); io.
  BackupReport backup(const std::filesystem::path& file, const BackupOptions& options = {}) const;

  /// Deletes checkpoints, all of them or none, in one commit. Works on a full disk.
  /// Errors: not_found; otherwise as `save`.
  void remove(std::span<const std::uint64_t> ids);
  /// Exempts a checkpoint from retention, or ends that. Errors: not_found; otherwise as `save`.
  void set_pinned(std::span<const std::uint64_t> ids, bool pinned);
  /// Remembers that a checkpoint is damaged, or that it is not. Errors: as `set_pinned`.
  void set_damaged(std::span<const std::uint64_t> ids, bool damaged);

  /// Reads and checks the whole store, or only the named checkpoints. What is damaged is reported
  /// and no error, and marks nothing.
  ///
  /// Cost: reads and hashes every distinct chunk once, from memory where the system has it there;
  /// memory of all indexes, and a few MiB a thread. Never blocks a writer; what is freed meanwhile
  /// is not reused before the end. Errors: not_found (an id); io.
  VerifyReport verify(std::span<const std::uint64_t> ids = {},
                      const ProgressCallback& progress = {}) const;
  /// Takes one step of a scrub: looks at the next `max_bytes` of what is stored, at least at one
  /// chunk, on the disk where the system allows it, and goes on from there the next time; after a
  /// pass it begins anew. A writable store marks the checkpoints that damage touches.
  ///
  /// Cost: reads and hashes; one commit when there is something to mark. Never blocks a writer
  /// meanwhile; space that is freed during a step can be written again a commit later.
  /// Errors: io; those of a commit.
  ScrubReport scrub(std::uint64_t max_bytes);
  /// Cost: reads a row of the catalog for each checkpoint and each free extent, no payload.
  StoreStats stat() const;
  /// Cost: reads a row of the catalog for each chunk.
  ChunkStats chunk_stats() const;
  /// Gives free space back to the file system: cuts the pack at the end of data, and makes holes
  /// below it. Nothing is moved. Later saves are slower where they fill holes again, so this is for
  /// stores that will not soon grow again.
  ///
  /// Durability: as every change, but of several commits, of which a crash or an error leaves the
  /// first ones; what was not given back then stays free.
  /// Cost: three commits that change nothing, and a call for each hole.
  /// Errors: with `compress`, invalid_argument (a store without compression), damaged (an index;
  /// run `repair`), no_space (with what was compressed before it); otherwise as `save`.
  CompactReport compact(const CompactOptions& options = {});
  /// For each checkpoint alone: the bytes of extents that deleting it would free; zero for one that
  /// has gone. Of a damaged index it is not known what it holds, and only its own are counted.
  /// Cost: reads the index of each, and a row of the catalog for each of its chunks.
  std::vector<std::uint64_t> bytes_freed_if_deleted(std::span<const CheckpointInfo> of) const;

  /// Brings a store back that does not open, or that `verify` finds damaged: restores superblocks
  /// and roots, rebuilds the catalog from the pack, and drops only what `options` asks for.
  /// Errors: busy when any handle is open on the store; not_found; damaged when nothing can be
  /// done.
  static RepairReport repair(const std::filesystem::path& directory,
                             const RepairOptions& options = {});

 private:
  std::shared_ptr<store::StoreHandle> handle_;
};

}  // namespace cairn
