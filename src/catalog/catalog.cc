#include "catalog/catalog.h"

#include "base/mutant.h"
#include "base/text.h"
#include "catalog/environment.h"
#include "catalog/row_codec.h"
#include "catalog/vetting.h"

#include <cairn/error.h>

#include <fmt/format.h>
#include <lmdb.h>

#include <array>
#include <cerrno>
#include <utility>

namespace cairn::catalog {
namespace {

// A writer would have to commit twice within each of so many walks.
constexpr int kMostSnapshots = 20;

MDB_val to_lmdb(Bytes bytes) noexcept {
  return {.mv_size = bytes.size(), .mv_data = const_cast<std::byte*>(bytes.data())};
}

// Lifetime: until the transaction changes something or ends.
Bytes from_lmdb(const MDB_val& value) noexcept {
  return {static_cast<const std::byte*>(value.mv_data), value.mv_size};
}

// Names follow from checkpoints, and are checked against them.
bool is_summed(Table table) noexcept {
  return table != Table::kInfo && table != Table::kNames && !CAIRN_MUTANT(kRowSumNotKept);
}

}  // namespace

struct ReadTransaction::State {
  State(std::shared_ptr<Environment> environment, Transaction::Kind kind)
      : transaction(std::move(environment), kind) {}

  const Environment& environment() const noexcept { return transaction.environment(); }
  const std::filesystem::path& path() const noexcept { return environment().path(); }

  // Adds the path to what a decoder says.
  template <typename Decode>
  auto decoded(const Decode& decode) const {
    try {
      return decode();
    } catch (const Error& error) {
      throw Error(error.code(), error.what(), {.path = path()});
    }
  }

  // Gone with its transaction, or left to the parent.
  struct CloseCursor {
    const Environment* environment;
    void operator()(MDB_cursor* cursor) const {
      if (environment->is_this_process()) mdb_cursor_close(cursor);
    }
  };
  using Cursor = std::unique_ptr<MDB_cursor, CloseCursor>;

  Cursor new_cursor(Table table) const {
    MDB_cursor* opened = nullptr;
    const int result = mdb_cursor_open(transaction.get(), environment().table(table), &opened);
    if (result != 0) fail_lmdb(result, "cannot read the catalog", path());
    return {opened, CloseCursor{&environment()}};
  }

  // Stays where the last row was, so that the next one is found without a descent of the tree when
  // it lies in the same page: whoever asks for many asks in the order of their keys.
  MDB_cursor* cursor(Table table) const {
    transaction.get();
    Cursor& kept = cursors[static_cast<std::size_t>(table) - 1];
    if (!kept) kept = new_cursor(table);
    return kept.get();
  }

  std::optional<Bytes> get(Table table, Bytes key) const {
    MDB_val lmdb_key = to_lmdb(key);
    MDB_val value{};
    const int result = mdb_cursor_get(cursor(table), &lmdb_key, &value, MDB_SET);
    if (result == MDB_NOTFOUND) return std::nullopt;
    if (result != 0) fail_lmdb(result, "cannot read the catalog", path());
    return from_lmdb(value);
  }

  template <typename Visit>
  void for_each(Table table, const Visit& visit) const {
    const Cursor cursor = new_cursor(table);
    for (;;) {
      environment().check_process();
      MDB_val key{};
      MDB_val value{};
      const int result = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
      if (result == MDB_NOTFOUND) return;
      if (result != 0) fail_lmdb(result, "cannot read the catalog", path());
      visit(from_lmdb(key), from_lmdb(value));
    }
  }

  std::uint64_t rows(Table table) const {
    MDB_stat stat{};
    const int result = mdb_stat(transaction.get(), environment().table(table), &stat);
    if (result != 0) fail_lmdb(result, "cannot read the catalog", path());
    return stat.ms_entries;
  }

  // Finds the row and puts it in one descent of the tree.
  void put(Table table, Bytes key, Bytes value) {
    MDB_cursor* const at = cursor(table);
    MDB_val lmdb_key = to_lmdb(key);
    MDB_val before = to_lmdb(value);
    bool is_new = true;
    change([&] {
      const int result = mdb_cursor_put(at, &lmdb_key, &before, MDB_NOOVERWRITE);
      is_new = result != MDB_KEYEXIST;
      return is_new ? result : 0;
    });
    const std::uint64_t checksum_before = is_new ? 0 : checksum_of(from_lmdb(before));
    if (!is_new) {
      MDB_val lmdb_value = to_lmdb(value);
      change([&] { return mdb_cursor_put(at, &lmdb_key, &lmdb_value, MDB_CURRENT); });
    }
    if (is_summed(table)) row_sum += checksum_of(value) - checksum_before;
  }

