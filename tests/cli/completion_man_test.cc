// What is made from the commands' tables: completion scripts and the manual page.
#include "cli/tool.h"

#include <array>
#include <cctype>
#include <cstdio>

namespace cairn::testing {
namespace {

class Generated : public ToolTest {
 protected:
  // Runs a script in a shell with the tool in PATH; its output, or a failure when it fails.
  std::string run_in(const std::string& shell, const std::string& script) {
    const std::filesystem::path tool = CAIRN_TOOL_PATH;
    const std::string command = "PATH='" + tool.parent_path().string() + "':$PATH HOME='" +
                                dir_.path().string() + "' " + shell + " '" +
                                write_text(dir_ / "script", script).string() + "' 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string output;
    std::array<char, 4096> buffer{};
    while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
      output.append(buffer.data(), got);
    }
    EXPECT_EQ(::pclose(pipe), 0) << output;
    return output;
  }

  static bool has_program(const std::string& name) {
    return std::system(("command -v " + name + " >/dev/null").c_str()) == 0;
  }

  // What bash offers for the last of `words`.
  std::string completions(const std::string& words, int last) {
    return run_in("bash", "source <(cairn completion bash); COMP_WORDS=(" + words +
                              "); COMP_CWORD=" + std::to_string(last) +
                              "; _cairn; printf '%s\\n' \"${COMPREPLY[@]}\"");
  }

  // What zsh's script asks its completion system for, in whose place stands an echo.
  std::string asked_of_zsh(const std::string& words, int last) {
    return run_in("zsh -f",
                  "_describe() { print -l -- \"$@\" $commands }\n"
                  "_arguments() { print -l -- \"$@\"; _cairn_checkpoints }\n"
                  "compadd() { print -l -- $names }\n"
                  "words=(" +
                      words + "); CURRENT=" + std::to_string(last) +
                      "\n"
                      "source <(cairn completion zsh)");
  }

  // What fish offers, each with its description.
  std::string offered_by_fish(const std::string& line) {
    return run_in("fish --no-config", "cairn completion fish | source; complete -C '" + line + "'");
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

TEST_F(Completion, RunsNothingThatANameHolds) {
  import({"--name", "epoch $(touch ran) `touch ran`"});
  const std::string offered = completions("cairn show " + store_ + " epoch", 3);
  EXPECT_EQ(offered, "epoch $(touch ran) `touch ran`\n");
  EXPECT_FALSE(std::filesystem::exists("ran"));
}

TEST_F(Completion, OfZshKnowsCommandsOptionsAndCheckpoints) {
  if (!has_program("zsh")) GTEST_SKIP() << "no zsh here";
  import({"--name", "epoch 1"});
  const std::string commands = asked_of_zsh("cairn ver", 2);
  EXPECT_NE(commands.find("\nverify:read and check everything\n"), std::string::npos) << commands;
  const std::string show = asked_of_zsh("cairn show " + store_ + " ''", 4);
  EXPECT_NE(show.find("\n--stats["), std::string::npos) << show;
  EXPECT_NE(show.find("\n1:STORE:_files -/\n2:CKPT:_cairn_checkpoints\n"), std::string::npos)
      << show;
  EXPECT_TRUE(show.ends_with("\nlatest\nepoch 1\n")) << show;
  EXPECT_NE(asked_of_zsh("cairn keep " + store_ + " ''", 4).find("\n*--best-min=["),
            std::string::npos);
}

TEST_F(Completion, OfFishKnowsCommandsOptionsAndCheckpoints) {
  if (!has_program("fish")) GTEST_SKIP() << "no fish here";
  import({"--name", "epoch-1"});
  EXPECT_EQ(offered_by_fish("cairn ver"), "verify\tread and check everything\n");
  const std::string options = offered_by_fish("cairn keep store --best-m");
  EXPECT_TRUE(options.starts_with("--best-max\t")) << options;
  EXPECT_NE(options.find("\n--best-min\t"), std::string::npos) << options;
  EXPECT_NE(offered_by_fish("cairn show " + store_ + " ep").find("epoch-1"), std::string::npos);
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
  for (const char* word : {"\\-\\-best\\-min KEY:N", "EXIT STATUS"}) {
    EXPECT_NE(page.find(word), std::string::npos) << word;
  }
  for (const std::string& name : all_commands()) {
    EXPECT_NE(page.find("\n.SS \"cairn " + name), std::string::npos) << name;
  }
  // No line but a request begins with a full stop.
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(!line.starts_with('.') || std::isalpha(line[1]) != 0) << line;
  }
}

TEST_F(Man, IsUnderstoodByGroffWhereThereIsOne) {
  if (!has_program("groff")) GTEST_SKIP() << "no groff here";
  EXPECT_EQ(run_in("bash", "set -o pipefail; cairn man | groff -man -Tutf8 -ww >/dev/null"), "");
}

}  // namespace
}  // namespace cairn::testing
