// Explores crash states of one mutant of the store, until a check fails. It links the core built
// with CAIRN_MUTANTS; tests/crash/mutants_test.cc runs it once for each name.
//
//   try_mutant --list        the names, one a line
//   try_mutant NAME          "killed: ..." (exit code 0) or "survived: ..." (exit code 1)
//   try_mutant none          the same checks without any mutant must find nothing (exit code 0)
//   try_mutant --flushes     leaves out each single flush of some short jobs, and prints which of
//                            them nothing misses
#include "base/mutant.h"
#include "crash/explorer.h"
#include "pack/pack_file.h"
#include "support/states.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace cairn::crash {
namespace {

using base::Mutant;
using enum Operation;
using Sequence = std::vector<Operation>;

struct Trial {
  std::string name{};
  Mutant mutant = Mutant::kNone;                   // in the source
  std::function<bool(const Call&)> drops_flush{};  // or in the recorder: this flush is left out
  std::vector<Sequence> sequences{};               // where it may show
  std::function<std::optional<std::string>()> check{};  // or what shows it instead of a crash
};

std::function<bool(const Call&)> flush(EventKind kind, std::string name, std::string after = {}) {
  return [=](const Call& call) {
    return call.kind == kind && call.name == name &&
           (after.empty() || call.last_name_event == after);
  };
}

const std::vector<Sequence> kSaves = {{kSaveNew, kKeepOnly, kReuse, kReuse}, {kSaveNew, kReplace}};
const std::vector<Sequence> kMaking = {{}, {kSaveNew}};

/// A catalog never holds a changed byte without a rebuild that gives the right state back.
std::optional<std::string> flip_catalog_bytes() {
  const OneCore one_core;
  const FastDirectory directory;
  const auto work = directory.path() / "workload";
  write_tree({}, work);
  const Recording recording = record(Sequence{kSaveNew, kSaveChangingSome, kReuse}, work);
  const Tree good = replay(recording.log);
  const Expectation expected{.models = {&recording.models.back()},
                             .models_without_catalog = {&recording.models.back()},
                             .store_exists = true};
  const std::string catalog = std::string(kStorePath) + "/catalog.mdb";
  Oracle oracle(directory.path() / "state", std::string(kStorePath));
  std::mt19937_64 random(7);
  constexpr std::size_t kMetaBytes = 8192;  // both meta pages; what a flip there means is vetting's
  for (int flips = 0; flips < 200;) {
    Tree tree = good;
    Bytes& bytes = tree.files.at(catalog);
    std::byte& byte = bytes.at(kMetaBytes + random() % (bytes.size() - kMetaBytes));
    if (byte == std::byte{0}) continue;
    ++flips;
    byte ^= std::byte{1};
    if (auto wrong = oracle.judge(tree, expected, {.parent_is_whole = false, .is_damaged = true})) {
      return "a flipped byte of the catalog: " + *wrong;
    }
  }
  return std::nullopt;
}

/// A catalog in which one page is that of an earlier commit never leads to wrong rows.
std::optional<std::string> put_older_catalog_pages() {
  const OneCore one_core;
  const FastDirectory directory;
  const auto work = directory.path() / "workload";
  write_tree({}, work);
  const Recording recording =
      record(Sequence{kSaveNew, kSaveNew, kReuse, kReuse, kReuse, kReuse, kReuse, kReuse}, work);
  const Expectation expected{.models = {&recording.models.back()},
                             .models_without_catalog = {&recording.models.back()},
                             .store_exists = true};
  const std::string catalog = std::string(kStorePath) + "/catalog.mdb";
  const Tree good = replay(recording.log);
  Oracle oracle(directory.path() / "state", std::string(kStorePath));
  constexpr std::size_t kPageBytes = 4096;
  constexpr std::size_t kFirstPage = 2;  // a whole older meta page is a commit that never happened
  for (std::size_t i = 0; i < recording.log.size(); ++i) {
    if (!recording.log[i].name.starts_with("done ")) continue;
    const auto end = recording.log.begin() + static_cast<std::ptrdiff_t>(i);
    const Bytes then = replay(EventLog(recording.log.begin(), end)).files.at(catalog);
    for (std::size_t page = kFirstPage; (page + 1) * kPageBytes <= then.size(); ++page) {
      Tree tree = good;
      std::copy_n(then.begin() + static_cast<std::ptrdiff_t>(page * kPageBytes), kPageBytes,
                  tree.files.at(catalog).begin() + static_cast<std::ptrdiff_t>(page * kPageBytes));
      if (tree == good) continue;
      if (auto wrong =
              oracle.judge(tree, expected, {.parent_is_whole = false, .is_damaged = true})) {
        return "an older page of the catalog: " + *wrong;
      }
    }
  }
  return std::nullopt;
}

/// Where the pack has the only chunk of the only checkpoint.
std::uint64_t first_chunk(const Store& store) {
  const auto pack = pack::PackFile::open(store.directory() / "pack", io::File::Access::kRead);
  const pack::SlotTable slots = pack.read_slots();
  const format::Slot& slot = *slots.newest_first().front();
  const format::RootEntry entry = pack.read_root(slot.root, slot.data_end).checkpoints.at(0);
  return pack.read_index(entry.index, entry.index_digest, slot.data_end).chunks.at(0).offset;
}

/// A store whose catalog is gone is not opened for writing while another handle is open.
std::optional<std::string> rebuild_under_open_handle() {
  const FastDirectory directory;
  const auto path = directory.path() / "store";
  { Store(path).save(testing::model_of(1, 2, 5000), {.name = "1"}); }
  const Store reader(path, {.read_only = true});
  std::filesystem::remove(path / "catalog.mdb");
  try {
    const Store writer(path);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kBusy) return std::nullopt;
    throw;
  }
  return "the catalog was rebuilt while another handle was open";
}

