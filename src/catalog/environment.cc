// What holds for an LMDB environment in a process, and how it is kept:
//
// 1. A file has one environment at a time. The registry maps the file's identity to it; one that is
//    being closed stays in the map until it is closed, and whoever wants the file meanwhile waits.
//    (LMDB's locks are classic POSIX locks: closing any second descriptor of the lock file drops
//    them, unseen.)
// 2. A forked child inherits map, descriptors and lock table, and may use none of them: LMDB's
//    close would free slots in the table that it shares with the parent, and closing the inherited
//    descriptor of the lock file would drop the locks that the child itself has taken on it since.
//    So in a child an inherited environment is left as it is, for good; the registry is the
//    child's own, empty; and opening the store anew makes a new environment with descriptors and
//    locks of its own.
// 3. The file is vetted before LMDB sees it, through a descriptor of our own, which also tells
//    whether LMDB has opened the same file.
// 4. The lock file has all its blocks before LMDB maps it: on a full disk a write into a hole of a
//    shared map is a SIGBUS. That is the one thing that is done to it here, and it happens while
//    this process has no environment, hence no lock, on it.
#include "catalog/environment.h"

#include "catalog/vetting.h"
#include "io/fork_guard.h"

#include <cairn/error.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace cairn::catalog {
namespace {

constexpr std::uint64_t kMapBytes = std::uint64_t{1} << 40;
constexpr std::uint64_t kMinMapBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kMinMapPerFile = 4;

constexpr unsigned kMaxReaders = 1024;
// Slots of 64 bytes, and the header before them.
constexpr std::uint64_t kLockFileBytes = 64 * (kMaxReaders + 4);

constexpr std::uint64_t kMinReservedBytes = std::uint64_t{1} << 20;

constexpr mdb_mode_t kFileMode = 0666;  // The user's umask takes away from it.

bool means_refusal(const Error& error) noexcept {
  const int system_errno = error.system_errno().value_or(0);
  return system_errno == EACCES || system_errno == EPERM || system_errno == EROFS;
}

}  // namespace

bool means_no_space(int result, int errno_after) noexcept {
  switch (result) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return true;
    case EIO:
      return errno_after != EIO;
    default:
      return false;
  }
}

void fail_lmdb(int result, std::string_view what, const std::filesystem::path& path) {
  ErrorContext context{.path = path};
  if (result > 0) context.system_errno = result;
  switch (result) {
    case MDB_MAP_FULL:
      throw Error(ErrorCode::kNoSpace, fmt::format("{}: the catalog's map is full", what), context);
    case MDB_TXN_FULL:
      throw Error(ErrorCode::kNoSpace, fmt::format("{}: too many changes for one commit", what),
                  context);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_CURSOR_FULL:
    case MDB_NOTFOUND:
    case MDB_INCOMPATIBLE:
      throw Error(ErrorCode::kDamaged,
                  fmt::format("{}: the catalog is damaged ({})", what, mdb_strerror(result)),
                  context);
    case MDB_READERS_FULL:
      throw Error(ErrorCode::kBusy,
                  fmt::format("{}: all {} slots for readers are taken; close checkpoints and "
                              "handles that are no longer needed",
                              what, kMaxReaders),
                  context);
    case MDB_MAP_RESIZED:
      throw Error(ErrorCode::kIo,
                  fmt::format("{}: another process has grown the catalog beyond the address space "
                              "that this one could get for it (see ulimit -v)",
                              what),
                  context);
    case MDB_PANIC:
      throw Error(ErrorCode::kPoisoned,
                  fmt::format("{}: an earlier commit failed in a way that leaves its outcome "
                              "unknown; open the store again",
                              what),
                  context);
    default:
      throw Error(
          means_no_space(result, result) ? ErrorCode::kNoSpace : ErrorCode::kIo,
          result > 0 ? std::string(what) : fmt::format("{}: {}", what, mdb_strerror(result)),
          context);
  }
}

// ---- the registry ------------------------------------------------------------------------------

class Environment::Registry {
 public:
  // Never destroyed: environments may outlive every static object. A child of fork gets its own,
  // and leaves its parent's (whose mutex may be held by a thread that the child does not have).
  static Registry& instance() {
    static std::atomic<Registry*> current{nullptr};
    const std::uint64_t generation = io::fork_generation();
    Registry* found = current.load(std::memory_order_acquire);
    while (found == nullptr || found->generation_ != generation) {
      auto fresh = std::make_unique<Registry>(generation);
      if (current.compare_exchange_strong(found, fresh.get(), std::memory_order_acq_rel)) {
        return *fresh.release();
      }
    }
    return *found;
  }

  explicit Registry(std::uint64_t generation) : generation_(generation) {}

