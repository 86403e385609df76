// Taking in checkpoints of another store.

#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

namespace cairn {
namespace {

using testing::contents;
using testing::error_of;
using testing::everything;
using testing::model;
using testing::model_of;
using testing::pattern;
using testing::ScratchDirectory;
using testing::tensor;

class Copy : public ::testing::Test {
 protected:
  ScratchDirectory scratch_;
  Store from_{scratch_ / "from"};
  Store to_{scratch_ / "to", {.chunk_bytes = 64 * 1024}};
};

TEST_F(Copy, BringsTensorsValuesMetadataNameAndTime) {
  auto state = model({tensor("large", pattern(1, 3'000'000)), tensor("small", pattern(2, 100))});
  state[0].values.emplace("steps", MetaValue(7));
  const CheckpointInfo saved =
      from_.save(state, {.meta = {{"loss", 0.5}}, .end_of_epoch = false, .name = "a"}).saved;
  const Checkpoint source = from_.open(saved.id);
  const CheckpointInfo copied = to_.copy(source).saved;
  EXPECT_EQ(copied.name, "a");
  EXPECT_EQ(copied.meta, saved.meta);
  EXPECT_EQ(copied.created_unix_ns, saved.created_unix_ns);
  const Checkpoint copy = to_.open(copied.id);
  EXPECT_EQ(contents(copy), contents(state));
  EXPECT_EQ(copy.values("model").at("steps"), MetaValue(7));
  EXPECT_TRUE(to_.verify().ok);
}

TEST_F(Copy, WritesOnlyChunksThatAreMissing) {
  const auto shared = tensor("shared", pattern(1, 500'000));
  from_.save(model({shared, tensor("own", pattern(2, 200'000))}), {.name = "a"});
  from_.save(model({shared, tensor("own", pattern(3, 200'000))}), {.name = "b"});
  EXPECT_EQ(to_.copy(from_.open(1)).new_bytes, 700'000U);
  EXPECT_EQ(to_.copy(from_.open(2)).new_bytes, 200'000U);
  EXPECT_EQ(everything(to_), everything(from_));
}

TEST_F(Copy, DoesNotEvenReadChunksThatAreThere) {
  const auto state = model_of(1, 3, 200'000);
  const auto id = from_.save(state, {.name = "a"}).saved.id;
  to_.copy(from_.open(id));
  for (std::size_t i = 0; i < 3; ++i) {
    testing::flip_byte(scratch_ / "from/pack", from_.open(id).chunks(i).front().pack_offset);
  }
  const auto second = to_.copy(from_.open(id), {.name = "b"}).saved.id;
  EXPECT_EQ(contents(to_.open(second)), contents(state));
}

TEST_F(Copy, OfADamagedCheckpointChangesNothing) {
  const auto id = from_.save(model_of(1, 3, 200'000), {.name = "a"}).saved.id;
  testing::flip_byte(scratch_ / "from/pack", from_.open(id).chunks(1).front().pack_offset);
  EXPECT_EQ(error_of([&] { to_.copy(from_.open(id)); }).code(), ErrorCode::kDamaged);
  EXPECT_TRUE(to_.checkpoints().empty());
  to_.save(model_of(2, 1, 1000));
  EXPECT_TRUE(to_.verify().ok);
}

TEST_F(Copy, UnderANameThatIsTakenNeedsReplace) {
  from_.save(model_of(1, 1, 100'000), {.name = "a"});
  to_.save(model_of(2, 1, 100'000), {.name = "a"});
  EXPECT_EQ(error_of([&] { to_.copy(from_.open(1)); }).code(), ErrorCode::kAlreadyExists);
  EXPECT_EQ(error_of([&] { to_.copy(from_.open(1), {.name = "latest"}); }).code(),
            ErrorCode::kInvalidArgument);
  to_.copy(from_.open(1), {.replace = true});
  EXPECT_EQ(everything(to_), everything(from_));
}

TEST_F(Copy, WithinOneStoreCostsAnIndex) {
  from_.save(model_of(1, 3, 200'000), {.name = "a"});
  EXPECT_EQ(from_.copy(from_.open(1), {.name = "b"}).new_bytes, 0U);
  EXPECT_EQ(contents(from_.open(2)), contents(from_.open(1)));
}

}  // namespace
}  // namespace cairn