/// A crash that tears all that is pending, while the superblocks learn of a feature, leaves one of
/// them whole. (Chance tears two at once too seldom.)
std::optional<std::string> tear_all_while_superblocks_change() {
  const OneCore one_core;
  const FastDirectory directory;
  const auto work = directory.path() / "workload";
  write_tree({}, work);
  const Recording recording = record(Sequence{kCompress}, work);
  const Expectation expected{.models = {&recording.models.back()},
                             .models_without_catalog = {&recording.models.back()},
                             .store_exists = true};
  Oracle oracle(directory.path() / "state", std::string(kStorePath));
  Disk disk(NameRule::kStrict, is_advice);
  bool is_made = false;
  for (const Event& event : recording.log) {
    disk.apply(event);
    is_made = is_made || (event.kind == EventKind::kNote && event.name == "done 0");
    if (!is_made) continue;
    Choice torn(disk.unit_count());
    for (const Disk::Group& group : disk.groups()) torn[group.first] = true;
    if (auto wrong = oracle.judge(disk.state(torn), expected)) return "all torn: " + *wrong;
  }
  return std::nullopt;
}

/// A save whose tensors change before they are written fails, also where it would mend a rotten
/// chunk, and makes nothing worse.
std::optional<std::string> change_tensors_during_healing() {
  const FastDirectory directory;
  const auto path = directory.path() / "store";
  testing::Bytes bytes = testing::pattern(1, 5000);
  const TensorInput tensor{
      .key = "weight", .dtype = DType::kU8, .shape = {5000}, .data = bytes.data()};
  const CheckpointState state = testing::model({tensor});
  Store store(path, {.heal_every = 1});
  store.save(state, {.name = "1"});
  testing::flip_byte(path / "pack", first_chunk(store));
  const auto change = [&](std::span<const CheckpointInfo>) {
    bytes[9] ^= std::byte{1};
    return std::vector<std::uint64_t>();
  };
  bool failed = false;
  try {
    store.save(state, {.name = "2", .retention = change});
  } catch (const Error& error) {
    failed = error.code() == ErrorCode::kIo;
    if (!failed) throw;
  }
  bytes[9] ^= std::byte{1};
  if (!failed) return "a save went through although its tensors had changed";
  store.save(state, {.name = "3"});
  if (!store.verify().ok) return "a save of good bytes did not mend the chunk";
  return std::nullopt;
}

