#include "expect_error.h"
#include "format/index.h"
#include "format/pack_generated.h"
#include "format/payload.h"

#include <string>

namespace cairn::format {
namespace {

IndexSummary some_summary() {
  IndexSummary summary;
  summary.created_unix_ns = -5;
  summary.meta = {{"loss", 1.5}};
  summary.recoverables = {"model", "optimizer"};
  summary.tensors = 12;
  summary.logical_bytes = std::uint64_t{1} << 40;
  return summary;
}

void expect_not_written(const IndexSummary& summary, std::string_view text) {
  expect_error(ErrorCode::kInvalidArgument, text, [&] { encode_summary(summary); });
}

/// A summary of names and a tensor count that the encoder would refuse.
void expect_refused(const std::vector<std::string>& names, std::uint64_t tensors,
                    std::string_view text) {
  flatbuffers::FlatBufferBuilder builder;
  const auto recoverables = builder.CreateVectorOfStrings(names);
  const auto root = fb::CreateSummary(builder, 0, 0, recoverables, tensors);
  const auto payload = finish(builder, root, "CNSM");
  expect_error(ErrorCode::kDamaged, text, [&] { decode_summary(payload); });
}

TEST(Summary, ComesBackAsItWasWritten) {
  EXPECT_EQ(decode_summary(encode_summary(some_summary())), some_summary());
  EXPECT_EQ(decode_summary(encode_summary(IndexSummary{})), IndexSummary{});
  EXPECT_EQ(encode_summary(some_summary()), encode_summary(some_summary()));
}

TEST(Summary, CountsTensorsAndTheirBytes) {
  Index index;
  index.created_unix_ns = 7;
  index.meta = {{"a", 1}};
  index.recoverables.push_back({"m", {}, {{"w", DType::kF32, {2, 3}}, {"x", DType::kU8, {5}}}});
  index.recoverables.push_back({"n", {{"v", 1}}, {}});
  const IndexSummary summary = summarize(index);
  EXPECT_EQ(summary, (IndexSummary{7, {{"a", 1}}, {"m", "n"}, 2, 29}));
}

TEST(Summary, RefusesNamesOutOfOrder) {
  expect_refused({"b", "a"}, 0, "not ascending: \"a\" after \"b\"");
  expect_refused({"a", "a"}, 0, "not ascending: \"a\" after \"a\"");
  IndexSummary summary = some_summary();
  summary.recoverables = {"b", "a"};
  expect_not_written(summary, "not ascending");
}

TEST(Summary, RefusesNamesAndCountsBeyondTheLimits) {
  expect_refused({"a/b"}, 0, "recoverable name \"a/b\" holds a '/'");
  expect_refused({}, kMaxTensors + 1, "has 16777217 tensors");
  IndexSummary summary = some_summary();
  summary.tensors = kMaxTensors + 1;
  expect_not_written(summary, "has 16777217 tensors");
}

TEST(Summary, RefusesMoreRecoverablesThanAllowed) {
  IndexSummary summary;
  for (std::uint64_t i = 0; i <= kMaxRecoverables; ++i) {
    summary.recoverables.push_back(std::to_string(1'000'000 + i));
  }
  expect_not_written(summary, "has 65537 recoverables; at most 65536");
  expect_refused(summary.recoverables, 0, "has 65537 recoverables; at most 65536");
}

TEST(Summary, RefusesNamesThatShareOneText) {
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString(std::string(200, 'x'));
  const auto names =
      builder.CreateVector(std::vector<flatbuffers::Offset<flatbuffers::String>>(100, name));
  const auto payload = finish(builder, fb::CreateSummary(builder, 0, 0, names), "CNSM");
  expect_error(ErrorCode::kDamaged, "parts of it are shared", [&] { decode_summary(payload); });
}

TEST(Summary, RefusesAnotherIdentifier) {
  std::vector<std::byte> payload = encode_summary(some_summary());
  payload[4] = std::byte{'X'};
  expect_error(ErrorCode::kDamaged, "identifier is not \"CNSM\"", [&] { decode_summary(payload); });
}

TEST(Summary, SurvivesBeingCutShortAnywhere) {
  const std::vector<std::byte> payload = encode_summary(some_summary());
  for (std::size_t length = 0; length < payload.size(); ++length) {
    // The last bytes may be padding, without which nothing is lost.
    try {
      EXPECT_EQ(decode_summary(std::span(payload).first(length)), some_summary());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDamaged) << length;
    }
  }
}

}  // namespace
}  // namespace cairn::format
