// verify and repair, and what other commands say about damage.
#include "cli/tool.h"

namespace cairn::testing {
namespace {

class Damaged : public ToolTest {
 protected:
  std::filesystem::path pack() const { return std::filesystem::path(store_) / "pack"; }

  // Flips a byte of the checkpoint's only tensor.
  void damage(const std::string& checkpoint) {
    const auto shown = done({"show", store_, checkpoint, "--chunks", "--json"}).json();
    const auto& chunk = shown.at("recoverables").at(0).at("tensors").at(0).at("chunks").at(0);
    flip(chunk.at("pack_offset"));
  }
  void flip(std::uint64_t offset) {
    std::string bytes = read_text(pack());
    bytes.at(offset) ^= 1;
    write_text(pack(), bytes);
  }
};

using Verify = Damaged;
using Repair = Damaged;
using Salvage = Damaged;

TEST_F(Verify, FindsNothingInAGoodStore) {
  import();
  const auto report = done({"verify", store_, "--json"}).json();
  EXPECT_EQ(report.at("ok"), true);
  EXPECT_EQ(report.at("checkpoints"), 1);
  EXPECT_EQ(report.at("chunks"), 1);
  EXPECT_GE(report.at("bytes"), 4);
  EXPECT_EQ(report.at("damaged"), nlohmann::json::array());
  EXPECT_NE(done({"verify", store_}).out.find("no damage"), std::string::npos);
}

TEST_F(Verify, NamesEveryCheckpointThatADamagedChunkTouches) {
  import({"--name", "a"});
  import({"--name", "b"});
  import({"--name", "c"}, "other");
  damage("a");
  const ToolResult result = cairn({"verify", store_, "--json"});
  EXPECT_EQ(result.code, 3);
  const auto report = result.json();
  EXPECT_EQ(report.at("ok"), false);
  ASSERT_EQ(report.at("damaged").size(), 1U);
  const auto& damage = report.at("damaged")[0];
  EXPECT_EQ(damage.at("what"), "chunk");
  ASSERT_EQ(damage.at("touches").size(), 2U);
  Names touched;
  for (const auto& one : damage.at("touches")) {
    touched.push_back(one.at("checkpoint_name"));
    EXPECT_EQ(one.at("tensor"), "model/w");
  }
  std::sort(touched.begin(), touched.end());
  EXPECT_EQ(touched, (Names{"a", "b"}));
}

TEST_F(Verify, SaysItForPeopleToo) {
  import({"--name", "a"});
  damage("a");
  const ToolResult result = cairn({"verify", store_});
  EXPECT_EQ(result.code, 3);
  EXPECT_NE(result.out.find("touches checkpoint 1 (a): model/w"), std::string::npos) << result.out;
}

TEST_F(Verify, ChecksOnlyTheCheckpointsThatAreNamed) {
  import({"--name", "a"});
  import({"--name", "b"}, "other");
  damage("a");
  EXPECT_EQ(done({"verify", store_, "b", "--json"}).json().at("checkpoints"), 1);
  EXPECT_EQ(cairn({"verify", store_, "a"}).code, 3);
  expect_failure(4, "no such checkpoint", {"verify", store_, "x"});
}

TEST_F(Verify, ReportsAStoreThatDoesNotOpenInTheSameForm) {
  import();
  write_text(pack(), "");
  const ToolResult result = cairn({"verify", store_, "--json"});
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.json().at("ok"), false);
  EXPECT_EQ(result.json().at("damaged").size(), 1U);
  EXPECT_EQ(cairn({"verify", store_}).code, 3);
}

TEST_F(Damaged, ExportFailsAndLeavesNoFile) {
  import();
  damage("latest");
  expect_failure(3, "model/w", {"export", store_, "latest", dir_ / "out"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out"));
}

TEST_F(Damaged, APackThatIsCutShortIsDamage) {
  import();
  std::filesystem::resize_file(pack(), std::filesystem::file_size(pack()) / 2);
  expect_failure(3, "", {"ls", store_});
}

TEST_F(Repair, HasNothingToDoInAGoodStore) {
  import();
  const auto report = done({"repair", store_, "--json"}).json();
  EXPECT_EQ(report.at("changed"), false);
  EXPECT_EQ(report.at("ok"), true);
  EXPECT_EQ(report.at("checkpoints").size(), 1U);
}

TEST_F(Repair, DropsDamagedCheckpointsOnlyWhenAsked) {
  import({"--name", "a"});
  import({"--name", "b"}, "other");
  damage("a");
  EXPECT_EQ(cairn({"repair", store_}).code, 3);
  EXPECT_EQ(names(), (Names{"b", "a"}));
  const auto planned = done({"repair", store_, "--drop-damaged", "--dry-run", "--json"}).json();
  EXPECT_EQ(planned.at("dropped").at(0).at("name"), "a");
  EXPECT_EQ(names(), (Names{"b", "a"}));
  const auto report = done({"repair", store_, "--drop-damaged", "--json"}).json();
  EXPECT_EQ(report.at("dropped").at(0).at("name"), "a");
  EXPECT_EQ(names(), (Names{"b"}));
  EXPECT_EQ(done({"verify", store_, "--json"}).json().at("ok"), true);
}

TEST_F(Repair, RemembersDamageSoThatRetentionCountsItForNothing) {
  import({"--name", "a"});
  import({"--name", "b"}, "other");
  damage("b");
  EXPECT_EQ(cairn({"repair", store_}).code, 3);
  EXPECT_EQ(done({"ls", store_, "--json"}).json().at(0).at("damaged"), true);
  const auto kept = done({"keep", store_, "--recent", "1", "--json"}).json();
  EXPECT_EQ(kept.at("kept").at(0).at("name"), "a");
  EXPECT_EQ(kept.at("deleted").at(0).at("rule"), "damaged");
  EXPECT_EQ(names(), (Names{"a"}));
}

TEST_F(Repair, SaysEachActionOnce) {
  import({"--name", "a"});
  std::filesystem::remove(std::filesystem::path(store_) / "catalog.mdb");
  const ToolResult planned = done({"repair", store_, "--dry-run"});
  EXPECT_NE(planned.out.find("would: "), std::string::npos) << planned.out;
  EXPECT_EQ(planned.err, "");
}

TEST_F(Repair, RebuildsALostCatalog) {
  import({"--name", "a"});
  std::filesystem::remove(std::filesystem::path(store_) / "catalog.mdb");
  expect_failure(3, "repair", {"ls", store_});
  done({"repair", store_});
  EXPECT_EQ(names(), (Names{"a"}));
}

TEST_F(Repair, SaysThatThereIsNoStore) {
  expect_failure(1, "", {"repair", store_});
  expect_failure(2, "--adopt must be", {"repair", store_, "--adopt", "1,x"});
}

TEST_F(Repair, SaysThatWhatIsToBeAdoptedWasNotFound) {
  import();
  const ToolResult result = cairn({"repair", store_, "--adopt", "1,77"});
  EXPECT_EQ(result.code, 4);
  EXPECT_NE(result.err.find("under id 77"), std::string::npos) << result.err;
}

TEST_F(Salvage, MakesAStoreOfALonePack) {
  import({"--name", "a", "--meta", "loss=0.5"});
  import({"--name", "b"}, "other");
  import({"--name", "c"}, "more");
  damage("b");
  const std::string out = dir_ / "out";
  const ToolResult result = cairn({"salvage", pack(), out, "--json"});
  EXPECT_EQ(result.code, 3);
  const auto report = result.json();
  EXPECT_EQ(report.at("ok"), false);
  EXPECT_EQ(report.at("by_scan"), false);
  ASSERT_EQ(report.at("saved").size(), 2U);
  EXPECT_EQ(report.at("saved")[1].at("name"), "a");
  EXPECT_EQ(report.at("saved")[1].at("meta").at("loss"), 0.5);
  ASSERT_EQ(report.at("lost").size(), 1U);
  EXPECT_EQ(report.at("lost")[0].at("name"), "b");
  EXPECT_EQ(done({"verify", out, "--json"}).json().at("checkpoints"), 2);
  expect_failure(1, "choose a new directory", {"salvage", pack(), out});
}

TEST_F(Salvage, SaysItForPeopleToo) {
  import({"--name", "a"});
  const std::string text = done({"salvage", pack(), dir_ / "out"}).out;
  EXPECT_NE(text.find("saved a as 1: 1 tensor"), std::string::npos) << text;
  EXPECT_NE(text.find("1 checkpoint saved"), std::string::npos) << text;
}

}  // namespace
}  // namespace cairn::testing
