// ls, show, stat: what they print, and that they only read.
#include "cli/tool.h"

namespace cairn::testing {
namespace {

using Ls = ToolTest;
using Show = ToolTest;
using Stat = ToolTest;

TEST_F(Ls, ListsTheNewestFirst) {
  import({"--name", "a", "--meta", "loss=2"});
  import({"--name", "b"}, "other");
  const auto list = done({"ls", store_, "--json"}).json();
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].at("name"), "b");
  EXPECT_GT(list[0].at("sequence"), list[1].at("sequence"));
  EXPECT_EQ(list[1].at("meta").at("loss"), 2);
  EXPECT_EQ(list[1].at("tensors"), 1);
  EXPECT_EQ(list[1].at("logical_bytes"), 4);
  EXPECT_EQ(list[1].at("pinned"), false);
  EXPECT_EQ(list[1].at("recoverables"), nlohmann::json({"model"}));
  EXPECT_GT(list[1].at("freed_bytes"), 0);
}

TEST_F(Ls, PrintsATable) {
  import({"--name", "a", "--meta", "loss=0.5"});
  done({"pin", store_, "a"});
  const std::string out = done({"ls", store_}).out;
  for (const char* part : {"ID", "NAME", "SAVED", "a", "4 B", "pinned", "loss=0.5"}) {
    EXPECT_NE(out.find(part), std::string::npos) << out;
  }
}

TEST_F(Ls, PrintsNamesAloneAsTextOnly) {
  import({"--name", "a"});
  import({"--name", "b"});
  EXPECT_EQ(done({"ls", store_, "--names"}).out, "b\na\n");
  expect_failure(2, "--names", {"ls", store_, "--names", "--json"});
}

TEST_F(Ls, PrintsAnEmptyListForAnEmptyStore) {
  import({"--name", "a"});
  done({"rm", store_, "a"});
  EXPECT_EQ(done({"ls", store_, "--json"}).json(), nlohmann::json::array());
  EXPECT_EQ(done({"ls", store_}).out, "");
}

