// Packs whose parts contradict each other although every digest is good: a broken program's, or
// made on purpose. Found by the fuzz target `pack` and by holding the code to format/SPEC.md.
#include "pack/pack_file.h"
#include "store/checks.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/salvage.h>

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::store {
namespace {

using namespace cairn::testing;

constexpr std::size_t kTensorBytes = 70'000;

class HostilePack : public ::testing::Test {
 protected:
  void save(const std::string& name, std::uint64_t seed) {
    Store(directory_).save(model_of(seed, 1, kTensorBytes), {.name = name});
  }

  pack::PackFile open_pack() const {
    return pack::PackFile::open(directory_ / "pack", io::File::Access::kReadWrite);
  }

  /// Changes the newest root and writes it, with good digests, where it stood. The catalog goes,
  /// and the other slots unless they are to stay: the next opening believes this root or none.
  template <typename Change>
  void change_root(const Change& change, bool keep_other_slots = false) {
    const auto pack = open_pack();
    const auto slots = pack.read_slots();
    format::Slot slot = *slots.newest_first().front();
    format::Root root = pack.read_root(slot.root, slot.data_end);
    change(pack, root);
    const auto payload = format::encode_root(root);
    slot.root.digest = base::xxh3_128(payload);
    for (format::Extent* copy : {&slot.root.first, &slot.root.second}) {
      copy->bytes = format::kRecordHeaderBytes + payload.size();
      pack.write_extents({pack::record_write(format::RecordType::kRoot, *copy, root.sequence,
                                             pack.uuid(), payload)});
    }
    pack.write_slot(slot);
    for (std::uint32_t number = 0; number < format::kSlotCount && !keep_other_slots; ++number) {
      if (number != slot.number) {
        pack.file().write(format::kSlotOffsets[number], Bytes(format::kSlotBytes));
      }
    }
    std::filesystem::remove(directory_ / "catalog.mdb");
  }

  /// The same for an index, whose length must stay.
  template <typename Change>
  static void change_index(const pack::PackFile& pack, format::RootEntry& entry,
                           const Change& change) {
    format::Index index = pack.read_index(entry.index, entry.index_digest, format::kMaxPackBytes);
    change(index);
    const auto payload = format::encode_index(index);
    ASSERT_EQ(payload.size() + format::kRecordHeaderBytes, entry.index.bytes);
    pack.write_extents({pack::record_write(format::RecordType::kIndex, entry.index, index.sequence,
                                           pack.uuid(), payload)});
    entry.index_digest = base::xxh3_128(payload);
  }

  /// The checkpoint `claims`, by its place in the root, says that its first chunk lies where that
  /// of `of` does.
  void claim_first_chunk(std::size_t claims, std::size_t of) {
    change_root([&](const pack::PackFile& pack, format::Root& root) {
      const format::RootEntry& entry = root.checkpoints[of];
      const format::Index other =
          pack.read_index(entry.index, entry.index_digest, format::kMaxPackBytes);
      change_index(pack, root.checkpoints[claims],
                   [&](format::Index& index) { index.chunks[0].offset = other.chunks[0].offset; });
    });
  }

  ScratchDirectory scratch_;
  std::filesystem::path directory_ = scratch_ / "store";
};

TEST_F(HostilePack, GivesNoBytesUnderTheNameOfAnotherCheckpoint) {
  save("a", 1);
  save("b", 2);
  change_root([](const pack::PackFile&, format::Root& root) {
    std::swap(root.checkpoints[0].index, root.checkpoints[1].index);
    std::swap(root.checkpoints[0].index_digest, root.checkpoints[1].index_digest);
  });
  const Store store(directory_);
  for (const CheckpointInfo& info : store.checkpoints()) {
    EXPECT_EQ(error_of([&] { store.open(info.id); }).code(), ErrorCode::kDamaged);
  }
}

TEST_F(HostilePack, PassesOverARootThatItsSlotContradicts) {
  save("a", 1);
  save("b", 2);
  change_root([](const pack::PackFile&, format::Root& root) { ++root.sequence; }, true);
  const Store store(directory_);
  ASSERT_EQ(store.checkpoints().size(), 1U);
  EXPECT_EQ(store.checkpoints()[0].name, "a");
  const auto& notes = store.open_report().notes;
  EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
    return note.find("contradict") != std::string::npos;
  }));
}

TEST_F(HostilePack, RefusesARecordThatIsShorterThanItsExtent) {
  save("a", 1);
  change_root([](const pack::PackFile&, format::Root& root) {
    root.checkpoints[0].index.bytes += 8;  // still in its last 4096 bytes
  });
  const Store store(directory_);
  EXPECT_EQ(error_of([&] { store.open(1); }).code(), ErrorCode::kDamaged);
}

