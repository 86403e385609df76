// What is made from the commands' tables: completion scripts and the manual page.
#include "cli/tool.h"

#include <array>
#include <cctype>
#include <cstdio>

namespace cairn::testing {
namespace {

class Generated : public ToolTest {
 protected:
  // Runs a line in bash with the tool in PATH; its output, or a failure when it fails.
  static std::string bash(const std::string& line) {
    const std::filesystem::path tool = CAIRN_TOOL_PATH;
    const std::string command =
        "PATH='" + tool.parent_path().string() + "':$PATH bash -c '" + line + "' 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string output;
    std::array<char, 4096> buffer{};
    while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
      output.append(buffer.data(), got);
    }
    EXPECT_EQ(::pclose(pipe), 0) << output;
    return output;
  }

  // What bash offers for the last of `words`.
  static std::string completions(const std::string& words, int last) {
    return bash("source <(cairn completion bash); COMP_WORDS=(" + words + "); COMP_CWORD=" +
                std::to_string(last) + "; _cairn; printf \"%s\\n\" " + "\"${COMPREPLY[@]}\"");
  }
};

using Completion = Generated;
using Man = Generated;

TEST_F(Completion, OffersCommands) {
  EXPECT_EQ(completions("cairn ver", 1), "verify\n");
  EXPECT_EQ(completions("cairn p", 1), "pin\n");
}

TEST_F(Completion, OffersTheCommandsOptions) {
  EXPECT_EQ(completions("cairn keep store --best-m", 3), "--best-min\n--best-max\n");
}

TEST_F(Completion, OffersTheStoresCheckpoints) {
  import({"--name", "epoch-1"});
  import({"--name", "epoch-2"});
  EXPECT_EQ(completions("cairn show " + store_ + " epoch", 3), "epoch-2\nepoch-1\n");
}

TEST_F(Completion, IsMadeForThreeShells) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_NE(done({"completion", shell}).out.find("best-min"), std::string::npos) << shell;
  }
  expect_failure(2, "csh", {"completion", "csh"});
}

TEST_F(Man, TellsOfEveryCommandAndOption) {
  const std::string page = done({"man"}).out;
  EXPECT_TRUE(page.starts_with(".TH CAIRN 1"));
  for (const char* word : {"cairn import", "cairn stat", "\\-\\-best\\-min KEY:N", "EXIT STATUS"}) {
    EXPECT_NE(page.find(word), std::string::npos) << word;
  }
  // No line but a request begins with a full stop.
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(!line.starts_with('.') || std::isalpha(line[1]) != 0) << line;
  }
}

TEST_F(Man, IsUnderstoodByGroffWhereThereIsOne) {
  if (std::system("command -v groff >/dev/null") != 0) GTEST_SKIP() << "no groff here";
  EXPECT_EQ(bash("cairn man | groff -man -Tutf8 -ww >/dev/null"), "");
}

}  // namespace
}  // namespace cairn::testing
