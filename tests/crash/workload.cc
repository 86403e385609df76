#include "crash/workload.h"

#include "pack/pack_file.h"
#include "support/states.h"

#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <unistd.h>
#include <utility>

namespace cairn::crash {
namespace {

constexpr std::uint64_t kSeed = 20;  // of the clock and the random bytes that a workload sees

constexpr std::size_t kLargeBytes = 70'000;
constexpr std::size_t kDirectBytes = 1'050'000;  // the pack writes 1 MiB and more directly

/// Holds back the events of all threads but the one that made it, while it is closed.
class Gate {
 public:
  void set_open(bool is_open) {
    const std::lock_guard lock(mutex_);
    is_open_ = is_open;
    changed_.notify_all();
  }
  void pass() {
    if (std::this_thread::get_id() == owner_) return;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_open_; });
  }

 private:
  const std::thread::id owner_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = true;
};

/// A job that trains: a few recoverables, each at some version.
///
/// An asynchronous save is held back before its first event until the next change has begun, or the
/// job waits for it. So at every event of it the next change is in flight, too, and equal workloads
/// make equal logs. That its future is ready is noted before the next event, whoever makes that.
class Job {
 public:
  Job(const std::filesystem::path& top, Recorder& recorder, Interference interference)
      : directory_(top / kStorePath),
        other_(top.parent_path() / "other-store"),
        recorder_(recorder),
        interference_(std::move(interference)) {
    interference_.before = [this] {
      gate_.pass();
      note_ready();
    };
    recorder_.set_interference(interference_);
  }