  void erase(Table table, Bytes key) {
    MDB_cursor* const at = cursor(table);
    MDB_val lmdb_key = to_lmdb(key);
    MDB_val before{};
    const int result = mdb_cursor_get(at, &lmdb_key, &before, MDB_SET);
    if (result == MDB_NOTFOUND) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("there is no such row to erase in table {}", name_of(table)),
                  {.path = path()});
    }
    if (result != 0) fail_lmdb(result, "cannot read the catalog", path());
    const std::uint64_t checksum_before = checksum_of(from_lmdb(before));
    change([&] { return mdb_cursor_del(at, 0); });
    if (is_summed(table)) row_sum -= checksum_before;
  }

  template <typename Call>
  void change(const Call& call) {
    errno = 0;
    const int result = call();
    if (result == 0) return;
    if (means_no_space(result, errno)) {
      ran_out_of_space = true;
      if (result == EIO) fail_lmdb(ENOSPC, "cannot change the catalog", path());
    }
    fail_lmdb(result, "cannot change the catalog", path());
  }

  // LMDB's commit would free those of a write transaction.
  int commit() {
    for (Cursor& kept : cursors) kept.reset();
    return transaction.commit();
  }

  Transaction transaction;
  mutable std::array<Cursor, kTables.size()> cursors{};  // opened when they are asked for
  bool ran_out_of_space = false;
  // Of a write transaction: what `InfoRow::row_sum` must become, and the row that was put.
  std::uint64_t row_sum = 0;
  std::optional<InfoRow> put_info;
};

// ---- reading -----------------------------------------------------------------------------------

ReadTransaction::ReadTransaction(std::unique_ptr<State> state) : state_(std::move(state)) {}
ReadTransaction::ReadTransaction(ReadTransaction&&) noexcept = default;
ReadTransaction& ReadTransaction::operator=(ReadTransaction&&) noexcept = default;
ReadTransaction::~ReadTransaction() = default;

std::uint64_t ReadTransaction::id() const {
  return state_->transaction.id();
}

InfoRow ReadTransaction::info() const {
  const auto value = state_->get(Table::kInfo, info_key());
  if (!value) {
    throw Error(ErrorCode::kDamaged, "the catalog is damaged: table info is empty",
                {.path = state_->path()});
  }
  return state_->decoded([&] { return decode_info(info_key(), *value); });
}

std::optional<CheckpointRow> ReadTransaction::checkpoint(std::uint64_t checkpoint_id) const {
  const auto key = number_key(checkpoint_id);
  const auto value = state_->get(Table::kCheckpoints, key);
  if (!value) return std::nullopt;
  return state_->decoded([&] { return decode_checkpoint(key, *value); });
}

std::optional<std::uint64_t> ReadTransaction::checkpoint_by_name(std::string_view name) const {
  if (name.empty() || name.size() > format::kMaxNameBytes) return std::nullopt;
  const auto value = state_->get(Table::kNames, name_key(name));
  if (!value) return std::nullopt;
  return state_->decoded([&] { return decode_name(name_key(name), *value); });
}

std::optional<ChunkRow> ReadTransaction::chunk(const ChunkKey& key) const {
  const auto bytes = chunk_key(key);
  const auto value = state_->get(Table::kChunks, bytes);
  if (!value) return std::nullopt;
  return state_->decoded([&] { return decode_chunk(bytes, *value); });
}

std::uint64_t ReadTransaction::chunk_rows() const {
  return state_->rows(Table::kChunks);
}

void ReadTransaction::for_each_checkpoint(
    const std::function<void(const CheckpointRow&)>& visit) const {
  state_->for_each(Table::kCheckpoints, [&](Bytes key, Bytes value) {
    visit(state_->decoded([&] { return decode_checkpoint(key, value); }));
  });
}

void ReadTransaction::for_each_chunk(
    const std::function<void(const ChunkKey&, const ChunkRow&)>& visit) const {
  state_->for_each(Table::kChunks, [&](Bytes key, Bytes value) {
    const auto [chunk, row] = state_->decoded([&] {
      const ChunkRow checked = decode_chunk(key, value);
      return std::pair(decode_chunk_key(key), checked);
    });
    visit(chunk, row);
  });
}

