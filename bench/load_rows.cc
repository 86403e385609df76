// Rows 6 and 7: verified loads.
#include "rows.h"

#include <string_view>

namespace cairn::bench {
namespace {

constexpr std::uint64_t kTensorBytes = std::uint64_t{16} << 20;

struct Mode {
  std::string_view name;
  LoadMode mode;
  double warm_target;  // of one memcpy
  double cold_target;  // of the direct read; 0: stated only
};
constexpr Mode kModes[] = {{"cairn, single pass", LoadMode::kSinglePass, 0.7, 0.9},
                           {"cairn, staged", LoadMode::kStaged, 0.5, 0},
                           {"cairn, verify first", LoadMode::kVerifyFirst, 0.35, 0.45}};

double load(const Store& store, std::uint64_t id, const Model& target, LoadMode mode) {
  return seconds_of([&] {
    const Checkpoint checkpoint = store.open(id);
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < target.tensor_count(); ++i) {
      const auto place = checkpoint.find_tensor("model", target.state()[0].tensors[i].key);
      targets.push_back({.tensor = place.value(), .out = target.tensor(i)});
    }
    checkpoint.load(targets, mode);
  });
}

/// A store with one checkpoint, and memory of the same shape to load it into.
struct Loadable {
  explicit Loadable(const Settings& settings, const std::filesystem::path& directory)
      : model(settings.bytes, std::min(kTensorBytes, settings.bytes)),
        target(settings.bytes, std::min(kTensorBytes, settings.bytes)),
        store(directory),
        pack(directory / "pack") {
    id = store.save(model.state()).saved.id;
  }
  Model model;
  Model target;
  Store store;
  std::filesystem::path pack;
  std::uint64_t id = 0;
};

Row warm_load(const Settings& settings) {
  Row row{.number = "6",
          .title = "verified load, warm",
          .conditions =
              "all pages of the pack in the page cache; target in touched memory; "
              "peers read every byte once after loading"};
  const auto directory = settings.directory / "row6";
  std::filesystem::create_directories(directory);
  {
    Loadable data(settings, directory / "store");
    const auto warm = [&] {
      // A plain read of the file: what was written past the cache is in it now, and so is what the
      // other contenders have driven out of it since.
      const auto command = "cat '" + data.pack.string() + "' > /dev/null";
      if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot read the pack");
    };
    std::vector<Contender> contenders{
        {.name = "one memcpy, 1 thread",
         .run = [&] { return memcpy_seconds(data.target.bytes(), data.model.bytes(), 1); },
         .bytes = settings.bytes},
        {.name = "one memcpy, all cores",
         .run =
             [&] {
               return memcpy_seconds(data.target.bytes(), data.model.bytes(), busy_threads());
             },
         .bytes = settings.bytes}};
    for (const Mode& mode : kModes) {
      contenders.push_back({.name = std::string(mode.name),
                            .run =
                                [&] {
                                  warm();
                                  return load(data.store, data.id, data.target, mode.mode);
                                },
                            .bytes = settings.bytes});
    }
    for (const std::string& name : settings.peers->names()) {
      settings.peers->save(name);
      contenders.push_back({.name = name + ", unverified",
                            .run =
                                [&, name] {
                                  settings.peers->load(name);  // warms
                                  return settings.peers->load(name);
                                },
                            .bytes = settings.bytes});
    }
    take_turns(row, contenders, settings.rounds);
    for (const Mode& mode : kModes) {
      row.at_least(std::string(mode.name) + ", as a share of one memcpy",
                   row.speed(mode.name, "one memcpy, 1 thread"), mode.warm_target);
      row.state("  the same, of a memcpy on all cores",
                row.speed(mode.name, "one memcpy, all cores"), "x");
    }
    for (const std::string& name : settings.peers->names()) {
      row.at_least("single pass, times as fast as " + name,
                   row.speed("cairn, single pass", name + ", unverified"), 1);
    }
  }
  std::filesystem::remove_all(directory);
  return row;
}

Row cold_load(const Settings& settings) {
  Row row{.number = "7",
          .title = "verified load, cold",
          .conditions =
              "page cache emptied of the file by posix_fadvise(DONTNEED) before each; "
              "floor: O_DIRECT, 4 requests of 4 MiB in flight, into used buffers"};
  const auto directory = settings.directory / "row7";
  std::filesystem::create_directories(directory);
  {
    Loadable data(settings, directory / "store");
    std::vector<Contender> contenders{{.name = "floor: direct read",
                                       .run =
                                           [&] {
                                             forget_pages(data.pack);
                                             return read_seconds(data.pack, settings.bytes);
                                           },
                                       .bytes = settings.bytes}};
    for (const Mode& mode : kModes) {
      contenders.push_back({.name = std::string(mode.name),
                            .run =
                                [&] {
                                  forget_pages(data.pack);
                                  return load(data.store, data.id, data.target, mode.mode);
                                },
                            .bytes = settings.bytes});
    }
    for (const std::string& name : settings.peers->names()) {
      settings.peers->save(name);
      contenders.push_back({.name = name + ", unverified",
                            .run =
                                [&, name] {
                                  settings.peers->forget(name);
                                  return settings.peers->load(name);
                                },
                            .bytes = settings.bytes});
    }
    take_turns(row, contenders, settings.rounds);
    for (const Mode& mode : kModes) {
      const double speed = row.speed(mode.name, "floor: direct read");
      const std::string what = std::string(mode.name) + ", as a share of the floor";
      if (mode.cold_target > 0) {
        row.at_least(what, speed, mode.cold_target);
      } else {
        row.state(what, speed, "x");
      }
    }
  }
  std::filesystem::remove_all(directory);
  return row;
}

}  // namespace

std::vector<RowEntry> load_rows() {
  return {{"6", warm_load}, {"7", cold_load}};
}

}  // namespace cairn::bench
