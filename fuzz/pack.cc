// A whole pack, opened as a store and worked on under a script. What the image holds from
// kCatalogAt on is the catalog; without one it is rebuilt.
//
// Property: whatever they hold, each call succeeds or throws cairn::Error; and after a rebuild, a
// checkpoint that could be read once, and is not known to be damaged, keeps its bytes for as long
// as it is listed. (Who writes a catalog may call what is in use free.) What is salvaged is whole.
#include "image.h"
#include "mend.h"

#include <cairn/salvage.h>
#include <cairn/store.h>

#include <algorithm>
#include <map>
#include <optional>

namespace {

using namespace cairn;

// A tensor may list one chunk many times and be far longer than the pack.
constexpr std::uint64_t kMaxReadBytes = std::uint64_t{4} << 20;
constexpr std::size_t kMaxSteps = 24;
constexpr std::size_t kMaxCheckpoints = 8;

class Session {
 public:
  Session(std::filesystem::path directory, fuzz::View script)
      : directory_(std::move(directory)), script_(script) {}

  void run() {
    for (std::size_t step = 0; step < kMaxSteps; ++step) {
      if (!store_ && !fuzz::accepts([&] { reopen(); })) {
        // It does not open: repair is what is left, and salvage then.
        store_.reset();
        if (!fuzz::accepts([&] { repair(); })) return salvage();
        if (!fuzz::accepts([&] { reopen(); })) return salvage();
      }
      check_promise();
      if (script_.empty()) return;
      fuzz::accepts([&] { this->step(); });
    }
  }

 private:
  static void ignore(std::string_view) {}
  static void check_progress(const Progress& progress) {
    CAIRN_FUZZ_REQUIRE(progress.total_bytes == 0 || progress.done_bytes <= progress.total_bytes);
  }

  using Contents = std::map<std::size_t, std::vector<std::byte>>;  // by tensor

  void reopen() {
    store_.reset();
    store_.emplace(directory_, StoreOptions{.create = false});
    is_rebuilt_ = is_rebuilt_ || store_->open_report().rebuilt_catalog;
  }

  std::vector<std::uint64_t> some_ids() {
    const auto infos = store_->checkpoints();
    if (infos.empty()) return {1};
    return {infos[script_.below(infos.size())].id};
  }

  void step() {
    switch (script_.below(12)) {
      case 0:
        reopen();
        break;
      case 1:
        store_->verify();
        break;
      case 2:
        store_->stat();
        store_->bytes_freed_if_deleted(store_->checkpoints());
        break;
      case 3:
      case 4:
        save();
        break;
      case 5:
        store_->remove(some_ids());
        break;
      case 6:
        store_->set_pinned(some_ids(), script_.byte() % 2 == 0);
        break;
      case 7:
        store_->set_damaged(some_ids(), script_.byte() % 2 == 0);
        break;
      case 8: {
        const Store reader(directory_, {.read_only = true});
        for (const CheckpointInfo& info : reader.checkpoints()) {
          fuzz::accepts([&] { reader.open(info.id); });
        }
        break;
      }
      case 9:
        store_.reset();
        std::filesystem::remove(directory_ / "catalog.mdb");
        known_.clear();  // a rebuild may choose an older commit
        break;
      case 10:
        store_.reset();
        repair();
        break;
      default:
        salvage();
        break;
    }
  }

  void salvage() {
    const std::filesystem::path salvaged = directory_ / "salvaged";
    std::filesystem::remove_all(salvaged);
    SalvageReport report;
    const SalvageOptions options{.log = ignore, .progress = check_progress};
    const auto pack = directory_ / "pack";
    if (!fuzz::accepts([&] { report = cairn::salvage(pack, salvaged, options); })) return;
    if (report.saved.empty()) return;
    const Store store(salvaged, {.read_only = true});
    CAIRN_FUZZ_REQUIRE(store.checkpoints().size() == report.saved.size());
    CAIRN_FUZZ_REQUIRE(store.verify().ok);
  }

