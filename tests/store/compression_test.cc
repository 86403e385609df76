// A store with compression: every operation gives what it gives without, and takes less.

#include "format/superblock.h"
#include "store/seam.h"
#include "support/scratch.h"
#include "support/states.h"
#include "support/weights.h"

#include <cairn/salvage.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cairn {
namespace {

using testing::Bytes;
using testing::contents;
using testing::flip_byte;
using testing::model;
using testing::pattern;
using testing::ScratchDirectory;
using testing::tensor;

/// With the seed first, as in `pattern`.
Bytes weights(std::uint64_t seed, std::size_t count) {
  return testing::bf16_weights(count, seed);
}

constexpr std::size_t kWeights = 700'001;  // two chunks, the second one short

class Compressed : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return scratch_ / "store"; }
  std::filesystem::path pack() const { return path() / "pack"; }
  Store open(Compression compression = Compression::kZstd, std::uint64_t heal_every = 0) const {
    return Store(path(), {.compression = compression, .heal_every = heal_every});
  }
  /// Weights that become smaller, noise that does not, and small tensors that share a chunk.
  static CheckpointState state(std::uint64_t seed) {
    return model({tensor("a.weight", DType::kBF16, {kWeights}, weights(seed, kWeights)),
                  tensor("b.noise", pattern(seed, 200'000)),
                  tensor("c.bias", DType::kBF16, {5'000}, weights(seed + 1, 5'000)),
                  tensor("d.scale", DType::kF64, {3}, pattern(seed, 24))});
  }
  static std::uint64_t offset_of_weights(const Store& store, std::uint64_t id) {
    const Checkpoint checkpoint = store.open(id);
    return checkpoint.chunks(checkpoint.find_tensor("model", "a.weight").value())
        .front()
        .pack_offset;
  }

  ScratchDirectory scratch_;
};

TEST_F(Compressed, StoresLessAndTellsSo) {
  Store store = open();
  const SaveResult saved = store.save(state(1));
  EXPECT_LT(saved.new_stored_bytes, saved.new_bytes * 80 / 100);
  EXPECT_GE(saved.new_bytes, saved.saved.logical_bytes);
  const ChunkStats stats = store.chunk_stats();
  EXPECT_EQ(stats.chunks, saved.new_chunks);
  EXPECT_EQ(stats.compressed_chunks, 3U);  // two of the weights, the shared one
  EXPECT_EQ(stats.plain_bytes, saved.new_bytes);
  EXPECT_EQ(stats.stored_bytes, saved.new_stored_bytes);
  EXPECT_LT(store.stat().stored_bytes, saved.new_bytes);
  EXPECT_TRUE(store.stat().compressed);
}

TEST_F(Compressed, LoadsTheSameInEveryModeAndInParts) {
  Store store = open();
  const std::uint64_t id = store.save(state(1)).saved.id;
  const Checkpoint checkpoint = store.open(id);
  const auto expected = contents(state(1));
  EXPECT_EQ(contents(checkpoint), expected);
  const std::size_t number = *checkpoint.find_tensor("model", "a.weight");
  const Bytes& wanted = expected.at("model/a.weight");
  for (const LoadMode mode : {LoadMode::kVerifyFirst, LoadMode::kStaged, LoadMode::kSinglePass}) {
    Bytes out(wanted.size());
    const LoadTarget target{.tensor = number, .out = out};
    checkpoint.load({&target, 1}, mode);
    EXPECT_EQ(out, wanted);
  }
  Bytes rows(1'001);  // across the end of the first chunk
  checkpoint.read_range(number, (std::size_t{1} << 20) - 500, rows);
  EXPECT_EQ(std::memcmp(rows.data(), &wanted[(std::size_t{1} << 20) - 500], rows.size()), 0);
}

TEST_F(Compressed, SharesChunksHoweverTheyAreStored) {
  open().save(state(1));
  {
    Store plain = open(Compression::kNone);
    EXPECT_EQ(plain.save(state(1)).new_chunks, 0U);
    const SaveResult saved = plain.save(state(2));
    EXPECT_EQ(saved.new_stored_bytes, saved.new_bytes);
  }
  Store store = open();
  const SaveResult again = store.save_async(state(2)).get();
  EXPECT_EQ(again.new_chunks, 0U);
  EXPECT_EQ(contents(store.open(again.saved.id)), contents(state(2)));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Compressed, SavesBehindTheCallerAndRecyclesWhatIsFreed) {
  Store store = open();
  std::uint64_t pack_bytes = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const SaveResult saved =
        store
            .save_async(state(seed), {.retention =
                                          [](std::span<const CheckpointInfo> all) {
                                            return all.size() > 1 ? std::vector{all.back().id}
                                                                  : std::vector<std::uint64_t>();
                                          }})
            .get();
    EXPECT_EQ(contents(store.open(saved.saved.id)), contents(state(seed)));
    if (seed == 5) pack_bytes = store.stat().pack_bytes;
  }
  EXPECT_LE(store.stat().pack_bytes, pack_bytes + (std::uint64_t{1} << 20));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Compressed, TellsDamageAndHealsIt) {
  Store store = open(Compression::kZstd, 1);
  const std::uint64_t id = store.save(state(1)).saved.id;
  const std::uint64_t offset = offset_of_weights(store, id);
  flip_byte(pack(), offset + 10'000);
  const VerifyReport report = store.verify();
  ASSERT_EQ(report.damaged.size(), 1U);
  EXPECT_EQ(report.damaged[0].what, "chunk");
  EXPECT_EQ(report.damaged[0].pack_offset, offset);
  ASSERT_EQ(report.damaged[0].touches.size(), 1U);
  EXPECT_EQ(report.damaged[0].touches[0].tensor, "model/a.weight");
  EXPECT_THROW(contents(store.open(id)), Error);

  EXPECT_EQ(store.save(state(1)).healed_chunks, 1U);
  EXPECT_TRUE(store.verify().ok);
  EXPECT_EQ(contents(store.open(id)), contents(state(1)));
}

TEST_F(Compressed, IsRebuiltCopiedAndSalvaged) {
  const std::uint64_t id = open().save(state(1)).saved.id;
  std::filesystem::remove(path() / "catalog.mdb");
  Store store = open(Compression::kNone);
  EXPECT_TRUE(store.open_report().rebuilt_catalog);
  EXPECT_TRUE(store.verify().ok);
  Store other(scratch_ / "other");
  EXPECT_EQ(contents(other.open(other.copy(store.open(id)).saved.id)), contents(state(1)));
  const SalvageReport report = salvage(pack(), scratch_ / "salvaged");
  ASSERT_EQ(report.saved.size(), 1U);
  const Store salvaged(scratch_ / "salvaged");
  EXPECT_EQ(contents(salvaged.open(report.saved[0].id)), contents(state(1)));
  EXPECT_TRUE(salvaged.stat().compressed);
}

TEST_F(Compressed, SuperblocksThatDoNotSaySoAreFoundAndRepaired) {
  open().save(state(1));
  const Bytes good = testing::read_file(pack());
  format::Superblock superblock =
      format::decode_superblock(std::span(good).first(format::kSuperblockBytes));
  superblock.incompat = 0;
  const auto without = format::encode_superblock(superblock);
  for (const bool are_lost : {false, true}) {
    Bytes bytes = good;
    for (const std::uint64_t offset : format::kSuperblockOffsets) {
      const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
      std::copy(without.begin(), without.end(), at);
      if (are_lost) std::fill_n(at, format::kSuperblockBytes, std::byte{0});
    }
    testing::write_file(pack(), bytes);
    if (!are_lost) {
      const VerifyReport report = Store(path(), {.read_only = true}).verify();
      ASSERT_EQ(report.damaged.size(), 1U);
      EXPECT_EQ(report.damaged[0].what, "superblock");
    }
    const RepairReport plan = Store::repair(path(), {.dry_run = true});
    EXPECT_EQ(testing::read_file(pack()), bytes);
    EXPECT_EQ(Store::repair(path()).actions, plan.actions);
    EXPECT_EQ(testing::read_file(pack()), good);
    EXPECT_TRUE(Store(path()).verify().ok);
  }
}

TEST_F(Compressed, CompactCompressesWhatIsStored) {
  std::vector<std::uint64_t> ids;
  {
    Store store(path());
    for (const std::uint64_t seed : {1, 2, 1, 3}) ids.push_back(store.save(state(seed)).saved.id);
    store.set_pinned(std::vector{ids[1]}, true);
    EXPECT_EQ(testing::error_of([&] { store.compact({.compress = true}); }).code(),
              ErrorCode::kInvalidArgument);
  }
  {
    Store store = open();
    const Checkpoint reader = store.open(ids[0]);
    const auto infos = store.checkpoints();
    const std::uint64_t plain = store.chunk_stats().stored_bytes;
    EXPECT_EQ(store.compact({.compress = true}).compressed_chunks, 9U);
    EXPECT_EQ(contents(reader), contents(state(1)));
    const ChunkStats stats = store.chunk_stats();
    EXPECT_EQ(stats.compressed_chunks, 9U);  // three for each different state
    EXPECT_EQ(stats.plain_bytes, plain);
    EXPECT_LT(stats.stored_bytes, plain * 80 / 100);
    const auto after = store.checkpoints();
    ASSERT_EQ(after.size(), infos.size());
    for (std::size_t i = 0; i < infos.size(); ++i) {
      EXPECT_EQ(after[i].id, infos[i].id);
      EXPECT_EQ(after[i].sequence, infos[i].sequence);
      EXPECT_EQ(after[i].name, infos[i].name);
      EXPECT_EQ(after[i].pinned, infos[i].pinned);
    }
  }
  Store store = open();
  EXPECT_EQ(store.compact({.compress = true}).compressed_chunks, 0U);
  EXPECT_LT(store.stat().allocated_bytes, store.chunk_stats().plain_bytes);
  EXPECT_EQ(store.save(state(3)).new_chunks, 0U);
  const auto expect_whole = [&](const Store& held) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(contents(held.open(ids[i])),
                contents(state(std::vector<std::uint64_t>{1, 2, 1, 3}[i])));
    }
    EXPECT_TRUE(held.verify().ok);
  };
  expect_whole(store);
  store = Store(scratch_ / "another");  // closes it
  std::filesystem::remove(path() / "catalog.mdb");
  expect_whole(Store(path()));
}

