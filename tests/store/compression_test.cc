// A store with compression: every operation gives what it gives without, and takes less.

#include "format/superblock.h"
#include "support/scratch.h"
#include "support/states.h"
#include "support/weights.h"

#include <cairn/salvage.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
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
    return checkpoint.chunks(*checkpoint.find_tensor("model", "a.weight")).front().pack_offset;
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

TEST_F(Compressed, GivesBackWhatWasReservedForPlainChunks) {
  Store store = open();
  store.save(state(1));
  const StoreStats stats = store.stat();
  EXPECT_LT(stats.pack_bytes, std::uint64_t{131'072} + stats.stored_bytes + stats.free_bytes +
                                  (std::uint64_t{128} << 10));
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
    lay_out(first, second);
    EXPECT_LT(open().save(state(2)).new_stored_bytes, 2'000'000U);
    EXPECT_TRUE(Store(path(), {.read_only = true}).verify().ok);
    const Bytes bytes = testing::read_file(pack());
    for (const std::size_t copy : {0, 1}) EXPECT_EQ(copy_of(bytes, copy), copy_of(with, copy));
  }
}

}  // namespace
}  // namespace cairn