  // `fresh` is not open yet; what is returned is that one, open, or the one that is open already.
  std::shared_ptr<Environment> acquire(std::shared_ptr<Environment> fresh, Mode mode, bool is_new) {
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto found = environments_.find(fresh->id_);
      if (found == environments_.end()) break;
      if (!found->second.shared.expired()) {
        check_shared(*found->second.environment, fresh->path(), mode);
        // Nothing throws while `shared` lives: it may have become the last to hold the environment,
        // and would end it under the mutex that ending it takes.
        if (auto shared = found->second.shared.lock()) return shared;
      }
      closed_.wait(lock);  // It is being closed.
    }
    check_lock_file_is_free(fresh->path());
    const auto entry = environments_.emplace(fresh->id_, Entry{fresh.get(), fresh}).first;
    try {
      fresh->open(is_new);
    } catch (...) {
      fresh->close();
      environments_.erase(entry);
      throw;
    }
    return fresh;
  }

  void release(Environment* environment) noexcept {
    {
      const std::lock_guard lock(mutex_);
      environment->close();
      environments_.erase(environment->id_);
    }
    closed_.notify_all();
    delete environment;
  }

 private:
  struct Entry {
    Environment* environment = nullptr;  // alive while the entry is there, even if expired
    std::weak_ptr<Environment> shared{};
  };

  // A catalog that took the place of one that is open here, beside the same lock file.
  void check_lock_file_is_free(const std::filesystem::path& path) const {
    const auto lock_file_id = io::file_id(Catalog::lock_file_of(path));
    if (!lock_file_id) return;
    for (const auto& entry : environments_) {
      if (entry.second.environment->lock_file_id_ != lock_file_id) continue;
      throw Error(ErrorCode::kBusy,
                  "this process has another catalog open with the same lock file; close that "
                  "handle first",
                  {.path = path});
    }
  }

  // Two names may lead to one file; its lock file must be one, too.
  static void check_shared(const Environment& environment, const std::filesystem::path& path,
                           Mode mode) {
    if (!environment.has_locks_) {
      if (mode == Mode::kReadOnlyNoLock) return;
      throw Error(ErrorCode::kBusy,
                  "this process has the catalog open without locks; close that handle first",
                  {.path = path});
    }
    if (path != environment.path() &&
        io::file_id(Catalog::lock_file_of(path)) != environment.lock_file_id_) {
      throw Error(ErrorCode::kBusy,
                  fmt::format("this process has the catalog open under another name, {}; close "
                              "that handle first",
                              environment.path().string()),
                  {.path = path});
    }
    if (mode == Mode::kReadWrite && !environment.is_writable_) {
      throw Error(ErrorCode::kIo, "the catalog could be opened for reading only",
                  {.path = path, .system_errno = EACCES});
    }
  }

  const std::uint64_t generation_;
  std::mutex mutex_;
  std::condition_variable closed_;
  std::map<io::FileId, Entry> environments_;
};

std::shared_ptr<Environment> Environment::acquire(const std::filesystem::path& path, Mode mode,
                                                  bool is_new) {
  using Access = io::File::Access;
  std::optional<io::File> file;
  if (mode != Mode::kReadOnlyNoLock) {
    try {
      file = io::File::open(path, Access::kReadWrite);
    } catch (const Error& error) {
      if (mode == Mode::kReadWrite || !means_refusal(error)) throw;
    }
  }
  const bool is_writable = file.has_value();
  if (!file) file = io::File::open(path, Access::kRead);
  std::shared_ptr<Environment> fresh(
      new Environment(*std::move(file), is_writable, mode != Mode::kReadOnlyNoLock),
      [](Environment* last) {
        if (!last->is_this_process()) return;  // Abandoned, with all that it holds.
        if (last->lmdb_ == nullptr) {
          delete last;
        } else {
          Registry::instance().release(last);
        }
      });
  return Registry::instance().acquire(std::move(fresh), mode, is_new);
}

// ---- one environment ---------------------------------------------------------------------------

Environment::Environment(io::File file, bool is_writable, bool has_locks)
    : file_(std::move(file)),
      id_(file_.id()),
      is_writable_(is_writable),
      has_locks_(has_locks),
      fork_generation_(io::fork_generation()) {}

void Environment::close() noexcept {
  if (lmdb_ != nullptr) mdb_env_close(std::exchange(lmdb_, nullptr));
}

