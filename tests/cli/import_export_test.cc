#include "cli/tool.h"

#include <cmath>

namespace cairn::testing {
namespace {

class Import : public ToolTest {
 protected:
  // The metadata that one --meta makes.
  nlohmann::json meta(const std::string& word) {
    return import({"--meta", word}).at("meta").at(word.substr(0, word.find('=')));
  }
};

using Export = ToolTest;

TEST_F(Import, PrintsTheNewCheckpoint) {
  const auto saved = import({"--name", "first", "--meta", "loss=0.5"});
  EXPECT_EQ(saved.at("name"), "first");
  EXPECT_EQ(saved.at("meta").at("loss"), 0.5);
  EXPECT_EQ(saved.at("tensors"), 1);
  EXPECT_EQ(saved.at("logical_bytes"), 4);
  EXPECT_EQ(saved.at("new_bytes"), 4);
  EXPECT_EQ(saved.at("pinned"), false);
  EXPECT_TRUE(saved.at("id").is_number_unsigned());
  EXPECT_TRUE(saved.at("sequence").is_number_unsigned());
  EXPECT_GT(saved.at("created_unix_ns"), std::int64_t{1} << 60);
}

TEST_F(Import, AddsNoBytesForTensorsThatAreStored) {
  import();
  EXPECT_EQ(import().at("new_bytes"), 0);
}

TEST_F(Import, MakesANameWhereNoneIsGiven) {
  EXPECT_NE(import().at("name"), "");
}

TEST_F(Import, ParsesMetadataByItsLooks) {
  EXPECT_EQ(meta("k=true"), true);
  EXPECT_EQ(meta("k=3"), 3);
  EXPECT_TRUE(meta("k=-3").is_number_integer());
  EXPECT_EQ(meta("k=1e-3"), 1e-3);
  EXPECT_TRUE(meta("k=3.0").is_number_float());
  EXPECT_EQ(meta("k=nan"), "NaN");
  EXPECT_EQ(meta("k=-inf"), "-Infinity");
  EXPECT_EQ(meta("k=9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(meta("k=full"), "full");
  EXPECT_EQ(meta("k="), "");
  EXPECT_EQ(meta("k=a=b"), "a=b");
  EXPECT_EQ(meta("k=[1,2]"), "[1,2]");
  EXPECT_EQ(meta("k=\"3\""), "3");
  EXPECT_EQ(meta("k=True"), "True");
  EXPECT_EQ(meta("k=nano"), "nano");
}

TEST_F(Import, TakesManyMetadata) {
  const auto saved = import({"--meta", "a=1", "--meta", "b=x y"});
  EXPECT_EQ(saved.at("meta").at("a"), 1);
  EXPECT_EQ(saved.at("meta").at("b"), "x y");
}

TEST_F(Import, RefusesMalformedMetadataBeforeItTouchesAnything) {
  const std::string file = safetensors();
  expect_failure(2, "KEY=VALUE", {"import", store_, file, "--meta", "novalue"});
  expect_failure(2, "KEY=VALUE", {"import", store_, file, "--meta", "=1"});
  expect_failure(2, "twice", {"import", store_, file, "--meta", "a=1", "--meta", "a=2"});
  expect_failure(2, "out of range", {"import", store_, file, "--meta", "a=1e400"});
  expect_failure(2, "out of range", {"import", store_, file, "--meta", "a=9223372036854775808"});
  EXPECT_FALSE(std::filesystem::exists(store_));
}

TEST_F(Import, CreatesNoStoreForAFileThatItCannotRead) {
  expect_failure(1, "no such file", {"import", store_, dir_ / "absent"});
  write_text(dir_ / "bad", "12345");
  expect_failure(1, "too few", {"import", store_, dir_ / "bad"});
  write_text(dir_ / "bad", safetensors_bytes("{"));
  expect_failure(1, "no valid JSON", {"import", store_, dir_ / "bad"});
  EXPECT_FALSE(std::filesystem::exists(store_));
}

TEST_F(Import, RefusesADirectoryThatIsNoStore) {
  std::filesystem::create_directory(store_);
  write_text(std::filesystem::path(store_) / "thesis.tex", "x");
  expect_failure(1, "", {"import", store_, safetensors()});
}

TEST_F(Import, RefusesANameThatIsTakenUnlessItReplaces) {
  import({"--name", "a"});
  expect_failure(1, "", {"import", store_, safetensors("efgh"), "--name", "a"});
  const auto saved = import({"--name", "a", "--replace"}, "efgh");
  EXPECT_EQ(saved.at("deleted").size(), 1U);
  EXPECT_EQ(names(), (Names{"a"}));
}

TEST_F(Import, RefusesNamesThatMeanSomethingElse) {
  import({"--name", "a"});
  for (const char* name : {"latest", "best:min:x", "id:3", "name:x", "a/b", "a\nb"}) {
    expect_failure(1, "", {"import", store_, safetensors(), "--name", name});
  }
  expect_failure(1, "", {"import", store_, safetensors(), "--name", std::string(256, 'n')});
  EXPECT_EQ(import({"--name", std::string(255, 'n')}).at("name"), std::string(255, 'n'));
}

TEST_F(Import, KeepsOnlyTheNewestAndThePinned) {
  import({"--name", "a"});
  done({"pin", store_, "a"});
  import({"--name", "b"});
  import({"--name", "c"});
  const auto saved = import({"--name", "d", "--keep", "2"});
  EXPECT_EQ(saved.at("deleted"), nlohmann::json({2}));
  EXPECT_EQ(names(), (Names{"d", "c", "a"}));
}

TEST_F(Import, NeverDeletesWhatItSaves) {
  expect_failure(2, "--keep must be a whole number from 1", {"import", store_, "x", "--keep", "0"});
  expect_failure(2, "--keep must be", {"import", store_, "x", "--keep", "-1"});
}

TEST_F(Import, PutsTensorsUnderTheRecoverableThatIsNamed) {
  import({"--as", "encoder"});
  const auto shown = done({"show", store_, "latest", "--json"}).json();
  EXPECT_EQ(shown.at("recoverables").at(0).at("name"), "encoder");
}

TEST_F(Export, GivesTheImportedFileBack) {
  import();
  const auto printed =
      done({"export", store_, "latest", dir_ / "out.safetensors", "--json"}).json();
  EXPECT_EQ(printed.at("tensors"), 1);
  EXPECT_EQ(printed.at("bytes"), 4);
  const std::string bytes = read_text(dir_ / "out.safetensors");
  EXPECT_TRUE(bytes.ends_with("abcd"));
  EXPECT_NE(bytes.find(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})"),
            std::string::npos);
}

TEST_F(Export, ReplacesAnOlderFile) {
  import();
  write_text(dir_ / "out", "old");
  done({"export", store_, "latest", dir_ / "out"});
  EXPECT_TRUE(read_text(dir_ / "out").ends_with("abcd"));
}

TEST_F(Export, SaysWhatIsAbsent) {
  import();
  const std::string out = dir_ / "out";
  expect_failure(4, R"(no such checkpoint: "b")", {"export", store_, "b", out});
  expect_failure(1, "no recoverable", {"export", store_, "latest", out, "--recoverable", "x"});
  expect_failure(1, "", {"export", dir_ / "absent", "latest", out});
  expect_failure(1, "", {"export", store_, "latest", dir_ / "absent" / "out"});
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Export, ReplacesNoDirectoryAndNoDevice) {
  import();
  expect_failure(1, "a directory", {"export", store_, "latest", dir_.path()});
  expect_failure(1, "only regular files", {"export", store_, "latest", "/dev/null"});
}

TEST_F(Import, TakesFilesOfTorchSave) {
  const std::string file =
      std::string(CAIRN_SOURCE_DIR) + "/tests/interop/torch_files/state-1.13-zip.pt";
  const auto saved = done({"import", store_, file, "--as", "job", "--json"}).json();
  EXPECT_EQ(saved.at("tensors"), 35);
  const auto shown = done({"show", store_, "latest", "--json"}).json();
  EXPECT_EQ(shown.at("recoverables")[0].at("name"), "job");
  EXPECT_EQ(shown.at("recoverables")[0].at("values").at("epoch"), 3);
}

TEST_F(Import, RefusesAFileThatWouldRunCodeAndMakesNoStore) {
  const std::string file = std::string(CAIRN_SOURCE_DIR) + "/tests/interop/torch_files/hostile.pt";
  expect_failure(1, "posix.system", {"import", store_, file});
  EXPECT_FALSE(std::filesystem::exists(store_));
}

}  // namespace
}  // namespace cairn::testing
