#include "cli/tool.h"
#include "support/states.h"

#include <cmath>
#include <cstring>
#include <sys/resource.h>

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

TEST_F(Import, CompressesFromThenOnWhenTold) {
  const auto import_coarse = [&](std::uint64_t seed, const std::vector<std::string>& options) {
    const Bytes bytes = coarse_pattern(seed, 100'000);
    return import(options, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  const auto plain = import_coarse(1, {});
  EXPECT_EQ(plain.at("new_stored_bytes"), 100'000);
  EXPECT_EQ(done({"stat", store_, "--json"}).json().at("compression"), "none");
  EXPECT_LT(import_coarse(2, {"--compress"}).at("new_stored_bytes"), 60'000);
  const auto later = import_coarse(3, {});
  EXPECT_EQ(later.at("new_bytes"), 100'000);
  EXPECT_LT(later.at("new_stored_bytes"), 60'000);
  const auto stats = done({"stat", store_, "--json"}).json();
  EXPECT_EQ(stats.at("compression"), "zstd");
  EXPECT_EQ(stats.at("compressed_chunks"), 2);
  EXPECT_LT(stats.at("compression_ratio"), 0.75);
  EXPECT_NE(done({"stat", store_}).out.find("2 of 3 chunks"), std::string::npos);
  EXPECT_EQ(done({"verify", store_}).code, 0);
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

// It left a new store without a checkpoint.
TEST_F(Import, CreatesNoStoreForWhatItCannotSave) {
  const std::string file = safetensors();
  for (const bool dry_run : {false, true}) {
    const auto refused = [&](std::string_view part, std::vector<std::string> options) {
      std::vector<std::string> words = {"import", store_, file};
      words.insert(words.end(), options.begin(), options.end());
      if (dry_run) words.push_back("--dry-run");
      expect_failure(1, part, words);
    };
    refused("reserved word", {"--name", "latest"});
    refused("holds a '/'", {"--as", "a/b"});
    refused("256 bytes", {"--as", std::string(256, 'n')});
  }
  EXPECT_FALSE(std::filesystem::exists(store_));
}

TEST_F(Import, CountsNoMoreNewBytesThanTheTensorsHave) {
  // Two small tensors lie in one chunk, aligned.
  const std::string file =
      write_text(dir_ / "two.safetensors",
                 safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                   R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                   "xy"));
  EXPECT_NE(done({"import", store_, file}).out.find("2 tensors, 2 B, of which 2 B new"),
            std::string::npos);
}

TEST_F(Import, RefusesALinkToNothing) {
  std::filesystem::create_symlink("nowhere", store_);
  expect_failure(1, "a store is a directory, and this is none", {"import", store_, safetensors()});
  expect_failure(1, "a store is a directory, and this is none", {"ls", store_});
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
  ASSERT_EQ(saved.at("deleted").size(), 1U);
  EXPECT_EQ(saved.at("deleted")[0].at("rule"), "replaced under its name");
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
  ASSERT_EQ(saved.at("deleted").size(), 1U);
  EXPECT_EQ(saved.at("deleted")[0].at("id"), 2);
  EXPECT_EQ(saved.at("deleted")[0].at("rule"), "not among the newest 2");
  EXPECT_EQ(names(), (Names{"d", "c", "a"}));
}

TEST_F(Import, ADryRunSaysWhatWouldBeSavedAndDeleted) {
  const auto first = import({"--dry-run"});
  EXPECT_EQ(first.at("tensors"), 1);
  EXPECT_FALSE(std::filesystem::exists(store_));
  for (const char* name : {"a", "b", "c"}) import({"--name", name});
  const std::vector<std::string> options = {"--name", "a", "--replace", "--keep", "2"};
  auto words = options;
  words.emplace_back("--dry-run");
  const auto plan = import(words);
  EXPECT_EQ(names(), (Names{"c", "b", "a"}));
  ASSERT_EQ(plan.at("deleted").size(), 2U);
  EXPECT_EQ(plan.at("deleted"), import(options).at("deleted"));
  EXPECT_EQ(names(), (Names{"a", "c"}));
  expect_failure(1, "exists", {"import", store_, safetensors(), "--name", "a", "--dry-run"});
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

class SpeechBrain : public ToolTest {
 protected:
  // A copy of the one that SpeechBrain wrote; see make.py beside it.
  const std::filesystem::path source_ = dir_ / "CKPT+epoch-2";

  void SetUp() override {
    std::filesystem::copy(CAIRN_SOURCE_DIR "/tests/interop/speechbrain/CKPT+epoch-2", source_);
  }
};

TEST_F(SpeechBrain, CheckpointComesInWhole) {
  const auto saved = done({"import", store_, source_, "--json"}).json();
  EXPECT_EQ(saved.at("name"), "CKPT+epoch-2");
  auto meta = saved.at("meta");
  EXPECT_TRUE(meta.at("unixtime").is_number_float());
  meta.erase("unixtime");
  EXPECT_EQ(meta, nlohmann::json::parse(R"({"end-of-epoch": true, "loss": 15.5, "tiny": 1e-5,
      "validation-type": "fast", "num-examples": 3, "looks-like-a-number": "3",
      "sizes": [1, 2.5, "x", {"deep": true}],
      "text": "a text that is longer than the eighty columns at which yaml.dump folds its lines, to see that"})"));
  const std::string weight = done({"cat", store_, "latest", "model/weight"}).out;
  const float expected[] = {0, 1, 2, 3, 4, 5};
  ASSERT_EQ(weight.size(), sizeof(expected));
  EXPECT_EQ(std::memcmp(weight.data(), expected, sizeof(expected)), 0);
  const std::string shown = done({"show", store_, "latest"}).out;
  for (const char* line : {"recoverable brain", "  step = 12", "  avg_train_loss = 0.25",
                           "recoverable epochs", "  value = 2", "state.0.exp_avg_sq"}) {
    EXPECT_NE(shown.find(line), std::string::npos) << line;
  }
}

TEST_F(SpeechBrain, OptionsComeBeforeWhatItSays) {
  const auto saved = done({"import", store_, source_.native() + "/", "--json", "--name", "mine",
                           "--meta", "loss=1", "--skip", "opt"})
                         .json();
  EXPECT_EQ(saved.at("name"), "mine");
  EXPECT_EQ(saved.at("meta").at("loss"), 1);
  EXPECT_EQ(saved.at("tensors"), 2);
  expect_failure(1, "no recoverable \"other\" to leave out",
                 {"import", store_, source_, "--skip", "other"});
  expect_failure(2, "--as", {"import", store_, source_, "--as", "model"});
  expect_failure(2, "--skip", {"import", store_, safetensors(), "--skip", "model"});
}

TEST_F(SpeechBrain, TheDirectoryNamesTheCheckpointHoweverItIsWritten) {
  for (const auto& path : {source_ / "", source_ / ".", source_ / ".." / "CKPT+epoch-2"}) {
    const auto saved = done({"import", store_, path, "--replace", "--json"}).json();
    EXPECT_EQ(saved.at("name"), "CKPT+epoch-2") << path;
  }
}

TEST_F(SpeechBrain, WhatIsNoPlainStateIsRefusedAndCreatesNothing) {
  const auto refuses = [&](const char* file, const std::string& text, const std::string& why) {
    const auto before = read_text(source_ / file);
    write_text(source_ / file, text);
    expect_failure(1, why, {"import", store_, source_});
    write_text(source_ / file, before);
    EXPECT_FALSE(std::filesystem::exists(store_));
  };
  refuses("CKPT.yaml", "a: !!python/object/apply:os.system [ls]", "python/object/apply:os.system");
  refuses("CKPT.yaml", "a: &x [1]\nb: *x", "line 2: aliases");
  refuses("CKPT.yaml", "a: 1\na: 2", "line 2: the key \"a\" stands twice");
  refuses("CKPT.yaml", "a: 1\n---\nb: 2", "several documents");
  refuses("CKPT.yaml", "a: [1", "no YAML");
  refuses("CKPT.yaml", "[1]", "no map of metadata, but a list");
  refuses("CKPT.yaml", "a: 99999999999999999999", "64 bits");
  refuses("CKPT.yaml", "a: 0755", "base ten");
  refuses("CKPT.yaml", "a: " + std::string(1000, '['), "deeper than 16");
  refuses("CKPT.yaml", std::string(2 << 20, 'a'), "more than values may");
  refuses("brain.ckpt", "'a' => 0\n", "--skip brain leaves it out");
  std::filesystem::copy(CAIRN_SOURCE_DIR "/tests/interop/torch_files/hostile.pt",
                        source_ / "hostile.ckpt");
  expect_failure(1, "posix.system", {"import", store_, source_});
  EXPECT_FALSE(std::filesystem::exists(store_));
}

TEST_F(SpeechBrain, MetadataHasTheTypesThatPythonGivesThem) {
  write_text(source_ / "CKPT.yaml",
             "{a: yes, b: -7, c: -.inf, d: .nan, e: 1e3, f: 1.5e+3, g: ~, h: 2026-11-24, "
             "i: !!str 3, j: 'null', k: -1.5, l: +3, 5: x, m: 1.0.0, n: '', o: 0}");
  auto meta = done({"import", store_, source_, "--json"}).json().at("meta");
  meta.erase("unixtime");
  meta.erase("end-of-epoch");
  EXPECT_EQ(meta, nlohmann::json::parse(R"({"a": true, "b": -7, "c": "-Infinity", "d": "NaN",
      "e": "1e3", "f": 1500.0, "h": "2026-11-24", "i": "3", "j": "null", "k": -1.5, "l": 3,
      "5": "x", "m": "1.0.0", "n": "", "o": 0})"));
}

TEST_F(SpeechBrain, OtherDirectoriesAreTold) {
  expect_failure(1, "name one, such as", {"import", store_, dir_.path()});
  std::filesystem::remove_all(source_);
  expect_failure(1, "neither a CKPT.yaml", {"import", store_, dir_.path()});
}

// Store and file lie in one directory, and what is wrong with one is not blamed on the other.
TEST_F(Import, TellsDamageOfTheStoreFromThatOfTheFile) {
  const std::string file = safetensors();
  done({"import", store_, file});
  write_text(dir_ / "cut.safetensors", read_text(file).substr(0, read_text(file).size() - 1));
  expect_failure(1, "cut.safetensors", {"import", store_, dir_ / "cut.safetensors"});
  std::filesystem::resize_file(std::filesystem::path(store_) / "pack", 100'000);
  expect_failure(3, "pack", {"import", store_, file});
}

class Shards : public ToolTest {
 protected:
  const std::string out_ = dir_ / "out.safetensors";
  const std::string index_ = out_ + ".index.json";
};

TEST_F(Shards, GoOutAndComeBack) {
  import({"--name", "a"});
  const auto wrote = done({"export", store_, "a", out_, "--shard-mib", "1", "--json"}).json();
  EXPECT_EQ(wrote.at("file"), index_);
  EXPECT_EQ(wrote.at("shards"), 1);
  EXPECT_EQ(done({"import", store_, index_, "--json"}).json().at("new_bytes"), 0);
  EXPECT_EQ(done({"import", store_, dir_.path(), "--json"}).json().at("new_bytes"), 0);
  // What is wrong with a shard is no damage of the store.
  write_text(dir_ / "out-00001-of-00001.safetensors", "12345");
  expect_failure(1, "too few", {"import", store_, index_});
}

TEST_F(Export, WritesANumPyArchiveByItsName) {
  import({"--name", "a"});
  const std::string out = dir_ / "out.npz";
  EXPECT_EQ(done({"export", store_, "a", out, "--json"}).json().at("file"), out);
  EXPECT_TRUE(read_text(out).starts_with("PK\x03\x04"));
  expect_failure(2, "no shards", {"export", store_, "a", out, "--shard-mib", "1"});
}

// A tensor of 256 MiB, all of it a hole: in, and out in every way, in the memory of a few buffers.
TEST_F(Export, TakesNoMoreMemoryForMore) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep what is freed";
#endif
  constexpr std::uint64_t kBytes = std::uint64_t{1} << 28;
  const std::string file = dir_ / "large.safetensors";
  write_text(file, safetensors_bytes(
                       R"({"w":{"dtype":"U8","shape":[268435456],"data_offsets":[0,268435456]}})"));
  std::filesystem::resize_file(file, std::filesystem::file_size(file) + kBytes);
  done({"import", store_, file});
  done({"export", store_, "latest", file});
  std::filesystem::remove(file);
  done({"export", store_, "latest", dir_ / "large.npz"});
  rusage usage{};
  ASSERT_EQ(::getrusage(RUSAGE_CHILDREN, &usage), 0);
  EXPECT_LT(usage.ru_maxrss, 64 * 1024) << "KiB";
}

TEST_F(Export, WritesNothingAmongAStoresFiles) {
  import();
  for (const char* name : {"pack", "catalog.mdb", "lock", "new.safetensors"}) {
    expect_failure(1, "lies in a store", {"export", store_, "latest", store_ + "/" + name});
  }
  EXPECT_EQ(done({"verify", store_, "--json"}).json().at("ok"), true);
}

}  // namespace
}  // namespace cairn::testing