void ReadTransaction::for_each_free(const std::function<void(const FreeRow&)>& visit) const {
  state_->for_each(Table::kFree, [&](Bytes key, Bytes value) {
    visit(state_->decoded([&] { return decode_free(key, value); }));
  });
}

std::vector<CheckpointRow> ReadTransaction::check_rows() const {
  const InfoRow row = info();
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kDamaged, "the catalog is damaged: " + what, {.path = state_->path()});
  };
  if (row.transaction != id()) {
    fail(fmt::format("it was written in transaction {}, but shows transaction {}", row.transaction,
                     id()));
  }
  if (state_->rows(Table::kInfo) != 1) fail("table info has more than one row");
  std::uint64_t row_sum = 0;
  const auto for_each_summed = [&](Table table, const auto& visit) {
    state_->for_each(table, [&](Bytes key, Bytes value) {
      row_sum += checksum_of(value);
      visit(key, value);
    });
  };
  std::vector<CheckpointRow> checkpoints;
  for_each_summed(Table::kCheckpoints, [&](Bytes key, Bytes value) {
    const CheckpointRow& checkpoint =
        checkpoints.emplace_back(state_->decoded([&] { return decode_checkpoint(key, value); }));
    if (checkpoint_by_name(checkpoint.name) != checkpoint.id) {
      fail(fmt::format("the name {} does not lead to checkpoint {}", base::quoted(checkpoint.name),
                       checkpoint.id));
    }
  });
  if (state_->rows(Table::kNames) != checkpoints.size()) {
    fail("there are names without a checkpoint");
  }
  for_each_summed(Table::kChunks, [&](Bytes key, Bytes value) {
    state_->decoded([&] { return decode_chunk(key, value); });
  });
  for_each_summed(Table::kFree, [&](Bytes key, Bytes value) {
    state_->decoded([&] { return decode_free(key, value); });
  });
  // A page of an earlier commit in the place of a newer one passes all of the above.
  if (row_sum != row.row_sum && !CAIRN_MUTANT(kRowSumIgnored)) {
    fail("its rows are not those of its last commit; a part of it is older than the rest");
  }
  return checkpoints;
}

// ---- writing -----------------------------------------------------------------------------------

void WriteTransaction::put_info(const InfoRow& row) {
  InfoRow stamped = row;
  stamped.transaction = id();
  stamped.row_sum = state_->row_sum;
  state_->put(Table::kInfo, info_key(), encode_info(stamped));
  state_->put_info = stamped;
}

void WriteTransaction::put_checkpoint(const CheckpointRow& row) {
  const std::vector<std::byte> value = encode_checkpoint(row);
  const auto owner = checkpoint_by_name(row.name);
  if (owner && *owner != row.id) {
    throw Error(ErrorCode::kAlreadyExists,
                fmt::format("there is a checkpoint named {} already", base::quoted(row.name)));
  }
  if (const auto before = checkpoint(row.id); before && before->name != row.name) {
    state_->erase(Table::kNames, name_key(before->name));
  }
  state_->put(Table::kCheckpoints, number_key(row.id), value);
  if (!owner) state_->put(Table::kNames, name_key(row.name), encode_name(row.name, row.id));
}

void WriteTransaction::erase_checkpoint(std::uint64_t checkpoint_id) {
  const auto before = checkpoint(checkpoint_id);
  state_->erase(Table::kCheckpoints, number_key(checkpoint_id));
  if (before) state_->erase(Table::kNames, name_key(before->name));
}

void WriteTransaction::put_chunk(const ChunkKey& key, const ChunkRow& row) {
  state_->put(Table::kChunks, chunk_key(key), encode_chunk(key, row));
}

void WriteTransaction::erase_chunk(const ChunkKey& key) {
  state_->erase(Table::kChunks, chunk_key(key));
}

void WriteTransaction::put_free(const FreeRow& row) {
  state_->put(Table::kFree, number_key(row.offset), encode_free(row));
}

void WriteTransaction::erase_free(std::uint64_t offset) {
  state_->erase(Table::kFree, number_key(offset));
}

