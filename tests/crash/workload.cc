#include "crash/workload.h"

#include "support/states.h"

#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace cairn::crash {
namespace {

constexpr std::uint64_t kSeed = 20;  // of the clock and the random bytes that a workload sees

/// A job that trains: a few recoverables, each at some version.
class Job {
 public:
  Job(std::filesystem::path directory, Recorder& recorder, Interference interference)
      : directory_(std::move(directory)),
        recorder_(recorder),
        interference_(std::move(interference)) {}

  void make() {
    models_.emplace_back();
    open();
    recorder_.note("done 0");
  }

  void run(Operation operation) {
    switch (operation) {
      case Operation::kSaveNew:
        advance(versions_.size());
        save(next_name());
        break;
      case Operation::kSaveUnchanged:
        save(next_name());
        break;
      case Operation::kSaveChangingSome:
        advance(1);
        save(next_name());
        break;
      case Operation::kSaveLarge:
        advance(1);
        save(next_name(), {}, true);
        break;
      case Operation::kKeepOnly:
        advance(2);
        save(next_name(), [](std::span<const CheckpointInfo> all) {
          std::vector<std::uint64_t> going;
          for (std::size_t i = 2; i < all.size(); ++i) {
            if (!all[i].pinned) going.push_back(all[i].id);
          }
          return going;
        });
        break;
      case Operation::kDelete:
        remove_oldest();
        break;
      case Operation::kPin:
        pin_newest();
        break;
      case Operation::kReplace:
        advance(1);
        save(names_.empty() ? next_name() : names_.back());
        break;
      case Operation::kReuse:
        remove_oldest();
        pin_newest();
        pin_newest();
        advance(versions_.size());
        save(next_name());
        break;
      case Operation::kAbort:
        advance(versions_.size());
        abort();
        break;
      case Operation::kCompact:
        begin(model());
        store_->compact();
        done();
        break;
      case Operation::kReopen:
        reopen();
        break;
      case Operation::kRead:
        if (const auto newest = newest_info()) {
          readers_.push_back({store_->open(newest->id), model().at(newest->name).contents});
        }
        break;
      case Operation::kLoseCatalog:
        lose_catalog();
        break;
    }
    check();
  }

  std::vector<Model> take_models() { return std::move(models_); }

 private:
  struct Reader {
    Checkpoint checkpoint;
    testing::Contents contents{};
  };

  const Model& model() const { return models_.at(acknowledged_); }
  std::string next_name() { return std::to_string(++last_name_); }

  void advance(std::size_t how_many) {
    for (std::size_t i = 0; i < how_many; ++i) ++versions_[next_to_change_++ % versions_.size()];
  }

