// What saves cost in space: what is stored once, what comes back, and when.

#include "format/layout.h"
#include "io/file.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

namespace cairn {
namespace {

using testing::contents;
using testing::everything;
using testing::model;
using testing::model_of;
using testing::pattern;
using testing::ScratchDirectory;
using testing::tensor;

class Space : public ::testing::Test {
 protected:
  std::uint64_t pack_bytes() const { return std::filesystem::file_size(scratch_ / "store/pack"); }
  ScratchDirectory scratch_;
  Store store_{scratch_ / "store"};
};

TEST_F(Space, TheSameStateTwiceAddsNoChunk) {
  const auto state = model_of(1, 10, 100'000);
  EXPECT_EQ(store_.save(state).new_chunks, 10U);
  const std::uint64_t before = store_.stat().stored_bytes;
  const SaveResult again = store_.save(state);
  EXPECT_EQ(again.new_chunks, 0U);
  EXPECT_EQ(again.new_bytes, 0U);
  EXPECT_LE(store_.stat().stored_bytes - before, 8192U);  // the index
}

TEST_F(Space, OneChangedTensorOfAThousandAddsItsChunkIndexAndRootsOnly) {
  auto state = model_of(1, 1000, 65'536);
  store_.save(state);
  const std::uint64_t before = pack_bytes();
  state[0].tensors[500] = tensor(state[0].tensors[500].key, pattern(9, 65'536));
  EXPECT_EQ(store_.save(state).new_chunks, 1U);
  // The chunk, an index of 1,000 tensors and 1,000 chunks, and two roots.
  EXPECT_LE(pack_bytes() - before, 65'536U + 100'000U + 2 * 4096U);
}

TEST_F(Space, OneChangedSmallTensorAddsOneSharedChunkOnly) {
  auto state = model_of(1, 1000, 1024);
  store_.save(state);
  state[0].tensors[500] = tensor(state[0].tensors[500].key, pattern(9, 1024));
  const SaveResult result = store_.save(state);
  EXPECT_EQ(result.new_chunks, 1U);
  EXPECT_LE(result.new_bytes, 65'536U);
}

TEST_F(Space, AChangeToAFewRowsAddsTheirChunksOnly) {
  auto rows = pattern(1, std::size_t{16} << 20);
  store_.save(model({tensor("embedding", rows)}));
  rows[5'000'000] ^= std::byte{1};
  EXPECT_EQ(store_.save(model({tensor("embedding", rows)})).new_bytes, 1U << 20);
}

TEST_F(Space, EqualTensorsAreStoredOnceWhateverTheirNames) {
  const auto bytes = pattern(1, 500'000);
  EXPECT_EQ(store_.save(model({tensor("a", bytes), tensor("b", bytes)})).new_bytes, 500'000U);
}

TEST_F(Space, DeletingTheLastUserOfAChunkFreesItAndNotBefore) {
  const auto state = model_of(1, 10, 100'000);
  const auto first = store_.save(state).saved.id;
  const auto second = store_.save(state).saved.id;
  store_.remove(std::vector{first});
  EXPECT_EQ(store_.stat().chunks, 10U);
  store_.remove(std::vector{second});
  EXPECT_EQ(store_.stat().chunks, 0U);
  EXPECT_LE(store_.stat().stored_bytes, 8192U);  // the two copies of the root
}

TEST_F(Space, ASaveFromTheSecondCommitAfterADeletionOnDoesNotGrowThePack) {
  const auto id = store_.save(model_of(1, 10, 100'000)).saved.id;
  store_.save(model_of(2, 10, 100'000));
  store_.remove(std::vector{id});                // commit n
  store_.set_pinned(std::vector{id + 1}, true);  // n + 1
  const std::uint64_t before = pack_bytes();
  store_.save(model_of(3, 10, 100'000));  // n + 2
  EXPECT_EQ(pack_bytes(), before);
}

TEST_F(Space, TheVeryNextCommitAfterADeletionDoesNotReuseItsSpace) {
  const auto id = store_.save(model_of(1, 10, 100'000)).saved.id;
  store_.remove(std::vector{id});
  const std::uint64_t before = pack_bytes();
  store_.save(model_of(3, 10, 100'000));
  EXPECT_GT(pack_bytes(), before);
}

// Keep-only N of states that share nothing needs room for N + 2 of them, as the README says.
TEST_F(Space, KeepOnlyTwoNeedsRoomForFour) {
  const auto keep_two = [](std::span<const CheckpointInfo> all) {
    std::vector<std::uint64_t> going;
    for (const CheckpointInfo& info : all.subspan(std::min<std::size_t>(2, all.size()))) {
      going.push_back(info.id);
    }
    return going;
  };
  constexpr std::uint64_t kState = 10 * 102'400;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    store_.save(model_of(seed, 10, 102'400), {.retention = keep_two});
    EXPECT_LE(pack_bytes(), 4 * kState + 200'000) << seed;
  }
  EXPECT_LE(pack_bytes(), 4 * kState + 200'000);
  EXPECT_TRUE(store_.verify().ok);
}

TEST_F(Space, AReaderHoldsBackWhatItReads) {
  const auto state = model_of(1, 10, 100'000);
  const auto id = store_.save(state).saved.id;
  {
    const Checkpoint held = store_.open(id);
    store_.remove(std::vector{id});
    for (std::uint64_t seed = 2; seed < 6; ++seed) store_.save(model_of(seed, 1, 10));
    const StoreStats stats = store_.stat();
    EXPECT_GE(stats.held_back_bytes, 1'000'000U);
    EXPECT_EQ(stats.oldest_reader_pid, ::getpid());
    const std::uint64_t before = pack_bytes();
    store_.save(model_of(9, 10, 100'000));
    EXPECT_GT(pack_bytes(), before);
    EXPECT_EQ(contents(held), contents(state));
  }
  const std::uint64_t before = pack_bytes();
  store_.save(model_of(10, 10, 100'000));
  EXPECT_EQ(pack_bytes(), before);
}

// A disk that is full after the first save has no page for a slot that a deletion writes.
TEST_F(Space, EverySlotHasItsRoomFromTheBeginning) {
  const auto pack = io::File::open(scratch_ / "store/pack", io::File::Access::kReadWrite);
  const std::uint64_t before = pack.allocated_bytes();
  pack.reserve(0, format::kSlotOffsets.back() + format::kSlotBytes);
  EXPECT_EQ(pack.allocated_bytes(), before);
}

TEST_F(Space, TellsWhatADeletionWouldFree) {
  const auto shared = tensor("shared", pattern(1, 400'000));
  const auto a = store_.save(model({shared, tensor("own", pattern(2, 204'800))})).saved;
  const auto b = store_.save(model({shared})).saved;
  const auto freed = store_.bytes_freed_if_deleted(std::vector{a, b});
  EXPECT_EQ(freed[0], 204'800U + 4096U);
  EXPECT_EQ(freed[1], 4096U);
}

TEST_F(Space, TenThousandSmallTensorsCostLittleMoreThanTheirBytes) {
  const SaveResult result = store_.save(model_of(1, 10'000, 1024));
  EXPECT_LE(result.new_chunks, 10'000U / 64 + 1);
  EXPECT_LE(store_.stat().stored_bytes, 10'000U * 1024U * 11 / 10);
}

}  // namespace
}  // namespace cairn
