// Checkpoints out of a lone pack.
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/salvage.h>

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::store {
namespace {

using namespace cairn::testing;

class Salvage : public ::testing::Test {
 protected:
  Salvage() {
    Store store(directory_, {.chunk_bytes = 65'536});
    store.save(model_of(1, 3, 1000), {.meta = {{"loss", 0.5}}, .name = "one"});
    store.save(model({tensor("large", pattern(2, 300'000)), tensor("empty", {})}), {.name = "two"});
    store.save(model_of(3, 1, 70'000), {.name = "three"});
    const std::uint64_t two = 2;
    store.set_pinned({&two, 1}, true);
    everything_ = everything(store);
    infos_ = store.checkpoints();
    chunk_ = store.open(3).chunks(0).at(0).pack_offset;
    std::filesystem::copy_file(directory_ / "pack", pack_);
  }

  void overwrite(std::uint64_t offset, std::size_t bytes) const {
    Bytes file = read_file(pack_);
    std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(offset), bytes, std::byte{0});
    write_file(pack_, file);
  }

  ScratchDirectory scratch_;
  std::filesystem::path directory_ = scratch_ / "store";
  std::filesystem::path pack_ = scratch_ / "lone";
  std::filesystem::path out_ = scratch_ / "out";
  std::map<std::string, Contents> everything_;
  std::vector<CheckpointInfo> infos_;
  std::uint64_t chunk_ = 0;
};

TEST_F(Salvage, NeedsNoSuperblock) {
  overwrite(0, 4096);
  overwrite(65'536, 4096);
  salvage(pack_, out_);
  const Store store(out_);
  EXPECT_EQ(everything(store), everything_);
  EXPECT_EQ(store.stat().chunk_bytes, 65'536U);
}

TEST_F(Salvage, CopiesEverythingAndLeavesThePackAlone) {
  const Bytes before = read_file(pack_);
  const SalvageReport report = salvage(pack_, out_);
  EXPECT_EQ(read_file(pack_), before);
  EXPECT_TRUE(report.lost.empty());
  EXPECT_FALSE(report.by_scan);
  const Store store(out_, {.read_only = true});
  EXPECT_EQ(everything(store), everything_);
  const auto infos = store.checkpoints();
  ASSERT_EQ(infos.size(), infos_.size());
  ASSERT_EQ(report.saved.size(), infos_.size());
  for (std::size_t i = 0; i < infos.size(); ++i) {
    EXPECT_EQ(report.saved[i].id, infos[i].id);
    EXPECT_EQ(infos[i].name, infos_[i].name);
    EXPECT_EQ(infos[i].meta, infos_[i].meta);
    EXPECT_EQ(infos[i].created_unix_ns, infos_[i].created_unix_ns);
    EXPECT_EQ(infos[i].pinned, infos_[i].pinned);
  }
  EXPECT_TRUE(store.verify().ok);
  EXPECT_EQ(store.stat().chunk_bytes, 65'536U);
}

TEST_F(Salvage, LeavesOutWhatIsDamagedAndSaysWhy) {
  flip_byte(pack_, chunk_);
  const SalvageReport report = salvage(pack_, out_);
  ASSERT_EQ(report.lost.size(), 1U);
  EXPECT_EQ(report.lost[0].name, "three");
  EXPECT_NE(report.lost[0].why.find("do not match their digest"), std::string::npos);
  everything_.erase("three");
  EXPECT_EQ(everything(Store(out_, {.read_only = true})), everything_);
}

TEST_F(Salvage, ScansWhenNoRootIsLeft) {
  overwrite(8192, 32'768);  // all slots
  const Bytes file = read_file(pack_);
  for (std::size_t at = 131072; at + 16 < file.size(); at += 4096) {
    const bool is_root = file[at] == std::byte{0x89} && file[at + 12] == std::byte{2};
    if (is_root) overwrite(at, 8);
  }
  const SalvageReport report = salvage(pack_, out_);
  EXPECT_TRUE(report.by_scan);
  EXPECT_EQ(everything(Store(out_, {.read_only = true})), everything_);
}

TEST_F(Salvage, GivesTwoThatAScanFindsUnderOneNameDifferentOnes) {
  const std::string name(255, 'n');
  {
    Store store(directory_);
    for (std::uint64_t seed = 5; seed < 7; ++seed) {
      store.save(model_of(seed, 1, 100), {.name = name, .replace = true});
    }
  }
  std::filesystem::copy_file(directory_ / "pack", pack_,
                             std::filesystem::copy_options::overwrite_existing);
  overwrite(8192, 32'768);
  const Bytes file = read_file(pack_);
  for (std::size_t at = 131072; at + 16 < file.size(); at += 4096) {
    if (file[at] == std::byte{0x89} && file[at + 12] == std::byte{2}) overwrite(at, 8);
  }
  salvage(pack_, out_);
  const Store store(out_, {.read_only = true});
  EXPECT_EQ(contents(store.open(store.find_by_name(name)->id)), contents(model_of(5, 1, 100)));
  const auto second = store.find_by_name(std::string(253, 'n') + "+2");
  ASSERT_TRUE(second);
  EXPECT_EQ(contents(store.open(second->id)), contents(model_of(6, 1, 100)));
}

TEST_F(Salvage, RefusesWhatIsNoPackAndAStoreThatHoldsSomething) {
  EXPECT_EQ(error_of([&] { salvage(scratch_ / "absent", out_); }).code(), ErrorCode::kNotFound);
  overwrite(0, std::filesystem::file_size(pack_));
  EXPECT_EQ(error_of([&] { salvage(pack_, out_); }).code(), ErrorCode::kDamaged);
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_EQ(error_of([&] { salvage(directory_ / "pack", directory_); }).code(),
            ErrorCode::kAlreadyExists);
}

}  // namespace
}  // namespace cairn::store
