// Rows 1 to 5 and 8: saves.
#include "rows.h"

namespace cairn::bench {
namespace {

constexpr std::uint64_t kTensorBytes = std::uint64_t{16} << 20;
constexpr int kCommitsToSteadyState = 5;  // keep-only 2 turns over four checkpoints' room

std::uint64_t tensor_bytes(const Settings& settings) {
  return std::min(kTensorBytes, settings.bytes);
}

double save(Store& store, const Model& model) {
  return seconds_of([&] { store.save(model.state(), {.retention = keep_newest(2)}); });
}

void make_file(const std::filesystem::path& file, std::uint64_t bytes) {
  write_seconds(file, Target::kAppend, bytes);
}

Row changed_save(const Settings& settings) {
  Row row{.number = "1",
          .title = "durable save, all new, steady state with keep-only 2",
          .conditions =
              "state in touched memory; floor: the same bytes by O_DIRECT over written "
              "extents, 4 requests of 4 MiB in flight, then fdatasync"};
  const auto directory = settings.directory / "row1";
  std::filesystem::create_directories(directory);
  make_file(directory / "floor", settings.bytes);
  Model model(settings.bytes, tensor_bytes(settings));
  {
    Store store(directory / "store");
    for (int i = 0; i < kCommitsToSteadyState; ++i) {
      model.change_all();
      save(store, model);
    }
    std::vector<Contender> contenders{
        {.name = "floor: direct overwrite + flush",
         .run =
             [&] { return write_seconds(directory / "floor", Target::kOverwrite, settings.bytes); },
         .bytes = settings.bytes},
        {.name = "cairn",
         .run =
             [&] {
               model.change_all();
               return save(store, model);
             },
         .bytes = settings.bytes}};
    for (const std::string& name : settings.peers->names()) {
      contenders.push_back({.name = name + " + fsync",
                            .run = [&, name] { return settings.peers->save(name); },
                            .bytes = settings.bytes});
    }
    const std::uint64_t before = store.stat().pack_bytes;
    take_turns(row, contenders, settings.rounds);
    row.at_least("speed, as a share of the floor", row.speed("cairn", contenders[0].name), 0.85);
    for (const std::string& name : settings.peers->names()) {
      const double speed = row.speed("cairn", name + " + fsync");
      if (name == "torch.save") {
        row.at_least("times as fast as torch.save + fsync", speed, 4);
      } else {
        row.state("times as fast as " + name + " + fsync", speed, "x");
      }
    }
    row.at_most("growth of the pack over all rounds",
                static_cast<double>(store.stat().pack_bytes - before), 0, "bytes");
  }
  std::filesystem::remove_all(directory);
  return row;
}

Row first_save(const Settings& settings) {
  Row row{.number = "2",
          .title = "the first such save into a new store",
          .conditions =
              "floor: the same bytes appended to a new file by O_DIRECT, 4 requests of "
              "4 MiB in flight, then fdatasync"};
  const auto directory = settings.directory / "row2";
  std::filesystem::create_directories(directory);
  const Model model(settings.bytes, tensor_bytes(settings));
  take_turns(row,
             {{.name = "floor: direct append + flush",
               .run =
                   [&] {
                     std::filesystem::remove(directory / "floor");
                     return write_seconds(directory / "floor", Target::kAppend, settings.bytes);
                   },
               .bytes = settings.bytes},
              {.name = "cairn",
               .run =
                   [&] {
                     std::filesystem::remove_all(directory / "store");
                     Store store(directory / "store");
                     return save(store, model);
                   },
               .bytes = settings.bytes}},
             settings.rounds);
  row.at_least("speed, as a share of the floor", row.speed("cairn", row.samples[0].name), 0.8);
  std::filesystem::remove_all(directory);
  return row;
}

/// How long the caller of an asynchronous save waits, when the save before it is done.
Row stall(const Settings& settings, std::string number, std::string title, bool all_changed) {
  Row row{.number = std::move(number),
          .title = std::move(title),
          .conditions =
              "keep-only 2, steady state; floor: one memcpy of all bytes into touched memory with "
              "as many threads; the writing behind it is awaited between the rounds"};
  const auto directory = settings.directory / "stall";
  std::filesystem::create_directories(directory);
  Model model(settings.bytes, tensor_bytes(settings));
  Memory copy(settings.bytes);
  {
    Store store(directory / "store");
    const auto save_behind = [&] {
      model.change_first(all_changed ? model.tensor_count()
                                     : std::max<std::size_t>(1, model.tensor_count() / 10));
      SaveFuture<SaveResult> saving;
      const double seconds = seconds_of(
          [&] { saving = store.save_async(model.state(), {.retention = keep_newest(2)}); });
      saving.get();
      return seconds;
    };
    for (int i = 0; i < kCommitsToSteadyState; ++i) save_behind();
    take_turns(
        row,
        {{.name = "floor: one memcpy",
          .run = [&] { return memcpy_seconds(copy.span(), model.bytes(), busy_threads()); },
          .bytes = settings.bytes},
         {.name = "cairn, until the call returns", .run = save_behind, .bytes = settings.bytes}},
        settings.rounds);
    row.at_most("stall, in copies of the bytes",
                1 / row.speed("cairn, until the call returns", "floor: one memcpy"),
                all_changed ? 1.25 : 1, "x");
  }
  std::filesystem::remove_all(directory);
  return row;
}

Row unchanged_save(const Settings& settings) {
  Row row{.number = "3",
          .title = "save, nothing changed",
          .conditions =
              "floor: XXH3-128 over the bytes with as many threads, and the flushes of a "
              "commit (a 4 KiB overwrite with fdatasync, an LMDB commit)"};
  const auto directory = settings.directory / "row3";
  std::filesystem::create_directories(directory);
  const Model model(settings.bytes, tensor_bytes(settings));
  {
    Store store(directory / "store");
    for (int i = 0; i < kCommitsToSteadyState; ++i) save(store, model);
    SmallOverwrite overwrite(directory / "overwrite");
    SmallCommit commit(directory / "commit.mdb");
    take_turns(
        row,
        {{.name = "floor: one XXH3-128 pass",
          .run = [&] { return hash_seconds(model.bytes(), busy_threads()); },
          .bytes = settings.bytes},
         {.name = "floor: flushes", .run = [&] { return overwrite.seconds() + commit.seconds(); }},
         {.name = "cairn", .run = [&] { return save(store, model); }, .bytes = settings.bytes}},
        settings.rounds * 3);
    const auto& hash = row.of("floor: one XXH3-128 pass");
    const auto& flushes = row.of("floor: flushes");
    const auto& cairn = row.of("cairn");
    row.at_most(
        "time without the flushes, in passes of XXH3-128",
        row.median_of("cairn", [&](std::size_t i) { return (cairn[i] - flushes[i]) / hash[i]; }),
        1.3);
  }
  std::filesystem::remove_all(directory);
  return row;
}

Row small_save(const Settings& settings) {
  constexpr std::uint64_t kStateBytes = 100 * 1024;
  constexpr std::uint64_t kSmallTensorBytes = 10 * 1024;
  Row row{.number = "8",
          .title = "save of a 100 KiB state (ten tensors), all new, keep-only 2",
          .conditions = "floor: one 4 KiB overwrite + fdatasync, and one LMDB commit"};
  const auto directory = settings.directory / "row8";
  std::filesystem::create_directories(directory);
  Model model(kStateBytes, kSmallTensorBytes);
  {
    Store store(directory / "store");
    for (int i = 0; i < kCommitsToSteadyState; ++i) {
      model.change_all();
      save(store, model);
    }
    SmallOverwrite overwrite(directory / "overwrite");
    SmallCommit commit(directory / "commit.mdb");
    take_turns(
        row,
        {{.name = "floor: 4 KiB overwrite + fdatasync", .run = [&] { return overwrite.seconds(); }},
         {.name = "floor: LMDB commit", .run = [&] { return commit.seconds(); }},
         {.name = "cairn",
          .run =
              [&] {
                model.change_all();
                return save(store, model);
              }}},
        settings.quick ? 3 : 40 * settings.rounds, settings.quick ? 1 : 10);
    const double floor =
        median(row.of("floor: 4 KiB overwrite + fdatasync")) + median(row.of("floor: LMDB commit"));
    row.at_most("median, in medians of the floor", median(row.of("cairn")) / floor, 1.3);
  }
  std::filesystem::remove_all(directory);
  return row;
}

}  // namespace

std::vector<RowEntry> save_rows() {
  return {{"1", changed_save},
          {"2", first_save},
          {"3", unchanged_save},
          {"4",
           [](const Settings& settings) {
             return stall(settings, "4", "asynchronous save, all changed", true);
           }},
          {"5",
           [](const Settings& settings) {
             return stall(settings, "5", "asynchronous save, nine tenths unchanged", false);
           }},
          {"8", small_save}};
}

}  // namespace cairn::bench
