// The catalog: LMDB tables that say what the pack holds. The only place that includes lmdb.h.
//
// LMDB's hazards and how they are met (its documentation and source, lmdb.h 0.9.24):
//  1. An environment must not be opened twice in one process: `Catalog::open` keeps a registry by
//     device and inode and hands out the one that is open.
//  2. An environment must not be used after fork: every call checks the fork generation (`forked`),
//     and destructors in a child abandon environment and transactions without touching them.
//  3. It never syncs its directory: whoever creates the file does (store/).
//  4. Pages have no checksums, and a damaged file can abort or crash the process: the file is
//     vetted (vetting.h) before any row is believed, every value carries a checksum, and the row of
//     table info their sum: an older page is right by itself, but not with the others (0022).
//  5. Growing the map unmaps it under live readers: the map is 1 TiB from the start, halved on
//     ENOMEM.
//  6. Read transactions move between threads: MDB_NOTLS.
//  7. Values are aligned to 2 bytes only: rows are decoded by copying.
#pragma once

#include "catalog/rows.h"
#include "io/file.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::catalog {

class Environment;  // LMDB's handle and what belongs to it; private to catalog/

enum class Mode {
  kReadWrite,
  kReadOnly,        ///< Registers its readers in LMDB's lock file, changes nothing else.
  kReadOnlyNoLock,  ///< For a read-only file system: the caller vouches that no writer exists.
};

/// The process behind the oldest snapshot that is still being read.
struct OldestReader {
  std::int64_t pid = 0;
  std::uint64_t transaction = 0;
};

/// A consistent view of all tables, for as long as it lives. Threads: one at a time, any thread.
/// Errors of every function: damaged (a checksum, a row that cannot be); forked.
class ReadTransaction {
 public:
  ReadTransaction(ReadTransaction&&) noexcept;
  ReadTransaction& operator=(ReadTransaction&&) noexcept;
  ~ReadTransaction();

  /// LMDB's id of the commit that this view shows.
  std::uint64_t id() const;

  InfoRow info() const;
  std::optional<CheckpointRow> checkpoint(std::uint64_t checkpoint_id) const;
  std::optional<std::uint64_t> checkpoint_by_name(std::string_view name) const;
  std::optional<ChunkRow> chunk(const ChunkKey& key) const;
  std::uint64_t chunk_rows() const;  ///< How many chunks there are, without visiting them.

  /// Visit every row in key order: checkpoints ascending by id, free extents by offset.
  void for_each_checkpoint(const std::function<void(const CheckpointRow&)>& visit) const;
  void for_each_chunk(const std::function<void(const ChunkKey&, const ChunkRow&)>& visit) const;
  void for_each_free(const std::function<void(const FreeRow&)>& visit) const;

 protected:
  friend class Catalog;
  struct State;
  explicit ReadTransaction(std::unique_ptr<State> state);
  /// Every row against its checksum, and what they say of each other. Returns the checkpoints.
  /// Errors: damaged.
  std::vector<CheckpointRow> check_rows() const;
  std::unique_ptr<State> state_;
};

/// What became of a commit.
enum class CommitOutcome {
  kCommitted,
  kNoSpace,  ///< Clean abort: the catalog is as before and stays usable.
  kFailed,   ///< Clean abort after an I/O error: the catalog is as before, do not go on with it.
  kUnknown,  ///< LMDB cannot tell (MDB_PANIC): close everything, reopening tells.
};

/// Changes to the tables; destruction without `commit` rolls back.
/// Errors of every change: no_space (the map or the disk is full), io; the transaction is then only
/// good for destruction. Before anything is changed: invalid_argument (a row that cannot be, or to
/// erase one that is not there), already_exists (the name is another checkpoint's).
/// Threads: ends on the thread that began it (LMDB's mutex belongs to that); a thread that has one
/// must not begin a second.
class WriteTransaction : public ReadTransaction {
 public:
  /// LMDB's id of this commit, if it comes to one: the last commit's plus one.
  using ReadTransaction::id;

  /// `row.transaction` is set to `id()`, and `row.row_sum` to what all changes come to.
  void put_info(const InfoRow& row);
  void put_checkpoint(const CheckpointRow& row);       ///< Keeps table names in step.
  void erase_checkpoint(std::uint64_t checkpoint_id);  ///< It must exist.
  void put_chunk(const ChunkKey& key, const ChunkRow& row);
  void erase_chunk(const ChunkKey& key);
  void put_free(const FreeRow& row);
  void erase_free(std::uint64_t offset);

  /// The commit point. Durability: on kCommitted it survives power loss. With any other outcome
  /// `system_errno` says what the system answered. Errors: those of a change, which `put_info` may
  /// have to make once more.
  CommitOutcome commit(int* system_errno = nullptr);

 private:
  friend class Catalog;
  using ReadTransaction::ReadTransaction;
};

/// What vetting a catalog has read already, for a caller who needs it next.
struct Vetted {
  std::uint64_t transaction = 0;             // that of the snapshot
  std::vector<CheckpointRow> checkpoints{};  // ascending by id
};

/// An open catalog. Copies share the environment, which closes with the last of them and of their
/// transactions. Threads: safe at once; one write transaction at a time (a second one waits).
class Catalog {
 public:
  /// Opens an existing catalog file, vetting it first.
  ///
  /// Errors: not_found (no file); damaged (empty, not LMDB, or fails vetting; the message says
  /// which); truncated (it ends before its pages do); no_space, io (the system refused);
  /// unsupported_version (LMDB's format or the row format is newer). Only `damaged`, `truncated`
  /// and `not_found` mean that a rebuild would help. An environment that this process has open
  /// already is shared (and vetted again); as it cannot be opened anew for writing, every mode but
  /// kReadOnlyNoLock opens for writing when the system permits it. Further errors: busy (this
  /// process has it open without locks, or by a name beside which another lock file lies; or it
  /// changes faster than it can be vetted). Cost: a walk over every page and row of the file; see
  /// vetting.h.
  static Catalog open(const std::filesystem::path& file, Mode mode, Vetted* vetted = nullptr);

  /// Makes a new catalog file, which must not exist, with empty tables. Not yet durable as a name.
  static Catalog create(const std::filesystem::path& file);

  ReadTransaction read() const;
  WriteTransaction write() const;

  /// After `mdb_reader_check`: the reader with the oldest snapshot, in any process; nothing when
  /// nobody reads. With MDB_NOLOCK: nothing.
  std::optional<OldestReader> oldest_reader() const;

  /// Makes sure that the disk has room for a deletion when everything else is full: reserves space
  /// behind the file for as many pages as one transaction that touches every page could need.
  /// Errors: no_space.
  void reserve_for_deletion() const;

  /// Bytes of the file.
  std::uint64_t file_bytes() const;
  const std::filesystem::path& path() const;
  io::FileId file_id() const;

  /// Name of LMDB's lock file beside `file`, which LMDB alone touches.
  static std::filesystem::path lock_file_of(const std::filesystem::path& file);

 private:
  explicit Catalog(std::shared_ptr<Environment> environment);
  std::shared_ptr<Environment> environment_;
};

}  // namespace cairn::catalog
