#include "format/index.h"

#include "expect_error.h"
#include "fixed_parts.h"
#include "raw_index.h"

#include <functional>
#include <limits>
#include <string>

namespace cairn::format {
namespace {

constexpr std::uint64_t kMaxEnd = kDataBegin + 10'000 * kAlignment;
constexpr std::uint64_t kBigBytes = 65536;  // of the chunks of "model/w"

ChunkRef chunk(std::uint64_t place, std::uint64_t bytes) {
  return {some_digest(place), kDataBegin + place * kAlignment, bytes, bytes, Encoding::kRaw};
}

/// One shared chunk, and a tensor of two and a half chunks.
Index some_index() {
  Index index;
  index.id = 7;
  index.sequence = 9;
  index.name = "epoch 3";
  index.created_unix_ns = 1'700'000'000'000'000'000;
  index.meta = {{"loss", 1.5}, {"kind", "full"}};
  index.chunks = {chunk(0, 100), chunk(20, kBigBytes), chunk(40, kBigBytes),
                  chunk(60, kBigBytes / 2)};
  IndexRecoverable model;
  model.name = "model";
  model.tensors = {{"b", DType::kF32, {5, 3}, 0, 0},
                   {"empty", DType::kF64, {4, 0}, 0, 0},
                   {"scalar", DType::kI64, {}, 0, 64},
                   {"w", DType::kU8, {5, kBigBytes / 2}, 1, 0}};
  IndexRecoverable optimizer;
  optimizer.name = "optimizer";
  optimizer.values = {{"lr", 0.025}, {"steps", MetaValue::List{1, 2}}};
  optimizer.tensors = {{"", DType::kU8, {12}, 0, 88}};
  index.recoverables = {model, optimizer};
  return index;
}

Index round_trip(const Index& index) {
  return decode_index(encode_index(index), kMaxEnd);
}

void expect_raw_refused(const RawIndex& raw, std::string_view text) {
  expect_error(ErrorCode::kDamaged, text, [&] { decode_index(raw.payload(), kMaxEnd); });
}

void expect_raw_refused(const std::function<void(RawIndex&)>& change, std::string_view text) {
  RawIndex raw(some_index());
  change(raw);
  expect_raw_refused(raw, text);
}

/// Refused in both directions.
void expect_refused(const std::function<void(Index&)>& change, std::string_view text) {
  Index index = some_index();
  change(index);
  expect_error(ErrorCode::kInvalidArgument, text, [&] { encode_index(index); });
  expect_raw_refused(RawIndex(index), text);
}

IndexTensor& tensor_b(Index& index) {
  return index.recoverables[0].tensors[0];
}
IndexTensor& tensor_w(Index& index) {
  return index.recoverables[0].tensors[3];
}

/// One tensor "t" that fills `bytes` in chunks of `chunk_bytes`.
Index one_tensor(IndexTensor tensor, std::uint64_t bytes, std::uint64_t chunk_bytes = kBigBytes) {
  Index index;
  index.id = index.sequence = 1;
  index.name = "one";
  for (std::uint64_t place = 0; bytes != 0; place += 20) {
    const std::uint64_t here = std::min(bytes, chunk_bytes);
    index.chunks.push_back(chunk(place, here));
    bytes -= here;
  }
  index.recoverables.push_back({"m", {}, {std::move(tensor)}});
  return index;
}

/// `count` tensors of 16 bytes in shared chunks.
Index many_tensors(std::size_t count) {
  constexpr std::size_t kPerChunk = kSmallTensorBytes / 16;
  Index index = one_tensor({}, 0);
  std::vector<IndexTensor>& tensors = index.recoverables[0].tensors;
  tensors.clear();
  for (std::size_t i = 0; i < count; ++i) {
    tensors.push_back({"layer." + std::to_string(10'000'000 + i) + ".weight",
                       DType::kF32,
                       {2, 2},
                       static_cast<std::uint32_t>(i / kPerChunk),
                       static_cast<std::uint32_t>(i % kPerChunk * 16)});
  }
  for (std::size_t i = 0; i < count; i += kPerChunk) {
    index.chunks.push_back(chunk(index.chunks.size() * 16, std::min(count - i, kPerChunk) * 16));
  }
  return index;
}

// ---- round trips --------------------------------------------------------------------------------

TEST(Index, ComesBackAsItWasWritten) {
  EXPECT_EQ(round_trip(some_index()), some_index());
}

TEST(Index, HasEqualBytesForEqualIndexes) {
  EXPECT_EQ(encode_index(some_index()), encode_index(some_index()));
  EXPECT_EQ(encode_index(round_trip(some_index())), encode_index(some_index()));
}

TEST(Index, MayHoldNothing) {
  Index index;
  index.id = index.sequence = 1;
  index.name = "x";
  EXPECT_EQ(decode_index(encode_index(index), 0), index);
}

TEST(Index, KeepsScalars) {
  const Index index = one_tensor({"t", DType::kC128, {}, 0, 0}, 16);
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, KeepsTensorsOfTheLargestRank) {
  const std::vector<std::int64_t> shape(kMaxRank, 1);
  const Index index = one_tensor({"t", DType::kF16, shape, 0, 0}, 2);
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, KeepsEmptyTensorsWhateverTheirOtherDimensions) {
  const Index index = one_tensor({"t", DType::kF32, {0, 1'000'000, 1'000'000}, 0, 0}, 0);
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, KeepsEveryDtype) {
  for (int number = 1; number <= 24; ++number) {
    const auto dtype = static_cast<DType>(number);
    const Index index = one_tensor({"t", dtype, {8}, 0, 0}, bits_per_element(dtype));
    EXPECT_EQ(round_trip(index), index) << to_string(dtype);
  }
}

TEST(Index, KeepsTensorsBeyondFourGibibytes) {
  const Index index =
      one_tensor({"t", DType::kU8, {5'000'000'001}, 0, 0}, 5'000'000'001, kMinChunkBytes);
  EXPECT_EQ(decode_index(encode_index(index), kMaxPackBytes), index);
}

TEST(Index, KeepsKeysAtTheirLimit) {
  const Index index = one_tensor({std::string(kMaxKeyBytes, 'k'), DType::kU8, {1}, 0, 0}, 1);
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, KeepsAHundredThousandTensors) {
  const Index index = many_tensors(100'000);
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, KeepsMoreTensorsThanTheVerifierHasTablesByDefault) {
  const Index index = many_tensors(1'000'001);
  const std::vector<std::byte> payload = encode_index(index);
  EXPECT_EQ(decode_index(payload, kMaxEnd).recoverables[0].tensors.back(),
            index.recoverables[0].tensors.back());
  EXPECT_LT(payload.size() / 1'000'001, 70U);
}

TEST(Index, KeepsManyValues) {
  Index index = some_index();
  for (int i = 0; i < 100'000; ++i) index.recoverables[1].values.emplace(std::to_string(i), i);
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, LetsATensorEndInsideAChunkThatAnotherBeginsIn) {
  Index index = one_tensor({"t", DType::kU8, {kBigBytes + 10}, 0, 0}, kBigBytes + 30);
  index.recoverables[0].tensors.push_back({"u", DType::kU8, {20}, 1, 10});
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, LetsEqualChunksShareOneExtent) {
  Index index = one_tensor({"t", DType::kU8, {2 * kBigBytes}, 0, 0}, 2 * kBigBytes);
  index.chunks[1] = index.chunks[0];
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, LetsTensorsShareBytes) {
  Index index = some_index();
  index.recoverables[0].tensors.push_back({"x", DType::kU8, {2, kBigBytes}, 1, 0});
  EXPECT_EQ(round_trip(index), index);
}

// ---- names, ids, order --------------------------------------------------------------------------

TEST(Index, RefusesAnIdAndASequenceOfZero) {
  expect_refused([](Index& i) { i.id = 0; }, "the checkpoint's id is 0");
  expect_refused([](Index& i) { i.sequence = 0; }, "the checkpoint's sequence is 0");
}

TEST(Index, RefusesInvalidNames) {
  expect_refused([](Index& i) { i.name = "a/b"; }, "checkpoint name \"a/b\" holds a '/'");
  expect_refused([](Index& i) { i.name = ""; }, "checkpoint name \"\" is empty");
  expect_refused([](Index& i) { i.recoverables[0].name = ""; }, "recoverable name \"\" is empty");
  expect_refused([](Index& i) { tensor_b(i).key = "\xFF"; }, "tensor key \"\\xff\" is not UTF-8");
}

TEST(Index, RefusesNamesThatAreAbsent) {
  flatbuffers::FlatBufferBuilder builder;
  const auto payload = finish(builder, fb::CreateIndex(builder, 1, 1), "CNIX");
  expect_error(ErrorCode::kDamaged, "checkpoint name \"\" is empty",
               [&] { decode_index(payload, kMaxEnd); });
}

TEST(Index, RefusesRecoverablesOutOfOrder) {
  expect_refused([](Index& i) { i.recoverables[1].name = "a"; },
                 "not ascending by name: \"a\" after \"model\"");
  expect_refused([](Index& i) { i.recoverables[1].name = "model"; },
                 "not ascending by name: \"model\" after \"model\"");
}

TEST(Index, RefusesTensorsOutOfOrder) {
  expect_refused([](Index& i) { tensor_w(i).key = "a"; },
                 "not ascending by key: \"model/a\" after \"model/scalar\"");
  expect_refused([](Index& i) { tensor_w(i).key = "scalar"; },
                 "\"model/scalar\" after \"model/scalar\"");
}

TEST(Index, RefusesMoreRecoverablesThanAllowed) {
  expect_refused(
      [](Index& i) {
        i.recoverables.clear();
        for (std::uint64_t n = 0; n <= kMaxRecoverables; ++n) {
          i.recoverables.push_back({std::to_string(1'000'000 + n), {}, {}});
        }
      },
      "has 65537 recoverables; at most 65536");
}

TEST(Index, RefusesToWriteAnOverlongKey) {
  const Index index = one_tensor({std::string(kMaxKeyBytes + 1, 'k'), DType::kU8, {1}, 0, 0}, 1);
  expect_error(ErrorCode::kInvalidArgument, "is 65536 bytes long", [&] { encode_index(index); });
}

TEST(Index, RefusesValuesThatAreInvalid) {
  expect_refused([](Index& i) { i.recoverables[1].values.emplace("x", "\xFF"); },
                 "a string in the values of \"optimizer\" is not UTF-8");
  expect_refused([](Index& i) { i.meta.set("x", "\xFF"); },
                 "a string in the metadata is not UTF-8");
}

// ---- shapes -------------------------------------------------------------------------------------

TEST(Index, RefusesUnknownDtypes) {
  expect_refused([](Index& i) { tensor_b(i).dtype = static_cast<DType>(0); },
                 "tensor \"model/b\" has the unknown dtype 0");
  expect_refused([](Index& i) { tensor_b(i).dtype = static_cast<DType>(25); }, "unknown dtype 25");
  expect_refused([](Index& i) { tensor_b(i).dtype = static_cast<DType>(255); },
                 "unknown dtype 255");
}

TEST(Index, RefusesNegativeDimensions) {
  expect_refused(
      [](Index& i) {
        tensor_b(i).shape = {3, -1};
      },
      "tensor \"model/b\" has a dimension of -1");
  expect_refused(
      [](Index& i) {
        tensor_b(i).shape = {0, std::numeric_limits<std::int64_t>::min()};
      },
      "has a dimension of -9223372036854775808");
}

TEST(Index, RefusesShapesWhoseSizeOverflows) {
  const std::int64_t half = std::int64_t{1} << 32;
  expect_refused([&](Index& i) { tensor_b(i).shape = {half, half}; }, "size overflows");
  expect_refused([&](Index& i) { tensor_b(i).shape = {half, half, 0}; }, "size overflows");
  expect_refused([&](Index& i) { tensor_b(i).shape = {half / 2, half / 2, 2}; }, "size overflows");
}

TEST(Index, RefusesBitsThatDoNotFillWholeBytes) {
  expect_refused([](Index& i) { tensor_b(i).dtype = DType::kF4E2M1; }, "does not fill whole bytes");
}

TEST(Index, RefusesTooManyDimensions) {
  expect_refused([](Index& i) { tensor_b(i).shape.assign(kMaxRank + 1, 1); },
                 "has 65 dimensions; at most 64 are allowed");
}

TEST(Index, RefusesDimensionsThatThePayloadDoesNotHold) {
  expect_raw_refused([](RawIndex& raw) { raw.recoverables[0].dims.pop_back(); },
                     "tensor 3 of recoverable \"model\" runs beyond its dimensions");
  expect_raw_refused(
      [](RawIndex& raw) {
        raw.recoverables[0].dims.clear();
        raw.recoverables[0].tensors[0] = {1, 1, 64, 0, 0, 0};
      },
      "tensor 0 of recoverable \"model\" runs beyond its dimensions");
}

TEST(Index, RefusesKeysThatThePayloadDoesNotHold) {
  expect_raw_refused([](RawIndex& raw) { raw.recoverables[0].keys.clear(); },
                     "tensor 0 of recoverable \"model\" runs beyond its keys");
}

TEST(Index, RefusesKeysAndDimensionsThatBelongToNoTensor) {
  expect_raw_refused(
      [](RawIndex& raw) { raw.recoverables[0].keys += "xyz"; },
      "3 bytes of keys and 0 dimensions of recoverable \"model\" belong to no tensor");
  expect_raw_refused([](RawIndex& raw) { raw.recoverables[1].dims.push_back(1); },
                     "0 bytes of keys and 1 dimensions of recoverable \"optimizer\"");
}

// ---- chunks -------------------------------------------------------------------------------------

TEST(Index, RefusesChunkLengthsOutOfRange) {
  expect_refused([](Index& i) { i.chunks[3].plain_bytes = 0; }, "chunk 3 has 0 plain bytes");
  expect_refused([](Index& i) { i.chunks[3].plain_bytes = kMaxChunkBytes + 1; },
                 "plain bytes; allowed are 1 to");
  expect_refused([](Index& i) { --i.chunks[3].stored_bytes; },
                 "chunk 3 has 32767 stored bytes, but 32768 plain ones");
}

TEST(Index, RefusesUnknownEncodings) {
  expect_refused([](Index& i) { i.chunks[0].encoding = static_cast<Encoding>(2); },
                 "chunk 0 has the unknown encoding 2");
}

TEST(Index, TakesCompressedChunksThatAreShorterThanTheirPlainBytes) {
  Index index = some_index();
  index.chunks[3].encoding = Encoding::kGrouped;
  index.chunks[3].stored_bytes = 1;
  EXPECT_EQ(round_trip(index), index);
  expect_refused([](Index& i) { i.chunks[3].encoding = Encoding::kGrouped; },
                 "chunk 3 has 32768 stored bytes, but 32768 plain ones and a compressing encoding");
  expect_refused(
      [](Index& i) {
        i.chunks[3].encoding = Encoding::kGrouped;
        i.chunks[3].stored_bytes = 0;
      },
      "chunk 3 has 0 stored bytes");
}

TEST(Index, RefusesChunksOutOfPlace) {
  expect_refused([](Index& i) { i.chunks[0].offset = 0; }, "chunk 0 lies at 0");
  expect_refused([](Index& i) { i.chunks[0].offset = kDataBegin - kAlignment; }, "chunk 0 lies at");
  expect_refused([](Index& i) { i.chunks[0].offset += 64; }, "not at a multiple of 4096");
  expect_refused([](Index& i) { i.chunks[0].offset = ~std::uint64_t{4095}; }, "runs beyond");
}

TEST(Index, RefusesChunksBeyondTheEndThatTheCallerKnows) {
  const std::uint64_t end = some_index().chunks[3].offset + kBigBytes / 2;
  EXPECT_EQ(decode_index(encode_index(some_index()), end), some_index());
  expect_error(ErrorCode::kDamaged, "chunk 3 at 376832 with 32768 bytes runs beyond 409599",
               [&] { decode_index(encode_index(some_index()), end - 1); });
}

TEST(Index, RefusesChunksThatOverlap) {
  expect_refused([](Index& i) { i.chunks[2].offset = i.chunks[1].offset + kAlignment; },
                 "chunks 1 and 2 overlap");
  expect_refused([](Index& i) { i.chunks[0].offset = i.chunks[2].offset + 15 * kAlignment; },
                 "chunks 2 and 0 overlap");
  expect_refused([](Index& i) { i.chunks[2].offset = i.chunks[1].offset; },
                 "chunks 1 and 2 overlap");
}

TEST(Index, LetsChunksTouch) {
  Index index = some_index();
  index.chunks[2].offset = index.chunks[1].offset + kBigBytes;
  index.chunks[1].offset = index.chunks[0].offset + kAlignment;
  EXPECT_EQ(round_trip(index), index);
}

TEST(Index, RefusesTheSameBytesInTwoPlaces) {
  expect_refused([](Index& i) { i.chunks[2].id = i.chunks[1].id; },
                 "chunks 1 and 2 are the same bytes in two places, 212992 and 294912");
}

TEST(Index, RefusesChunksThatBelongToNoTensor) {
  expect_refused([](Index& i) { i.chunks.push_back(chunk(90, 4)); },
                 "chunk 4 belongs to no tensor");
  expect_refused([](Index& i) { tensor_w(i).shape = {5}; }, "chunk 2 belongs to no tensor");
}

TEST(Index, RefusesReservedBytesOfChunks) {
  const auto changed = [](std::size_t at) {
    return
        [at](RawIndex& raw) { reinterpret_cast<std::byte*>(raw.chunks.data())[at] = std::byte{1}; };
  };
  for (const std::size_t at : {41, 42, 43, 44, 47}) {
    expect_raw_refused(changed(at), "a reserved byte or flag of chunk 0 is not zero");
  }
}

TEST(Index, RefusesReservedBytesOfTensors) {
  expect_raw_refused([](RawIndex& raw) { raw.recoverables[1].tensors[0] = {0, 2, 1, 1, 0, 88}; },
                     "a reserved byte of tensor 0 of recoverable \"optimizer\" is not zero");
}

// ---- tensors in their chunks --------------------------------------------------------------------

TEST(Index, RefusesTensorsOutsideTheChunks) {
  expect_refused([](Index& i) { tensor_b(i).first_chunk = 4; },
                 "tensor \"model/b\" refers to chunk 4 of 4");
  expect_refused([](Index& i) { tensor_b(i).first_chunk = 0xFFFFFFFF; },
                 "refers to chunk 4294967295");
  expect_refused([](Index& i) { tensor_b(i).offset_in_chunk = 100; },
                 "tensor \"model/b\" begins at byte 100 of chunk 0, which has 100");
  expect_refused([](Index& i) { tensor_w(i).offset_in_chunk = 1; },
                 "tensor \"model/w\" of 163840 bytes runs beyond the last chunk");
  expect_refused([](Index& i) { tensor_w(i).shape = {std::numeric_limits<std::int64_t>::max()}; },
                 "runs beyond the last chunk");
}

TEST(Index, RefusesAnEmptyTensorThatRefersToAChunk) {
  expect_refused([](Index& i) { i.recoverables[0].tensors[1].first_chunk = 1; },
                 "tensor \"model/empty\" is empty, but refers to chunk 1");
  expect_refused([](Index& i) { i.recoverables[0].tensors[1].offset_in_chunk = 1; },
                 "tensor \"model/empty\" is empty");
}

/// `tensors` tensors that all run through the same `chunks` chunks.
Index sharing(std::uint64_t tensors, std::uint64_t chunks) {
  Index index = one_tensor({}, chunks * 16, 16);
  index.recoverables[0].tensors.clear();
  for (std::uint64_t i = 0; i < tensors; ++i) {
    index.recoverables[0].tensors.push_back(
        {std::to_string(10'000 + i), DType::kU8, {static_cast<std::int64_t>(chunks * 16)}, 0, 0});
  }
  return index;
}

TEST(Index, LetsManyTiedTensorsShareManyChunks) {
  const Index index = sharing(100, 10'000);
  EXPECT_EQ(decode_index(encode_index(index), kMaxPackBytes), index);
}

TEST(Index, RefusesTensorsThatShareTooManyChunks) {
  EXPECT_NO_THROW(encode_index(sharing(4096, 4096)));
  const Index index = sharing(4097, 4096);
  const std::string_view text =
      "run through 16781312 chunks, each tensor counted; at most 16777216";
  expect_error(ErrorCode::kInvalidArgument, text, [&] { encode_index(index); });
  expect_error(ErrorCode::kDamaged, text,
               [&] { decode_index(RawIndex(index).payload(), kMaxPackBytes); });
}

TEST(Index, TellsHowManyChunksATensorTouches) {
  const Index index = some_index();
  const auto count = [&](std::uint32_t first, std::uint32_t offset, std::uint64_t bytes) {
    return chunk_count(index, {"t", DType::kU8, {}, first, offset}, bytes);
  };
  EXPECT_EQ(count(0, 0, 0), 0U);
  EXPECT_EQ(count(0, 99, 1), 1U);
  EXPECT_EQ(count(0, 99, 2), 2U);
  EXPECT_EQ(count(1, 0, kBigBytes), 1U);
  EXPECT_EQ(count(1, 1, kBigBytes), 2U);
  EXPECT_EQ(count(1, 0, 5 * kBigBytes / 2), 3U);
}

TEST(Index, TellsTheBytesOfATensor) {
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(tensor_bytes(DType::kF32, Shape{}), 4U);
  EXPECT_EQ(tensor_bytes(DType::kC128, Shape{2, 3}), 96U);
  EXPECT_EQ(tensor_bytes(DType::kF4E2M1, Shape{3, 2}), 3U);
  EXPECT_EQ(tensor_bytes(DType::kF6E2M3, Shape{4}), 3U);
  EXPECT_EQ(tensor_bytes(DType::kF6E2M3, Shape{2}), std::nullopt);
  EXPECT_EQ(tensor_bytes(DType::kF32, Shape{7, 0}), 0U);
  EXPECT_EQ(tensor_bytes(DType::kF32, Shape{-1}), std::nullopt);
  EXPECT_EQ(tensor_bytes(DType::kU8, Shape(kMaxRank + 1, 1)), std::nullopt);
  EXPECT_EQ(tensor_bytes(DType::kU8, Shape{std::numeric_limits<std::int64_t>::max()}),
            static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  EXPECT_EQ(tensor_bytes(static_cast<DType>(0), Shape{1}), std::nullopt);
}

// ---- hostile payloads ---------------------------------------------------------------------------

TEST(Index, RefusesMisalignedVectors) {
  expect_raw_refused([](RawIndex& raw) { raw.misaligned_chunks = true; },
                     "the payload's chunks are not aligned");
  expect_raw_refused([](RawIndex& raw) { raw.misaligned_dims = true; },
                     "the payload's dimensions are not aligned");
}

// FlatBuffers' own builder aligns no empty vector, whatever its elements would need.
TEST(Index, TakesEmptyVectorsWhereverTheyAre) {
  Index index{.id = 1, .sequence = 1, .name = "one"};
  for (const char* name : {"a", "bc", "def"}) index.recoverables.push_back({.name = name});
  EXPECT_EQ(decode_index(RawIndex(index).payload(), kMaxEnd), index);
}

TEST(Index, IsReadFromAnyAddress) {
  const std::vector<std::byte> payload = encode_index(some_index());
  for (std::size_t shift = 1; shift < 16; ++shift) {
    std::vector<std::byte> moved(shift);
    moved.insert(moved.end(), payload.begin(), payload.end());
    EXPECT_EQ(decode_index(std::span(moved).subspan(shift), kMaxEnd), some_index());
  }
}

TEST(Index, RefusesAnotherIdentifier) {
  std::vector<std::byte> payload = encode_index(some_index());
  payload[6] = std::byte{'R'};
  expect_error(ErrorCode::kDamaged, "identifier is not \"CNIX\"",
               [&] { decode_index(payload, kMaxEnd); });
}

TEST(Index, RefusesPayloadsTooShortForAnything) {
  for (std::size_t length = 0; length < 16; ++length) {
    expect_error(ErrorCode::kDamaged, "too short for a FlatBuffer",
                 [&] { decode_index(std::vector<std::byte>(length), kMaxEnd); });
  }
}

TEST(Index, IsRefusedWhenItIsCutShortAnywhere) {
  const std::vector<std::byte> payload = encode_index(some_index());
  for (std::size_t length = 0; length < payload.size(); ++length) {
    // A copy of its own, so that a sanitizer sees a read behind its end.
    const std::vector<std::byte> cut(payload.begin(),
                                     payload.begin() + static_cast<std::ptrdiff_t>(length));
    expect_error(ErrorCode::kDamaged, "", [&] { decode_index(cut, kMaxEnd); });
  }
}

TEST(Index, ThatIsAcceptedWithAFlippedBitCanBeWrittenAgain) {
  const std::vector<std::byte> payload = encode_index(some_index());
  for (std::size_t bit = 0; bit < payload.size() * 8; ++bit) {
    try {
      const Index index = decode_index(with_bit_flipped(payload, bit), kMaxEnd);
      // Bytes are compared, for a flipped bit can make a NaN, which equals nothing.
      const std::vector<std::byte> again = encode_index(index);
      EXPECT_EQ(encode_index(decode_index(again, kMaxEnd)), again) << "bit " << bit;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDamaged) << "bit " << bit;
    }
  }
}

TEST(Index, RefusesRecoverablesThatAreOneTable) {
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<fb::Tensor> tensors(1000);
  const auto list = builder.CreateVectorOfStructs(tensors);
  const auto name = builder.CreateString("model");
  const auto recoverable = fb::CreateRecoverable(builder, name, list);
  const auto recoverables = builder.CreateVector(std::vector(1000, recoverable));
  const auto payload =
      finish(builder, fb::CreateIndex(builder, 1, 1, name, 0, 0, recoverables), "CNIX");
  expect_error(ErrorCode::kDamaged, "parts of it are shared",
               [&] { decode_index(payload, kMaxEnd); });
}

TEST(Index, RefusesRecoverablesThatShareTheirTensors) {
  flatbuffers::FlatBufferBuilder builder;
  const auto list = builder.CreateVectorOfStructs(std::vector<fb::Tensor>(1000));
  std::vector<flatbuffers::Offset<fb::Recoverable>> offsets;
  for (int i = 0; i < 100; ++i) {
    const auto name = builder.CreateString(std::to_string(100 + i));
    offsets.push_back(fb::CreateRecoverable(builder, name, list));
  }
  const auto name = builder.CreateString("x");
  const auto payload = finish(
      builder, fb::CreateIndex(builder, 1, 1, name, 0, 0, builder.CreateVector(offsets)), "CNIX");
  expect_error(ErrorCode::kDamaged, "parts of it are shared",
               [&] { decode_index(payload, kMaxEnd); });
}

}  // namespace
}  // namespace cairn::format