std::vector<Trial> trials() {
  using enum Mutant;
  return {
      {"pack not flushed before the commit", kNone, flush(EventKind::kSync, "pack"), kSaves},
      {"pack not flushed when made", kNone, flush(EventKind::kSync, "pack.tmp"), kMaking},
      {"catalog's pages not flushed", kNone, flush(EventKind::kSync, "catalog.mdb"), kSaves},
      {"catalog's meta page not flushed", kNone, flush(EventKind::kSyncRange, "catalog.mdb"),
       kSaves},
      {"new catalog's pages not flushed", kNone, flush(EventKind::kSync, "catalog.mdb.new"),
       kMaking},
      {"new catalog's meta page not flushed", kNone,
       flush(EventKind::kSyncRange, "catalog.mdb.new"), kMaking},
      {"directory not flushed after the pack's rename", kNone,
       flush(EventKind::kSyncDirectory, std::string(kStorePath), "rename pack"), kMaking},
      {"directory not flushed after the catalog's rename",
       kNone,
       flush(EventKind::kSyncDirectory, std::string(kStorePath), "rename catalog.mdb"),
       {{kSaveNew, kAbort, kLoseCatalog}, {kSaveNew, kLoseCatalog, kSaveNew, kReuse}}},
      {"ancestor not flushed when made", kNone, flush(EventKind::kSyncDirectory, ""), kMaking},
      {"parent not flushed, neither time", kNone, flush(EventKind::kSyncDirectory, "jobs"),
       kMaking},
      {"commit before the pack's flush", kCommitBeforeFlush, {}, kSaves},
      {"root accepted without checking what it adds", kUncheckedRoot, {}, kSaves},
      {"stranded roots not superseded", kNoSuperseding, {}, {{kSaveNew, kSaveNew}}},
      {"slot written over the committed one", kCommittedSlotOverwritten, {}, kSaves},
      {"reuse one commit too early",
       kReuseOneCommitTooEarly,
       {},
       {{kSaveNew, kKeepOnly, kKeepOnly, kKeepOnly, kKeepOnly, kKeepOnly}}},
      {"reuse under a reader",
       kReuseUnderReader,
       {},
       {{kSaveNew, kRead, kReuse, kReuse, kReuse, kReuse}}},
      {"hit on a row without references",
       kHitOnRowWithoutReferences,
       {},
       {{kSaveNew, kDelete, kSaveUnchanged, kSaveNew, kSaveNew}}},
      {"truncation before the commit",
       kTruncationBeforeCommit,
       {},
       {{kSaveNew, kSaveNew, kDelete, kDelete, kCompact}}},
      {"rebuild under an open handle", kRebuildUnderOpenHandle, {}, {}, rebuild_under_open_handle},
      {"one root copy only", kOneRootCopy, {}, {{kSaveNew}}},
      {"checksums of catalog rows ignored", kRowChecksumsIgnored, {}, {}, flip_catalog_bytes},
      {"sum of the catalog's rows not compared", kRowSumIgnored, {}, {}, put_older_catalog_pages},
      {"sum of the catalog's rows not kept", kRowSumNotKept, {}, {{kSaveNew}}},
      {"digests of chunks ignored", kChunkDigestsIgnored, {}, kSaves},
      {"acknowledged before the commit",
       kAcknowledgedBeforeCommit,
       {},
       {{kSaveNew, kSaveAsync, kDelete}}},
      {"asynchronous save overtaken by the next change",
       kAsyncSaveOvertaken,
       {},
       {{kSaveAsync, kSaveNew}}},
      {"pack not flushed after direct writes",
       kNone,
       flush(EventKind::kSync, "pack"),
       {{kSaveDirect}}},
      {"chunk mended after the pack's flush", kHealedAfterFlush, {}, {{kHeal}}},
      {"both superblocks rewritten before a flush",
       kSuperblocksAtOnce,
       {},
       {},
       tear_all_while_superblocks_change},
      {"changed tensors saved", kChangedTensorsSaved, {}, {}, change_tensors_during_healing},
  };
}

