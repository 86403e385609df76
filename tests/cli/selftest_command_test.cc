#include "cli/terminal.h"
#include "cli/tool.h"

#include <sched.h>

namespace cairn::testing {
namespace {

class SelftestCommand : public ToolTest {
 protected:
  bool is_empty() { return std::filesystem::is_empty(ground_); }

  std::filesystem::path make_ground() {
    std::filesystem::create_directory(dir_ / "ground");
    return dir_ / "ground";
  }
  std::string ground_ = make_ground();
};

TEST_F(SelftestCommand, JudgesADiskAndLeavesNothingBehind) {
  const auto report = done({"selftest", ground_, "--quick", "--size", "4M", "--json"}).json();
  EXPECT_NE(report.at("verdict"), "unfit");
  std::vector<std::string> needs;
  for (const auto& finding : report.at("findings")) needs.push_back(finding.at("need"));
  for (const char* need : {"locks", "flush", "rename", "direct I/O", "preallocation",  //
                           "hole punching"}) {
    EXPECT_NE(std::find(needs.begin(), needs.end(), need), needs.end()) << need;
  }
  EXPECT_EQ(report.at("kill_loop").at("ok"), true);
  EXPECT_EQ(report.at("kill_loop").at("kills"), 3);
  EXPECT_GE(report.at("kill_loop").at("saves"), 3);
  EXPECT_GT(report.at("floors").at("flush_ns"), 0);
  EXPECT_GT(report.at("floors").at("read_bytes_per_second"), 0);
  EXPECT_TRUE(is_empty());
}

TEST_F(SelftestCommand, LeavesNothingBehindWhenItIsInterrupted) {
  for (const int number : {SIGINT, SIGTERM}) {
    OnATerminal tool({"selftest", ground_, "--size", "1G"});
    while (is_empty()) ::sched_yield();
    tool.signal(number);
    EXPECT_EQ(tool.wait(), 128 + number);
    EXPECT_TRUE(is_empty());
  }
}

TEST_F(SelftestCommand, RefusesWhatIsNoDirectory) {
  expect_failure(1, "no such directory", {"selftest", dir_ / "absent"});
  expect_failure(1, "this is no directory", {"selftest", safetensors()});
  expect_failure(2, "--size", {"selftest", ground_, "--size", "1K"});
  expect_failure(2, "--size", {"selftest", ground_, "--size", "much"});
}

TEST_F(SelftestCommand, SaysWhereItCannotWrite) {
  expect_failure(1, "/proc", {"selftest", "/proc"});
}

TEST_F(SelftestCommand, SaysWhenThereIsNoRoomAndLeavesNothingBehind) {
  expect_failure(1, "space", {"selftest", ground_, "--size", "1T"});
  EXPECT_TRUE(is_empty());
}

}  // namespace
}  // namespace cairn::testing