  ~Job() {
    gate_.set_open(true);
    store_.reset();
    recorder_.set_interference({});
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  void make() {
    models_.emplace_back();
    open();
    recorder_.note("done 0");
  }

  /// Takes over the store that is there, as it is.
  void adopt() {
    open();
    models_.push_back(model_of(*store_));
    for (const CheckpointInfo& info : store_->checkpoints()) {
      names_.insert(names_.begin(), info.name);
    }
    last_name_ = 1000;
    versions_.fill(1000);
    recorder_.note("done 0");
  }

  void finish() { settle(); }

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
        save(next_name(), {}, kLargeBytes);
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
        store_->compact({.compress = store_->stat().compressed});
        done();
        break;
      case Operation::kReopen:
        reopen();
        break;
      case Operation::kRead:
        if (const auto newest = newest_info()) {
          readers_.push_back(
              {store_->open(newest->id), models_.at(acknowledged_).at(newest->name).contents});
        }
        break;
      case Operation::kLoseCatalog:
        lose_catalog();
        break;
      case Operation::kSaveAsync:
        advance(2);
        save_async();
        break;
      case Operation::kSaveDirect:
        advance(1);
        save(next_name(), {}, kDirectBytes);
        break;
      case Operation::kCopy:
        advance(1);
        copy_from_other();
        break;
      case Operation::kHeal:
        heal();
        break;
      case Operation::kCompress:
        compression_ = Compression::kZstd;
        reopen();
        break;
    }
    check();
  }

  std::vector<Model> take_models() { return std::move(models_); }
  std::vector<CheckpointState> take_states() { return std::move(states_); }

 private:
  struct Reader {
    Checkpoint checkpoint;
    testing::Contents contents{};
  };

  /// A change whose future is not known to be ready.
  struct Pending {
    std::size_t number = 0;
    std::shared_ptr<SaveFuture<SaveResult>> future{};
  };

  /// When all that has begun is done.
  const Model& model() const { return models_.at(newest_); }
  std::string next_name() { return std::to_string(++last_name_); }

  void advance(std::size_t how_many) {
    for (std::size_t i = 0; i < how_many; ++i) ++versions_[next_to_change_++ % versions_.size()];
  }

  CheckpointState state(std::size_t large_bytes = 0) const {
    CheckpointState state;
    for (std::size_t i = 0; i < versions_.size(); ++i) {
      RecoverableState part;
      part.name = "part" + std::to_string(i);
      part.tensors.push_back(testing::tensor(
          "weight", testing::coarse_pattern(versions_[i] * 10 + i, 2500 * (i + 1))));
      part.values = {{"version", static_cast<std::int64_t>(versions_[i])}};
      state.push_back(std::move(part));
    }
    if (large_bytes > 0) {
      state[0].tensors.push_back(
          testing::tensor("large", testing::pattern(versions_[0], large_bytes)));
    }
    return state;
  }

  std::optional<CheckpointInfo> newest_info() const {
    const auto all = store_->checkpoints();
    return all.empty() ? std::nullopt : std::optional(all.front());
  }

  void open() {
    store_.emplace(directory_, StoreOptions{.chunk_bytes = 65536, .compression = compression_});
    recorder_.note("opened");
  }

  void reopen() {
    readers_.clear();
    gate_.set_open(true);
    store_.reset();
    if (note_ready() > 0) throw std::runtime_error("closing did not wait for a save on its way");
    open();
  }

  void lose_catalog() {
    settle();
    if (in_doubt_) reopen();  // so that it is known what a rebuild must find
    in_doubt_ = false;
    readers_.clear();
    store_.reset();
    if (::unlink((directory_ / "catalog.mdb").c_str()) != 0) throw std::runtime_error("no catalog");
    open();
  }

  void begin(Model next, const char* how = "begin") {
    models_.push_back(std::move(next));
    newest_ = models_.size() - 1;
    recorder_.note(how + (" " + std::to_string(newest_)));
    gate_.set_open(true);
  }

  void done() {
    note_ready();
    acknowledged_ = newest_;
    recorder_.note("done " + std::to_string(acknowledged_));
    in_doubt_ = false;
  }

  /// Says which futures are ready, and returns how many are not.
  std::size_t note_ready() {
    const std::lock_guard lock(pending_mutex_);
    while (!pending_.empty() && pending_.front().future->ready()) {
      acknowledged_ = pending_.front().number;
      recorder_.note("done " + std::to_string(acknowledged_));
      pending_.erase(pending_.begin());
    }
    return pending_.size();
  }

  /// Waits for what is in flight.
  void settle() {
    gate_.set_open(true);
    std::vector<Pending> waited_for;
    {
      const std::lock_guard lock(pending_mutex_);
      waited_for = pending_;
    }
    for (const Pending& one : waited_for) one.future->get();
    note_ready();
  }

  std::uint64_t id_of(const std::string& name) {
    if (!store_->find_by_name(name)) settle();
    return store_->find_by_name(name).value().id;
  }

  Saved saved(const CheckpointState& state, const SaveOptions& options) const {
    Saved saved{.contents = testing::contents(state), .meta = options.meta};
    saved.meta.set("end-of-epoch", true);
    return saved;
  }

  SaveResult save(const std::string& name, const RetentionCallback& retention = {},
                  std::size_t large_bytes = 0) {
    const CheckpointState now = state(large_bytes);
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
    SaveResult result = store_->save(now, options);
    names_ = std::move(names);
    done();
    return result;
  }

  void save_async() {
    // What the state is made of is the caller's again as soon as the call returns.
    CheckpointState now = state();
    std::vector<std::shared_ptr<testing::Bytes>> memory;
    for (RecoverableState& part : now) {
      for (TensorInput& tensor : part.tensors) {
        const auto* data = static_cast<const std::byte*>(tensor.data);
        const auto bytes = static_cast<std::size_t>(tensor.shape.at(0));
        memory.push_back(std::make_shared<testing::Bytes>(data, data + bytes));
        tensor.data = memory.back()->data();
        tensor.owner = memory.back();
      }
    }
    const SaveOptions options{.meta = {{"step", static_cast<std::int64_t>(models_.size())}},
                              .name = next_name()};
    Model next = model();
    next[options.name] = saved(now, options);
    const bool follows_another = note_ready() > 0;
    begin(std::move(next));
    if (!follows_another) gate_.set_open(false);
    auto future = std::make_shared<SaveFuture<SaveResult>>(store_->save_async(now, options));
    for (const auto& bytes : memory) std::fill(bytes->begin(), bytes->end(), std::byte{0xee});
    {
      const std::lock_guard lock(pending_mutex_);
      pending_.push_back({.number = newest_, .future = std::move(future)});
    }
    names_.push_back(options.name);
    in_doubt_ = false;
    if (follows_another) settle();
  }

  void copy_from_other() {
    const CheckpointState now = state();
    const SaveOptions options{.meta = {{"step", static_cast<std::int64_t>(models_.size())}},
                              .name = next_name()};
    std::filesystem::remove_all(other_);
    Store other(other_, {.chunk_bytes = 65536});
    const std::uint64_t id = other.save(now, options).saved.id;
    Model next = model();
    next[options.name] = saved(now, options);
    begin(std::move(next));
    store_->copy(other.open(id));
    names_.push_back(options.name);
    done();
  }

  void heal() {
    settle();
    save(next_name());
    states_.push_back(state());
    recorder_.note("rot " + std::to_string(states_.size() - 1));
    let_rot(id_of(names_.back()));
    begin(model());
    if (store_->scrub(std::uint64_t{1} << 30).marked.empty()) {
      throw std::runtime_error("a scrub did not find a rotten chunk");
    }
    done();
    if (save(next_name()).healed_chunks != 2) {
      throw std::runtime_error("a save did not mend both rotten chunks");
    }
    recorder_.note("healed");
  }

  /// Damages the first and the last chunk of a checkpoint, on the disk; the last one is compressed
  /// if any is.
  void let_rot(std::uint64_t id) {
    const std::filesystem::path path = directory_ / "pack";
    const std::vector<format::ChunkRef> chunks = chunks_of(id, path);
    const testing::Bytes wrong(1200, std::byte{0x55});
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    bool put = fd >= 0;
    for (const format::ChunkRef& chunk : {chunks.front(), chunks.back()}) {
      put = put && ::pwrite(fd, wrong.data(), wrong.size(), static_cast<off_t>(chunk.offset)) ==
                       static_cast<ssize_t>(wrong.size());
    }
    put = put && ::fdatasync(fd) == 0;
    ::close(fd);
    if (!put) throw std::runtime_error("cannot damage " + path.string());
  }

  static std::vector<format::ChunkRef> chunks_of(std::uint64_t id,
                                                 const std::filesystem::path& path) {
    const auto pack = pack::PackFile::open(path, io::File::Access::kRead);
    const pack::SlotTable slots = pack.read_slots();
    const format::Slot& slot = *slots.newest_first().front();
    for (const format::RootEntry& entry : pack.read_root(slot.root, slot.data_end).checkpoints) {
      if (entry.id != id) continue;
      return pack.read_index(entry.index, entry.index_digest, slot.data_end).chunks;
    }
    throw std::runtime_error("the newest root lacks a checkpoint");
  }

  void remove_oldest() {
    if (names_.empty()) return;
    const std::uint64_t id = id_of(names_.front());
    Model next = model();
    next.erase(names_.front());
    begin(std::move(next));
    store_->remove({{id}});
    names_.erase(names_.begin());
    done();
  }

  void pin_newest() {
    if (names_.empty()) return;
    const std::uint64_t id = id_of(names_.back());
    Model next = model();
    Saved& newest = next.at(names_.back());
    newest.pinned = !newest.pinned;
    const bool pinned = newest.pinned;
    begin(std::move(next));
    store_->set_pinned({{id}}, pinned);
    done();
  }

  void abort() {
    settle();
    const CheckpointState now = state();
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
    recorder_.note("failed " + std::to_string(newest_));
    newest_ = acknowledged_;
    in_doubt_ = true;
  }

  /// The live store and every open reader show what they must.
  void check() {
    // What is on its way is listed once it is durable.
    const Model& expected = models_.at(acknowledged_);
    if (const Model held = model_of(*store_); held != expected) {
      throw std::runtime_error("the open store holds " + describe(held) + ", not " +
                               describe(expected));
    }
    for (const Reader& reader : readers_) {
      if (testing::contents(reader.checkpoint) != reader.contents) {
        throw std::runtime_error("an open reader sees other bytes than it did");
      }
    }
  }

  std::filesystem::path directory_;
  std::filesystem::path other_;
  Recorder& recorder_;
  Interference interference_;
  Gate gate_;
  std::mutex pending_mutex_;
  std::vector<Pending> pending_;  // oldest first
  std::optional<Store> store_;
  std::vector<Reader> readers_;
  std::array<std::uint64_t, 3> versions_{1, 1, 1};
  std::size_t next_to_change_ = 0;
  std::size_t last_name_ = 0;
  std::vector<std::string> names_;  // oldest first
  std::vector<Model> models_;
  std::vector<CheckpointState> states_;
  std::size_t acknowledged_ = 0;
  std::size_t newest_ = 0;
  bool in_doubt_ = false;
  std::optional<Compression> compression_;  // as the store was made, until it is set
};

