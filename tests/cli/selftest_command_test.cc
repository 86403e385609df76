// selftest, and the line that shows progress.
#include "cli/tool.h"

#include <cairn/store.h>

#include <poll.h>
#include <pty.h>
#include <unistd.h>

namespace cairn::testing {
namespace {

/// The tool with its stderr on a terminal.
class OnATerminal {
 public:
  explicit OnATerminal(std::vector<std::string> words) {
    int slave = -1;
    if (::openpty(&master_, &slave, nullptr, nullptr, nullptr) != 0) {
      throw std::runtime_error("cannot open a terminal");
    }
    words.insert(words.begin(), CAIRN_TOOL_PATH);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    child_ = ::fork();
    if (child_ == 0) {
      ::setenv("TERM", "xterm", 1);
      ::dup2(::open("/dev/null", O_WRONLY), 1);
      ::dup2(slave, 2);
      ::execv(CAIRN_TOOL_PATH, argv.data());
      ::_exit(127);
    }
    ::close(slave);
  }
  OnATerminal(const OnATerminal&) = delete;
  OnATerminal& operator=(const OnATerminal&) = delete;
  ~OnATerminal() { ::close(master_); }

  /// Everything up to the tool's end.
  std::string rest() {
    std::string all;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(master_, buffer, sizeof buffer)) > 0;) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
  }
  void signal(int number) { ::kill(child_, number); }
  int wait() {
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  int master_ = -1;
  pid_t child_ = -1;
};

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

class Progress : public ToolTest {
 protected:
  // As slow as two seconds.
  Progress() : scrub_{"scrub", store_, "--once", "--rate", "1000000"} {
    for (int i = 0; i < 8; ++i)
      import({"--name", std::to_string(i)}, std::string(250'000, '0' + i));
  }
  std::vector<std::string> scrub_;
};

TEST_F(Progress, OfSomethingLongIsShownOnATerminalAndGoesAway) {
  OnATerminal tool(scrub_);
  const std::string shown = tool.rest();
  EXPECT_EQ(tool.wait(), 0);
  EXPECT_NE(shown.find("scrubbing  "), std::string::npos) << shown;
  EXPECT_NE(shown.find(" left"), std::string::npos) << shown;
  EXPECT_TRUE(shown.ends_with("\r\033[K")) << shown;
}

TEST_F(Progress, IsNotShownWithJsonOrQuietOrWithoutATerminal) {
  for (const char* option : {"--json", "--quiet"}) {
    auto words = scrub_;
    words.push_back(option);
    OnATerminal tool(words);
    EXPECT_EQ(tool.rest(), "");
    EXPECT_EQ(tool.wait(), 0);
  }
  EXPECT_EQ(done(scrub_).err, "");
}

}  // namespace
}  // namespace cairn::testing