  void repair() {
    known_.clear();
    const std::uint8_t how = script_.byte();
    Store::repair(directory_, {.drop_damaged = (how & 1) != 0,
                               .dry_run = (how & 2) != 0,
                               .adopt = (how & 4) != 0 ? std::vector<std::uint64_t>{1, 2}
                                                       : std::vector<std::uint64_t>{},
                               .log = ignore,
                               .progress = check_progress});
  }

  void save() {
    std::vector<std::byte> bytes(script_.below(64) * 301, static_cast<std::byte>(script_.byte()));
    CheckpointState state(1);
    state[0].name = "model";
    state[0].tensors.push_back({.key = "w",
                                .dtype = DType::kU8,
                                .shape = {static_cast<std::int64_t>(bytes.size())},
                                .data = bytes.data()});
    const bool replace = script_.byte() % 2 == 0;
    store_->save(state, {.name = replace ? "saved" : "", .replace = replace});
  }

  /// All that can be read of a checkpoint; nothing when that is not all of it.
  std::optional<Contents> contents_of(const CheckpointInfo& info) {
    Contents contents;
    const bool whole = fuzz::accepts([&] {
      const Checkpoint checkpoint = store_->open(info.id);
      const auto tensors = checkpoint.tensors();
      std::uint64_t left = kMaxReadBytes;
      std::vector<LoadTarget> targets;
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        checkpoint.chunks(i);
        if (tensors[i].bytes > left) continue;
        left -= tensors[i].bytes;
        contents[i].resize(tensors[i].bytes);
        targets.push_back({.tensor = i, .out = contents[i]});
      }
      constexpr LoadMode kModes[] = {LoadMode::kVerifyFirst, LoadMode::kStaged,
                                     LoadMode::kSinglePass};
      checkpoint.load(targets, kModes[info.id % 3]);
    });
    return whole ? std::optional(std::move(contents)) : std::nullopt;
  }

  void check_promise() {
    std::vector<CheckpointInfo> infos;
    if (!fuzz::accepts([&] { infos = store_->checkpoints(); })) return;
    if (infos.size() > kMaxCheckpoints) infos.resize(kMaxCheckpoints);
    for (const CheckpointInfo& info : infos) {
      auto contents = contents_of(info);
      const auto known = known_.find(info.id);
      if (known != known_.end()) {
        CAIRN_FUZZ_REQUIRE(contents && contents->size() == known->second.size());
        for (const auto& [tensor, bytes] : *contents) {
          CAIRN_FUZZ_REQUIRE(fuzz::same_bytes(bytes, known->second.at(tensor)));
        }
      }
      if (contents && !info.damaged && known == known_.end() && is_rebuilt_) {
        known_.emplace(info.id, *std::move(contents));
      }
    }
  }

  std::filesystem::path directory_;
  fuzz::Script script_;
  std::optional<Store> store_;
  bool is_rebuilt_ = false;
  std::map<std::uint64_t, Contents> known_;  // by checkpoint
};

// Where the catalog begins; in an image that ends before, there is none.
constexpr std::size_t kCatalogAt = std::size_t{1} << 19;

[[maybe_unused]] void mend(std::span<std::byte> file) {
  fuzz::mend_pack(file.first(std::min(file.size(), kCatalogAt)));
  if (file.size() > kCatalogAt) fuzz::mend_catalog(file.subspan(kCatalogAt));
}

}  // namespace

CAIRN_FUZZ_MEND_IMAGE(mend);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Scratch scratch;
  const fuzz::Image image = fuzz::expand(fuzz::as_view(data, size));
  const auto directory = scratch.fresh("store");
  const fuzz::View file(image.file);
  fuzz::write_file(directory / "pack", file.first(std::min(file.size(), kCatalogAt)));
  if (file.size() > kCatalogAt) {
    fuzz::write_file(directory / "catalog.mdb", file.subspan(kCatalogAt));
  }
  Session(directory, image.script).run();
  return 0;
}