TEST_F(Compressed, CompactTellsHowMuchItHasReadAndThenGivenBack) {
  Store(path()).save(state(1));
  Store store = open();
  const std::uint64_t plain = store.chunk_stats().plain_bytes;
  std::mutex mutex;
  std::set<std::uint64_t> done;  // of the first total; threads may overtake one another
  std::vector<Progress> afterwards;
  store.compact({.compress = true, .progress = [&](const Progress& progress) {
                   const std::lock_guard lock(mutex);
                   if (progress.total_bytes == plain) {
                     done.insert(progress.done_bytes);
                   } else {
                     afterwards.push_back(progress);
                   }
                 }});
  EXPECT_EQ(done.size(), store.stat().chunks);
  EXPECT_EQ(*done.rbegin(), plain);
  ASSERT_FALSE(afterwards.empty());
  EXPECT_EQ(afterwards.back().done_bytes, afterwards.back().total_bytes);
}

TEST_F(Compressed, CompactLeavesDamagedChunksToBeHealed) {
  std::uint64_t id = 0;
  std::uint64_t offset = 0;
  {
    Store store(path());
    id = store.save(state(1)).saved.id;
    offset = offset_of_weights(store, id);
  }
  flip_byte(pack(), offset + 10'000);
  Store store = open(Compression::kZstd, 1);
  EXPECT_EQ(store.compact({.compress = true}).compressed_chunks, 2U);
  EXPECT_EQ(store.verify().damaged.size(), 1U);
  EXPECT_EQ(store.save(state(1)).healed_chunks, 1U);
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(Compressed, CompactLeavesWhatTheDiskCannotRead) {
  std::uint64_t offset = 0;
  {
    Store store(path());
    offset = offset_of_weights(store, store.save(state(1)).saved.id);
  }
  Store store = open();
  testing::system_faults().on_read = [offset](int, std::size_t, off_t at) {
    return static_cast<std::uint64_t>(at) == offset ? EIO : 0;
  };
  EXPECT_EQ(store.compact({.compress = true}).compressed_chunks, 2U);
  testing::reset_system();
  EXPECT_TRUE(store.verify().ok);
  EXPECT_EQ(contents(store.open(1)), contents(state(1)));
}

/// A store of several parts, each of which `compact` compresses in a commit of its own. They share
/// a tensor.
class CompressedInParts : public Compressed {
 protected:
  CompressedInParts() {
    Store store(path());
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      states_.push_back(model({tensor("shared", testing::coarse_pattern(99, 100'000)),
                               tensor("w", testing::coarse_pattern(seed, 47'000'000))}));
      store.save(states_.back());
    }
  }
  ~CompressedInParts() override { testing::reset_system(); }
  void expect_whole(const Store& store) const {
    for (std::uint64_t id = 1; id <= states_.size(); ++id) {
      EXPECT_TRUE(contents(store.open(id)) == contents(states_[id - 1])) << id;
    }
    const VerifyReport report = store.verify();
    EXPECT_TRUE(report.ok) << report.damaged.front().message;
  }

  std::vector<CheckpointState> states_;
};

TEST_F(CompressedInParts, NeedsRoomForAPartOnly) {
  Store store = open();
  const std::uint64_t plain = store.stat().pack_bytes;
  std::uint64_t end = 0;
  testing::system_faults().on_reserve = [&end](int, off_t offset, off_t bytes) {
    end = std::max(end, static_cast<std::uint64_t>(offset + bytes));
    return 0;
  };
  store.compact({.compress = true});
  EXPECT_LT(end, plain + 110'000'000);  // what the first part takes, and the second one plain
  EXPECT_EQ(store.chunk_stats().compressed_chunks, store.stat().chunks);
  EXPECT_EQ(store.compact({.compress = true}).compressed_chunks, 0U);
  expect_whole(store);
}

TEST_F(CompressedInParts, KeepsWhatWasDoneBeforeItWasEnded) {
  struct Enough {};
  {
    Store store = open();
    const auto end_late = [](const Progress& progress) {
      if (progress.done_bytes > progress.total_bytes * 3 / 4) throw Enough();
    };
    EXPECT_THROW(store.compact({.compress = true, .progress = end_late}), Enough);
    const ChunkStats stats = store.chunk_stats();
    EXPECT_GT(stats.compressed_chunks, stats.chunks / 3);
    EXPECT_LT(stats.compressed_chunks, stats.chunks * 2 / 3);
    expect_whole(store);
  }
  Store store = open();
  store.compact({.compress = true});
  EXPECT_EQ(store.chunk_stats().compressed_chunks, store.stat().chunks);
  expect_whole(store);
}

TEST_F(CompressedInParts, UsesWhatItFreesOnADiskThatHasRoomForOne) {
  Store store = open();
  const std::uint64_t limit = store.stat().pack_bytes + 72'000'000;
  testing::system_faults().on_reserve = [limit](int, off_t offset, off_t bytes) {
    return static_cast<std::uint64_t>(offset + bytes) > limit ? ENOSPC : 0;
  };
  store.compact({.compress = true});
  EXPECT_EQ(store.chunk_stats().compressed_chunks, store.stat().chunks);
  expect_whole(store);
}

TEST_F(CompressedInParts, SaysThatTheDiskIsFullAndKeepsWhatItHas) {
  Store store = open();
  const std::size_t chunks = store.stat().chunks;
  {
    const Checkpoint held = store.open(1);  // so that nothing that is freed can be used
    const auto fill_disk = [](const Progress&) {
      testing::system_faults().on_reserve = [](int, off_t, off_t) { return ENOSPC; };
    };
    const auto error = testing::error_of([&] {
      store.compact(
          {.compress = true,
           .progress = [&, is_full = std::make_shared<std::once_flag>()](const Progress& progress) {
             std::call_once(*is_full, fill_disk, progress);
           }});
    });
    EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
    EXPECT_GT(store.chunk_stats().compressed_chunks, 0U);
    EXPECT_LT(store.chunk_stats().compressed_chunks, chunks);
    testing::reset_system();
  }
  expect_whole(store);
  store.compact({.compress = true});
  EXPECT_EQ(store.chunk_stats().compressed_chunks, chunks);
  expect_whole(store);
}

TEST_F(Compressed, CopiesCompressedChunksAsTheyAre) {
  const Bytes bytes = testing::coarse_pattern(1, 500'000);
  const auto as_floats = model({tensor("w", DType::kBF16, {250'000}, bytes)});
  const auto stored_bytes = [](const Store& held, std::uint64_t id) {
    return held.open(id).chunks(0).at(0).stored_bytes;
  };
  // Grouped in another way than these floats would be.
  Store store = open();
  store.save(model({tensor("w", bytes)}));
  const std::uint64_t id = store.save(as_floats).saved.id;
  Store anew(scratch_ / "anew", {.compression = Compression::kZstd});
  const std::uint64_t saved = anew.save(as_floats).saved.id;
  ASSERT_NE(stored_bytes(anew, saved), stored_bytes(store, id));

  Store other(scratch_ / "other", {.compression = Compression::kZstd});
  const SaveResult copied = other.copy(store.open(id));
  EXPECT_EQ(stored_bytes(other, copied.saved.id), stored_bytes(store, id));
  EXPECT_EQ(copied.new_stored_bytes, stored_bytes(store, id));
  EXPECT_EQ(copied.new_bytes, bytes.size());
  EXPECT_EQ(contents(other.open(copied.saved.id)), contents(as_floats));
  EXPECT_TRUE(other.verify().ok);
  Store plain(scratch_ / "plain");
  EXPECT_EQ(plain.copy(store.open(id)).new_stored_bytes, bytes.size());

  flip_byte(pack(), store.open(id).chunks(0)[0].pack_offset + 10'000);
  Store third(scratch_ / "third", {.compression = Compression::kZstd});
  EXPECT_EQ(testing::error_of([&] { third.copy(store.open(id)); }).code(), ErrorCode::kDamaged);
}

TEST_F(Compressed, GivesBackWhatWasReservedForPlainChunks) {
  Store store = open();
  store.save(model({tensor("w", DType::kBF16, {8 * kWeights}, weights(1, 8 * kWeights))}));
  const StoreStats stats = store.stat();
  // On the disk, where what is reserved lies behind the end of the file; a mebibyte may stay so.
  EXPECT_LT(stats.allocated_bytes, std::uint64_t{131'072} + stats.stored_bytes + stats.free_bytes +
                                       (std::uint64_t{1'280} << 10));
}

// A save that failed has reserved what no later one may need; who opens the store next does not
// know.
TEST_F(Compressed, CompactGivesBackWhatAFailedSaveReserved) {
  const auto fail = [](const Progress& progress) {
    if (progress.done_bytes * 2 > progress.total_bytes) throw Error(ErrorCode::kIo, "enough");
  };
  {
    Store store = open();
    store.save(state(1));
    const auto large = model({tensor("w", DType::kBF16, {8 * kWeights}, weights(2, 8 * kWeights))});
    EXPECT_THROW(store.save(large, {.progress = fail}), Error);
  }
  Store store = open();
  store.compact();
  const StoreStats stats = store.stat();
  EXPECT_LT(stats.allocated_bytes, std::uint64_t{131'072} + stats.stored_bytes + stats.free_bytes +
                                       (std::uint64_t{256} << 10));
}

// One that was opened before the store had the feature.
TEST_F(Compressed, AReaderFromBeforeFindsNoDamage) {
  Store(path()).save(state(1));
  const Store reader(path(), {.read_only = true});
  open().save(state(2));
  const VerifyReport report = reader.verify();
  EXPECT_TRUE(report.ok) << report.damaged.front().message;
  EXPECT_TRUE(reader.stat().compressed);
}

// Compaction leaves two index records of one checkpoint and one commit; of the first one, the
// chunks may be gone.
TEST_F(Compressed, AScanTakesTheIndexWhoseChunksAreThere) {
  std::uint64_t offset = 0;
  {
    Store store(path());
    const std::uint64_t id = store.save(state(1)).saved.id;
    offset = offset_of_weights(store, id);
  }
  {
    Store store = open();
    const Checkpoint held = store.open(1);  // so that no hole is made of it
    store.compact({.compress = true});
  }
  flip_byte(pack(), offset + 10'000);
  testing::Bytes bytes = testing::read_file(pack());
  std::fill_n(bytes.begin() + 8192, 32'768, std::byte{0});  // all slots
  for (std::size_t at = 131'072; at + 16 < bytes.size(); at += 4096) {
    const bool is_root = bytes[at] == std::byte{0x89} && bytes[at + 12] == std::byte{2};
    if (is_root) std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), 8, std::byte{0});
  }
  testing::write_file(pack(), bytes);
  std::filesystem::remove(path() / "catalog.mdb");
  const SalvageReport report = salvage(pack(), scratch_ / "salvaged");
  EXPECT_TRUE(report.by_scan);
  EXPECT_TRUE(report.lost.empty()) << report.lost[0].why;
  EXPECT_EQ(Store::repair(path(), {.adopt = {1}}).checkpoints.size(), 1U);
  const Store repaired(path());
  EXPECT_TRUE(repaired.verify().ok);
  EXPECT_EQ(contents(repaired.open(1)), contents(state(1)));
}

// A pass looks at chunks as they lay when it began.
TEST_F(Compressed, AScrubTakesNoChunkForDamagedThatIsStoredAnewInItsPlace) {
  const auto one = [](std::uint64_t seed) {
    return model({tensor("a.weight", DType::kBF16, {kWeights}, weights(seed, kWeights))});
  };
  std::uint64_t plain = 0;
  {
    Store store(path());
    plain = store.save(one(1)).saved.id;
  }
  Store store = open();
  const std::uint64_t offset = offset_of_weights(store, plain);
  while (store.scrub(1).pass_done) {  // begins a pass, and looks at one chunk of two
  }
  store.remove(std::vector{plain});
  store.save(one(7));  // elsewhere: what is freed rests for one commit
  const SaveResult again = store.save(one(1));
  ASSERT_EQ(offset_of_weights(store, again.saved.id), offset);
  for (bool done = false; !done;) {
    const ScrubReport report = store.scrub(1);
    EXPECT_TRUE(report.damaged.empty()) << report.damaged.front().message;
    done = report.pass_done;
  }
  EXPECT_FALSE(store.find(again.saved.id)->damaged);
}

TEST_F(Compressed, IsAnOptionThatAStoreRemembers) {
  Store(path()).save(state(1));
  const auto saved = [&](std::uint64_t seed, std::optional<Compression> compression) {
    return Store(path(), {.compression = compression}).save(state(seed));
  };
  const SaveResult before = saved(2, {});
  EXPECT_EQ(before.new_stored_bytes, before.new_bytes);
  const SaveResult with = saved(3, Compression::kZstd);
  EXPECT_LT(with.new_stored_bytes, with.new_bytes);
  const SaveResult after = saved(4, {});
  EXPECT_LT(after.new_stored_bytes, after.new_bytes);
  const SaveResult without = saved(5, Compression::kNone);
  EXPECT_EQ(without.new_stored_bytes, without.new_bytes);
  EXPECT_TRUE(Store(path()).verify().ok);
}

// What a crash may leave that comes while the feature is added: one copy that has it, and the other
// one without it or torn.
TEST_F(Compressed, IsAddedAgainWhereACrashCutThatShort) {
  Store(path()).save(state(1));
  const Bytes without = testing::read_file(pack());
  const Bytes catalog = testing::read_file(path() / "catalog.mdb");
  open().save(state(2));
  const Bytes with = testing::read_file(pack());
  const auto copy_of = [](const Bytes& bytes, std::size_t copy) {
    const auto begin =
        bytes.begin() + static_cast<std::ptrdiff_t>(format::kSuperblockOffsets[copy]);
    return Bytes(begin, begin + format::kSuperblockBytes);
  };
  Bytes torn = copy_of(without, 0);
  std::copy_n(copy_of(with, 0).begin(), 512, torn.begin());
  const auto lay_out = [&](const Bytes& first, const Bytes& second) {
    Bytes bytes = without;
    std::copy(first.begin(), first.end(), bytes.begin());
    std::copy(second.begin(), second.end(),
              bytes.begin() + static_cast<std::ptrdiff_t>(format::kSuperblockOffsets[1]));
    testing::write_file(pack(), bytes);
    std::filesystem::remove(path() / "catalog.mdb");  // that of the second save
  };
  for (const auto& [first, second] :
       {std::pair(torn, copy_of(without, 1)), std::pair(copy_of(with, 0), copy_of(without, 1)),
        std::pair(copy_of(with, 0), torn)}) {
    lay_out(first, second);
    EXPECT_TRUE(Store(path()).verify().ok);
    // A process that is killed tears nothing, and nothing needs the feature yet: no damage.
    lay_out(first, second);
    testing::write_file(path() / "catalog.mdb", catalog);
    const VerifyReport report = Store(path(), {.read_only = true}).verify();
    EXPECT_EQ(report.ok, first != torn && second != torn);
    EXPECT_EQ(report.notes.empty(), !report.ok);
    lay_out(first, second);
    EXPECT_LT(open().save(state(2)).new_stored_bytes, 2'000'000U);
    EXPECT_TRUE(Store(path(), {.read_only = true}).verify().ok);
    const Bytes bytes = testing::read_file(pack());
    for (const std::size_t copy : {0, 1}) EXPECT_EQ(copy_of(bytes, copy), copy_of(with, copy));
  }
}

}  // namespace
}  // namespace cairn
