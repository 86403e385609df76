// Rows 9, 10, 11: many tensors, many checkpoints, memory; and what a kept chunk costs.
#include "catalog/catalog.h"
#include "rows.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <utility>

namespace cairn::bench {
namespace {

// ---- row 9: many small tensors ------------------------------------------------------------------

std::vector<LoadTarget> targets_of(const Checkpoint& checkpoint, std::span<std::byte> memory) {
  std::vector<LoadTarget> targets;
  const auto tensors = checkpoint.tensors();
  targets.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    targets.push_back({.tensor = i, .out = memory.first(tensors[i].bytes)});
    memory = memory.subspan(tensors[i].bytes);
  }
  return targets;
}

Row many_tensors(const Settings& settings) {
  constexpr std::uint64_t kSmall = 1024;
  const std::uint64_t count = settings.quick ? 1000 : 100'000;
  const std::uint64_t bytes = count * kSmall;
  const std::uint64_t large = settings.quick ? bytes / 2 : std::uint64_t{4} << 20;
  Row row{.number = "9",
          .title = fmt::format("{} tensors of 1 KiB, save (all new, keep-only 2) and load (warm)",
                               count),
          .conditions = "floor: the same bytes in large tensors, by Cairn; load: single pass"};
  const auto directory = settings.directory / "row9";
  std::filesystem::create_directories(directory);
  {
    Model small(bytes, kSmall);
    Model big(bytes, large);
    const Memory memory(bytes);
    Store small_store(directory / "small");
    Store big_store(directory / "big");
    const auto save = [](Store& store, Model& model) {
      model.change_all();
      return seconds_of([&] { store.save(model.state(), {.retention = keep_newest(2)}); });
    };
    const auto load = [&](const Store& store) {
      const auto id = store.checkpoints().front().id;
      return seconds_of([&] {
        const Checkpoint checkpoint = store.open(id);
        checkpoint.load(targets_of(checkpoint, memory.span()), LoadMode::kSinglePass);
      });
    };
    for (int i = 0; i < 5; ++i) {
      save(small_store, small);
      save(big_store, big);
    }
    take_turns(row,
               {{.name = "save, small tensors",
                 .run = [&] { return save(small_store, small); },
                 .bytes = bytes},
                {.name = "save, large tensors",
                 .run = [&] { return save(big_store, big); },
                 .bytes = bytes}},
               settings.rounds * 2);
    load(small_store), load(big_store);  // into the page cache
    take_turns(
        row,
        {{.name = "load, small tensors", .run = [&] { return load(small_store); }, .bytes = bytes},
         {.name = "load, large tensors", .run = [&] { return load(big_store); }, .bytes = bytes}},
        settings.rounds * 2);
    for (const char* what : {"save", "load"}) {
      const auto& slow = row.of(std::string(what) + ", small tensors");
      const auto& fast = row.of(std::string(what) + ", large tensors");
      row.at_most(std::string(what) + ", above the cost of the bytes, a tensor",
                  row.median_of(std::string(what) + ", small tensors",
                                [&](std::size_t i) { return slow.at(i) - fast.at(i); }) *
                      1e6 / static_cast<double>(count),
                  1.5, "us");
    }
    Store fresh(directory / "fresh");
    fresh.save(small.state());
    row.at_most("bytes stored, index included, as a share of the tensors'",
                static_cast<double>(fresh.stat().stored_bytes) / static_cast<double>(bytes), 1.1);
  }
  std::filesystem::remove_all(directory);
  return row;
}

// ---- kept chunks --------------------------------------------------------------------------------

Row kept_chunks(const Settings& settings) {
  constexpr std::uint64_t kChunkBytes = 65536;
  const std::uint64_t bytes = settings.bytes;
  const double chunks = static_cast<double>(bytes) / kChunkBytes;
  Row row{
      .number = "kept",
      .title = fmt::format("save of {:.0f} chunks of 64 KiB, nothing changed, keep-only 2", chunks),
      .conditions = "floor: XXH3-128 over the bytes with as many threads, and the flushes"};
  const auto directory = settings.directory / "kept";
  std::filesystem::create_directories(directory);
  {
    const Model model(bytes, std::min<std::uint64_t>(bytes, std::uint64_t{16} << 20));
    Store store(directory / "store", {.chunk_bytes = kChunkBytes});
    const auto save = [&] {
      return seconds_of([&] { store.save(model.state(), {.retention = keep_newest(2)}); });
    };
    for (int i = 0; i < 5; ++i) save();
    SmallOverwrite overwrite(directory / "overwrite");
    SmallCommit commit(directory / "commit.mdb");
    take_turns(
        row,
        {{.name = "floor: one XXH3-128 pass",
          .run = [&] { return hash_seconds(model.bytes(), busy_threads()); },
          .bytes = bytes},
         {.name = "floor: flushes", .run = [&] { return overwrite.seconds() + commit.seconds(); }},
         {.name = "cairn", .run = save, .bytes = bytes}},
        settings.rounds * 3);
    const auto& hash = row.of("floor: one XXH3-128 pass");
    const auto& flushes = row.of("floor: flushes");
    const auto& cairn = row.of("cairn");
    row.at_most(
        "above hashing and flushes, a kept chunk",
        row.median_of("cairn", [&](std::size_t i) { return cairn[i] - hash[i] - flushes[i]; }) *
            1e6 / chunks,
        2, "us");
  }
  std::filesystem::remove_all(directory);
  return row;
}

// ---- row 10: many checkpoints -------------------------------------------------------------------

/// A store with so many checkpoints of a few small tensors, most of them shared.
class Crowd {
 public:
  Crowd(const std::filesystem::path& directory, std::size_t count)
      : directory_(directory), model_(32768, 4096), store_(std::in_place, directory) {
    for (std::size_t i = 0; i < count; ++i) add();
  }