// LMDB aborts a transaction whose commit fails. When it was the write of the meta page that failed,
// it does not know what a reader of the file will find, and says MDB_PANIC from then on.
CommitOutcome WriteTransaction::commit(int* system_errno) {
  state_->transaction.get();
  if (state_->put_info && state_->put_info->row_sum != state_->row_sum) put_info(*state_->put_info);
  errno = 0;
  const int result = state_->commit();
  const int errno_after = errno;
  if (system_errno != nullptr) *system_errno = result > 0 ? result : 0;
  if (result == 0) return CommitOutcome::kCommitted;
  if (state_->environment().is_given_up()) return CommitOutcome::kUnknown;
  const bool is_full =
      means_no_space(result, errno_after) || (result == MDB_BAD_TXN && state_->ran_out_of_space);
  if (!is_full) return CommitOutcome::kFailed;
  if (system_errno != nullptr && result != EDQUOT && result != EFBIG) *system_errno = ENOSPC;
  return CommitOutcome::kNoSpace;
}

// ---- the catalog -------------------------------------------------------------------------------

Catalog::Catalog(std::shared_ptr<Environment> environment) : environment_(std::move(environment)) {}

Catalog Catalog::open(const std::filesystem::path& file, Mode mode, Vetted* vetted) {
  if (io::path_kind(file) == io::PathKind::kDirectory) {
    throw Error(ErrorCode::kDamaged, "a directory stands where the catalog should be",
                {.path = file});
  }
  auto environment = Environment::acquire(file, mode);
  const std::lock_guard opening(environment->opening());
  for (int attempt = 0; attempt < kMostSnapshots; ++attempt) {
    const ReadTransaction view(
        std::make_unique<ReadTransaction::State>(environment, Transaction::Kind::kRead));
    Transaction& transaction = view.state_->transaction;
    if (!vet_snapshot(environment->file(), transaction.id())) continue;
    environment->check_table_count(transaction.get());
    if (!environment->has_tables()) environment->open_tables(transaction.get(), false);
    std::vector<CheckpointRow> checkpoints = view.check_rows();
    if (vetted != nullptr) {
      *vetted = {.transaction = view.id(), .checkpoints = std::move(checkpoints)};
    }
    if (!environment->has_tables()) {
      const int result = view.state_->commit();
      if (result != 0) fail_lmdb(result, "cannot open the catalog", file);
      environment->keep_tables();
    }
    return Catalog(environment);
  }
  throw Error(ErrorCode::kBusy, "the catalog changes faster than it can be checked; try again",
              {.path = file});
}

Catalog Catalog::create(const std::filesystem::path& file) {
  io::File::create_new(file);
  try {
    auto environment = Environment::acquire(file, Mode::kReadWrite, /*is_new=*/true);
    const std::lock_guard opening(environment->opening());
    Transaction transaction(environment, Transaction::Kind::kWrite);
    environment->open_tables(transaction.get(), /*create=*/true);
    errno = 0;
    const int result = transaction.commit();
    if (result != 0) {
      fail_lmdb(means_no_space(result, errno) ? ENOSPC : result, "cannot make the catalog", file);
    }
    environment->keep_tables();
    return Catalog(environment);
  } catch (...) {
    try {
      io::remove_file(file);
    } catch (const Error&) {  // The first failure is the one to tell.
    }
    throw;
  }
}

ReadTransaction Catalog::read() const {
  return ReadTransaction(
      std::make_unique<ReadTransaction::State>(environment_, Transaction::Kind::kRead));
}

WriteTransaction Catalog::write() const {
  auto state = std::make_unique<ReadTransaction::State>(environment_, Transaction::Kind::kWrite);
  if (const auto info = state->get(Table::kInfo, info_key())) {
    state->row_sum = state->decoded([&] { return decode_info(info_key(), *info); }).row_sum;
  }
  return WriteTransaction(std::move(state));
}

std::optional<OldestReader> Catalog::oldest_reader() const {
  return environment_->oldest_reader();
}

void Catalog::reserve_for_deletion() const {
  environment_->reserve_for_deletion();
}

std::uint64_t Catalog::file_bytes() const {
  environment_->check_process();
  return environment_->file().bytes();
}

const std::filesystem::path& Catalog::path() const {
  return environment_->path();
}

io::FileId Catalog::file_id() const {
  environment_->check_process();
  return environment_->file().id();
}

std::filesystem::path Catalog::lock_file_of(const std::filesystem::path& file) {
  std::filesystem::path lock_file = file;
  lock_file += "-lock";
  return lock_file;
}

}  // namespace cairn::catalog