constexpr std::array<std::string_view, std::size(kOperations)> kNames = {
    "save new",    "save unchanged", "save changing some",
    "save large",  "keep only",      "delete",
    "pin",         "replace",        "reuse",
    "abort",       "compact",        "reopen",
    "read",        "lose catalog",   "save async",
    "save direct", "copy",           "heal",
    "compress"};

}  // namespace

std::string_view name_of(Operation operation) {
  return kNames.at(static_cast<std::size_t>(operation));
}

std::string describe(std::span<const Operation> operations) {
  std::string text = "open";
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

namespace {

Recording record_job(std::span<const Operation> operations, const std::filesystem::path& directory,
                     const Interference& interference, void (Job::*begin)()) {
  const Determinism determinism(kSeed);
  Recorder recorder(directory, interference);
  Recording recording;
  {
    Job job(directory, recorder, interference);
    try {
      (job.*begin)();
      for (const Operation operation : operations) job.run(operation);
      job.finish();
    } catch (const std::exception& error) {
      recording.failure = error.what();
    }
    recording.models = job.take_models();
    recording.states = job.take_states();
  }
  recording.direct_writes = recorder.direct_writes();
  recording.log = recorder.finish();
  return recording;
}

}  // namespace

Recording record(std::span<const Operation> operations, const std::filesystem::path& directory,
                 const Interference& interference) {
  return record_job(operations, directory, interference, &Job::make);
}

Recording record_again(std::span<const Operation> operations,
                       const std::filesystem::path& directory) {
  return record_job(operations, directory, {}, &Job::adopt);
}

}  // namespace cairn::crash
