#include "fault/scenario.h"

#include "format/layout.h"

#include <cairn/safetensors.h>
#include <cairn/salvage.h>

#include <algorithm>
#include <utility>

namespace cairn::fault {
namespace {

using testing::Bytes;
using testing::coarse_pattern;
using testing::pattern;
using testing::tensor;

namespace fs = std::filesystem;

constexpr std::uint64_t kChunkBytes = 65'536;

// Chunks of its own, chunks that all states share, and small tensors that are laid together.
CheckpointState state_numbered(std::uint64_t number) {
  std::vector<TensorInput> tensors;
  tensors.push_back(tensor("frozen", pattern(1, 70'000)));
  tensors.push_back(tensor("own", coarse_pattern(100 + number, 80'000)));
  for (std::uint64_t i = 0; i < 3; ++i) {
    tensors.push_back(
        tensor("small." + std::to_string(i), pattern(i == 0 ? 7 : 200 + number + i, 1500)));
  }
  return testing::model(std::move(tensors));
}

// Four checkpoints, one of them pinned, and free extents of several commits.
void prepare_store(const fs::path& directory) {
  Store store(directory, {.chunk_bytes = kChunkBytes});
  const std::uint64_t gone = store.save(state_numbered(1), {.name = "gone"}).saved.id;
  const std::uint64_t a = store.save(state_numbered(2), {.name = "a"}).saved.id;
  store.remove(std::vector{gone});
  store.save(state_numbered(3), {.name = "b"});
  store.save(state_numbered(4), {.name = "c"});
  store.save(state_numbered(4), {.name = "same as c"});
  store.set_pinned(std::vector{a}, true);
}

void prepare_compressed(const fs::path& directory) {
  { const Store store(directory, {.chunk_bytes = kChunkBytes, .compression = Compression::kZstd}); }
  prepare_store(directory);
}

void prepare_nothing(const fs::path& directory) {
  fs::remove(directory);
}

// A commit whose root reached the pack, and the catalog not.
void prepare_stranded(const fs::path& directory) {
  prepare_store(directory);
  const Bytes before = testing::read_file(directory / "catalog.mdb");
  Store(directory).save(state_numbered(5), {.name = "stranded"});
  testing::write_file(directory / "catalog.mdb", before);
}

void prepare_without_catalog(const fs::path& directory) {
  prepare_store(directory);
  fs::remove(directory / "catalog.mdb");
  fs::remove(directory / "catalog.mdb-lock");
}

void prepare_with_bad_catalog(const fs::path& directory) {
  prepare_store(directory);
  testing::write_file(directory / "catalog.mdb", pattern(3, 20'000));
}

void prepare_scratched(const fs::path& directory) {
  prepare_store(directory);
  const fs::path pack = directory / "pack";
  const auto [first, second] = testing::newest_root(pack);
  testing::flip_byte(pack, first + 200);
  testing::flip_byte(pack, second + 200);
  testing::flip_byte(pack, format::kSuperblockOffsets[0] + 33);
  testing::flip_byte(pack, format::kSlotOffsets[1] + 40);
}

std::uint64_t id_of(const Store& store, std::string_view name) {
  return store.find_by_name(name)->id;
}

void prepare_rotten(const fs::path& directory) {
  prepare_store(directory);
  std::uint64_t place = 0;
  {
    const Store store(directory, {.read_only = true});
    const Checkpoint b = store.open(id_of(store, "b"));
    place = b.chunks(*b.find_tensor("model", "own")).front().pack_offset;
  }
  testing::flip_byte(directory / "pack", place + 5);
}

constexpr std::string_view kBackup = "aside/backup";  // none may lie among a store's own files

// A backup of an older state than the store's.
void prepare_backed_up(const fs::path& directory) {
  prepare_store(directory);
  Store store(directory);
  fs::create_directory((directory / kBackup).parent_path());
  store.backup(directory / kBackup);
  store.remove(std::vector{store.find_by_name("b")->id});
  store.save(state_numbered(5), {.name = "d"});
}

State held_by_backup(const fs::path& directory) {
  const fs::path restored = directory.parent_path() / "restored";
  fs::create_directory(restored);
  fs::copy_file(directory / kBackup, restored / "pack");
  Store::repair(restored);
  State state = state_of(Store(restored));
  fs::remove_all(restored);
  return state;
}

fs::path salvaged(const fs::path& directory) {
  return directory.parent_path() / "salvaged";
}

// What a failure has left is no store to salvage into, so each run makes a new one.
void salvage_anew(Session& session) {
  fs::remove_all(salvaged(session.directory));
  salvage(session.directory / "pack", salvaged(session.directory));
}

State held_by_salvaged(const fs::path& directory) {
  // A failure may come before there is one.
  return fs::exists(salvaged(directory) / "pack") ? state_of(Store(salvaged(directory))) : State();
}

void begin_nothing(Session&) {}

void begin_open(Session& session) {
  session.store.emplace(session.directory);
}

void begin_reading(Session& session) {
  session.store.emplace(session.directory, StoreOptions{.read_only = true});
}

void begin_loading(Session& session) {
  begin_reading(session);
  session.checkpoint.emplace(session.store->open(id_of(*session.store, "b")));
  const auto tensors = session.checkpoint->tensors();
  for (const TensorInfo& info : tensors) session.memory.emplace_back(info.bytes);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    session.targets.push_back({.tensor = i, .out = session.memory[i]});
  }
}

void begin_saving(Session& session) {
  begin_open(session);
  session.state = state_numbered(5);
  session.options.name = "new";
}

void begin_replacing(Session& session) {
  begin_saving(session);
  session.options.name = "b";
  session.options.replace = true;
}

void begin_keeping_only(Session& session) {
  begin_saving(session);
  session.options.retention = [](std::span<const CheckpointInfo> checkpoints) {
    std::vector<std::uint64_t> ids;
    for (const CheckpointInfo& info : checkpoints.subspan(2)) {
      if (!info.pinned) ids.push_back(info.id);
    }
    return ids;
  };
}

void begin_deleting(Session& session) {
  begin_open(session);
  session.ids = {id_of(*session.store, "b"), id_of(*session.store, "c")};
}

// What the save has in common with the damaged checkpoint is mended, before its commit.
void begin_mending(Session& session) {
  session.store.emplace(session.directory, StoreOptions{.heal_every = 1});
  session.state = state_numbered(3);
  session.options.name = "new";
}

// More than 1 MiB, which the pack writes past the page cache.
void begin_saving_directly(Session& session) {
  begin_saving(session);
  session.state[0].tensors.push_back(tensor("large", pattern(5, 1'100'000)));
}

void begin_copying(Session& session) {
  begin_open(session);
  Store other(session.directory.parent_path() / "other", {.chunk_bytes = kChunkBytes});
  const auto id = other.save(state_numbered(5), {.name = "new"}).saved.id;
  session.checkpoint.emplace(other.open(id));
}

void save(Session& session) {
  session.store->save(session.state, session.options);
}

void save_async(Session& session) {
  session.store->save_async(session.state, session.options).get();
}

template <LoadMode mode>
void load(Session& session) {
  session.checkpoint->load(session.targets, mode);
}

std::vector<Scenario> make_scenarios() {
  const auto open_for_writing = [](Session& s) { s.store.emplace(s.directory); };
  const auto repair = [](Session& s) { Store::repair(s.directory); };
  return {
      {.name = "save", .prepare = prepare_store, .begin = begin_saving, .run = save},
      {.name = "save_async", .prepare = prepare_store, .begin = begin_saving, .run = save_async},
      {.name = "save, direct",
       .prepare = prepare_store,
       .begin = begin_saving_directly,
       .run = save},
      {.name = "save that mends",
       .prepare = prepare_rotten,
       .begin = begin_mending,
       .run = save,
       .mends = true},
      {.name = "copy",
       .prepare = prepare_store,
       .begin = begin_copying,
       .run = [](Session& s) { s.store->copy(*s.checkpoint); }},
      {.name = "scrub",
       .prepare = prepare_rotten,
       .begin = begin_open,
       .run = [](Session& s) { s.store->scrub(std::uint64_t{1} << 30); }},
      {.name = "save, compressed",
       .prepare = prepare_compressed,
       .begin = begin_keeping_only,
       .run = save},
      {.name = "load, compressed",
       .prepare = prepare_compressed,
       .begin = begin_loading,
       .run = load<LoadMode::kVerifyFirst>,
       .only_reads = true},
      {.name = "compress from now on",
       .prepare = prepare_store,
       .begin = begin_nothing,
       .run =
           [](Session& s) {
             s.store.emplace(s.directory, StoreOptions{.compression = Compression::kZstd});
           }},
      {.name = "replace", .prepare = prepare_store, .begin = begin_replacing, .run = save},
      {.name = "keep only", .prepare = prepare_store, .begin = begin_keeping_only, .run = save},
      {.name = "delete",
       .prepare = prepare_store,
       .begin = begin_deleting,
       .run = [](Session& s) { s.store->remove(s.ids); }},
      {.name = "pin",
       .prepare = prepare_store,
       .begin = begin_deleting,
       .run = [](Session& s) { s.store->set_pinned(s.ids, true); }},
      {.name = "compact",
       .prepare = prepare_store,
       .begin = begin_open,
       .run = [](Session& s) { s.store->compact(); }},
      {.name = "compact and compress",
       .prepare = prepare_store,
       .begin =
           [](Session& s) {
             s.store.emplace(s.directory, StoreOptions{.compression = Compression::kZstd});
           },
       .run = [](Session& s) { s.store->compact({.compress = true}); }},
      {.name = "load, verify first",
       .prepare = prepare_store,
       .begin = begin_loading,
       .run = load<LoadMode::kVerifyFirst>,
       .only_reads = true},
      {.name = "load, staged",
       .prepare = prepare_store,
       .begin = begin_loading,
       .run = load<LoadMode::kStaged>,
       .only_reads = true},
      {.name = "load, single pass",
       .prepare = prepare_store,
       .begin = begin_loading,
       .run = load<LoadMode::kSinglePass>,
       .only_reads = true},
      {.name = "list",
       .prepare = prepare_store,
       .begin = begin_reading,
       .run =
           [](Session& s) {
             const auto infos = s.store->checkpoints();
             s.store->stat();
             s.store->chunk_stats();
             s.store->find_by_name("b");
             s.store->bytes_freed_if_deleted(infos);
             s.store->open(infos.front().id);
           },
       .only_reads = true},
      {.name = "verify",
       .prepare = prepare_store,
       .begin = begin_reading,
       .run = [](Session& s) { s.store->verify(); },
       .only_reads = true},
      {.name = "export",
       .prepare = prepare_store,
       .begin = begin_loading,
       .run = [](Session& s) { write_safetensors(*s.checkpoint, s.file); },
       .only_reads = true},
      {.name = "backup",
       .prepare = prepare_store,
       .begin = begin_reading,
       .run = [](Session& s) { s.store->backup(s.file); },
       .only_reads = true},
      {.name = "backup again",
       .prepare = prepare_backed_up,
       .begin = begin_reading,
       .run = [](Session& s) { s.store->backup(s.directory / kBackup); },
       .only_reads = true,
       .held_besides = held_by_backup},
      {.name = "open for writing",
       .prepare = prepare_store,
       .begin = begin_nothing,
       .run = open_for_writing},
      {.name = "open read-only",
       .prepare = prepare_store,
       .begin = begin_nothing,
       .run = begin_reading,
       .only_reads = true},
      {.name = "create",
       .prepare = prepare_nothing,
       .begin = begin_nothing,
       .run = open_for_writing},
      {.name = "recovery",
       .prepare = prepare_stranded,
       .begin = begin_nothing,
       .run = open_for_writing},
      {.name = "rebuild",
       .prepare = prepare_without_catalog,
       .begin = begin_nothing,
       .run = open_for_writing},
      {.name = "rebuild over a bad catalog",
       .prepare = prepare_with_bad_catalog,
       .begin = begin_nothing,
       .run = open_for_writing},
      {.name = "repair",
       .prepare = prepare_scratched,
       .begin = begin_nothing,
       .run = repair,
       .needs_repair = true},
      {.name = "repair without a catalog",
       .prepare = prepare_without_catalog,
       .begin = begin_nothing,
       .run = repair},
      {.name = "repair that drops",
       .prepare = prepare_rotten,
       .begin = begin_nothing,
       .run = [](Session& s) { Store::repair(s.directory, {.drop_damaged = true}); },
       .needs_repair = true},
      {.name = "salvage",
       .prepare = prepare_rotten,
       .begin = begin_nothing,
       .run = salvage_anew,
       .only_reads = true,
       .held_besides = held_by_salvaged,
       .goes_in_steps = true},
      {.name = "salvage by scan",
       .prepare = prepare_scratched,
       .begin = begin_nothing,
       .run = salvage_anew,
       .only_reads = true,
       .needs_repair = true,
       .held_besides = held_by_salvaged,
       .goes_in_steps = true},
      {.name = "dry run",
       .prepare = prepare_scratched,
       .begin = begin_nothing,
       .run = [](Session& s) { Store::repair(s.directory, {.dry_run = true}); },
       .only_reads = true,
       .needs_repair = true},
  };
}

}  // namespace

State state_of(const Store& store) {
  State state;
  for (const CheckpointInfo& info : store.checkpoints()) {
    Held& held = state[info.name];
    held.pinned = info.pinned;
    held.damaged = info.damaged;
    try {
      held.contents = testing::contents(store.open(info.id));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDamaged) throw;
      held.damaged = true;
    }
  }
  return state;
}

Session::Session(fs::path at)
    : directory(std::move(at)), file(directory.parent_path() / "out.safetensors") {}

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = make_scenarios();
  return all;
}

CheckpointState other_state() {
  return state_numbered(9);
}

}  // namespace cairn::fault