  void add() {
    // One tensor of eight differs.
    ++next_;
    fill_random(model_.tensor(next_ % model_.tensor_count()), next_);
    SaveOptions options;
    options.meta.set("loss", 1.0 / static_cast<double>(next_));
    oldest_.push_back(store_->save(model_.state(), options).saved.id);
  }

  /// Deletes the one in the middle of those there are, and puts another in its place.
  double delete_one() {
    const auto middle = oldest_.begin() + static_cast<std::ptrdiff_t>(oldest_.size() / 2);
    const std::array<std::uint64_t, 1> id{*middle};
    oldest_.erase(middle);
    const double seconds = seconds_of([&] { store_->remove(id); });
    add();
    return seconds;
  }

  double find_by_key() const {
    return seconds_of([&] {
      const auto all = store_->checkpoints();
      const auto best =
          select_checkpoints(all, {.min_key = "loss", .max_num_checkpoints = std::size_t{1}});
      if (best.size() != 1) throw std::runtime_error("found nothing");
    });
  }

  double reopen() {
    store_.reset();
    return seconds_of([&] { store_.emplace(directory_); });
  }

  double walk() {
    store_.reset();
    const double seconds = seconds_of(
        [&] { catalog::Catalog::open(directory_ / "catalog.mdb", catalog::Mode::kReadOnly); });
    store_.emplace(directory_);
    return seconds;
  }

  std::uint64_t catalog_bytes() const { return store_->stat().catalog_bytes; }
  std::size_t count() const noexcept { return oldest_.size(); }

