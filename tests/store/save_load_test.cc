#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace cairn {
namespace {

using testing::Bytes;
using testing::contents;
using testing::error_of;
using testing::everything;
using testing::flip_byte;
using testing::model;
using testing::model_of;
using testing::pattern;
using testing::ScratchDirectory;
using testing::tensor;

constexpr LoadMode kAllModes[] = {LoadMode::kVerifyFirst, LoadMode::kStaged, LoadMode::kSinglePass};

class SaveLoad : public ::testing::Test {
 protected:
  Store open(bool read_only = false) { return Store(path(), {.read_only = read_only}); }
  std::filesystem::path path() const { return scratch_ / "store"; }
  ScratchDirectory scratch_;
};

TEST_F(SaveLoad, GivesBackWhatWasSaved) {
  const auto state = model_of(1, 5, 200'000);
  Store store = open();
  const SaveResult result = store.save(state, {.meta = {{"loss", 0.5}}, .name = "first"});
  EXPECT_EQ(result.saved.name, "first");
  EXPECT_EQ(contents(store.open(result.saved.id)), contents(state));
}

TEST_F(SaveLoad, GivesBackWhatWasSavedAfterReopening) {
  const auto state = model_of(1, 3, 100'000);
  open().save(state, {.meta = {{"loss", 0.5}, {"kind", "full"}}, .name = "first"});
  const Store store = open(true);
  const auto info = store.find_by_name("first");
  ASSERT_TRUE(info);
  EXPECT_EQ(info->meta.get("loss"), 0.5);
  EXPECT_EQ(info->meta.get("kind"), "full");
  EXPECT_EQ(info->tensors, 3U);
  EXPECT_EQ(info->logical_bytes, 300'000U);
  EXPECT_EQ(contents(store.open(info->id)), contents(state));
}

TEST_F(SaveLoad, KeepsEveryDtypeRankAndEmptyTensor) {
  std::vector<TensorInput> tensors;
  for (std::uint8_t number = 1; const auto dtype = dtype_from_number(number); ++number) {
    tensors.push_back(tensor("dtype." + std::to_string(number), *dtype, {3, 8},
                             pattern(number, 3 * bits_per_element(*dtype))));
  }
  tensors.push_back(tensor("scalar", DType::kF32, {}, pattern(50, 4)));
  tensors.push_back(
      tensor("rank64", DType::kI16, std::vector<std::int64_t>(64, 1), pattern(51, 2)));
  tensors.push_back(tensor("empty", DType::kBF16, {0, 7}, {}));
  const auto state = model(tensors);
  Store store = open();
  const Checkpoint checkpoint = store.open(store.save(state).saved.id);
  EXPECT_EQ(contents(checkpoint), contents(state));
  for (const TensorInput& input : tensors) {
    const TensorInfo& info = checkpoint.tensors()[*checkpoint.find_tensor("model", input.key)];
    EXPECT_EQ(info.dtype, input.dtype);
    EXPECT_TRUE(
        std::equal(info.shape.begin(), info.shape.end(), input.shape.begin(), input.shape.end()));
  }
}

TEST_F(SaveLoad, KeepsEveryKindOfValue) {
  CheckpointState state = model({});
  const MetaValue nested = MetaValue::List{1, MetaValue::Map{{"deep", MetaValue::List{true}}}};
  state[0].values = {{"bool", true},
                     {"int", std::numeric_limits<std::int64_t>::min()},
                     {"double", -0.0},
                     {"infinity", std::numeric_limits<double>::infinity()},
                     {"text", "h\xC3\xA9llo\n\x01"},
                     {"bytes", MetaValue::Bytes{std::byte{0}, std::byte{255}}},
                     {"nested", nested},
                     {"", MetaValue::Map{}}};
  Store store = open();
  const Checkpoint checkpoint = store.open(store.save(state).saved.id);
  EXPECT_EQ(checkpoint.values("model"), state[0].values);
}

TEST_F(SaveLoad, RefusesValuesNestedTooDeep) {
  MetaValue value = 1;
  for (int i = 0; i <= MetaValue::kMaxDepth; ++i) value = MetaValue::List{value};
  CheckpointState state = model({});
  state[0].values = {{"deep", value}};
  Store store = open();
  EXPECT_EQ(error_of([&] { store.save(state); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(store.checkpoints().empty());
}

TEST_F(SaveLoad, AddsTimeAndEndOfEpochUnlessGiven) {
  Store store = open();
  const auto saved = store.save(model({}), {.end_of_epoch = false}).saved;
  EXPECT_EQ(saved.meta.get("end-of-epoch"), false);
  EXPECT_NEAR(saved.meta.get("unixtime")->as_double(),
              static_cast<double>(saved.created_unix_ns) * 1e-9, 1.0);
  const auto given = store.save(model({}), {.meta = {{"unixtime", 5.0}}}).saved;
  EXPECT_EQ(given.meta.get("unixtime"), 5.0);
}

TEST_F(SaveLoad, LoadsIntoTargetsInEveryMode) {
  const auto state = model_of(1, 20, 70'000);
  Store store = open();
  const Checkpoint checkpoint = store.open(store.save(state).saved.id);
  for (const LoadMode mode : kAllModes) {
    std::vector<Bytes> buffers;
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
      buffers.emplace_back(checkpoint.tensors()[i].bytes);
    }
    for (std::size_t i = 0; i < buffers.size(); ++i)
      targets.push_back({.tensor = i, .out = buffers[i]});
    checkpoint.load(targets, mode);
    const auto expected = contents(state);
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      EXPECT_EQ(buffers[i], expected.at("model/" + std::string(checkpoint.tensors()[i].key)));
    }
  }
}

TEST_F(SaveLoad, DamageLeavesTargetsUntouchedAndIsListedWhole) {
  Store store = open();
  const auto id = store.save(model_of(1, 4, 100'000)).saved.id;
  const Checkpoint checkpoint = store.open(id);
  flip_byte(path() / "pack", checkpoint.chunks(1).front().pack_offset + 5);
  flip_byte(path() / "pack", checkpoint.chunks(3).front().pack_offset + 99'999);
  for (const LoadMode mode : {LoadMode::kVerifyFirst, LoadMode::kStaged}) {
    std::vector<Bytes> buffers(4, Bytes(100'000, std::byte{7}));
    std::vector<LoadTarget> targets;
    for (std::size_t i = 0; i < 4; ++i) targets.push_back({.tensor = i, .out = buffers[i]});
    const Error error = error_of([&] { checkpoint.load(targets, mode); });
    EXPECT_EQ(error.code(), ErrorCode::kDamaged);
    EXPECT_NE(std::string(error.what()).find("\"model/layer.1\""), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("\"model/layer.3\""), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find("\"model/layer.0\""), std::string::npos);
    for (const Bytes& buffer : buffers) EXPECT_EQ(buffer, Bytes(100'000, std::byte{7}));
  }
}

TEST_F(SaveLoad, ReadsARangeWithoutTheRest) {
  Store store = open();
  const auto state = model({tensor("big", pattern(1, 3'000'000))});
  const Checkpoint checkpoint = store.open(store.save(state).saved.id);
  flip_byte(path() / "pack", checkpoint.chunks(0)[0].pack_offset);  // a chunk that is not needed
  Bytes out(1'000'000);
  checkpoint.read_range(0, 1'900'000, out);
  const Bytes all = pattern(1, 3'000'000);
  EXPECT_TRUE(std::equal(out.begin(), out.end(), all.begin() + 1'900'000));
  EXPECT_EQ(error_of([&] { checkpoint.read_range(0, 2'900'000, out); }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { checkpoint.read(0); }).code(), ErrorCode::kDamaged);
}

TEST_F(SaveLoad, RefusesATakenNameUnlessToldToReplace) {
  Store store = open();
  const auto first = store.save(model_of(1, 1, 10), {.name = "best"}).saved;
  EXPECT_EQ(error_of([&] { store.save(model_of(2, 1, 10), {.name = "best"}); }).code(),
            ErrorCode::kAlreadyExists);
  const SaveResult second = store.save(model_of(2, 1, 10), {.name = "best", .replace = true});
  EXPECT_EQ(second.deleted, std::vector{first.id});
  EXPECT_EQ(everything(store).at("best"), contents(model_of(2, 1, 10)));
  EXPECT_EQ(store.checkpoints().size(), 1U);
}

TEST_F(SaveLoad, APinPassesToTheCheckpointThatReplaces) {
  std::uint64_t id = 0;
  {
    Store store = open();
    id = store.save(model_of(1, 1, 10), {.name = "best"}).saved.id;
    store.set_pinned(std::vector{id}, true);
    EXPECT_TRUE(store.save(model_of(2, 1, 10), {.name = "best", .replace = true}).saved.pinned);
  }
  EXPECT_FALSE(open().find(id));
  EXPECT_TRUE(open().find_by_name("best")->pinned);
}

TEST_F(SaveLoad, RefusesNamesThatTheToolCouldNotTell) {
  Store store = open();
  for (const char* name : {"latest", "best:min:loss", "id:4", "name:x", "a/b", "tab\t", "\xff"}) {
    EXPECT_EQ(error_of([&] { store.save(model({}), {.name = name}); }).code(),
              ErrorCode::kInvalidArgument)
        << name;
  }
  EXPECT_EQ(error_of([&] { store.save(model({}), {.name = std::string(65536, 'n')}); }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_TRUE(store.checkpoints().empty());
}

TEST_F(SaveLoad, SavesAndDeletesInOneCommit) {
  Store store = open();
  store.save(model_of(1, 1, 10), {.name = "a"});
  store.save(model_of(2, 1, 10), {.name = "b"});
  const std::uint64_t sequence = store.stat().sequence;
  const auto keep_newest = [](std::span<const CheckpointInfo> all) {
    std::vector<std::uint64_t> going;
    for (const CheckpointInfo& info : all.subspan(1)) going.push_back(info.id);
    return going;
  };
  store.save(model_of(3, 1, 10), {.name = "c", .retention = keep_newest});
  EXPECT_EQ(store.stat().sequence, sequence + 1);
  EXPECT_EQ(everything(store),
            (std::map<std::string, testing::Contents>{{"c", contents(model_of(3, 1, 10))}}));
}

TEST_F(SaveLoad, ARuleThatKeepsNothingKeepsNothing) {
  Store store = open();
  const auto all = [](std::span<const CheckpointInfo> infos) {
    std::vector<std::uint64_t> ids;
    for (const CheckpointInfo& info : infos) ids.push_back(info.id);
    return ids;
  };
  store.save(model_of(1, 1, 10), {.name = "a"});
  const std::uint64_t id = store.save(model_of(1, 1, 10), {.retention = all}).saved.id;
  EXPECT_TRUE(store.checkpoints().empty());
  EXPECT_GT(store.save(model_of(1, 1, 10), {.retention = all}).saved.id, id);
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(SaveLoad, AFailedChangeChangesNothing) {
  Store store = open();
  const auto id = store.save(model_of(1, 1, 10), {.name = "a"}).saved.id;
  const std::vector<std::uint64_t> ids{id, id + 100};
  EXPECT_EQ(error_of([&] { store.remove(ids); }).code(), ErrorCode::kNotFound);
  EXPECT_EQ(everything(store).size(), 1U);
  store.remove(std::vector{id});
  EXPECT_TRUE(store.checkpoints().empty());
}

TEST_F(SaveLoad, MarksSurviveReopening) {
  std::uint64_t id = 0;
  {
    Store store = open();
    id = store.save(model_of(1, 1, 10)).saved.id;
    store.set_pinned(std::vector{id}, true);
    store.set_damaged(std::vector{id}, true);
  }
  EXPECT_TRUE(open().find(id)->pinned);
  EXPECT_TRUE(open(true).find(id)->damaged);
}

TEST_F(SaveLoad, IdsAreNeverGivenTwice) {
  std::uint64_t first = 0;
  {
    Store store = open();
    first = store.save(model_of(1, 1, 10)).saved.id;
    store.remove(std::vector{first});
  }
  EXPECT_GT(open().save(model_of(1, 1, 10)).saved.id, first);
}

TEST_F(SaveLoad, ACheckpointStaysReadableAfterItWasDeletedAndItsStoreClosed) {
  const auto state = model_of(1, 2, 300'000);
  std::optional<Checkpoint> checkpoint;
  {
    Store store = open();
    const auto id = store.save(state).saved.id;
    checkpoint = store.open(id);
    store.remove(std::vector{id});
    for (std::uint64_t seed = 2; seed < 8; ++seed) {  // would reuse the space
      store.remove(std::vector{store.save(model_of(seed, 2, 300'000)).saved.id});
    }
  }
  EXPECT_EQ(contents(*checkpoint), contents(state));
}

// A job that recovered from the checkpoint before a damaged one saves the same bytes again.
TEST_F(SaveLoad, ASaveDoesNotShareTheRottenChunkOfACheckpointKnownToBeDamaged) {
  Store store = open();
  const auto state = model_of(1, 3, 100'000);
  const auto id = store.save(state, {.name = "rotten"}).saved.id;
  flip_byte(path() / "pack", store.open(id).chunks(1).front().pack_offset + 8);
  store.set_damaged(std::vector{id}, true);
  store.save(state, {.name = "again"});
  EXPECT_EQ(everything(store).at("again"), contents(state));
  EXPECT_TRUE(store.verify().ok);
}

TEST_F(SaveLoad, TakesASource) {
  class Counter : public TensorSource {
   public:
    void read(std::uint64_t offset, std::span<std::byte> out) const override {
      for (std::byte& byte : out) byte = static_cast<std::byte>(offset++ * 7 >> 3);
    }
  };
  TensorInput input{.key = "x", .dtype = DType::kU8, .shape = {3'000'000}};
  input.source = std::make_shared<Counter>();
  Store store = open();
  const Checkpoint checkpoint = store.open(store.save(model({input})).saved.id);
  Bytes expected(3'000'000);
  Counter().read(0, expected);
  EXPECT_EQ(checkpoint.read(0), expected);
}

TEST_F(SaveLoad, NoticesATensorThatChangesDuringTheSave) {
  class Changing : public TensorSource {
   public:
    void read(std::uint64_t, std::span<std::byte> out) const override {
      std::memset(out.data(), ++reads_, out.size());
    }
    mutable std::atomic<int> reads_{0};
  };
  TensorInput input{.key = "x", .dtype = DType::kU8, .shape = {100'000}};
  input.source = std::make_shared<Changing>();
  Store store = open();
  const Error error = error_of([&] { store.save(model({input})); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_NE(std::string(error.what()).find("changed while"), std::string::npos);
  EXPECT_TRUE(store.checkpoints().empty());
  store.save(model_of(1, 1, 10));  // the handle stays usable
  EXPECT_TRUE(store.verify().ok);
}

}  // namespace
}  // namespace cairn