// A checkpoint that claims the extent of another: when it goes, the other's bytes must stay.
TEST_F(HostilePack, KeepsTheBytesThatADamagedCheckpointClaims) {
  save("good", 1);
  save("claims", 2);
  claim_first_chunk(/*claims=*/1, /*of=*/0);
  Store store(directory_);
  const std::uint64_t claims = 2;
  EXPECT_TRUE(store.find(claims)->damaged);
  store.remove({&claims, 1});
  for (std::uint64_t seed = 3; seed < 8; ++seed) {
    store.save(model_of(seed, 1, kTensorBytes), {.name = "next", .replace = true});
  }
  EXPECT_EQ(contents(store.open(1)), contents(model_of(1, 1, kTensorBytes)));
  EXPECT_TRUE(store.verify().ok);
}

// The same with a chunk that both hold, placed elsewhere by the second: its count is the first's.
TEST_F(HostilePack, KeepsAChunkThatADamagedCheckpointPlacesElsewhere) {
  save("good", 1);
  save("other", 2);
  save("elsewhere", 1);
  claim_first_chunk(/*claims=*/2, /*of=*/1);
  Store store(directory_);
  const std::uint64_t elsewhere = 3;
  store.remove({&elsewhere, 1});
  for (std::uint64_t seed = 3; seed < 8; ++seed) {
    store.save(model_of(seed, 1, kTensorBytes), {.name = "next", .replace = true});
  }
  EXPECT_EQ(contents(store.open(1)), contents(model_of(1, 1, kTensorBytes)));
  EXPECT_EQ(contents(store.open(2)), contents(model_of(2, 1, kTensorBytes)));
  EXPECT_TRUE(store.verify().ok);
}

// And once that chunk was moved: the index that was never counted must not come to look as if it
// was.
TEST_F(HostilePack, KeepsAChunkThatADamagedCheckpointPlacesElsewhereWhenItIsCompressed) {
  const auto weights = [](std::uint64_t seed) {
    return model({tensor("w", coarse_pattern(seed, kTensorBytes))});
  };
  {
    Store store(directory_);
    store.save(weights(1), {.name = "good"});
    store.save(weights(2), {.name = "other"});
    store.save(weights(1), {.name = "elsewhere"});
  }
  claim_first_chunk(/*claims=*/2, /*of=*/1);
  Store store(directory_, {.compression = Compression::kZstd});
  EXPECT_EQ(store.compact({.compress = true}).compressed_chunks, 2U);
  const std::uint64_t elsewhere = 3;
  store.remove({&elsewhere, 1});
  for (std::uint64_t seed = 3; seed < 8; ++seed) {
    store.save(weights(seed), {.name = "next", .replace = true});
  }
  EXPECT_EQ(contents(store.open(1)), contents(weights(1)));
  EXPECT_EQ(contents(store.open(2)), contents(weights(2)));
  EXPECT_TRUE(store.verify().ok);
}

// A store's chunk size is guessed from its indexes when both superblocks are lost. Another program
// may cut tensors into pieces of which no store's chunk size can be.
TEST_F(HostilePack, GuessesNoChunkSizeThatNoStoreMayHave) {
  constexpr std::uint64_t kOddBytes = 15 * format::kAlignment;  // below the least chunk size
  const Bytes bytes = pattern(1, 131'072);
  const auto large = model({tensor("large", bytes)});
  Store(directory_, {.chunk_bytes = 65'536}).save(large, {.name = "large"});
  change_root([&](const pack::PackFile& pack, format::Root& root) {
    change_index(pack, root.checkpoints[0], [&](format::Index& index) {
      format::ChunkRef& first = index.chunks[0];
      format::ChunkRef& second = index.chunks[1];
      ASSERT_EQ(first.offset + first.stored_bytes, second.offset);
      second.offset = first.offset + kOddBytes;
      first.plain_bytes = first.stored_bytes = kOddBytes;
      second.plain_bytes = second.stored_bytes = bytes.size() - kOddBytes;
      first.id = base::xxh3_128(std::span(bytes).first(kOddBytes));
      second.id = base::xxh3_128(std::span(bytes).subspan(kOddBytes));
    });
  });
  Bytes pack = read_file(directory_ / "pack");
  for (const std::uint64_t offset : format::kSuperblockOffsets) {
    std::fill_n(pack.begin() + static_cast<std::ptrdiff_t>(offset), format::kSuperblockBytes,
                std::byte{0});
  }
  write_file(directory_ / "pack", pack);

  salvage(directory_ / "pack", scratch_ / "salvaged");
  EXPECT_EQ(everything(Store(scratch_ / "salvaged")).at("large"), contents(large));
  Store::repair(directory_);
  EXPECT_EQ(everything(Store(directory_)).at("large"), contents(large));
}

}  // namespace
}  // namespace cairn::store