 private:
  std::filesystem::path directory_;
  Model model_;
  std::optional<Store> store_;
  std::vector<std::uint64_t> oldest_;
  std::uint64_t next_ = 0;
};

Row many_checkpoints(const Settings& settings) {
  const std::size_t many = settings.quick ? 100 : 10'000;
  Row row{.number = "10",
          .title = fmt::format("delete one of 10, of {} checkpoints; find; open", many),
          .conditions =
              "each checkpoint: eight tensors of 4 KiB, one of them new, one number of "
              "metadata"};
  const auto directory = settings.directory / "row10";
  std::filesystem::create_directories(directory);
  {
    Crowd small(directory / "few", 10);
    Crowd large(directory / "many", many);
    take_turns(row,
               {{.name = "delete one of 10", .run = [&] { return small.delete_one(); }},
                {.name = "delete one of many", .run = [&] { return large.delete_one(); }}},
               settings.rounds * 10, settings.quick ? 1 : 10);
    take_turns(row,
               {{.name = "find the best by a key", .run = [&] { return large.find_by_key(); }}},
               settings.rounds * 3);
    take_turns(row,
               {{.name = "open the catalog: its walk",
                 .run = [&] { return large.walk(); },
                 .bytes = large.catalog_bytes()},
                {.name = "open the store", .run = [&] { return large.reopen(); }}},
               settings.rounds * 3);
    row.at_most("deleting one of many, in deletions of one of 10",
                1 / row.speed("delete one of many", "delete one of 10"), 1.5);
    row.at_most("finding by a key, a checkpoint",
                median(row.of("find the best by a key")) * 1e6 / static_cast<double>(large.count()),
                1, "us");
    row.at_most("opening, in walks of the catalog",
                1 / row.speed("open the store", "open the catalog: its walk"), 1.5);
  }
  std::filesystem::remove_all(directory);
  return row;
}

// ---- scale: many chunks -------------------------------------------------------------------------

/// A store with so many checkpoints of a hundred chunks each, all of them its own.
class Hoard {
 public:
  Hoard(const std::filesystem::path& directory, std::size_t checkpoints)
      : directory_(directory), model_(kChunks * kBytes, kBytes), store_(std::in_place, directory) {
    for (std::size_t i = 0; i < kChunks; ++i) {  // Each recoverable begins a chunk of its own.
      RecoverableState& one = state_.emplace_back();
      one.name = std::to_string(i);
      one.tensors.push_back(model_.state()[0].tensors[i]);
    }
    for (std::size_t i = 0; i < checkpoints; ++i) save();
  }

  double save() {
    model_.change_all();
    return seconds_of([&] { ids_.push_back(store_->save(state_).saved.id); });
  }
  double delete_one() {
    const auto middle = ids_.begin() + static_cast<std::ptrdiff_t>(ids_.size() / 2);
    const std::array<std::uint64_t, 1> id{*middle};
    ids_.erase(middle);
    return seconds_of([&] { store_->remove(id); });
  }
  double find() const {
    return seconds_of([&] { store_->open(ids_[ids_.size() / 3]).read(0); });
  }
  double reopen() {
    store_.reset();
    return seconds_of([&] { store_.emplace(directory_); });
  }
  std::uint64_t chunks() const { return store_->stat().chunks; }
  std::uint64_t pack_bytes() const { return store_->stat().pack_bytes; }

