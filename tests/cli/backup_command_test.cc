// backup: what the file holds, what a second run costs, and what it refuses.
#include "cli/tool.h"
#include "support/states.h"

#include <cairn/store.h>

namespace cairn::testing {
namespace {

class BackupCommand : public ToolTest {
 protected:
  // Two checkpoints that share a tensor.
  BackupCommand() {
    Store store(store_);
    for (std::uint64_t step : {1, 2}) {
      store.save(model({tensor("changes", pattern(step, 300'000)),  //
                        tensor("stays", pattern(9, 300'000))}),
                 {.name = "step-" + std::to_string(step)});
    }
  }

  nlohmann::json backup(const std::vector<std::string>& options = {}) {
    std::vector<std::string> words = {"backup", store_, file_, "--json"};
    words.insert(words.end(), options.begin(), options.end());
    const ToolResult result = done(words);
    return result.code == 0 ? result.json() : nlohmann::json();
  }

  // The store that the file alone gives back.
  std::string restored() {
    const std::string directory = dir_ / ("restored-" + std::to_string(++restored_));
    std::filesystem::create_directory(directory);
    std::filesystem::copy_file(file_, directory + "/pack");
    done({"repair", directory});
    EXPECT_EQ(done({"verify", directory, "--json"}).json().at("ok"), true);
    return directory;
  }

  void expect_equal(const std::string& directory) {
    EXPECT_EQ(everything(Store(directory, {.read_only = true})),
              everything(Store(store_, {.read_only = true})));
    const auto copies = done({"ls", directory, "--json"}).json();
    const auto originals = done({"ls", store_, "--json"}).json();
    ASSERT_EQ(copies.size(), originals.size());
    for (std::size_t i = 0; i < copies.size(); ++i) {
      for (const char* key : {"id", "name", "sequence", "created_unix_ns", "meta", "pinned"}) {
        EXPECT_EQ(copies[i].at(key), originals[i].at(key)) << key;
      }
    }
  }

  void save(const std::string& name, std::uint64_t seed) {
    Store(store_).save(
        model({tensor("changes", pattern(seed, 300'000)), tensor("stays", pattern(9, 300'000))}),
        {.name = name});
  }

  void damage(const std::string& name, const std::string& key) {
    std::uint64_t offset = 0;
    {
      const Store store(store_, {.read_only = true});
      const Checkpoint checkpoint = store.open(store.find_by_name(name)->id);
      offset = checkpoint.chunks(*checkpoint.find_tensor("model", key)).front().pack_offset;
    }
    flip_byte(dir_ / "store/pack", offset);
  }

  std::string file_ = dir_ / "backup.pack";
  int restored_ = 0;
};

TEST_F(BackupCommand, IsTheStoreWithIdsTimesAndPins) {
  done({"pin", store_, "step-1"});
  const auto report = backup();
  EXPECT_EQ(report.at("created"), true);
  EXPECT_EQ(report.at("copied").size(), 2U);
  EXPECT_EQ(report.at("new_bytes"), 900'000);  // what they share, once
  expect_equal(restored());
}

TEST_F(BackupCommand, GivenAgainCopiesOnlyWhatIsNewAndDropsWhatIsDeleted) {
  backup();
  save("step-3", 3);
  done({"rm", store_, "step-1"});
  const auto report = backup();
  EXPECT_EQ(report.at("created"), false);
  ASSERT_EQ(report.at("copied").size(), 1U);
  EXPECT_EQ(report.at("copied")[0].at("name"), "step-3");
  EXPECT_EQ(report.at("new_bytes"), 300'000);
  ASSERT_EQ(report.at("deleted").size(), 1U);
  EXPECT_EQ(report.at("deleted")[0].at("name"), "step-1");
  expect_equal(restored());
}

TEST_F(BackupCommand, OfAnUnchangedStoreWritesNothing) {
  backup();
  const Bytes before = read_file(file_);
  EXPECT_EQ(backup().at("copied").size(), 0U);
  EXPECT_EQ(read_file(file_), before);
}

TEST_F(BackupCommand, UsesTheSpaceOfDeletedCheckpointsAgain) {
  backup();
  std::uintmax_t largest = 0;
  for (std::uint64_t step = 3; step < 12; ++step) {
    save("step-" + std::to_string(step), step);
    done({"keep", store_, "--recent", "2"});
    backup();
    if (step == 5) largest = std::filesystem::file_size(file_);
  }
  EXPECT_LE(std::filesystem::file_size(file_), largest);
  expect_equal(restored());
}

TEST_F(BackupCommand, NeverWritesWhereTheStateBeforeLies) {
  backup();
  const Bytes before = read_file(file_);
  save("step-3", 3);
  done({"rm", store_, "step-1"});
  backup();
  // A crash tore the slot while it was written: the one before it still stands.
  Bytes torn = read_file(file_);
  ASSERT_GE(torn.size(), before.size());
  std::fill_n(torn.begin() + static_cast<std::ptrdiff_t>(newest_slot(file_)), 512, std::byte{});
  write_file(file_, torn);
  const std::string directory = restored();
  EXPECT_EQ(done({"ls", directory, "--json"}).json().size(), 2U);
  EXPECT_EQ(done({"ls", directory, "--json"}).json()[1].at("name"), "step-1");
}

TEST_F(BackupCommand, WorksWhileAJobWrites) {
  const Store job(store_);
  EXPECT_EQ(backup().at("copied").size(), 2U);
}

TEST_F(BackupCommand, ADryRunChangesNothing) {
  EXPECT_EQ(backup({"--dry-run"}).at("new_bytes"), 900'000);
  EXPECT_FALSE(std::filesystem::exists(file_));
  backup();
  save("step-3", 3);
  const Bytes before = read_file(file_);
  EXPECT_EQ(backup({"--dry-run"}).at("copied").size(), 1U);
  EXPECT_EQ(read_file(file_), before);
}

TEST_F(BackupCommand, KeepsWhatIsDeletedWhenAsked) {
  backup();
  done({"rm", store_, "step-1"});
  EXPECT_EQ(backup({"--keep-deleted"}).at("checkpoints"), 2);
  EXPECT_EQ(done({"ls", restored(), "--json"}).json().size(), 2U);
  EXPECT_EQ(backup().at("deleted").size(), 1U);
}

TEST_F(BackupCommand, LeavesOutWhatIsDamagedAndKeepsWhatItHasOfIt) {
  backup();
  save("step-3", 3);
  damage("step-3", "changes");
  damage("step-1", "changes");
  const ToolResult result = cairn({"backup", store_, file_, "--json"});
  EXPECT_EQ(result.code, 3) << result.err;
  ASSERT_EQ(result.json().at("lost").size(), 1U);
  EXPECT_EQ(result.json().at("lost")[0].at("name"), "step-3");
  const std::string directory = restored();  // verifies: step-1 is whole there
  EXPECT_EQ(done({"ls", directory, "--json"}).json().size(), 2U);
}

TEST_F(BackupCommand, TakesCompressedChunksAsTheyAre) {
  backup();
  std::uint64_t stored = 0;
  {
    Store store(store_, {.compression = Compression::kZstd});
    stored = store.save(model({tensor("w", coarse_pattern(3, 400'000))}), {.name = "compressed"})
                 .new_stored_bytes;
  }
  EXPECT_LT(stored, 300'000U);
  EXPECT_EQ(backup({"--dry-run"}).at("new_bytes"), stored);
  EXPECT_EQ(backup().at("new_bytes"), stored);  // into one that had no such chunks
  const std::string directory = restored();
  expect_equal(directory);
  EXPECT_EQ(done({"stat", directory, "--json"}).json().at("compressed_chunks"), 1);
  // What says that there may be some stands in both superblocks.
  for (const std::uint64_t lost : {0, 65'536}) {
    std::filesystem::copy_file(file_, dir_ / "half",
                               std::filesystem::copy_options::overwrite_existing);
    flip_byte(dir_ / "half", lost + 100);
    const std::string salvaged = dir_ / ("salvaged-" + std::to_string(lost));
    done({"salvage", dir_ / "half", salvaged});
    EXPECT_EQ(done({"stat", salvaged, "--json"}).json().at("compressed_chunks"), 1);
  }
}

TEST_F(BackupCommand, LeavesOutACompressedChunkThatIsDamaged) {
  {
    Store store(store_, {.compression = Compression::kZstd});
    store.save(model({tensor("w", coarse_pattern(3, 400'000))}), {.name = "compressed"});
  }
  damage("compressed", "w");
  const ToolResult result = cairn({"backup", store_, file_, "--json"});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_EQ(result.json().at("copied").size(), 2U);
  EXPECT_EQ(done({"verify", restored(), "--json"}).json().at("ok"), true);
}

TEST_F(BackupCommand, RefusesWhatIsNoBackupOfThisStore) {
  expect_failure(1, "there is no such directory: " + (dir_ / "absent").native(),
                 {"backup", store_, dir_ / "absent/file"});
  const std::string pack = store_ + "/pack";
  const Bytes before = read_file(pack);
  expect_failure(1, "the pack of the store", {"backup", store_, pack});
  std::filesystem::create_hard_link(pack, dir_ / "link");
  expect_failure(1, "the pack of the store", {"backup", store_, dir_ / "link"});
  expect_failure(1, "lies in a store", {"backup", store_, store_ + "/backup"});
  EXPECT_EQ(read_file(pack), before);
  expect_failure(1, "a backup is a file", {"backup", store_, dir_.path()});
  done({"import", dir_ / "other", safetensors()});
  expect_failure(1, "lies in a store", {"backup", store_, dir_ / "other/pack"});
  done({"backup", dir_ / "other", file_});
  expect_failure(1, "another store", {"backup", store_, file_});
  write_text(dir_ / "letter", "no pack");
  expect_failure(3, "letter", {"backup", store_, dir_ / "letter"});
}

TEST_F(BackupCommand, RefusesToGoBackInTime) {
  backup();
  const std::string old = restored();
  save("step-3", 3);
  backup();
  const Bytes before = read_file(file_);
  expect_failure(1, "newer checkpoints than the store", {"backup", old, file_});
  EXPECT_EQ(read_file(file_), before);
}

}  // namespace
}  // namespace cairn::testing