void Environment::open(bool is_new) {
  if (!is_new) vet_meta_pages(file_);
  if (has_locks_) prepare_lock_file();

  const std::uint64_t least_bytes = std::max(
      kMinMapBytes, (kMinMapPerFile * file_.bytes() + kMinMapBytes - 1) & ~(kMinMapBytes - 1));
  std::uint64_t map_bytes = std::max(kMapBytes, least_bytes);
  int interruptions = 0;
  for (;;) {
    const int result = try_open(map_bytes);
    if (result == 0) break;
    // Valgrind answers EINVAL to a map that it has no room for.
    const bool too_large = result == ENOMEM || result == EINVAL;
    if (too_large && map_bytes / 2 >= least_bytes) {
      map_bytes /= 2;
    } else if (result != EINTR || ++interruptions > 100) {
      fail_to_open(result);
    }
  }
  if (io::file_id(path()) != id_) {
    throw Error(ErrorCode::kIo, "the catalog was replaced while it was being opened; try again",
                {.path = path()});
  }
  if (!has_locks_) return;
  // On a read-only file system LMDB goes on without locks, and says nothing.
  if (!has_reader_table()) {
    throw Error(ErrorCode::kIo,
                "the catalog is on a read-only file system, where readers cannot be registered; "
                "open it with `assume_no_writer` if no process writes to the store",
                {.path = path(), .system_errno = EROFS});
  }
  lock_file_id_ = io::file_id(Catalog::lock_file_of(path()));
}

int Environment::try_open(std::uint64_t map_bytes) {
  int result = mdb_env_create(&lmdb_);
  if (result != 0) {
    lmdb_ = nullptr;
    return result;
  }
  unsigned flags = MDB_NOSUBDIR | MDB_NOTLS;
  if (!is_writable_) flags |= MDB_RDONLY;
  if (!has_locks_) flags |= MDB_RDONLY | MDB_NOLOCK;
  result = mdb_env_set_mapsize(lmdb_, map_bytes);
  if (result == 0) result = mdb_env_set_maxreaders(lmdb_, kMaxReaders);
  if (result == 0) result = mdb_env_set_maxdbs(lmdb_, static_cast<MDB_dbi>(kTables.size()));
  if (result == 0) result = mdb_env_open(lmdb_, path().c_str(), flags, kFileMode);
  if (result != 0) mdb_env_close(std::exchange(lmdb_, nullptr));
  return result;
}

void Environment::fail_to_open(int result) const {
  switch (result) {
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
      // The file was good a moment ago; what LMDB means is the lock file.
      vet_meta_pages(file_);
      throw Error(ErrorCode::kIo,
                  "another process has the catalog open through another version of LMDB, or its "
                  "lock file is damaged; close all processes that use the store",
                  {.path = Catalog::lock_file_of(path())});
    case ENOMEM:
      throw Error(ErrorCode::kIo,
                  "there is not enough memory or address space for the catalog's map (see ulimit "
                  "-v)",
                  {.path = path(), .system_errno = result});
    case EACCES:
    case EPERM:
      throw Error(ErrorCode::kIo,
                  "readers register in the catalog's lock file, which this process may not write; "
                  "open with `assume_no_writer` if no process writes to the store",
                  {.path = Catalog::lock_file_of(path()), .system_errno = result});
    case EROFS:
      throw Error(ErrorCode::kIo, "the catalog is on a read-only file system",
                  {.path = path(), .system_errno = result});
    default:
      fail_lmdb(result, "cannot open the catalog", path());
  }
}

void Environment::prepare_lock_file() const {
  try {
    const io::File lock_file = io::File::open_or_create(Catalog::lock_file_of(path()));
    if (lock_file.allocated_bytes() < kLockFileBytes) lock_file.reserve(0, kLockFileBytes);
  } catch (const Error& error) {
    if (!means_refusal(error)) throw;  // LMDB will meet the same, and what it says counts.
  }
}

bool Environment::has_reader_table() const {
  bool has_table = true;
  mdb_reader_list(
      lmdb_,
      [](const char* line, void* context) {
        if (std::string_view(line).starts_with("(no reader locks)")) {
          *static_cast<bool*>(context) = false;
        }
        return 0;
      },
      &has_table);
  return has_table;
}

bool Environment::is_this_process() const noexcept {
  return fork_generation_ == io::fork_generation();
}

void Environment::check_process() const {
  if (is_this_process()) return;
  throw Error(ErrorCode::kForked,
              "the catalog was opened before fork; open the store again in the child",
              {.path = path()});
}

void Environment::open_tables(MDB_txn* transaction, bool create) {
  for (const Table table : kTables) {
    const std::string name(name_of(table));
    MDB_dbi& handle = tables_[static_cast<std::size_t>(table) - 1];
    const int result = mdb_dbi_open(transaction, name.c_str(), create ? MDB_CREATE : 0, &handle);
    if (result != 0) fail_lmdb(result, fmt::format("cannot open table {}", name), path());
  }
}

