// safetensors in shards, with an index.
#include "interop/safetensors_file.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/safetensors.h>
#include <cairn/store.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace cairn {
namespace {

using testing::Bytes;
using testing::error_of;
using testing::pattern;
using testing::ScratchDirectory;
using testing::write_text;

class Sharded : public ::testing::Test {
 protected:
  const ScratchDirectory scratch_;
  const std::filesystem::path index_ = scratch_ / "model.safetensors.index.json";

  std::filesystem::path index(std::string_view text) const { return write_text(index_, text); }
  /// A shard with one byte for each name.
  void shard(const std::string& file, const std::vector<std::string>& names,
             const std::string& metadata = "") const {
    nlohmann::json header = nlohmann::json::object();
    for (std::size_t i = 0; i < names.size(); ++i) {
      header[names[i]] = {{"dtype", "U8"}, {"shape", {1}}, {"data_offsets", {i, i + 1}}};
    }
    if (!metadata.empty()) header["__metadata__"] = nlohmann::json::parse(metadata);
    std::string data;
    for (const std::string& name : names) data += name.front();
    write_text(scratch_ / file, testing::safetensors_bytes(header.dump(), data));
  }
  void expect_error(ErrorCode code, const std::string& what, std::string_view text) const {
    index(text);
    const Error error = error_of([&] { read_sharded_safetensors(index_, "model"); });
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    EXPECT_FALSE(error.path().empty());
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_.path())) {
      if (entry.is_regular_file()) names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(Sharded, TensorsComeFromTheShardsThatTheIndexNames) {
  shard("one", {"a", "c"});
  shard("two", {"b"});
  index(R"({"weight_map": {"a": "one", "b": "two", "c": "one"}})");
  const RecoverableState state = read_sharded_safetensors(index_, "model");
  ASSERT_EQ(state.tensors.size(), 3U);
  for (const TensorInput& tensor : state.tensors) {
    Bytes byte(1);
    tensor.source->read(0, byte);
    EXPECT_EQ(static_cast<char>(byte[0]), tensor.key[0]);
  }
  EXPECT_TRUE(state.values.empty());
}

TEST_F(Sharded, MetadataOfIndexAndShardsIsKept) {
  shard("one", {"a"}, R"({"format": "pt", "part": "1"})");
  shard("two", {"b"}, R"({"format": "pt", "part": "2"})");
  index(R"({"metadata": {"total_size": 2, "by": {"tool": [1, 0.5, null]}},
            "weight_map": {"a": "one", "b": "two"}, "unknown": [{}]})");
  const RecoverableState state = read_sharded_safetensors(index_, "model");
  EXPECT_EQ(state.values.at("__metadata__"),
            MetaValue(MetaValue::Map{{"format", "pt"}, {"one:part", "1"}, {"two:part", "2"}}));
  EXPECT_EQ(state.values.at("__index_metadata__"),
            MetaValue(MetaValue::Map{{"total_size", 2},
                                     {"by", MetaValue::Map{{"tool", MetaValue::List{1, 0.5}}}}}));
}

TEST_F(Sharded, NamesThatLeadOutOfTheDirectoryAreRefused) {
  write_text(scratch_ / "secret", testing::safetensors_bytes("{}"));
  for (const char* name :
       {"../secret", "/etc/passwd", "sub/secret", "..", ".", "", "a\\\\b", "a\\u0000b", "a\\nb"}) {
    expect_error(ErrorCode::kDamaged, "not the name of a file beside the index",
                 std::string(R"({"weight_map": {"a": ")") + name + R"("}})");
  }
}

TEST_F(Sharded, AMissingShardIsTold) {
  shard("one", {"a"});
  expect_error(ErrorCode::kNotFound, R"("three", "two")",
               R"({"weight_map": {"a": "one", "b": "two", "c": "three"}})");
}

TEST_F(Sharded, AMissingTensorIsTold) {
  shard("one", {"a"});
  expect_error(ErrorCode::kDamaged, R"(holds the tensors "b", and it does not)",
               R"({"weight_map": {"a": "one", "b": "one"}})");
}

TEST_F(Sharded, ATensorThatTheIndexDoesNotKnowIsTold) {
  shard("one", {"a", "b"});
  expect_error(ErrorCode::kDamaged, R"(holds the tensors "b", which the index does not know)",
               R"({"weight_map": {"a": "one"}})");
}

TEST_F(Sharded, ATensorInTwoShardsIsTold) {
  shard("one", {"a", "b"});
  shard("two", {"b"});
  expect_error(ErrorCode::kDamaged, R"(places elsewhere; "b" in "two")",
               R"({"weight_map": {"a": "one", "b": "two"}})");
}

TEST_F(Sharded, AMalformedIndexIsTold) {
  shard("one", {"a"});
  const auto damaged = ErrorCode::kDamaged;
  expect_error(damaged, "no valid JSON", R"({"weight_map": )");
  expect_error(damaged, "no object", "[]");
  expect_error(damaged, "no weight_map", "{}");
  expect_error(damaged, "no weight_map", R"({"weight_map": []})");
  expect_error(damaged, "metadata are no object", R"({"metadata": [], "weight_map": {}})");
  expect_error(damaged, "is no text", R"({"weight_map": {"a": 1}})");
  expect_error(damaged, R"("a" twice)", R"({"weight_map": {"a": "one", "a": "one"}})");
  expect_error(damaged, R"("weight_map" twice)", R"({"weight_map": {}, "weight_map": {}})");
  expect_error(damaged, "deeper", R"({"x": )" + std::string(1000, '[') + "}");
}

TEST_F(Sharded, AnIndexIsToldFromOtherFiles) {
  EXPECT_TRUE(looks_like_safetensors_index(index("{}")));
  EXPECT_TRUE(looks_like_safetensors_index(index(" \n {\"weight_map\": {}}")));
  EXPECT_FALSE(looks_like_safetensors_index(index("")));
  shard("one", {"a"});
  EXPECT_FALSE(looks_like_safetensors_index(scratch_ / "one"));
  // A header of '{' bytes, so that the length begins like JSON.
  const std::string header = R"({"__metadata__":{"k":")" + std::string(99, ' ') + R"("}})";
  ASSERT_EQ(header.size(), static_cast<std::size_t>('{') + 1);
  EXPECT_FALSE(looks_like_safetensors_index(
      write_text(scratch_ / "two", testing::safetensors_bytes(header.substr(0, '{')))));
}

class ShardedExport : public Sharded {
 protected:
  Store store_{scratch_ / "store"};
  const std::filesystem::path out_ = scratch_ / "model.safetensors";

  std::uint64_t save() {
    CheckpointState state = testing::model(
        {testing::tensor("a", pattern(1, 100'000)), testing::tensor("b", pattern(2, 60'000)),
         testing::tensor("c", pattern(3, 60'000)), testing::tensor("d", {})});
    state[0].values.emplace("__metadata__", MetaValue::Map{{"format", "pt"}});
    state[0].values.emplace("__index_metadata__",
                            MetaValue::Map{{"total_size", 1}, {"made_by", "hand"}});
    return store_.save(state).saved.id;
  }
};

TEST_F(ShardedExport, ComesBackExactly) {
  const Checkpoint saved = store_.open(save());
  const auto paths = write_sharded_safetensors(saved, out_, 120'000);
  EXPECT_EQ(files(), (std::vector<std::string>{"model-00001-of-00002.safetensors",
                                               "model-00002-of-00002.safetensors",
                                               "model.safetensors.index.json"}));
  EXPECT_EQ(paths.size(), 3U);
  EXPECT_EQ(paths.front(), index_);
  const auto json = nlohmann::json::parse(testing::read_text(index_));
  EXPECT_EQ(json.at("metadata"), nlohmann::json({{"total_size", 220'000}, {"made_by", "hand"}}));
  EXPECT_EQ(json.at("weight_map").at("c"), "model-00002-of-00002.safetensors");

  const auto again = store_.save({read_sharded_safetensors(index_, "model")});
  EXPECT_EQ(again.new_bytes, 0U);
  EXPECT_EQ(testing::contents(store_.open(again.saved.id)), testing::contents(saved));
  EXPECT_EQ(store_.open(again.saved.id).values("model").at("__metadata__"),
            MetaValue(MetaValue::Map{{"format", "pt"}}));
}

TEST_F(ShardedExport, ATensorThatIsTooLargeHasAShardOfItsOwn) {
  EXPECT_EQ(write_sharded_safetensors(store_.open(save()), out_, 1).size(), 1U + 4U);
  EXPECT_EQ(write_sharded_safetensors(store_.open(save()), out_, UINT64_MAX).size(), 1U + 1U);
}

TEST_F(ShardedExport, MoreShardsThanCanBeReadAreRefused) {
  RecoverableState state{.name = "model"};
  for (int i = 0; i < 4097; ++i) {
    state.tensors.push_back(testing::tensor(std::to_string(i), pattern(1, 4)));
  }
  const Checkpoint checkpoint = store_.open(store_.save({state}).saved.id);
  const Error error = error_of([&] { write_sharded_safetensors(checkpoint, out_, 1); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find("at most 4096"), std::string::npos) << error.what();
  EXPECT_TRUE(files().empty());
}

TEST_F(ShardedExport, AFailureLeavesNothing) {
  const std::uint64_t id = save();
  const Checkpoint checkpoint = store_.open(id);
  const auto tensor = checkpoint.find_tensor("model", "c").value();
  testing::flip_byte(scratch_ / "store/pack", checkpoint.chunks(tensor).front().pack_offset);
  EXPECT_EQ(error_of([&] { write_sharded_safetensors(checkpoint, out_, 50'000); }).code(),
            ErrorCode::kDamaged);
  EXPECT_TRUE(files().empty());
}

TEST_F(ShardedExport, ReplacesNothingUnlessItMay) {
  const Checkpoint checkpoint = store_.open(save());
  write_text(scratch_ / "model-00001-of-00001.safetensors", "mine");
  EXPECT_EQ(error_of([&] {
              write_sharded_safetensors(checkpoint, out_, UINT64_MAX, {.overwrite = false});
            }).code(),
            ErrorCode::kAlreadyExists);
  EXPECT_EQ(testing::read_text(scratch_ / "model-00001-of-00001.safetensors"), "mine");
}

}  // namespace
}  // namespace cairn
