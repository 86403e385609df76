// What each operation costs, by counts and never by time: a change that flushes once more, or that
// reads what it need not, fails here. And that costs grow with the work asked for, not with what
// the store holds.

#include "costs/calls.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/retention.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <tuple>
#include <vector>

namespace cairn {
namespace {

using testing::Calls;
using testing::calls_of;
using testing::model_of;
using testing::ScratchDirectory;

constexpr std::size_t kTensors = 8;
constexpr std::uint64_t kTensorBytes = 65536;
constexpr std::uint64_t kStateBytes = kTensors * kTensorBytes;
constexpr std::uint64_t kPageBytes = 4096;  // of the catalog, and the least that a record takes
constexpr std::uint64_t kSectorBytes = 512;
constexpr std::uint64_t kMetaBytes = 120;  // what LMDB writes of its meta page

/// What an operation may cost. Flushes are exact: they are what a small commit takes its time for.
struct Bound {
  std::uint64_t commits = 0;  // each: the pack's flush, LMDB's, and its synchronous meta page
  std::uint64_t pack_bytes = 0;
  std::uint64_t pack_writes = 0;
  std::uint64_t catalog_pages = 0;
  std::uint64_t reads = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t size_changes = 0;
};

void expect_within(const Calls& calls, const Bound& bound) {
  EXPECT_EQ(calls.flushes, 2 * bound.commits) << calls;
  EXPECT_EQ(calls.synced_writes, bound.commits) << calls;
  EXPECT_LE(calls.writes, bound.pack_writes + bound.catalog_pages) << calls;
  EXPECT_LE(calls.written_bytes,
            bound.pack_bytes + bound.catalog_pages * kPageBytes + bound.commits * kMetaBytes)
      << calls;
  EXPECT_LE(calls.reads, bound.reads) << calls;
  EXPECT_LE(calls.read_bytes, bound.read_bytes) << calls;
  EXPECT_LE(calls.size_changes, bound.size_changes) << calls;
}

class Costs : public ::testing::Test {
 protected:
  /// A store in its steady state: holes to recycle, and as large as it gets.
  Costs() {
    for (std::uint64_t seed = 1; seed <= 16; ++seed) save(seed);
    store.remove(std::array{id_of(1), id_of(2), id_of(3), id_of(4)});
    for (const std::uint64_t seed : {5, 6, 7}) pin(id_of(seed));
  }

  void save(std::uint64_t seed, const SaveOptions& options = {}) {
    const SaveResult result = store.save(model_of(seed, kTensors, kTensorBytes), options);
    ids.push_back(result.saved.id);
  }
  std::uint64_t id_of(std::uint64_t seed) const { return ids.at(seed - 1); }
  void pin(std::uint64_t id) { store.set_pinned(std::array{id}, true); }
  void close() { const Store closed = std::move(store); }