 private:
  static constexpr std::size_t kChunks = 100;
  static constexpr std::uint64_t kBytes = 4096;
  std::filesystem::path directory_;
  Model model_;
  CheckpointState state_;
  std::optional<Store> store_;
  std::vector<std::uint64_t> ids_;
};

Row many_chunks(const Settings& settings) {
  const std::size_t many = settings.quick ? 50 : 10'000;
  Row row{.number = "scale",
          .title = fmt::format("the same work in a store of 10 and of {} checkpoints", many),
          .conditions = "each checkpoint: a hundred chunks of 4 KiB, all new"};
  const auto directory = settings.directory / "scale";
  std::filesystem::create_directories(directory);
  {
    Hoard few(directory / "few", 10);
    Hoard lots(directory / "many", many);
    row.state("chunks in the large one", static_cast<double>(lots.chunks()), "");
    row.state("its pack", static_cast<double>(lots.pack_bytes()) / (1 << 30), "GiB");
    const int turns = settings.rounds * 10;
    take_turns(row,
               {{.name = "save, few", .run = [&] { return few.save(); }},
                {.name = "save, many", .run = [&] { return lots.save(); }}},
               turns);
    take_turns(row,
               {{.name = "delete one, few", .run = [&] { return few.delete_one(); }},
                {.name = "delete one, many", .run = [&] { return lots.delete_one(); }}},
               turns);
    take_turns(row,
               {{.name = "open one and read a tensor, few", .run = [&] { return few.find(); }},
                {.name = "open one and read a tensor, many", .run = [&] { return lots.find(); }}},
               turns);
    take_turns(row,
               {{.name = "open the store, few", .run = [&] { return few.reopen(); }},
                {.name = "open the store, many", .run = [&] { return lots.reopen(); }}},
               settings.rounds);
    for (const char* what : {"save", "delete one", "open one and read a tensor"}) {
      row.state(fmt::format("{}, many in few", what),
                1 / row.speed(fmt::format("{}, many", what), fmt::format("{}, few", what)), "x");
    }
    row.state("opening the store, a chunk",
              median(row.of("open the store, many")) * 1e6 / static_cast<double>(lots.chunks()),
              "us");
  }
  std::filesystem::remove_all(directory);
  return row;
}

// ---- row 11: memory -----------------------------------------------------------------------------

/// Bytes resident now, or at most since `reset_peak`. Source: proc(5), VmRSS, VmHWM, clear_refs.
std::uint64_t resident_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stoull(line.substr(field.size() + 1)) * 1024;
  }
  throw std::runtime_error("no " + field + " in /proc/self/status");
}

void reset_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

Row memory(const Settings& settings) {
  Row row{.number = "11",
          .title = "memory above the model, synchronous save and load",
          .conditions =
              "peak of resident memory (VmHWM) in a process of its own, less what the "
              "model took before"};
  for (const char* what : {"save", "load", "save, compressed", "load, compressed"}) {
    const std::string command =
        fmt::format("'{}' --memory-of '{}' --dir '{}' --bytes {}", settings.program.string(), what,
                    settings.directory.string(), settings.bytes);
    std::FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) throw std::runtime_error("cannot start " + command);
    unsigned long long bytes = 0;
    const int read = std::fscanf(pipe, "%llu", &bytes);
    if (::pclose(pipe) != 0 || read != 1) throw std::runtime_error("failed: " + command);
    row.at_most(std::string(what) + ", above the model", static_cast<double>(bytes) / (1 << 20), 64,
                "MiB");
  }
  return row;
}

}  // namespace

int memory_of(const std::string& what, const Settings& settings) {
  const auto directory = settings.directory / ("memory-" + what);
  std::filesystem::remove_all(directory);
  const bool saves = what.starts_with("save");
  const StoreOptions options{.compression = what.ends_with("compressed") ? Compression::kZstd
                                                                         : Compression::kNone};
  {
    Model model(settings.bytes, std::min<std::uint64_t>(settings.bytes, std::uint64_t{16} << 20));
    std::uint64_t id = 0;
    if (what.ends_with("compressed")) {
      for (std::byte& byte : model.bytes()) byte &= std::byte{0x0f};  // half as long when encoded
    }
    if (!saves) id = Store(directory, options).save(model.state()).saved.id;
    const std::uint64_t before = resident_bytes("VmRSS");
    reset_peak();
    Store store(directory, options);
    if (saves) {
      for (int i = 0; i < 3; ++i) {
        model.change_all();
        store.save(model.state(), {.retention = keep_newest(1)});
      }
    } else {
      for (const LoadMode mode : {LoadMode::kVerifyFirst, LoadMode::kSinglePass}) {
        const Checkpoint checkpoint = store.open(id);
        checkpoint.load(targets_of(checkpoint, model.bytes()), mode);
      }
    }
    const std::uint64_t peak = resident_bytes("VmHWM");
    fmt::print("{}\n", peak > before ? peak - before : 0);
  }
  std::filesystem::remove_all(directory);
  return 0;
}

std::vector<RowEntry> scale_rows() {
  return {{"9", many_tensors},
          {"kept", kept_chunks},
          {"10", many_checkpoints},
          {"scale", many_chunks},
          {"11", memory}};
}

}  // namespace cairn::bench
