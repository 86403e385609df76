// Sequences of calls on a store, against a model of it in memory. Reopening is one of the calls;
// so is a crash, which goes on with copies of the files as they lie while the store is open.
#include "mend.h"

#include <cairn/store.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace {

using namespace cairn;

constexpr std::size_t kMaxSteps = 40;

struct ModelCheckpoint {
  std::string name{};
  bool pinned = false;
  bool damaged = false;
  std::int64_t step = 0;
  std::map<std::string, std::vector<std::byte>> tensors{};
};

class Session {
 public:
  Session(const fuzz::Scratch& scratch, fuzz::View input)
      : scratch_(scratch), script_(input), directory_(scratch.fresh("store-0")) {
    open_store();
  }

  void run() {
    for (std::size_t i = 0; i < kMaxSteps && !script_.empty(); ++i) {
      step();
      check_list();
    }
    check_all();
    const VerifyReport report = store_->verify();
    CAIRN_FUZZ_REQUIRE(report.ok && report.damaged.empty());
  }

 private:
  // Chunks as short as they may be: a large tensor has several, and buffers are short as well.
  void open_store() { store_.emplace(directory_, StoreOptions{.chunk_bytes = 65'536}); }

  void step() {
    switch (script_.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        save();
        break;
      case 4:
        remove();
        break;
      case 5:
        set_flag(true);
        break;
      case 6:
        set_flag(false);
        break;
      case 7:
        reopen();
        break;
      case 8:
        crash();
        break;
      case 9:
        check_all();
        break;
      case 10:
        if (reader_) {
          check_reader();
        } else if (!model_.empty()) {
          open_reader();
        }
        break;
      default:
        check_stat();
        break;
    }
  }

  std::string some_name() {
    static constexpr const char* kNames[] = {"", "a", "b", "c", "7", "x"};
    return kNames[script_.below(std::size(kNames))];
  }

  std::uint64_t some_id() {
    const std::size_t which = script_.below(model_.size() + 1);
    if (which == model_.size()) return 1000;  // there is none
    return std::next(model_.begin(), static_cast<std::ptrdiff_t>(which))->first;
  }

  void save() {
    ModelCheckpoint coming;
    coming.name = some_name();
    coming.step = script_.byte() % 4;
    const bool replace = script_.byte() % 2 == 0;
    const std::size_t keep = script_.below(5);  // 0: no rule
    static constexpr std::size_t kLengths[] = {0, 1, 15, 16, 17, 1000, 4096, 65535, 65536, 150'000};
    CheckpointState state(1 + script_.below(2));
    for (std::size_t r = 0; r < state.size(); ++r) {
      state[r].name = r == 0 ? "model" : "optimizer";
      const std::size_t tensors = script_.below(4);
      for (std::size_t t = 0; t < tensors; ++t) {
        const std::string key = "t" + std::to_string(t);
        // Few different bytes: much of it is stored already.
        auto& bytes = coming.tensors[state[r].name + "/" + key];
        bytes.assign(kLengths[script_.below(std::size(kLengths))],
                     static_cast<std::byte>(script_.below(4)));
        state[r].tensors.push_back({.key = key,
                                    .dtype = DType::kU8,
                                    .shape = {static_cast<std::int64_t>(bytes.size())},
                                    .data = bytes.data()});
      }
    }
    SaveOptions options{.meta = {{"step", coming.step}}, .name = coming.name, .replace = replace};
    if (keep != 0) {
      options.retention = [keep](std::span<const CheckpointInfo> infos) {
        std::vector<std::uint64_t> ids;
        for (const auto& decision :
             plan_retention(infos, {.num_to_keep = static_cast<int>(keep)}).deleted) {
          ids.push_back(decision.checkpoint.id);
        }
        return ids;
      };
    }
    const auto holder = std::find_if(model_.begin(), model_.end(), [&](const auto& entry) {
      return entry.second.name == coming.name;
    });
    const bool taken = !coming.name.empty() && holder != model_.end();
    SaveResult result;
    try {
      result = store_->save(state, options);
    } catch (const Error& error) {
      CAIRN_FUZZ_REQUIRE(error.code() == ErrorCode::kAlreadyExists && taken && !replace);
      return;
    }
    CAIRN_FUZZ_REQUIRE(!taken || replace);
    CAIRN_FUZZ_REQUIRE(result.saved.id >= next_id_);
    next_id_ = result.saved.id + 1;
    if (coming.name.empty()) coming.name = result.saved.name;
    CAIRN_FUZZ_REQUIRE(result.saved.name == coming.name);
    if (taken) {
      coming.pinned = holder->second.pinned;  // a pin passes to the checkpoint that replaces
      model_.erase(holder);
    }
    model_.emplace(result.saved.id, std::move(coming));
    if (keep != 0) apply_retention(keep);
    // A save may find that a checkpoint is whole which is said to be damaged, never the reverse.
    for (auto& [id, checkpoint] : model_) {
      const auto held = store_->find(id);
      if (held && !held->damaged) checkpoint.damaged = false;
    }
    for (const std::uint64_t id : result.deleted) CAIRN_FUZZ_REQUIRE(!model_.contains(id));
  }

  // The rule anew: the newest `keep` that are not pinned or damaged, and everything pinned; damaged
  // ones stay until so many are intact.
  void apply_retention(std::size_t keep) {
    std::size_t intact = 0;
    for (const auto& [id, checkpoint] : model_) {
      if (!checkpoint.damaged) ++intact;
    }
    std::size_t protected_count = 0;
    std::set<std::uint64_t> going;
    for (auto entry = model_.rbegin(); entry != model_.rend(); ++entry) {
      const ModelCheckpoint& checkpoint = entry->second;
      const bool counts = !checkpoint.damaged;
      const bool among_best = counts && protected_count < keep;
      if (counts) ++protected_count;
      if (among_best || checkpoint.pinned) continue;
      if (checkpoint.damaged && intact < keep) continue;
      going.insert(entry->first);
    }
    for (const std::uint64_t id : going) model_.erase(id);
  }

  void remove() {
    const std::uint64_t id = some_id();
    expect_not_found(id, [&] { store_->remove({&id, 1}); });
    model_.erase(id);
  }

  void set_flag(bool pin) {
    const std::uint64_t id = some_id();
    const bool value = script_.byte() % 2 == 0;
    expect_not_found(id, [&] {
      pin ? store_->set_pinned({&id, 1}, value) : store_->set_damaged({&id, 1}, value);
    });
    if (const auto entry = model_.find(id); entry != model_.end()) {
      (pin ? entry->second.pinned : entry->second.damaged) = value;
    }
  }

  template <typename Call>
  void expect_not_found(std::uint64_t id, const Call& call) {
    try {
      call();
      CAIRN_FUZZ_REQUIRE(model_.contains(id));
    } catch (const Error& error) {
      CAIRN_FUZZ_REQUIRE(error.code() == ErrorCode::kNotFound && !model_.contains(id));
    }
  }

  void reopen() {
    reader_.reset();
    store_.reset();
    open_store();
    CAIRN_FUZZ_REQUIRE(!store_->open_report().rebuilt_catalog);
  }

  // Everything acknowledged is in the files; LMDB's lock file and Cairn's lock die with a machine.
  void crash() {
    const bool lose_catalog = script_.byte() % 4 == 0;
    const auto copy = scratch_.fresh(which_ == 0 ? "store-1" : "store-0");
    which_ = 1 - which_;
    std::filesystem::copy_file(directory_ / "pack", copy / "pack");
    if (!lose_catalog) std::filesystem::copy_file(directory_ / "catalog.mdb", copy / "catalog.mdb");
    reader_.reset();
    store_.reset();
    directory_ = copy;
    open_store();
    CAIRN_FUZZ_REQUIRE(store_->open_report().rebuilt_catalog == lose_catalog);
  }

  void open_reader() {
    const std::uint64_t id = model_.begin()->first;
    reader_.emplace(store_->open(id));
    reader_holds_ = model_.begin()->second;
  }

  // What a handle reads stays, whatever became of its checkpoint.
  void check_reader() {
    check_contents(*reader_, reader_holds_);
    reader_.reset();
  }

  static void check_contents(const Checkpoint& checkpoint, const ModelCheckpoint& expected) {
    const auto tensors = checkpoint.tensors();
    CAIRN_FUZZ_REQUIRE(tensors.size() == expected.tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::string name =
          std::string(tensors[i].recoverable) + "/" + std::string(tensors[i].key);
      CAIRN_FUZZ_REQUIRE(fuzz::same_bytes(checkpoint.read(i), expected.tensors.at(name)));
    }
    CAIRN_FUZZ_REQUIRE(checkpoint.info().meta.get("step") == MetaValue(expected.step));
  }

  void check_list() {
    const auto infos = store_->checkpoints();
    CAIRN_FUZZ_REQUIRE(infos.size() == model_.size());
    auto expected = model_.rbegin();
    for (const CheckpointInfo& info : infos) {
      CAIRN_FUZZ_REQUIRE(info.id == expected->first && info.name == expected->second.name);
      CAIRN_FUZZ_REQUIRE(info.pinned == expected->second.pinned);
      CAIRN_FUZZ_REQUIRE(info.damaged == expected->second.damaged);
      ++expected;
    }
  }

  void check_all() {
    for (const auto& [id, expected] : model_) {
      check_contents(store_->open(id), expected);
      CAIRN_FUZZ_REQUIRE(store_->find_by_name(expected.name)->id == id);
    }
  }

  void check_stat() {
    const StoreStats stats = store_->stat();
    CAIRN_FUZZ_REQUIRE(stats.checkpoints == model_.size());
    std::uint64_t logical = 0;
    for (const auto& [id, checkpoint] : model_) {
      for (const auto& [name, bytes] : checkpoint.tensors) logical += bytes.size();
    }
    CAIRN_FUZZ_REQUIRE(stats.logical_bytes == logical);
    CAIRN_FUZZ_REQUIRE(stats.reusable_bytes <= stats.free_bytes);
  }

  const fuzz::Scratch& scratch_;
  fuzz::Script script_;
  std::filesystem::path directory_;
  int which_ = 0;
  std::optional<Store> store_;
  std::optional<Checkpoint> reader_;
  ModelCheckpoint reader_holds_;
  std::map<std::uint64_t, ModelCheckpoint> model_;  // by id
  std::uint64_t next_id_ = 1;
};

}  // namespace

CAIRN_FUZZ_MEND([](std::span<std::byte>) {});

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Scratch scratch;
  try {
    Session(scratch, fuzz::as_view(data, size)).run();
  } catch (const Error& error) {
    std::fprintf(stderr, "unexpected: %s\n", error.what());
    std::abort();
  }
  return 0;
}
