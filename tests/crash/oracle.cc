#include "crash/oracle.h"

#include "base/checked.h"
#include "catalog/catalog.h"
#include "crash/crash_states.h"
#include "pack/pack_file.h"
#include "store/rebuild.h"
#include "support/states.h"

#include <cairn/error.h>
#include <cairn/store.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <stdexcept>
#include <utility>

namespace cairn::crash {
namespace {

void require(bool holds, const std::string& otherwise) {
  if (!holds) throw std::runtime_error(otherwise);
}

CheckpointState probe() {
  return testing::model({testing::tensor("probe", testing::pattern(99, 6000))});
}

void check_partition(std::vector<format::Extent> extents, std::uint64_t data_end) {
  std::sort(extents.begin(), extents.end());
  std::uint64_t end = format::kDataBegin;
  for (const format::Extent& extent : extents) {
    require(extent.offset == end,
            (extent.offset < end ? "extents overlap at " : "space leaks at ") +
                std::to_string(std::min(extent.offset, end)));
    end += base::round_up(extent.bytes, format::kAlignment);
  }
  require(end == data_end,
          "extents end at " + std::to_string(end) + ", data at " + std::to_string(data_end));
}

}  // namespace

void check_structure(const std::filesystem::path& store) {
  const auto catalog = catalog::Catalog::open(store / "catalog.mdb", catalog::Mode::kReadOnly);
  const auto pack = pack::PackFile::open(store / "pack", io::File::Access::kRead);
  const catalog::ReadTransaction view = catalog.read();
  const catalog::InfoRow info = view.info();

  const pack::SlotTable slots = pack.read_slots();
  require(slots.highest_sequence() == info.sequence, "a slot is newer than the catalog");
  const format::Slot* slot = slots.find(info.sequence);
  require(slot != nullptr && slot->root == info.root && slot->data_end == info.data_end,
          "the slot is not that of the committed root");
  const format::Root root = pack.read_root_copy(info.root.first, info.root.digest, info.data_end);
  require(root == pack.read_root_copy(info.root.second, info.root.digest, info.data_end),
          "the copies of the root differ");
  require(root.sequence == info.sequence && root.next_id == info.next_id,
          "root and catalog differ");
  require(pack.file().bytes() >= info.data_end, "the pack is too short");

  std::vector<format::Extent> extents{info.root.first, info.root.second};
  std::map<catalog::ChunkKey, std::pair<std::uint64_t, std::uint64_t>> chunks;  // offset, count
  std::size_t position = 0;
  view.for_each_checkpoint([&](const catalog::CheckpointRow& row) {
    require(position < root.checkpoints.size(), "the root lists too few checkpoints");
    const format::RootEntry& entry = root.checkpoints[position++];
    require(entry.id == row.id && entry.name == row.name && entry.pinned == row.pinned &&
                entry.damaged == row.damaged && entry.index == row.index &&
                entry.index_digest == row.index_digest && !row.damaged,
            "the root lists another checkpoint " + row.name);
    extents.push_back(row.index);
    const format::Index index = pack.read_index(row.index, row.index_digest, info.data_end);
    for (const format::ChunkRef& chunk : index.chunks) {
      const auto [at, is_new] =
          chunks.try_emplace({.id = chunk.id, .plain_bytes = chunk.plain_bytes}, chunk.offset, 0);
      if (is_new) extents.push_back({.offset = chunk.offset, .bytes = chunk.stored_bytes});
      require(at->second.first == chunk.offset, "a chunk has two places");
      ++at->second.second;
    }
  });
  require(position == root.checkpoints.size(), "the root lists too many checkpoints");

  std::size_t rows = 0;
  view.for_each_chunk([&](const catalog::ChunkKey& key, const catalog::ChunkRow& row) {
    ++rows;
    const auto at = chunks.find(key);
    require(at != chunks.end(), "the catalog has a chunk that no index has");
    require(at->second == std::pair(row.offset, row.references),
            "the catalog places or counts a chunk wrongly");
  });
  require(rows == chunks.size(), "the catalog lacks a chunk");
  view.for_each_free([&](const catalog::FreeRow& row) {
    extents.push_back({.offset = row.offset, .bytes = row.bytes});
  });
  check_partition(std::move(extents), info.data_end);
}

Oracle::Oracle(std::filesystem::path work, std::string store)
    : work_(std::move(work)), store_(std::move(store)) {
  write_tree({}, work_);
  Store writer(work_ / "any");
  writer.save(probe());
  const Checkpoint reader = writer.open(writer.checkpoints().front().id);
  left_lock_ = testing::read_file(work_ / "any/catalog.mdb-lock");
}

std::filesystem::path Oracle::lay_out(const Tree& tree) {
  write_tree(tree, work_);
  const auto fate = static_cast<unsigned>(digest_of(tree).bytes[0]) % 4;
  if (fate == 0 || !tree.files.contains(store_ + "/pack")) return work_;
  Bytes lock = left_lock_;
  if (fate == 2) lock.clear();
  if (fate == 3) std::fill_n(lock.begin(), kSectorBytes, std::byte{0});
  testing::write_file(store_path() / "catalog.mdb-lock", lock);
  return work_;
}

std::optional<Tree> Oracle::without_catalog(const Tree& tree) const {
  Tree bare = tree;
  if (bare.files.erase(store_ + "/catalog.mdb") == 0) return std::nullopt;
  if (!bare.files.contains(store_ + "/pack")) return std::nullopt;
  return bare;
}

void Oracle::judge_read_only(const Tree& tree, const Expectation& expected,
                             const Judgement& how) const {
  try {
    const Store store(store_path(), {.read_only = true});
    const Model held = model_of(store);
    const bool legal = std::any_of(expected.models.begin(), expected.models.end(),
                                   [&](const Model* model) { return *model == held; });
    require(legal, "opened for reading, it holds " + describe(held));
  } catch (const Error& error) {
    // Only a writer can finish what was cut short, a store or a catalog in the making, and only
    // what mends can bring rotten bytes back.
    const bool is_sent_to_repair =
        error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kNotFound;
    const bool may_be = !has_catalog() || expected.heals_with != nullptr || how.is_damaged;
    require(is_sent_to_repair && may_be, std::string("opening for reading: ") + error.what());
  }
  const auto is_lmdb_lock = [](std::string_view path) { return path.ends_with("-lock"); };
  require(read_tree(work_, is_lmdb_lock) == tree, "opening for reading changed a file");
}

// A newer root may be there, torn or whole; whatever has been written, it was not written over what
// the committed root and its parent refer to.
void Oracle::judge_parent() const {
  try {
    const auto catalog =
        catalog::Catalog::open(store_path() / "catalog.mdb", catalog::Mode::kReadOnly);
    const auto pack = pack::PackFile::open(store_path() / "pack", io::File::Access::kRead);
    const catalog::InfoRow info = catalog.read().info();
    const pack::SlotTable slots = pack.read_slots();
    const format::Slot* parent = slots.find(info.parent_sequence);
    if (parent == nullptr || parent->root.digest != info.parent_digest) {
      require(info.parent_sequence == 0, "the slot of the committed root's parent is gone");
      return;
    }
    const format::Root root = pack.read_root(parent->root, parent->data_end);
    for (const format::RootEntry& entry : root.checkpoints) {
      const auto index = pack.read_index(entry.index, entry.index_digest, parent->data_end);
      const auto damaged = store::check_chunks(pack, index);
      require(damaged.empty(), "the committed root's parent is not whole: its " + entry.name);
    }
  } catch (const Error& error) {
    const bool no_catalog = error.path().filename() == "catalog.mdb";
    if (!no_catalog && error.code() != ErrorCode::kNotFound) {
      throw std::runtime_error(std::string("the committed root's parent: ") + error.what());
    }
  }
}

Model Oracle::judge_opening(const std::vector<const Model*>& models, const Expectation& expected,
                            bool may_rebuild) const {
  const bool had_catalog = has_catalog();
  const Store store(store_path(), {.chunk_bytes = 65536});
  // It gets its name when it is durable, and changes by transactions from then on.
  require(may_rebuild || !had_catalog || !store.open_report().rebuilt_catalog,
          "a crash alone has made the catalog unusable");
  require(!(store.open_report().created && expected.store_exists), "the store was gone");
  Model held = model_of(store);
  const auto& legal =
      store.open_report().rebuilt_catalog ? expected.models_without_catalog : models;
  if (std::none_of(legal.begin(), legal.end(),
                   [&](const Model* model) { return *model == held; })) {
    std::string text = "it holds " + describe(held) + "; legal:";
    for (const Model* model : legal) text += " " + describe(*model);
    for (const std::string& note : store.open_report().notes) text += "; note: " + note;
    throw std::runtime_error(text);
  }
  check_structure(store_path());
  const VerifyReport report = store.verify();
  require(report.ok, "verify: " + (report.damaged.empty() ? "" : report.damaged.front().message));
  return held;
}

void Oracle::judge_equal(const Model& held) const {
  const Store store(store_path());
  const Model now = model_of(store);
  require(now == held, "opened again, it holds " + describe(now) + " instead of " + describe(held));
  check_structure(store_path());
  const VerifyReport report = store.verify();
  require(report.ok, "verify: " + (report.damaged.empty() ? "" : report.damaged.front().message));
}

Model Oracle::judge_working(Model held) const {
  {
    Store store(store_path());
    const CheckpointState state = probe();
    const SaveResult result = store.save(state, {.name = "probe"});
    held["probe"] = {.contents = testing::contents(state), .meta = without_time(result.saved.meta)};
    if (const auto all = store.checkpoints(); all.size() > 1) {
      held.erase(all.back().name);
      store.remove({{all.back().id}});
    }
    require(model_of(store) == held, "after a save and a deletion it holds " +
                                         describe(model_of(store)) + ", not " + describe(held));
  }
  judge_equal(held);
  return held;
}

// Nothing but one chunk has suffered, wherever the crash cut its mending short.
void Oracle::judge_healing(const Expectation& expected) const {
  Store store(store_path(), {.heal_every = 1});
  require(!store.open_report().rebuilt_catalog, "a crash alone has made the catalog unusable");
  store.save(*expected.heals_with, {.name = "healer"});
  Model held = model_of(store);
  require(held.at("healer").contents == testing::contents(*expected.heals_with),
          "a save that mends holds other bytes");
  held.erase("healer");
  require(std::any_of(expected.models.begin(), expected.models.end(),
                      [&](const Model* model) { return *model == held; }),
          "mended, it holds " + describe(held));
  check_structure(store_path());
  const VerifyReport report = store.verify();
  require(report.ok,
          "mended, verify: " + (report.damaged.empty() ? "" : report.damaged.front().message));
}

std::optional<Rot> Oracle::choose_rot(const Tree& tree, std::mt19937_64& random) {
  lay_out(tree);
  if (!has_catalog()) return std::nullopt;
  const auto catalog =
      catalog::Catalog::open(store_path() / "catalog.mdb", catalog::Mode::kReadOnly);
  const auto pack = pack::PackFile::open(store_path() / "pack", io::File::Access::kRead);
  const catalog::InfoRow info = catalog.read().info();
  struct Place {
    format::Extent extent{};
    std::set<std::string> touches{};
  };
  std::map<std::uint64_t, Place> chunks;
  for (const format::RootEntry& entry : pack.read_root(info.root, info.data_end).checkpoints) {
    const auto index = pack.read_index(entry.index, entry.index_digest, info.data_end);
    for (const format::ChunkRef& chunk : index.chunks) {
      Place& place = chunks[chunk.offset];
      place.extent = {.offset = chunk.offset, .bytes = chunk.stored_bytes};
      place.touches.insert(entry.name);
    }
  }
  if (chunks.empty()) return std::nullopt;
  const auto place = std::next(chunks.begin(), static_cast<long>(random() % chunks.size()))->second;
  return Rot{.offset = place.extent.offset + random() % place.extent.bytes,
             .touches = place.touches};
}

void Oracle::judge_rotten(const std::vector<const Model*>& models, const Rot& rot,
                          bool has_catalog) const {
  std::set<std::string> damaged;
  Model whole;
  {
    Store store(store_path(), {.chunk_bytes = 65536});
    whole = model_of(store, damaged);
    const auto fits = [&](const Model& model) {
      return std::all_of(model.begin(), model.end(), [&](const auto& one) {
        const auto& [name, saved] = one;
        if (const auto held = whole.find(name); held != whole.end()) {
          // Where the catalog is lost an older one of the name may have come back.
          return held->second == saved || (!has_catalog && rot.touches.contains(name));
        }
        return damaged.contains(name) || (!has_catalog && rot.touches.contains(name));
      });
    };
    require(
        std::any_of(models.begin(), models.end(), [&](const Model* model) { return fits(*model); }),
        "it holds " + describe(whole) + " and lacks what the rot does not touch");
    require(!has_catalog || damaged == rot.touches, "what is refused is not what the rot touches");
    std::set<std::string> found;
    for (const Damage& damage : store.verify().damaged) {
      require(damage.what == "chunk" && damage.pack_offset <= rot.offset &&
                  rot.offset < damage.pack_offset + damage.bytes,
              "verify: " + damage.message);
      for (const DamagedTensor& touched : damage.touches) found.insert(touched.checkpoint_name);
    }
    require(found == damaged, "verify names other checkpoints than are refused");
    const CheckpointState state = probe();
    const SaveResult result = store.save(state, {.name = "probe"});
    whole["probe"] = {.contents = testing::contents(state),
                      .meta = without_time(result.saved.meta)};
    for (const CheckpointInfo& info : store.checkpoints()) {
      if (!damaged.contains(info.name)) continue;
      store.remove({{info.id}});
      damaged.erase(info.name);
      break;
    }
  }
  std::set<std::string> still_damaged;
  const Model now = model_of(Store(store_path()), still_damaged);
  require(now == whole && still_damaged == damaged,
          "after a save and a deletion it holds " + describe(now) + ", not " + describe(whole));
}

std::optional<std::string> Oracle::judge_with_rot(const Tree& tree, const Expectation& expected,
                                                  const Rot& rot) {
  std::string stage = "with rot at " + std::to_string(rot.offset);
  try {
    lay_out(tree);
    testing::flip_byte(store_path() / "pack", rot.offset);
    judge_rotten(expected.models, rot, true);
    stage += ", without its catalog";
    if (const auto bare = without_catalog(tree)) {
      lay_out(*bare);
      testing::flip_byte(store_path() / "pack", rot.offset);
      judge_rotten(expected.models_without_catalog, rot, false);
    }
  } catch (const std::exception& error) {
    return stage + ": " + error.what();
  }
  return std::nullopt;
}

bool Oracle::has_catalog() const {
  return std::filesystem::exists(store_path() / "catalog.mdb");
}

void Oracle::lose_catalog() const {
  std::filesystem::remove(store_path() / "catalog.mdb");
}

std::optional<std::string> Oracle::judge(const Tree& tree, const Expectation& expected,
                                         const Judgement& how) {
  std::string stage = "as the crash left it";
  try {
    lay_out(tree);
    if (how.read_only && tree.files.contains(store_ + "/pack"))
      judge_read_only(tree, expected, how);
    if (expected.heals_with != nullptr) {
      stage = "with a rotten chunk";
      judge_healing(expected);
      return std::nullopt;
    }
    if (how.parent_is_whole) judge_parent();
    const Model held = judge_opening(expected.models, expected, how.is_damaged);

    // What was seen must stay, also when the catalog is lost next.
    stage = "opened, then without its catalog";
    lose_catalog();
    judge_equal(held);
    stage = "a save and a deletion later";
    judge_working(held);

    if (const auto bare = without_catalog(tree)) {
      stage = "without its catalog";
      lay_out(*bare);
      const Model rebuilt = judge_opening(expected.models_without_catalog, expected, true);
      stage = "rebuilt, a save and a deletion later";
      judge_working(rebuilt);
    }
  } catch (const std::exception& error) {
    return stage + ": " + error.what();
  }
  return std::nullopt;
}

}  // namespace cairn::crash