void Environment::check_table_count(MDB_txn* transaction) const {
  // Nothing but tables lies beside the tables: vetting has seen to it.
  MDB_stat tables{};
  MDB_dbi all = 0;
  int result = mdb_dbi_open(transaction, nullptr, 0, &all);
  if (result == 0) result = mdb_stat(transaction, all, &tables);
  if (result != 0) fail_lmdb(result, "cannot count the catalog's tables", path());
  if (tables.ms_entries != kTables.size()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("the catalog is damaged: it has {} tables, not {}", tables.ms_entries,
                            kTables.size()),
                {.path = path()});
  }
}

bool Environment::is_given_up() const noexcept {
  MDB_txn* probe = nullptr;
  int result = mdb_txn_begin(lmdb_, nullptr, MDB_RDONLY, &probe);
  // Without a reader slot it does not come as far as the answer.
  if (result != 0 && result != MDB_PANIC) result = mdb_txn_begin(lmdb_, nullptr, 0, &probe);
  if (result == 0) mdb_txn_abort(probe);
  return result == MDB_PANIC;
}

std::optional<OldestReader> Environment::oldest_reader() const {
  check_process();
  // Whoever died left its slot: LMDB's own writer never looks whether its owner lives.
  const int checked = mdb_reader_check(lmdb_, nullptr);
  if (checked != 0) fail_lmdb(checked, "cannot check the catalog's readers", path());
  std::optional<OldestReader> oldest;
  mdb_reader_list(
      lmdb_,
      [](const char* text, void* context) {
        // "%10d %zx %zu\n": process, thread, transaction, or "-" when it reads nothing. The head
        // line and "(no active readers)" begin with no number.
        const std::string_view line(text);
        const auto begin = line.find_first_not_of(' ');
        const auto last_space = line.rfind(' ');
        if (begin == std::string_view::npos || last_space == std::string_view::npos) return 0;
        OldestReader reader;
        const char* const end = line.data() + line.size();
        const auto pid = std::from_chars(line.data() + begin, end, reader.pid);
        const auto id = std::from_chars(line.data() + last_space + 1, end, reader.transaction);
        if (pid.ec != std::errc() || id.ec != std::errc()) return 0;
        auto& found = *static_cast<std::optional<OldestReader>*>(context);
        if (!found || reader.transaction < found->transaction) found = reader;
        return 0;
      },
      &oldest);
  return oldest;
}

void Environment::reserve_for_deletion() const {
  check_process();
  MDB_envinfo info{};
  MDB_stat stat{};
  int result = mdb_env_info(lmdb_, &info);
  if (result == 0) result = mdb_env_stat(lmdb_, &stat);
  if (result != 0) fail_lmdb(result, "cannot ask for the catalog's size", path());
  const std::uint64_t needed_bytes =
      std::max(kMinReservedBytes, 2 * (info.me_last_pgno + 1) * stat.ms_psize);

  const std::lock_guard lock(reserving_);
  const std::uint64_t end = file_.bytes();
  if (reserved_end_ >= end + needed_bytes) return;
  if (file_.allocated_bytes() < end + needed_bytes) file_.reserve(end, needed_bytes);
  reserved_end_ = end + needed_bytes;
}

// ---- transactions ------------------------------------------------------------------------------

Transaction::Transaction(std::shared_ptr<Environment> environment, Kind kind)
    : environment_(std::move(environment)), kind_(kind) {
  environment_->check_process();
  if (kind_ == Kind::kWrite && !environment_->is_writable()) {
    throw Error(ErrorCode::kInvalidArgument, "the catalog is open for reading only",
                {.path = environment_->path()});
  }
  int result = begin();
  if (result == MDB_READERS_FULL) {  // Some of them may be dead.
    mdb_reader_check(environment_->get(), nullptr);
    result = begin();
  }
  if (result != 0) fail_lmdb(result, "cannot begin a transaction", environment_->path());
}

int Transaction::begin() const {
  return mdb_txn_begin(environment_->get(), nullptr, kind_ == Kind::kRead ? MDB_RDONLY : 0,
                       &transaction_);
}

Transaction::~Transaction() {
  if (transaction_ != nullptr && environment_->is_this_process()) mdb_txn_abort(transaction_);
}

MDB_txn* Transaction::get() const {
  environment_->check_process();
  if (transaction_ == nullptr) {
    throw Error(ErrorCode::kInvalidArgument, "the transaction has ended",
                {.path = environment_->path()});
  }
  return transaction_;
}

int Transaction::commit() {
  MDB_txn* const transaction = get();
  transaction_ = nullptr;
  return mdb_txn_commit(transaction);
}

}  // namespace cairn::catalog