TEST_F(Ls, LetsNoNameDriveTheTerminal) {
  import({"--name", "\u202Eevil", "--meta", "k\033[31m=\033]0;title\007"});
  const ToolResult result = done({"ls", store_});
  EXPECT_EQ((result.out + result.err).find_first_of("\033\007"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("\\u001b]0;title"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("\u202E"), std::string::npos) << result.out;
}

TEST_F(Ls, FailsWithoutAStoreAndCreatesNone) {
  expect_failure(1, "", {"ls", store_});
  EXPECT_FALSE(std::filesystem::exists(store_));
  std::filesystem::create_directory(store_);
  expect_failure(1, "", {"ls", store_});
  EXPECT_TRUE(std::filesystem::is_empty(store_));
  expect_failure(1, "", {"ls", safetensors()});
}

TEST_F(Ls, ChangesNoFile) {
  import();
  const std::string pack = read_text(std::filesystem::path(store_) / "pack");
  const std::string catalog = read_text(std::filesystem::path(store_) / "catalog.mdb");
  for (const char* command : {"ls", "stat", "verify"}) done({command, store_});
  done({"show", store_, "latest"});
  EXPECT_EQ(read_text(std::filesystem::path(store_) / "pack"), pack);
  EXPECT_EQ(read_text(std::filesystem::path(store_) / "catalog.mdb"), catalog);
}

TEST_F(Show, PrintsRecoverablesTensorsAndMetadata) {
  import({"--name", "a", "--meta", "loss=nan"});
  const auto shown = done({"show", store_, "a", "--json"}).json();
  EXPECT_EQ(shown.at("name"), "a");
  EXPECT_EQ(shown.at("meta").at("loss"), "NaN");
  const auto& model = shown.at("recoverables").at(0);
  EXPECT_EQ(model.at("name"), "model");
  EXPECT_EQ(model.at("values"), nlohmann::json::object());
  const auto expected =
      nlohmann::json::parse(R"([{"name":"w","dtype":"u8","shape":[4],"bytes":4}])");
  EXPECT_EQ(model.at("tensors"), expected);
  EXPECT_NE(done({"show", store_, "a"}).out.find("recoverable model"), std::string::npos);
}

TEST_F(Show, PrintsTheDigestsOfChunksWhereAsked) {
  import();
  const auto shown = done({"show", store_, "latest", "--chunks", "--json"}).json();
  const auto& chunks = shown.at("recoverables").at(0).at("tensors").at(0).at("chunks");
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_EQ(chunks[0].at("digest").get<std::string>().size(), 32U);
}

TEST_F(Show, PrintsTheFilesOwnMetadataAsAValue) {
  write_text(dir_ / "m", safetensors_bytes(R"({"__metadata__":{"format":"pt"}})"));
  done({"import", store_, dir_ / "m"});
  const auto shown = done({"show", store_, "latest", "--json"}).json();
  EXPECT_EQ(shown.at("recoverables").at(0).at("values").at("__metadata__").at("format"), "pt");
}

TEST_F(Show, TakesACheckpointByIdNameAndWord) {
  import({"--name", "a", "--meta", "loss=1"});
  import({"--name", "b", "--meta", "loss=2"});
  const auto name_of = [&](const std::string& word) {
    return done({"show", store_, word, "--json"}).json().at("name");
  };
  EXPECT_EQ(name_of("1"), "a");
  EXPECT_EQ(name_of("id:1"), "a");
  EXPECT_EQ(name_of("a"), "a");
  EXPECT_EQ(name_of("name:a"), "a");
  EXPECT_EQ(name_of("latest"), "b");
  EXPECT_EQ(name_of("best:min:loss"), "a");
  EXPECT_EQ(name_of("best:max:loss"), "b");
}

TEST_F(Show, AsksWhichOneIsMeantWhereAnIdIsAlsoANameOfAnother) {
  import({"--name", "2"});
  import({"--name", "b"});
  expect_failure(1, "write id:2 or name:2", {"show", store_, "2"});
  EXPECT_EQ(done({"show", store_, "id:2", "--json"}).json().at("name"), "b");
  EXPECT_EQ(done({"show", store_, "name:2", "--json"}).json().at("id"), 1);
  import({"--name", "3"});  // Its id is 3, too.
  EXPECT_EQ(done({"show", store_, "3", "--json"}).json().at("id"), 3);
}

TEST_F(Show, SaysThatThereIsNoSuchCheckpoint) {
  import({"--name", "epoch-1", "--meta", "loss=1"});
  expect_failure(4, R"(no such checkpoint: "epcoh-1"; did you mean "epoch-1"?)",
                 {"show", store_, "epcoh-1"});
  for (const char* word : {"7", "id:7", "name:7", "01", "18446744073709551616", "[1]"}) {
    expect_failure(4, "no such checkpoint", {"show", store_, word});
  }
  done({"rm", store_, "epoch-1"});
  expect_failure(4, "the store holds none", {"show", store_, "latest"});
  expect_failure(4, "the store holds none", {"show", store_, "best:min:loss"});
}

TEST_F(Show, RefusesMalformedWords) {
  import({"--meta", "loss=1"});
  for (const char* word : {"id:", "id:x", "id:-1", "best:", "best:min:", "best:avg:loss"}) {
    expect_failure(2, word, {"show", store_, word});
  }
  expect_failure(1, R"(keys that exist: "end-of-epoch", "loss")", {"show", store_, "best:min:los"});
  expect_failure(1, "only by numbers", {"show", store_, "best:min:end-of-epoch"});
}

TEST_F(Stat, PrintsBytes) {
  import({}, std::string(100'000, 'x'));
  import({}, std::string(100'000, 'x'));
  const auto stats = done({"stat", store_, "--json"}).json();
  EXPECT_EQ(stats.at("checkpoints"), 2);
  EXPECT_EQ(stats.at("logical_bytes"), 200'000);
  EXPECT_GE(stats.at("stored_bytes"), 100'000);
  EXPECT_LT(stats.at("stored_bytes"), 200'000);
  EXPECT_GE(stats.at("pack_bytes"), stats.at("stored_bytes"));
  EXPECT_TRUE(stats.at("free_bytes").is_number_unsigned());
  EXPECT_NE(done({"stat", store_}).out.find("195.3 KiB"), std::string::npos);
}

}  // namespace
}  // namespace cairn::testing
