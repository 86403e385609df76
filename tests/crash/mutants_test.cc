// Would the explorer notice? Each mutant of the store must be caught by it, and nothing may be
// found where there is no mutant.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <vector>

namespace cairn::crash {
namespace {

struct Answer {
  int exit_code = -1;
  std::string text{};
};

Answer try_mutant(const std::string& name) {
  const std::string command = CAIRN_TEST_BIN_DIR "/try_mutant '" + name + "' 2>&1";
  Answer answer;
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return answer;
  std::array<char, 4096> buffer{};
  for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    answer.text.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  answer.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return answer;
}

std::vector<std::string> names() {
  std::istringstream lines(try_mutant("--list").text);
  std::vector<std::string> names;
  for (std::string line; std::getline(lines, line);) names.push_back(line);
  return names;
}

TEST(Mutants, EachIsKilled) {
  int killed = 0;
  const auto all = names();
  for (const std::string& name : all) {
    const Answer answer = try_mutant(name);
    EXPECT_EQ(answer.exit_code, 0) << name << ": " << answer.text;
    if (answer.exit_code == 0 && answer.text.starts_with("killed: ")) ++killed;
    std::printf("%s: %s", name.c_str(), answer.text.c_str());
  }
  std::printf("mutants: %d of %zu killed\n", killed, all.size());
  EXPECT_EQ(killed, static_cast<int>(all.size()));
  EXPECT_GE(killed, 20);
}

TEST(Mutants, NothingIsFoundWithoutOne) {
  const Answer answer = try_mutant("none");
  EXPECT_EQ(answer.exit_code, 0) << answer.text;
}

}  // namespace
}  // namespace cairn::crash