  CheckpointState state(bool large) const {
    CheckpointState state;
    for (std::size_t i = 0; i < versions_.size(); ++i) {
      RecoverableState part;
      part.name = "part" + std::to_string(i);
      part.tensors.push_back(
          testing::tensor("weight", testing::pattern(versions_[i] * 10 + i, 2500 * (i + 1))));
      part.values = {{"version", static_cast<std::int64_t>(versions_[i])}};
      state.push_back(std::move(part));
    }
    if (large) {
      state[0].tensors.push_back(testing::tensor("large", testing::pattern(versions_[0], 70'000)));
    }
    return state;
  }

  std::optional<CheckpointInfo> newest_info() const {
    const auto all = store_->checkpoints();
    return all.empty() ? std::nullopt : std::optional(all.front());
  }

  void open() {
    store_.emplace(directory_, StoreOptions{.chunk_bytes = 65536});
    recorder_.note("opened");
  }

  void reopen() {
    readers_.clear();
    store_.reset();
    open();
  }

  void lose_catalog() {
    if (in_doubt_) reopen();  // so that it is known what a rebuild must find
    in_doubt_ = false;
    readers_.clear();
    store_.reset();
    if (::unlink((directory_ / "catalog.mdb").c_str()) != 0) throw std::runtime_error("no catalog");
    open();
  }

  void begin(Model next, const char* how = "begin") {
    models_.push_back(std::move(next));
    recorder_.note(how + (" " + std::to_string(models_.size() - 1)));
  }

  void done() {
    acknowledged_ = models_.size() - 1;
    recorder_.note("done " + std::to_string(acknowledged_));
    in_doubt_ = false;
  }

  Saved saved(const CheckpointState& state, const SaveOptions& options) const {
    Saved saved{.contents = testing::contents(state), .meta = options.meta};
    saved.meta.set("end-of-epoch", true);
    return saved;
  }

  void save(const std::string& name, const RetentionCallback& retention = {}, bool large = false) {
    const CheckpointState now = state(large);
    SaveOptions options{.meta = {{"step", static_cast<std::int64_t>(models_.size())}},
                        .name = name,
                        .replace = true,
                        .retention = retention};
    Model next = model();
    const bool was_pinned = next.contains(name) && next.at(name).pinned;
    next[name] = saved(now, options);
    next[name].pinned = was_pinned;  // a pin passes to the checkpoint that replaces
    std::vector<std::string> names = names_;
    std::erase(names, name);
    names.push_back(name);
    if (retention) {
      std::vector<std::string> kept;
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (i + 2 >= names.size() || next.at(names[i]).pinned) {
          kept.push_back(names[i]);
        } else {
          next.erase(names[i]);
        }
      }
      names = std::move(kept);
    }
    begin(std::move(next));
    store_->save(now, options);
    names_ = std::move(names);
    done();
  }

  void remove_oldest() {
    if (names_.empty()) return;
    Model next = model();
    next.erase(names_.front());
    begin(std::move(next));
    store_->remove({{store_->find_by_name(names_.front())->id}});
    names_.erase(names_.begin());
    done();
  }

  void pin_newest() {
    if (names_.empty()) return;
    Model next = model();
    Saved& newest = next.at(names_.back());
    newest.pinned = !newest.pinned;
    const bool pinned = newest.pinned;
    begin(std::move(next));
    store_->set_pinned({{store_->find_by_name(names_.back())->id}}, pinned);
    done();
  }

  void abort() {
    const CheckpointState now = state(false);
    const SaveOptions options{.meta = {{"step", static_cast<std::int64_t>(models_.size())}},
                              .name = next_name()};
    Model next = model();
    next[options.name] = saved(now, options);
    // What a stranded commit finds superseded first is no longer in doubt.
    begin(std::move(next), "abort");
    bool slot_is_written = false;
    Interference interference = interference_;
    interference.fails_with = [&](const Call& call) {
      if (call.kind == EventKind::kSync && call.name == "pack") slot_is_written = true;
      const bool fails =
          slot_is_written && call.kind == EventKind::kWrite && call.name == "catalog.mdb";
      return fails ? ENOSPC : 0;
    };
    recorder_.set_interference(interference);
    bool failed = false;
    try {
      store_->save(now, options);
    } catch (const Error& error) {
      failed = error.code() == ErrorCode::kNoSpace;
      if (!failed) throw;
    }
    recorder_.set_interference(interference_);
    if (!failed) throw std::runtime_error("a save went through although the catalog had no space");
    recorder_.note("failed " + std::to_string(models_.size() - 1));
    in_doubt_ = true;
  }

  /// The live store and every open reader show what they must.
  void check() {
    if (model_of(*store_) != model()) {
      throw std::runtime_error("the open store holds " + describe(model_of(*store_)) + ", not " +
                               describe(model()));
    }
    for (const Reader& reader : readers_) {
      if (testing::contents(reader.checkpoint) != reader.contents) {
        throw std::runtime_error("an open reader sees other bytes than it did");
      }
    }
  }

  std::filesystem::path directory_;
  Recorder& recorder_;
  Interference interference_;
  std::optional<Store> store_;
  std::vector<Reader> readers_;
  std::array<std::uint64_t, 3> versions_{1, 1, 1};
  std::size_t next_to_change_ = 0;
  std::size_t last_name_ = 0;
  std::vector<std::string> names_;  // oldest first
  std::vector<Model> models_;
  std::size_t acknowledged_ = 0;
  bool in_doubt_ = false;
};

constexpr std::array<std::string_view, 14> kNames = {
    "save new",   "save unchanged", "save changing some",
    "save large", "keep only",      "delete",
    "pin",        "replace",        "reuse",
    "abort",      "compact",        "reopen",
    "read",       "lose catalog"};

}  // namespace

std::string_view name_of(Operation operation) {
  return kNames.at(static_cast<std::size_t>(operation));
}

std::string describe(std::span<const Operation> operations) {
  std::string text = "make";
  for (const Operation operation : operations) text += ", " + std::string(name_of(operation));
  return text;
}

std::vector<Operation> random_operations(std::size_t count, std::mt19937_64& random) {
  std::vector<Operation> operations;
  while (operations.size() < count) {
    operations.push_back(kOperations[random() % std::size(kOperations)]);
  }
  return operations;
}

Recording record(std::span<const Operation> operations, const std::filesystem::path& directory,
                 const Interference& interference) {
  const Determinism determinism(kSeed);
  Recorder recorder(directory, interference);
  Recording recording;
  {
    Job job(directory / kStorePath, recorder, interference);
    try {
      job.make();
      for (const Operation operation : operations) job.run(operation);
    } catch (const std::exception& error) {
      recording.failure = error.what();
    }
    recording.models = job.take_models();
  }
  recording.log = recorder.finish();
  return recording;
}

}  // namespace cairn::crash
