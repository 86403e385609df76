#include "store/cut.h"

#include "store/gather.h"
#include "support/states.h"

#include <gtest/gtest.h>

#include <numeric>

namespace cairn::store {
namespace {

using cairn::testing::Bytes;
using cairn::testing::error_of;
using cairn::testing::model;
using cairn::testing::pattern;
using cairn::testing::tensor;
using format::kSmallTensorBytes;

constexpr std::uint64_t kChunk = 131072;

Bytes bytes_of(const PlannedChunk& chunk) {
  Bytes bytes(chunk.plain_bytes);
  fill(chunk, bytes);
  return bytes;
}

TEST(Cut, CutsALargeTensorFromItsOwnStart) {
  const Bytes bytes = pattern(1, 2 * kChunk + 5);
  const CheckpointState state = model({tensor("a", bytes)});
  const CutState result = cut(state, kChunk);
  ASSERT_EQ(result.chunks.size(), 3U);
  EXPECT_EQ(result.chunks[2].plain_bytes, 5U);
  EXPECT_EQ(bytes_of(result.chunks[1]), Bytes(bytes.begin() + kChunk, bytes.begin() + 2 * kChunk));
}

TEST(Cut, LaysSmallTensorsTogetherByKeyAtAlignedOffsets) {
  const CheckpointState state = model({tensor("b", pattern(2, 10)), tensor("a", pattern(1, 5))});
  const CutState result = cut(state, kChunk);
  ASSERT_EQ(result.chunks.size(), 1U);
  EXPECT_EQ(result.chunks[0].plain_bytes, kSmallAlignment + 10);
  EXPECT_EQ(result.recoverables[0].tensors[0].key, "a");
  EXPECT_EQ(result.recoverables[0].tensors[1].offset_in_chunk, kSmallAlignment);
  Bytes expected = pattern(1, 5);
  expected.resize(kSmallAlignment);
  const Bytes b = pattern(2, 10);
  expected.insert(expected.end(), b.begin(), b.end());
  EXPECT_EQ(bytes_of(result.chunks[0]), expected);
}

TEST(Cut, BeginsANewChunkWhenTheNextSmallTensorDoesNotFit) {
  const CheckpointState state =
      model({tensor("a", pattern(1, kSmallTensorBytes - 16)), tensor("b", pattern(2, 17))});
  EXPECT_EQ(cut(state, kChunk).chunks.size(), 2U);
}

TEST(Cut, KeepsRecoverablesApartSoThatOneDoesNotShiftAnother) {
  CheckpointState state = model({tensor("a", pattern(1, 8))});
  state.push_back({.name = "optimizer", .tensors = {tensor("a", pattern(2, 8))}});
  EXPECT_EQ(cut(state, kChunk).chunks.size(), 2U);
}

TEST(Cut, LaysTheSameMemoryOnce) {
  const TensorInput weight = tensor("embedding", pattern(1, 3 * kChunk));
  TensorInput tied = weight;
  tied.key = "head";
  const CheckpointState state = model({weight, tied});
  const CutState result = cut(state, kChunk);
  EXPECT_EQ(result.chunks.size(), 3U);
  EXPECT_EQ(result.recoverables[0].tensors[0].first_chunk,
            result.recoverables[0].tensors[1].first_chunk);
}

TEST(Cut, TakesEmptyTensorsAndScalars) {
  const CheckpointState state = model({tensor("empty", DType::kF32, {3, 0, 2}, {}),
                                       tensor("scalar", DType::kF64, {}, pattern(1, 8))});
  const CutState result = cut(state, kChunk);
  ASSERT_EQ(result.chunks.size(), 1U);
  EXPECT_EQ(result.chunks[0].plain_bytes, 8U);
}

TEST(Cut, SeesMemoryInOnePieceWithoutACopy) {
  const CheckpointState state = model({tensor("a", pattern(1, kChunk))});
  const CutState result = cut(state, kChunk);
  EXPECT_EQ(view_or_fill(result.chunks[0], {}).data(), state[0].tensors[0].data);
}

TEST(Cut, RefusesWhatCannotBeSavedByName) {
  const auto message = [](TensorInput input) {
    return std::string(error_of([&] { cut(model({std::move(input)}), kChunk); }).what());
  };
  EXPECT_NE(message(tensor("x", DType::kF32, {-1}, {})).find("\"model/x\""), std::string::npos);
  EXPECT_NE(message(tensor("x", DType::kF32, {INT64_MAX, 2}, {})).find("overflows"),
            std::string::npos);
  EXPECT_NE(message(tensor("x", DType::kU8, std::vector<std::int64_t>(65, 1), pattern(1, 1)))
                .find("rank 65"),
            std::string::npos);
  EXPECT_NE(message({.key = "x", .shape = {2}}).find("neither data nor a source"),
            std::string::npos);
  EXPECT_NE(message({.key = "x", .shape = {2}, .strides = {1, 1}}).find("strides"),
            std::string::npos);
  EXPECT_NE(message(tensor("bad\xff", pattern(1, 1))).find("UTF-8"), std::string::npos);
  EXPECT_NE(message(tensor(std::string(65536, 'k'), pattern(1, 1))).find("65535"),
            std::string::npos);
}

TEST(Cut, RefusesTwoTensorsOfOneKeyAndTwoRecoverablesOfOneName) {
  CheckpointState state = model({tensor("a", pattern(1, 1)), tensor("a", pattern(2, 1))});
  EXPECT_EQ(error_of([&] { cut(state, kChunk); }).code(), ErrorCode::kInvalidArgument);
  state = model({});
  state.push_back(state.front());
  EXPECT_EQ(error_of([&] { cut(state, kChunk); }).code(), ErrorCode::kInvalidArgument);
}

TEST(Gather, TakesAnyStridesRowMajor) {
  std::vector<float> memory(60);
  std::iota(memory.begin(), memory.end(), 0.F);
  // A 3 x 4 x 5 block seen as (5, 3, 4): strides of a permutation, then every second of the first.
  const TensorInput view{.key = "x",
                         .dtype = DType::kF32,
                         .shape = {3, 3, 4},
                         .strides = {2, 20, 5},
                         .data = memory.data()};
  std::vector<float> expected;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 4; ++k)
        expected.push_back(memory[static_cast<std::size_t>(2 * i + 20 * j + 5 * k)]);
  std::vector<float> got(expected.size());
  gather(view, 0, std::as_writable_bytes(std::span(got)));
  EXPECT_EQ(got, expected);
  for (std::size_t begin = 0; begin < expected.size(); ++begin) {
    std::vector<float> part(expected.size() - begin);
    gather(view, begin * sizeof(float), std::as_writable_bytes(std::span(part)));
    EXPECT_TRUE(std::equal(part.begin(), part.end(), expected.begin() + static_cast<long>(begin)));
  }
}

TEST(Gather, TakesNegativeAndZeroStrides) {
  std::vector<std::int16_t> memory{1, 2, 3};
  std::vector<std::int16_t> got(3);
  gather({.dtype = DType::kI16, .shape = {3}, .strides = {-1}, .data = &memory[2]}, 0,
         std::as_writable_bytes(std::span(got)));
  EXPECT_EQ(got, (std::vector<std::int16_t>{3, 2, 1}));
  gather({.dtype = DType::kI16, .shape = {3}, .strides = {0}, .data = &memory[1]}, 0,
         std::as_writable_bytes(std::span(got)));
  EXPECT_EQ(got, (std::vector<std::int16_t>{2, 2, 2}));
}

}  // namespace
}  // namespace cairn::store
