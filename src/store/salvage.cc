// Salvage: like a rebuild it believes the pack alone, but it changes nothing there, and what it
// finds goes, chunk by chunk as it was cut, into a store of its own.

#include "base/checked.h"
#include "base/text.h"
#include "format/names.h"
#include "pack/pack_file.h"
#include "store/checks.h"
#include "store/handle.h"
#include "store/rebuild.h"
#include "store/save.h"

#include <cairn/error.h>
#include <cairn/salvage.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace cairn {
namespace store {
namespace {

/// A checkpoint of the pack, or why there is none.
struct Found {
  std::uint64_t id = 0;
  std::string name{};
  bool pinned = false;
  std::optional<format::Index> index{};
  std::string error{};
};

std::vector<Found> listed_by_root(const pack::PackFile& pack, const ChosenRoot& chosen) {
  std::vector<Found> all;
  for (const format::RootEntry& entry : chosen.root.checkpoints) {
    Found& found = all.emplace_back();
    found = {.id = entry.id, .name = entry.name, .pinned = entry.pinned};
    try {
      found.index = read_index_of(pack, entry, chosen.slot.data_end);
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      found.error = error.what();
    }
  }
  return all;
}

class Salvage {
 public:
  Salvage(const std::filesystem::path& path, const std::filesystem::path& directory,
          const SalvageOptions& options)
      : options_(options),
        pack_(pack::PackFile::open_to_rescue(path, io::File::Access::kRead, how_)) {
    // After the pack: one that is none makes no store.
    StoreOptions as_it_was{.allow_network_file_system = options.allow_network_file_system,
                           .chunk_bytes = pack_.superblock().chunk_bytes,
                           .log = options.log};
    if ((pack_.superblock().incompat & format::kIncompatCompressed) != 0) {
      as_it_was.compression = Compression::kZstd;
    }
    to_ = StoreHandle::open(directory, as_it_was);
    if (!to_->writer().checkpoints().empty()) {
      throw Error(ErrorCode::kAlreadyExists,
                  "the store holds checkpoints already; choose a new directory",
                  {.path = directory});
    }
  }

  SalvageReport run() {
    if (!how_.empty()) log(how_);
    std::vector<Found> all;
    if (const auto chosen = choose_root(pack_)) {
      for (const std::string& note : chosen->notes) log(note);
      all = listed_by_root(pack_, *chosen);
    } else {
      report_.by_scan = true;
      log("no root can be read, so the pack was scanned for checkpoints; some of them may have "
          "been deleted before");
      all = found_by_scan(pack_);
    }
    for (const Found& found : all) {
      if (!found.index) continue;
      for (const format::ChunkRef& chunk : found.index->chunks)
        total_bytes_ += 2 * chunk.plain_bytes;
    }
    // Oldest first, so that the order stays.
    for (const Found& found : all) take_over(found);
    std::reverse(report_.saved.begin(), report_.saved.end());
    return std::move(report_);
  }

 private:
  /// The newest of each id, ascending.
  static std::vector<Found> found_by_scan(const pack::PackFile& pack) {
    std::vector<Found> all;
    for (const auto& [id, record] : find_indexes(pack)) {
      format::Index index = record.read(pack);
      all.push_back({.id = id, .name = index.name, .index = std::move(index)});
    }
    return all;
  }

  void tell(std::uint64_t more) {
    if (!options_.progress) return;
    options_.progress({.done_bytes = done_bytes_ += more, .total_bytes = total_bytes_});
  }

  void take_over(const Found& found) {
    std::string why = found.error;
    if (found.index) {
      const auto damaged =
          check_chunks(pack_, *found.index, [this](std::uint64_t bytes) { tell(bytes); });
      if (!damaged.empty()) why = damaged.front().message;
    }
    if (!why.empty()) {
      log("checkpoint " + base::quoted(found.name) + " (id " + std::to_string(found.id) +
          ") is lost: " + why);
      report_.lost.push_back({.id = found.id, .name = found.name, .why = why});
      return;
    }
    const format::Index& index = *found.index;
    NewCheckpoint checkpoint{.recoverables = index.recoverables,
                             .meta = index.meta,
                             // A scan may find two of one name, never alive together.
                             .name = format::free_checkpoint_name(found.name, names_),
                             .pinned = found.pinned,
                             .created_unix_ns = index.created_unix_ns};
    for (const format::ChunkRef& chunk : index.chunks) {
      checkpoint.chunks.push_back(
          content_of(pack_, chunk, [this](std::uint64_t bytes) { tell(bytes); }));
    }
    report_.saved.push_back(to_->writer().commit({.add = &checkpoint}).saved);
  }

  void log(const std::string& message) const {
    if (options_.log) options_.log(message);
  }

  const SalvageOptions& options_;
  std::string how_;  // the pack was opened, if it needed more than its superblock
  pack::PackFile pack_;
  std::shared_ptr<StoreHandle> to_;
  std::set<std::string> names_;
  std::atomic<std::uint64_t> done_bytes_{0};
  std::uint64_t total_bytes_ = 0;
  SalvageReport report_;
};

}  // namespace
}  // namespace store

SalvageReport salvage(const std::filesystem::path& pack, const std::filesystem::path& directory,
                      const SalvageOptions& options) {
  return store::Salvage(pack, directory, options).run();
}

}  // namespace cairn