/// What the trial's checks find, or nothing.
std::optional<std::string> find_fault(const Trial& trial, Explorer& explorer) {
  if (trial.check) return trial.check();
  for (const Sequence& sequence : trial.sequences) {
    if (auto wrong =
            explorer.explore(sequence, NameRule::kStrict, {.is_deaf = trial.drops_flush})) {
      return "state " + std::to_string(explorer.counts().states) + ": " + *wrong;
    }
  }
  return std::nullopt;
}

const ExplorerOptions kOptions{
    .thoroughness = {.exhaustive_groups = 4, .samples = 4, .at_most = 24}};

/// Leaves out one flush after another of some short jobs, and prints those that nothing misses.
int leave_out_each_flush() {
  std::size_t left_out = 0;
  std::size_t known = 0;  // so many at the beginning of each job are those of the first one
  for (const Sequence& sequence : {Sequence{kSaveNew},
                                   {kSaveNew, kCompress, kSaveNew},
                                   {kSaveNew, kDelete, kCompact},
                                   {kSaveNew, kLoseCatalog}}) {
    std::size_t number = known;
    for (bool is_there = true; is_there;) {
      ++number;
      std::size_t count = 0;
      std::string what;
      Explorer explorer(kOptions);
      const auto wrong =
          explorer.explore(sequence, NameRule::kStrict, {.is_deaf = [&](const Call& call) {
                             if (++count != number) return false;
                             what = call.kind == EventKind::kSyncDirectory ? "directory "
                                    : call.kind == EventKind::kSyncRange   ? "meta page of "
                                                                           : "";
                             what += call.name;
                             if (!call.last_name_event.empty())
                               what += " after " + call.last_name_event;
                             return true;
                           }});
      is_there = count >= number;
      if (!is_there) continue;
      ++left_out;
      if (!wrong) std::printf("%s: %s\n", describe(sequence).c_str(), what.c_str());
    }
    if (known == 0) known = number - 1;
  }
  std::printf("flushes left out: %zu\n", left_out);
  return 0;
}

int list() {
  for (const Trial& trial : trials()) std::printf("%s\n", trial.name.c_str());
  return 0;
}

int run_without_mutant() {
  Explorer explorer(kOptions);
  for (Trial trial : trials()) {
    trial.drops_flush = {};
    if (const auto wrong = find_fault(trial, explorer)) {
      std::printf("found without a mutant: %s\n", wrong->c_str());
      return 1;
    }
  }
  std::printf("nothing found in %llu states\n",
              static_cast<unsigned long long>(explorer.counts().states));
  return 0;
}

int run(const std::string& name) {
  if (name == "--list") return list();
  if (name == "--flushes") return leave_out_each_flush();
  if (name == "none") return run_without_mutant();
  for (const Trial& trial : trials()) {
    if (name != trial.name) continue;
    base::active_mutant = trial.mutant;
    Explorer explorer(kOptions);
    const auto wrong = find_fault(trial, explorer);
    std::printf("%s\n", wrong ? ("killed: " + *wrong).c_str() : "survived");
    return wrong ? 0 : 1;
  }
  std::printf("no such mutant: %s\n", name.c_str());
  return 2;
}

}  // namespace
}  // namespace cairn::crash

int main(int count, char** arguments) {
  if (count != 2) return 2;
  try {
    return cairn::crash::run(arguments[1]);
  } catch (const std::exception& error) {
    std::printf("stopped: %s\n", error.what());
    return 3;
  }
}
