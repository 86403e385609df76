// One open LMDB environment, the registry that keeps it the only one of its file in this process,
// and its transactions. Private to catalog/.
#pragma once

#include "catalog/catalog.h"
#include "catalog/row_codec.h"

#include <lmdb.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

namespace cairn::catalog {

/// Throws for what an LMDB function returned: map or disk full -> no_space; a tree that contradicts
/// itself -> damaged; no reader slot -> busy; given up -> poisoned; anything else -> io.
[[noreturn]] void fail_lmdb(int result, std::string_view what, const std::filesystem::path& path);

/// True for what LMDB returns when map, dirty list or disk is full. `errno_after` is errno after
/// the call, having been 0 before: a write that the system cut short is EIO to LMDB, though the
/// system said no such thing; and that is how a file system gives out its last blocks.
bool means_no_space(int result, int errno_after) noexcept;

class Environment {
 public:
  /// The environment of the file, opened unless this process has it open already. Both meta pages
  /// are vetted then, and nothing else. `is_new`: the file is empty and becomes a catalog.
  static std::shared_ptr<Environment> acquire(const std::filesystem::path& path, Mode mode,
                                              bool is_new = false);

  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  bool is_this_process() const noexcept;
  /// Errors: forked.
  void check_process() const;

  /// Held from vetting to the commit that makes the tables known: one thread at a time may do it.
  std::mutex& opening() noexcept { return opening_; }
  bool has_tables() const noexcept { return has_tables_; }
  /// Opens the tables within a transaction; after its commit call `keep_tables`. Errors: damaged.
  void open_tables(MDB_txn* transaction, bool create);
  /// Errors: damaged, when there are more tables or fewer.
  void check_table_count(MDB_txn* transaction) const;
  void keep_tables() noexcept { has_tables_ = true; }
  MDB_dbi table(Table table) const noexcept { return tables_[static_cast<std::size_t>(table) - 1]; }

  /// True when LMDB does not know whether its last commit happened, and serves no more.
  bool is_given_up() const noexcept;
  std::optional<OldestReader> oldest_reader() const;
  void reserve_for_deletion() const;

  MDB_env* get() const noexcept { return lmdb_; }
  const io::File& file() const noexcept { return file_; }
  const std::filesystem::path& path() const noexcept { return file_.path(); }
  bool is_writable() const noexcept { return is_writable_; }

 private:
  class Registry;
  friend class Registry;

  Environment(io::File file, bool is_writable, bool has_locks);
  ~Environment() = default;
  void open(bool is_new);
  void close() noexcept;
  int try_open(std::uint64_t map_bytes);
  [[noreturn]] void fail_to_open(int result) const;
  void prepare_lock_file() const;
  bool has_reader_table() const;

  io::File file_;
  io::FileId id_{};
  std::optional<io::FileId> lock_file_id_{};
  bool is_writable_ = false;
  bool has_locks_ = true;
  std::uint64_t fork_generation_ = 0;
  MDB_env* lmdb_ = nullptr;

  std::mutex opening_;
  bool has_tables_ = false;
  std::array<MDB_dbi, kTables.size()> tables_{};

  mutable std::mutex reserving_;
  mutable std::uint64_t reserved_end_ = 0;  // bytes from the start of the file
};

/// An LMDB transaction; aborted on destruction, and in a forked child abandoned.
class Transaction {
 public:
  enum class Kind { kRead, kWrite };

  /// Errors: forked; busy (all reader slots are taken); invalid_argument (writing to an environment
  /// that is open for reading); poisoned; io.
  Transaction(std::shared_ptr<Environment> environment, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  /// Errors: forked; invalid_argument (it has ended).
  MDB_txn* get() const;
  /// What `mdb_txn_commit` says; the transaction has ended then.
  int commit();

  const Environment& environment() const noexcept { return *environment_; }
  std::uint64_t id() const { return mdb_txn_id(get()); }

 private:
  int begin() const;

  std::shared_ptr<Environment> environment_;
  Kind kind_;
  mutable MDB_txn* transaction_ = nullptr;
};

}  // namespace cairn::catalog
