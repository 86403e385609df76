// The vetting walk alone. Property: what it accepts, LMDB can traverse and change without leaving
// the map. The input is an image of a catalog; its script chooses the changes.
#include "catalog/vetting.h"

#include "image.h"
#include "mend.h"

#include <lmdb.h>

#include <cstring>

namespace {

using cairn::fuzz::Script;

[[maybe_unused]] void mend_nothing(std::span<std::byte>) {}

/// LMDB with the file open. Its errors are answers; only what kills the process is a finding.
class Traversal {
 public:
  Traversal(const char* path, Script script) : script_(script) {
    constexpr std::size_t kMapBytes = std::size_t{1} << 24;
    if (mdb_env_create(&environment_) != 0) std::abort();
    mdb_env_set_maxdbs(environment_, kMostTables);
    mdb_env_set_mapsize(environment_, kMapBytes);
    is_open_ = mdb_env_open(environment_, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | MDB_NOSYNC,
                            0600) == 0;
  }
  ~Traversal() { mdb_env_close(environment_); }
  Traversal(const Traversal&) = delete;
  Traversal& operator=(const Traversal&) = delete;

  void run() {
    if (!is_open_) return;
    MDB_txn* reading = nullptr;
    if (mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reading) != 0) return;
    read_everything(reading);
    mdb_txn_abort(reading);
    for (int commit = 0; commit < 2; ++commit) {
      MDB_txn* writing = nullptr;
      if (mdb_txn_begin(environment_, nullptr, 0, &writing) != 0) return;
      if (change(writing)) {
        if (mdb_txn_commit(writing) != 0) return;
      } else {
        mdb_txn_abort(writing);
        return;
      }
    }
  }

 private:
  static constexpr unsigned kMostTables = 16;

  static std::vector<std::string> table_names(MDB_txn* transaction) {
    std::vector<std::string> names;
    MDB_dbi main = 0;
    MDB_cursor* cursor = nullptr;
    if (mdb_dbi_open(transaction, nullptr, 0, &main) != 0) return names;
    if (mdb_cursor_open(transaction, main, &cursor) != 0) return names;
    MDB_val key{};
    MDB_val value{};
    while (names.size() < kMostTables && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
      names.emplace_back(static_cast<const char*>(key.mv_data), key.mv_size);
    }
    mdb_cursor_close(cursor);
    return names;
  }

  void read_everything(MDB_txn* transaction) {
    for (const std::string& name : table_names(transaction)) {
      MDB_dbi table = 0;
      if (mdb_dbi_open(transaction, name.c_str(), 0, &table) != 0) continue;
      MDB_cursor* cursor = nullptr;
      if (mdb_cursor_open(transaction, table, &cursor) != 0) continue;
      MDB_val key{};
      MDB_val value{};
      while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        touch(key);
        touch(value);
        MDB_val found{};
        CAIRN_FUZZ_REQUIRE(mdb_get(transaction, table, &key, &found) == 0);
        CAIRN_FUZZ_REQUIRE(found.mv_data == value.mv_data && found.mv_size == value.mv_size);
      }
      mdb_cursor_close(cursor);
    }
  }

  // Reads every byte: a value that leaves the map is found here.
  void touch(const MDB_val& bytes) {
    const auto* at = static_cast<const std::uint8_t*>(bytes.mv_data);
    for (std::size_t i = 0; i < bytes.mv_size; ++i) sum_ = sum_ + at[i];
  }

  bool change(MDB_txn* transaction) {
    for (const std::string& name : table_names(transaction)) {
      MDB_dbi table = 0;
      if (mdb_dbi_open(transaction, name.c_str(), 0, &table) != 0) continue;
      MDB_cursor* cursor = nullptr;
      if (mdb_cursor_open(transaction, table, &cursor) != 0) return false;
      std::vector<std::string> keys;
      MDB_val key{};
      MDB_val value{};
      while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        keys.emplace_back(static_cast<const char*>(key.mv_data), key.mv_size);
      }
      mdb_cursor_close(cursor);
      for (const std::string& each : keys) {
        MDB_val at{each.size(), const_cast<char*>(each.data())};
        const std::uint8_t what = script_.byte();
        if (what % 3 == 0) {
          if (mdb_del(transaction, table, &at, nullptr) != 0) return false;
        } else if (what % 3 == 1) {
          std::string text(static_cast<std::size_t>(what) * 40, 'x');
          MDB_val put{text.size(), text.data()};
          if (mdb_put(transaction, table, &at, &put, 0) != 0) return false;
        }
      }
      for (std::uint8_t added = script_.byte() % 32; added > 0; --added) {
        std::string name_and_value = "new" + std::to_string(added) + std::string(added * 9, 'y');
        MDB_val both{name_and_value.size(), name_and_value.data()};
        if (mdb_put(transaction, table, &both, &both, 0) != 0) return false;
      }
    }
    return true;
  }

  Script script_;
  MDB_env* environment_ = nullptr;
  bool is_open_ = false;
  volatile unsigned sum_ = 0;
};

}  // namespace

CAIRN_FUZZ_MEND_IMAGE(mend_nothing);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  static const fuzz::Scratch scratch;
  static const std::filesystem::path path = scratch.path() / "catalog.mdb";
  const fuzz::Image image = fuzz::expand(fuzz::as_view(data, size));
  fuzz::write_file(path, image.file);
  const bool accepted = fuzz::accepts([&] {
    const io::File file = io::File::open(path, io::File::Access::kRead);
    const catalog::LmdbMeta meta = catalog::vet_meta_pages(file);
    CAIRN_FUZZ_REQUIRE(catalog::vet_snapshot(file, meta.transaction));
  });
  if (accepted) Traversal(path.c_str(), Script(image.script)).run();
  return 0;
}
