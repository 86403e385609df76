// scrub: one pass, what it says, and what it marks.
#include "cli/tool.h"

#include <cairn/store.h>

namespace cairn::testing {
namespace {

class ScrubCommand : public ToolTest {
 protected:
  void damage(const std::string& checkpoint) {
    const auto shown = done({"show", store_, checkpoint, "--chunks", "--json"}).json();
    const auto& chunk = shown.at("recoverables").at(0).at("tensors").at(0).at("chunks").at(0);
    const auto pack = std::filesystem::path(store_) / "pack";
    std::string bytes = read_text(pack);
    bytes.at(chunk.at("pack_offset")) ^= 1;
    write_text(pack, bytes);
  }
};

TEST_F(ScrubCommand, FindsNothingInAGoodStore) {
  import();
  const auto report = done({"scrub", store_, "--once", "--json"}).json();
  EXPECT_EQ(report.at("ok"), true);
  EXPECT_EQ(report.at("passes"), 1);
  EXPECT_EQ(report.at("chunks"), 1);
  EXPECT_EQ(report.at("damaged"), nlohmann::json::array());
  EXPECT_NE(done({"scrub", store_, "--once"}).out.find("no damage"), std::string::npos);
}

TEST_F(ScrubCommand, MarksWhatDamageTouches) {
  const auto a = import({"--name", "a"});
  import({"--name", "b"}, "other");
  damage("a");
  const ToolResult result = cairn({"scrub", store_, "--once", "--json"});
  EXPECT_EQ(result.code, 3);
  const auto report = result.json();
  EXPECT_EQ(report.at("ok"), false);
  ASSERT_EQ(report.at("damaged").size(), 1U);
  EXPECT_EQ(report.at("damaged")[0].at("what"), "chunk");
  EXPECT_EQ(report.at("marked"), nlohmann::json::array({a.at("id")}));
  const Store store(store_, {.read_only = true});
  EXPECT_TRUE(store.find_by_name("a")->damaged);
  EXPECT_FALSE(store.find_by_name("b")->damaged);
}

TEST_F(ScrubCommand, OnlyReportsWhileAJobWrites) {
  import({"--name", "a"});
  damage("a");
  const Store job(store_);
  const ToolResult result = cairn({"scrub", store_, "--once", "--json"});
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.json().at("damaged").size(), 1U);
  EXPECT_EQ(result.json().at("marked"), nlohmann::json::array());
  EXPECT_NE(result.err.find("not marked"), std::string::npos) << result.err;
  EXPECT_FALSE(job.find_by_name("a")->damaged);
}

TEST_F(ScrubCommand, RefusesARateThatIsNone) {
  import();
  expect_failure(2, "--rate", {"scrub", store_, "--rate", "0"});
  expect_failure(2, "--rate", {"scrub", store_, "--rate", "fast"});
}

}  // namespace
}  // namespace cairn::testing
