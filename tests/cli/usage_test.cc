// What the tool says about itself and about wrong command lines.
#include "cli/tool.h"

namespace cairn::testing {
namespace {

using Usage = ToolTest;

TEST_F(Usage, PrintsHelpWithExamplesForEveryCommand) {
  EXPECT_NE(done({"--help"}).out.find("Examples:"), std::string::npos);
  for (const std::string& name : all_commands()) {
    const std::string page = done({name, "--help"}).out;
    EXPECT_TRUE(page.starts_with("cairn " + name + ": ")) << page;
    const auto examples = page.find("\nExamples:\n");
    ASSERT_NE(examples, std::string::npos) << page;
    EXPECT_NE(page.find("cairn " + name, examples), std::string::npos) << page;
    EXPECT_EQ(done({"help", name}).out, page);
  }
}

TEST_F(Usage, FitsTheHelpOfEveryCommandOntoAPage) {
  for (const std::string& name : all_commands()) {
    std::istringstream page(done({name, "--help"}).out);
    std::size_t lines = 0;
    for (std::string line; std::getline(page, line); ++lines) EXPECT_LE(line.size(), 80U) << line;
    EXPECT_LE(lines, 50U) << name;
  }
}

TEST_F(Usage, TakesJsonWhereItIsPrinted) {
  expect_failure(2, "unknown option \"--json\"", {"man", "--json"});
  expect_failure(2, "unknown option \"--wait\"", {"completion", "bash", "--wait", "1"});
}

TEST_F(Usage, PrintsItsVersion) {
  const std::string version = done({"--version"}).out;
  EXPECT_TRUE(version.starts_with("cairn ")) << version;
  EXPECT_TRUE(std::isdigit(static_cast<unsigned char>(version.at(6)))) << version;
}

TEST_F(Usage, AsksForACommand) {
  expect_failure(2, "a command is missing", {});
  expect_failure(2, "a command is missing", {"--quiet"});
}

TEST_F(Usage, SuggestsTheNearestCommand) {
  expect_failure(2, R"(unknown command "verfiy"; did you mean "verify"?)", {"verfiy", store_});
  expect_failure(2, R"(did you mean "import"?)", {"imprt"});
  expect_failure(2, R"(did you mean "ls"?)", {"list"});
  expect_failure(2, "cairn --help lists them", {"xylophone"});
}

TEST_F(Usage, KnowsNoOtherOptionBeforeTheCommand) {
  expect_failure(2, R"(unknown option "-x" before the command)", {"-x", "ls", store_});
  expect_failure(2, "did you mean --quiet?", {"--quite", "ls", store_});
}

TEST_F(Usage, CallsOptionsByTheirNamesInMessages) {
  import({"--name", "a"});
  expect_failure(1, "or give --replace", {"import", store_, safetensors(), "--name", "a"});
}

TEST_F(Usage, SuggestsTheNearestOption) {
  expect_failure(2, "did you mean --recent?", {"keep", store_, "--recnt", "3"});
  expect_failure(2, R"(unknown option "--nonsense")", {"ls", store_, "--nonsense"});
}

TEST_F(Usage, NamesTheArgumentThatIsMissingOrTooMany) {
  expect_failure(2, "STORE is missing", {"ls"});
  expect_failure(2, "CKPT is missing", {"rm", store_});
  expect_failure(2, R"(unexpected argument "b")", {"ls", "a", "b"});
  expect_failure(2, "STORE is empty", {"ls", ""});
}

TEST_F(Usage, ChecksTheValuesOfOptions) {
  expect_failure(2, "--name needs a value", {"import", store_, "x", "--name"});
  expect_failure(2, "--name needs a value", {"import", store_, "x", "--name", "--json"});
  expect_failure(2, "--name is empty", {"import", store_, "x", "--name="});
  expect_failure(2, "--name is given twice", {"import", store_, "x", "--name", "a", "--name=b"});
  expect_failure(2, "--json takes no value", {"ls", store_, "--json=yes"});
  expect_failure(2, "--wait must be a number of seconds", {"ls", store_, "--wait", "soon"});
  expect_failure(2, "--wait must be a number of seconds", {"ls", store_, "--wait", "-1"});
  expect_failure(2, "--wait must be a number of seconds", {"ls", store_, "--wait", "nan"});
}

TEST_F(Usage, TakesOptionsOfEveryCommandBeforeItToo) {
  import();
  EXPECT_EQ(done({"--json", "--wait", "1", "ls", store_}).json().size(), 1U);
}

TEST_F(Usage, HelpOfHelpIsTheOverview) {
  EXPECT_EQ(done({"help", "help"}).out, done({"--help"}).out);
}

TEST_F(Usage, TakesWordsAfterTwoDashesAsTheyAre) {
  expect_failure(1, "--json", {"ls", "--", "--json"});
}

TEST_F(Usage, LetsAStoreBeCalledLikeACommand) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir_.path());
  done({"import", "ls", safetensors()});
  EXPECT_EQ(done({"ls", "ls", "--json"}).json().size(), 1U);
  std::filesystem::current_path(before);
}

TEST_F(Usage, FailsQuietlyWhenItsReaderIsGone) {
  import();
  const ToolResult result = cairn({"ls", store_}, Stdout::kBrokenPipe);
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.err, "");
}

TEST_F(Usage, FailsWhenStdoutIsClosedAndWritesIntoNoFileOfTheStore) {
  import();
  const std::string before = read_text(std::filesystem::path(store_) / "pack");
  EXPECT_EQ(cairn({"ls", store_}, Stdout::kClosed).code, 1);
  EXPECT_EQ(cairn({"show", store_, "latest", "--json"}, Stdout::kClosed).code, 1);
  EXPECT_EQ(read_text(std::filesystem::path(store_) / "pack"), before);
  EXPECT_EQ(done({"verify", store_, "--json"}).json().at("ok"), true);
}

TEST_F(Usage, FailsWhenStdoutCannotBeWritten) {
  import();
  const ToolResult result = cairn({"ls", store_}, Stdout::kFullDisk);
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("cannot write to standard output"), std::string::npos) << result.err;
}

TEST_F(Usage, UsesNoColorOffATerminal) {
  import();
  for (const char* command : {"ls", "stat", "verify"}) {
    EXPECT_EQ(done({command, store_}).out.find('\033'), std::string::npos);
  }
}

TEST_F(Usage, SaysNothingBesidesErrorsWithQuiet) {
  EXPECT_NE(done({"import", store_, safetensors()}).err.find("created the store"),
            std::string::npos);
  EXPECT_EQ(done({"import", dir_ / "other", safetensors(), "--quiet"}).err, "");
}

}  // namespace
}  // namespace cairn::testing
