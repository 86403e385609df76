// What is shown on a terminal, and what Ctrl-C leaves.
#include "cli/terminal.h"

#include "cli/tool.h"
#include "support/states.h"

#include <cairn/store.h>

#include <functional>
#include <poll.h>
#include <random>
#include <sched.h>
#include <sys/resource.h>

namespace cairn::testing {
namespace {

constexpr std::string_view kErased = "\r\033[K";

class Progress : public ToolTest {
 protected:
  // As slow as two seconds.
  Progress() : scrub_{"scrub", store_, "--once", "--rate", "1000000"} {
    for (int i = 0; i < 8; ++i) {
      import({"--name", std::to_string(i)}, std::string(250'000, static_cast<char>('0' + i)));
    }
  }
  std::vector<std::string> scrub_;
};

TEST_F(Progress, OfSomethingLongIsShownOnATerminalAndGoesAway) {
  OnATerminal tool(scrub_);
  const std::string shown = tool.rest();
  EXPECT_EQ(tool.wait(), 0);
  EXPECT_NE(shown.find("scrubbing  "), std::string::npos) << shown;
  EXPECT_NE(shown.find(" left"), std::string::npos) << shown;
  EXPECT_TRUE(shown.ends_with(kErased)) << shown;
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

// Commands whose pace no option sets are held in the middle. They may be done before that; then
// they are tried again.
class ProgressOfReading : public ToolTest {
 protected:
  static constexpr std::size_t kBytes = 48'000'000;

  void save(const std::string& directory, const StoreOptions& options = {}) {
    Store store(directory, options);
    store.save(model({tensor("w", pattern(1, kBytes))}), {.name = "a"});
  }
  static std::string shown_when_held(
      const std::vector<std::string>& words, const std::function<void()>& prepare = [] {}) {
    std::string shown;
    for (int attempt = 0; attempt < 20 && !shown.ends_with(kErased); ++attempt) {
      prepare();
      OnATerminal tool(words);
      tool.hold_after_reading(kBytes / 4);
      shown = tool.rest();
      EXPECT_EQ(tool.wait(), 0) << shown;
    }
    return shown;
  }
  static void expect_progress(const std::string& shown, const std::string& doing) {
    EXPECT_NE(shown.find(doing + "  "), std::string::npos) << shown;
    EXPECT_NE(shown.find(" of 45.8 MiB"), std::string::npos) << shown;
    EXPECT_NE(shown.find("/s"), std::string::npos) << shown;
    EXPECT_NE(shown.find(" left"), std::string::npos) << shown;
    EXPECT_TRUE(shown.ends_with(kErased)) << shown;
  }
};

TEST_F(ProgressOfReading, IsShownByADiffThatHasToRead) {
  save(store_);
  const std::string other = dir_ / "other";
  save(other, {.chunk_bytes = 65'536});
  expect_progress(shown_when_held({"diff", store_, "a", "a", "--with", other}), "comparing");
}

TEST_F(ProgressOfReading, IsShownByACompactThatCompresses) {
  const auto anew = [&] {
    std::filesystem::remove_all(store_);
    save(store_);
  };
  expect_progress(shown_when_held({"compact", store_, "--compress"}, anew), "compacting");
}

using Terminal = ToolTest;

std::vector<std::string> lines_of(const std::string& shown) {
  std::vector<std::string> lines;
  std::istringstream all(shown);
  for (std::string line; std::getline(all, line);) {
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(line);
  }
  return lines;
}

TEST_F(Terminal, TablesAreAsWideAsItIs) {
  import({"--name", std::string(100, 'n'), "--meta", "note=" + std::string(200, 'm')});
  for (const unsigned short columns : {200, 100, 80}) {
    OnATerminal tool({"ls", store_}, true, columns);
    const auto lines = lines_of(tool.rest());
    EXPECT_EQ(tool.wait(), 0);
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[1].size(), columns) << lines[1];
    EXPECT_NE(lines[1].find("nnn...  "), std::string::npos) << lines[1];
    EXPECT_TRUE(lines[1].ends_with("...")) << lines[1];
  }
  // Off a terminal nothing is cut.
  EXPECT_NE(done({"ls", store_}).out.find(std::string(200, 'm')), std::string::npos);
}

TEST_F(Terminal, HasColourUnlessNoColorSaysNo) {
  import();
  OnATerminal coloured({"ls", store_}, true);
  EXPECT_NE(coloured.rest().find("\033[1m"), std::string::npos);
  EXPECT_EQ(coloured.wait(), 0);
  ::setenv("NO_COLOR", "1", 1);
  OnATerminal plain({"ls", store_}, true);
  EXPECT_EQ(plain.rest().find('\033'), std::string::npos);
  EXPECT_EQ(plain.wait(), 0);
}

TEST_F(Terminal, GetsNoBytesOfATensor) {
  import();
  OnATerminal tool({"cat", store_, "latest", "model/w"}, true);
  EXPECT_NE(tool.rest().find("send them to a file"), std::string::npos);
  EXPECT_EQ(tool.wait(), 2);
}

class CtrlC : public ToolTest {
 protected:
  // Ends commands at moments that a seed draws. Whatever the moment, the check holds.
  static void wait_a_while(std::mt19937& random) {
    ::poll(nullptr, 0, static_cast<int>(random() % 60));
  }
  void expect_sound() {
    const auto verified = done({"verify", store_, "--json"}).json();
    EXPECT_EQ(verified.at("ok"), true) << verified;
    EXPECT_EQ(done({"stat", store_, "--json"}).json().at("checkpoints"), names().size());
  }
};

TEST_F(CtrlC, LeavesAStoreAsItWasOrAsItWasToBe) {
  import({"--name", "first"});
  const std::string file = safetensors(std::string(16'000'000, 'x'));
  std::mt19937 random(5);
  for (int i = 0; i < 8; ++i) {
    const Names before = names();
    const std::string name = "next-" + std::to_string(i);
    OnATerminal tool({"import", store_, file, "--name", name, "--keep", "2"});
    wait_a_while(random);
    tool.signal(SIGINT);
    const int code = tool.wait();
    EXPECT_TRUE(code == 0 || code == 128 + SIGINT) << code;
    // It may have ended after the commit, before it could say so.
    const Names after = names();
    EXPECT_TRUE(after == before || after == (Names{name, before.front()}))
        << ::testing::PrintToString(after);
    EXPECT_TRUE(code != 0 || after.front() == name);
    expect_sound();
  }
}

TEST_F(CtrlC, LeavesABackupAsItWasAndNoFileBesides) {
  import({}, std::string(16'000'000, 'x'));
  const std::filesystem::path target = dir_ / "target";
  int interrupted = 0;
  for (int i = 0; i < 6; ++i) {
    std::filesystem::remove_all(target);
    std::filesystem::create_directory(target);
    OnATerminal tool({"backup", store_, target / "pack"});
    while (std::filesystem::is_empty(target)) ::sched_yield();
    tool.signal(SIGINT);
    const int code = tool.wait();
    EXPECT_TRUE(code == 0 || code == 128 + SIGINT) << code;
    EXPECT_EQ(std::filesystem::exists(target / "pack"), code == 0);
    EXPECT_EQ(std::filesystem::is_empty(target), code != 0);
    interrupted += code != 0 ? 1 : 0;
    EXPECT_EQ(done({"backup", store_, target / "pack", "--json"}).json().at("checkpoints"), 1);
    EXPECT_EQ(done({"salvage", target / "pack", target / "store", "--json"}).json().at("ok"), true);
    expect_sound();
  }
  EXPECT_GT(interrupted, 0);
}

TEST_F(CtrlC, LeavesNoHalfExport) {
  import({}, std::string(16'000'000, 'x'));
  const std::filesystem::path target = dir_ / "target";
  int interrupted = 0;
  for (int i = 0; i < 6; ++i) {
    std::filesystem::remove_all(target);
    std::filesystem::create_directory(target);
    OnATerminal tool({"export", store_, "latest", target / "out"});
    while (std::filesystem::is_empty(target)) ::sched_yield();
    tool.signal(SIGTERM);
    const int code = tool.wait();
    EXPECT_TRUE(code == 0 || code == 128 + SIGTERM) << code;
    EXPECT_EQ(std::filesystem::is_empty(target), code != 0);
    interrupted += code != 0 ? 1 : 0;
  }
  EXPECT_GT(interrupted, 0);
}

// In parts, each a commit: some are done then, and the next run goes on.
TEST_F(CtrlC, LeavesACompactThatCompressesInAnyPartOfItsWay) {
  std::mt19937 random(6);
  int interrupted = 0;
  for (int i = 0; i < 8 || (interrupted == 0 && i < 40); ++i) {
    std::filesystem::remove_all(store_);
    Store(store_).save(model({tensor("w", coarse_pattern(1, 24'000'000))}), {.name = "a"});
    OnATerminal tool({"compact", store_, "--compress"});
    wait_a_while(random);
    tool.signal(SIGINT);
    const int code = tool.wait();
    EXPECT_TRUE(code == 0 || code == 128 + SIGINT) << code;
    interrupted += code != 0 ? 1 : 0;
    expect_sound();
    done({"compact", store_, "--compress"});
    const Store store(store_, {.read_only = true});
    EXPECT_LT(store.chunk_stats().stored_bytes, 20'000'000U);
    EXPECT_EQ(contents(store.open(store.checkpoints().front().id)).at("model/w"),
              coarse_pattern(1, 24'000'000));
  }
  EXPECT_GT(interrupted, 0);
}

class FileLimit : public ToolTest {
 protected:
  void SetUp() override { ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0); }
  void TearDown() override { ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before_), 0); }
  rlimit before_{};
};

TEST_F(FileLimit, IsAnErrorThatLeavesTheStoreAsItWas) {
  import({"--name", "first"});
  const std::string file = safetensors(std::string(4'000'000, 'x'));
  const rlimit small{.rlim_cur = 1'000'000, .rlim_max = before_.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const ToolResult result = cairn({"import", store_, file});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before_), 0);
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_EQ(names(), (Names{"first"}));
  EXPECT_EQ(done({"verify", store_, "--json"}).json().at("ok"), true);
}

}  // namespace
}  // namespace cairn::testing