  ScratchDirectory scratch;
  Store store{scratch / "store"};
  std::vector<std::uint64_t> ids;
};

// Two copies of the root, the index, and the slot.
constexpr std::uint64_t kRecordBytes = 3 * kPageBytes + kSectorBytes;

TEST_F(Costs, OfASaveAreItsBytesAndLittleMore) {
  expect_within(calls_of([&] { save(17); }), {.commits = 1,
                                              .pack_bytes = kStateBytes + kRecordBytes,
                                              .pack_writes = 6,
                                              .catalog_pages = 12,
                                              .size_changes = 1});
}

TEST_F(Costs, OfASaveOfWhatIsStoredAreNoTensors) {
  expect_within(calls_of([&] { save(16); }), {.commits = 1,
                                              .pack_bytes = kRecordBytes,
                                              .pack_writes = 4,
                                              .catalog_pages = 12,
                                              .size_changes = 1});
}

// The steady state of a job that keeps its last few: the pack does not grow, so nothing is
// reserved.
TEST_F(Costs, OfASaveThatTakesTheOldestsPlaceAreThoseOfASave) {
  const SaveOptions replacing{.retention = [](std::span<const CheckpointInfo> all) {
    return std::vector<std::uint64_t>{all.back().id};
  }};
  for (std::uint64_t seed = 17; seed <= 24; ++seed) save(seed, replacing);
  expect_within(calls_of([&] { save(25, replacing); }), {.commits = 1,
                                                         .pack_bytes = kStateBytes + kRecordBytes,
                                                         .pack_writes = 8,
                                                         .catalog_pages = 12,
                                                         .reads = 1,
                                                         .read_bytes = 2 * kPageBytes});
}

TEST_F(Costs, OfADeletionAreTwoRootsAndTheReadingOfAnIndex) {
  expect_within(calls_of([&] { store.remove(std::array{id_of(9)}); }),
                {.commits = 1,
                 .pack_bytes = 2 * kPageBytes + kSectorBytes,
                 .pack_writes = 3,
                 .catalog_pages = 12,
                 .reads = 1,
                 .read_bytes = 2 * kPageBytes});
}

TEST_F(Costs, OfADeletionOfManyAreThoseOfOneCommit) {
  const std::array many{id_of(8), id_of(9), id_of(10), id_of(11), id_of(12)};
  expect_within(calls_of([&] { store.remove(many); }),
                {.commits = 1,
                 .pack_bytes = 2 * kPageBytes + kSectorBytes,
                 .pack_writes = 3,
                 .catalog_pages = 12,
                 .reads = many.size(),
                 .read_bytes = many.size() * 2 * kPageBytes});
}

TEST_F(Costs, OfAPinAreTwoRoots) {
  expect_within(calls_of([&] { pin(id_of(9)); }), {.commits = 1,
                                                   .pack_bytes = 2 * kPageBytes + kSectorBytes,
                                                   .pack_writes = 3,
                                                   .catalog_pages = 8});
}

TEST_F(Costs, OfALoadAreItsBytesOnceOrTwice) {
  std::vector<std::byte> memory(kStateBytes);
  std::vector<LoadTarget> targets;
  for (std::size_t i = 0; i < kTensors; ++i) {
    targets.push_back(
        {.tensor = i, .out = std::span(memory).subspan(i * kTensorBytes, kTensorBytes)});
  }
  const Checkpoint checkpoint = store.open(id_of(9));
  for (const LoadMode mode : {LoadMode::kSinglePass, LoadMode::kStaged, LoadMode::kVerifyFirst}) {
    const std::uint64_t passes = mode == LoadMode::kVerifyFirst ? 2 : 1;
    expect_within(calls_of([&] { checkpoint.load(targets, mode); }),
                  {.reads = passes * kTensors, .read_bytes = passes * kStateBytes});
  }
}

TEST_F(Costs, OfOpeningACheckpointAreOneReadAndOfListingNone) {
  expect_within(calls_of([&] { store.open(id_of(9)); }), {.reads = 1, .read_bytes = kPageBytes});
  expect_within(calls_of([&] {
                  EXPECT_EQ(store.checkpoints().size(), 12U);
                  EXPECT_TRUE(store.find(id_of(9)));
                }),
                {});
}

// Superblock, slots, both roots, and the catalog's pages one by one. The one write is the holder's
// name in the lock.
TEST_F(Costs, OfOpeningAStoreAreNoFlushes) {
  const std::uint64_t catalog_pages = store.stat().catalog_bytes / kPageBytes;
  close();
  const Bound reading{.reads = 20 + catalog_pages, .read_bytes = (16 + catalog_pages) * kPageBytes};
  expect_within(calls_of([&] { Store(scratch / "store", {.read_only = true}); }), reading);
  Bound writing = reading;
  writing.pack_writes = 1;
  writing.pack_bytes = kPageBytes;
  writing.size_changes = 1;
  expect_within(calls_of([&] { Store(scratch / "store"); }), writing);
}

// ---- instructions -------------------------------------------------------------------------------

#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/// Instructions that valgrind counts in `operation_main`, those of the libraries among them.
std::uint64_t instructions(const std::filesystem::path& store, const std::string& operation,
                           std::uint64_t times) {
  const std::string command = "valgrind --tool=callgrind --callgrind-out-file=/dev/null '" +
                              std::string(CAIRN_TEST_BIN_DIR) + "/operation_main' '" +
                              store.string() + "' " + operation + " " + std::to_string(times) +
                              " 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return 0;
  std::string output;
  std::array<char, 256> line{};
  while (std::fgets(line.data(), line.size(), pipe) != nullptr) output += line.data();
  EXPECT_EQ(::pclose(pipe), 0) << output;
  const std::string label = "Collected : ";
  const std::size_t at = output.find(label);
  EXPECT_NE(at, std::string::npos) << output;
  return at == std::string::npos ? 0 : std::stoull(output.substr(at + label.size()));
}

/// Of one operation, less what opening the store takes.
std::uint64_t instructions_of_one(const std::filesystem::path& store,
                                  const std::string& operation) {
  constexpr std::uint64_t kTimes = 10;
  const std::uint64_t once = instructions(store, operation, 1);
  return (instructions(store, operation, 1 + kTimes) - once) / kTimes;
}

// Twice what was counted when this was written (GCC 12, valgrind 3.19), for other compilers and
// libraries; a list copied or a checkpoint decoded more per commit goes beyond it.
TEST(CostsInInstructions, OfOneOperationHardlyGrowWithTheCheckpointsThereAre) {
  if (std::system("valgrind --version > /dev/null 2>&1") != 0) {  // NOLINT(cert-env33-c)
    GTEST_SKIP() << "valgrind, which counts instructions, is not installed";
  }
  constexpr std::uint64_t kFew = 30;
  constexpr std::uint64_t kMany = 300;
  const ScratchDirectory scratch;
  for (const std::uint64_t count : {kFew, kMany}) {
    const auto store = scratch / std::to_string(count);
    const std::string make = "'" + std::string(CAIRN_TEST_BIN_DIR) + "/operation_main' '" +
                             store.string() + "' make " + std::to_string(count);
    ASSERT_EQ(std::system(make.c_str()), 0);  // NOLINT(cert-env33-c)
  }
  struct Expected {
    std::string operation;
    std::uint64_t at_most;            // with few checkpoints
    std::uint64_t more_a_checkpoint;  // for each that there is besides
  };
  for (const Expected& expected : {Expected{"find", 22'000, 10},
                                   {"load", 18'000, 10},
                                   {"delete", 190'000, 700},
                                   {"save", 2'700'000, 700}}) {
    const std::uint64_t few =
        instructions_of_one(scratch / std::to_string(kFew), expected.operation);
    const std::uint64_t many =
        instructions_of_one(scratch / std::to_string(kMany), expected.operation);
    EXPECT_LE(few, expected.at_most) << expected.operation;
    EXPECT_LE(many, few + (kMany - kFew) * expected.more_a_checkpoint) << expected.operation;
  }
}

#endif

// ---- growth -------------------------------------------------------------------------------------

/// What the operations cost that touch one checkpoint, in a store of so many.
struct Growth {
  Calls save, remove, find, load;
  std::uint64_t count = 0;
};

CheckpointState crowd_member(std::uint64_t seed, std::size_t chunks) {
  CheckpointState state;
  for (std::size_t i = 0; i < chunks; ++i) {  // Each recoverable begins a chunk of its own.
    state.push_back({.name = std::to_string(i),
                     .tensors = {testing::tensor("t", testing::pattern(seed * chunks + i, 64))}});
  }
  return state;
}

Growth costs_with(const std::filesystem::path& directory, std::uint64_t count, std::size_t chunks) {
  Store store(directory);
  std::uint64_t seed = 0;
  while (seed < count) store.save(crowd_member(++seed, chunks));
  const std::vector<CheckpointInfo> all = store.checkpoints();
  Growth growth{.count = count};
  growth.save = calls_of([&] { store.save(crowd_member(++seed, chunks)); });
  growth.remove = calls_of([&] { store.remove(std::array{all[count / 2].id}); });
  growth.find = calls_of([&] { EXPECT_TRUE(store.find(all[count / 3].id)); });
  growth.load = calls_of([&] { EXPECT_EQ(store.open(all[count / 3].id).read(0).size(), 64U); });
  return growth;
}

/// The root lists every checkpoint in about so many bytes.
constexpr std::uint64_t kListedBytes = 80;
/// A change to a row changes the pages on the way to it, of which there are more in a taller tree.
constexpr std::uint64_t kMoreLevels = 3;

void expect_growth_of_the_root_alone(const Growth& few, const Growth& many,
                                     std::uint64_t random_rows) {
  const std::uint64_t roots = 2 * kListedBytes * (many.count - few.count);
  for (const auto& [a, b, rows] :
       {std::tuple{few.save, many.save, random_rows}, {few.remove, many.remove, random_rows}}) {
    EXPECT_EQ(b.flushes, a.flushes);
    EXPECT_EQ(b.synced_writes, a.synced_writes);
    EXPECT_LE(b.reads, a.reads) << b;
    EXPECT_LE(b.read_bytes, a.read_bytes + kPageBytes) << b;
    EXPECT_LE(b.written_bytes, a.written_bytes + roots + (rows + 10) * kMoreLevels * kPageBytes)
        << a << "; " << b;
    EXPECT_LE(b.size_changes, a.size_changes + 1);
  }
  EXPECT_EQ(many.find.all(), 0U) << many.find;
  EXPECT_EQ(many.load.all(), few.load.all()) << many.load;
  EXPECT_LE(many.load.read_bytes, few.load.read_bytes + kPageBytes) << many.load;
}

TEST(CostsOfACrowd, GrowByTheRootsLengthAlone) {
  const ScratchDirectory scratch;
  expect_growth_of_the_root_alone(costs_with(scratch / "few", 10, 1),
                                  costs_with(scratch / "many", 500, 1), 1);
}

// 10^4 checkpoints, 10^6 chunks.
TEST(SlowCostsOfACrowd, GrowByTheRootsLengthAlone) {
  const ScratchDirectory scratch;
  constexpr std::uint64_t kDiskBytes = 6'000'000'000;  // a page for each chunk, and what lists them
  if (std::filesystem::space(scratch.path()).available < kDiskBytes) {
    GTEST_SKIP() << "needs 6 GB of disk, and " << scratch.path().parent_path()
                 << " has less; name another directory with TMPDIR";
  }
  constexpr std::size_t kChunks = 100;
  expect_growth_of_the_root_alone(costs_with(scratch / "few", 10, kChunks),
                                  costs_with(scratch / "many", 10'000, kChunks), kChunks);
  const Store store(scratch / "many", {.read_only = true});
  EXPECT_EQ(store.stat().checkpoints, 10'000U);
  EXPECT_EQ(store.stat().chunks, 1'000'000U);
}

// 10^5 tensors: their bytes, an index of some tens of bytes for each, and no row for each.
TEST(SlowCostsOfManyTensors, AreTheirBytesAndASmallIndex) {
  const ScratchDirectory scratch;
  constexpr std::size_t kCount = 100'000;
  constexpr std::uint64_t kBytes = kCount * 1024;
  Store store(scratch / "store");
  const CheckpointState state = model_of(1, kCount, 1024);
  std::uint64_t id = 0;
  const Calls save = calls_of([&] { id = store.save(state).saved.id; });
  EXPECT_EQ(save.flushes, 2U);
  EXPECT_LE(save.written_bytes, kBytes + kBytes / 10) << save;
  EXPECT_LE(save.writes, kBytes / (1 << 20) + 400) << save;
  const Calls again = calls_of([&] { store.save(state); });
  EXPECT_LE(again.written_bytes, kBytes / 10) << again;
  const Checkpoint checkpoint = store.open(id);
  std::vector<std::byte> memory(kBytes);
  std::vector<LoadTarget> targets;
  for (std::size_t i = 0; i < kCount; ++i) {
    targets.push_back({.tensor = i, .out = std::span(memory).subspan(i * 1024, 1024)});
  }
  const Calls load = calls_of([&] { checkpoint.load(targets, LoadMode::kSinglePass); });
  EXPECT_LE(load.read_bytes, kBytes + kBytes / 100) << load;
}

// More than 100 GB, on a disk that need not hold them: payload is left out.
TEST(SlowCostsOfALargePack, DoNotGrowWithIt) {
  const ScratchDirectory scratch;
  constexpr std::uint64_t kBytes = std::uint64_t{1} << 30;
  constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
  CheckpointState state = testing::model({testing::tensor("t", testing::Bytes(kBytes))});
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(state[0].tensors[0].data));
  std::uint64_t seed = 0;
  Store store(scratch / "store", {.heal_every = 0});
  testing::leave_holes(2 * kChunkBytes);
  const auto save = [&] {
    ++seed;
    for (std::uint64_t at = 0; at < kBytes; at += kChunkBytes) {
      std::memcpy(bytes + at, &seed, sizeof(seed));
      std::memcpy(bytes + at + sizeof(seed), &at, sizeof(at));
    }
    store.save(state);
  };
  save(), save(), save();
  const Calls early = calls_of(save);
  while (store.stat().pack_bytes <= std::uint64_t{100'000'000'000}) save();
  const Calls late = calls_of(save);
  EXPECT_EQ(late.flushes, early.flushes);
  EXPECT_EQ(late.reads, early.reads);
  EXPECT_LE(late.written_bytes, early.written_bytes + early.written_bytes / 50) << late;
  const std::vector<CheckpointInfo> all = store.checkpoints();
  const Calls remove = calls_of([&] { store.remove(std::array{all[all.size() / 2].id}); });
  EXPECT_EQ(remove.flushes, 2U);
  EXPECT_LE(remove.reads, 1U) << remove;
  { const Store closed = std::move(store); }
  const Calls open = calls_of([&] { Store(scratch / "store", {.read_only = true}); });
  EXPECT_LE(open.read_bytes, std::uint64_t{64} << 20) << open;
  testing::leave_holes(0);
}

}  // namespace
}  // namespace cairn
