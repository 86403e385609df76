// Values are tested inside a summary, the smallest payload that holds some.
#include "format/value_codec.h"

#include "expect_error.h"
#include "format/index.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>

namespace cairn::format {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;
using ValueOffset = flatbuffers::Offset<fb::Value>;

Metadata round_trip(const Metadata& meta) {
  IndexSummary summary;
  summary.meta = meta;
  return decode_summary(encode_summary(summary)).meta;
}

void expect_round_trip(const Metadata& meta) {
  EXPECT_EQ(round_trip(meta), meta);
}

/// A list in a list in a list..., `depth` of them.
MetaValue nested(int depth) {
  MetaValue value = 1;
  for (int i = 0; i < depth; ++i) value = MetaValue::List{value};
  return value;
}

/// A summary whose metadata is whatever `build` makes.
std::vector<std::byte> summary_with(const std::function<ValueOffset(Builder&)>& build) {
  Builder builder;
  builder.ForceDefaults(true);
  const ValueOffset meta = build(builder);
  fb::SummaryBuilder table(builder);
  table.add_meta(meta);
  return finish(builder, table.Finish(), "CNSM");
}

void expect_refused(std::string_view text, const std::function<ValueOffset(Builder&)>& build) {
  expect_error(ErrorCode::kDamaged, text, [&] { decode_summary(summary_with(build)); });
}

/// The map {"k": value}.
ValueOffset map_of(Builder& builder, ValueOffset value, std::vector<std::uint8_t> keys = {'k'},
                   std::vector<std::uint32_t> lengths = {1}) {
  return fb::CreateValue(builder, fb::ValueKind::Map, 0, 0, 0,
                         builder.CreateVector(std::vector<ValueOffset>(lengths.size(), value)),
                         builder.CreateVector(keys), builder.CreateVector(lengths));
}

void expect_value_refused(std::string_view text,
                          const std::function<ValueOffset(Builder&)>& build) {
  expect_refused(text, [&](Builder& b) { return map_of(b, build(b)); });
}

TEST(ValueCodec, KeepsEveryKind) {
  expect_round_trip({{"bool", true},
                     {"no", false},
                     {"int", -3},
                     {"real", 1.5},
                     {"text", "\u00e9\n"},
                     {"bytes", MetaValue::Bytes{std::byte{0}, std::byte{0xFF}}},
                     {"list", MetaValue::List{1, "a", false, MetaValue::List{}}},
                     {"map", MetaValue::Map{{"", 1}, {"b", MetaValue::Map{}}}}});
}

TEST(ValueCodec, KeepsWhatIsEmpty) {
  expect_round_trip({});
  expect_round_trip({{"", ""}});
  expect_round_trip({{"", MetaValue::Bytes{}}, {"a", MetaValue::List{}}, {"b", MetaValue::Map{}}});
}

TEST(ValueCodec, KeepsTheExtremesOfIntegers) {
  expect_round_trip({{"min", std::numeric_limits<std::int64_t>::min()},
                     {"max", std::numeric_limits<std::int64_t>::max()},
                     {"zero", 0}});
}

TEST(ValueCodec, KeepsEveryBitOfDoubles) {
  for (const double real : {0.0, -0.0, std::numeric_limits<double>::infinity(),
                            -std::numeric_limits<double>::infinity(), std::nan("0x123"),
                            -std::nan(""), std::numeric_limits<double>::denorm_min()}) {
    const double back = round_trip({{"x", real}}).find("x")->as_double();
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back), std::bit_cast<std::uint64_t>(real)) << real;
  }
}

TEST(ValueCodec, KeepsKeysAtTheirLimit) {
  expect_round_trip({{std::string(kMaxKeyBytes, 'k'), 1}, {std::string("a\0b", 3), 2}});
}

TEST(ValueCodec, RefusesToWriteAnOverlongKey) {
  expect_error(ErrorCode::kInvalidArgument, "is 65536 bytes long; at most 65535", [] {
    round_trip({{std::string(kMaxKeyBytes + 1, 'k'), 1}});
  });
}

TEST(ValueCodec, KeepsValuesAtTheDeepestNesting) {
  expect_round_trip({{"deep", nested(MetaValue::kMaxDepth)}});
}

TEST(ValueCodec, RefusesToWriteDeeperNesting) {
  expect_error(ErrorCode::kInvalidArgument, "in the metadata nest deeper than 16", [] {
    round_trip({{"deep", nested(MetaValue::kMaxDepth + 1)}});
  });
}

TEST(ValueCodec, RefusesToReadDeeperNesting) {
  for (const int depth : {MetaValue::kMaxDepth + 1, 40}) {
    expect_refused("in the metadata nest deeper than 16", [&](Builder& builder) {
      return encode_values(builder, {{"deep", nested(depth)}});
    });
  }
}

TEST(ValueCodec, RefusesNestingThatCouldExhaustTheStack) {
  expect_refused("no well-formed FlatBuffer", [&](Builder& builder) {
    return encode_values(builder, {{"deep", nested(1000)}});
  });
}

TEST(ValueCodec, RefusesTextThatIsNotUtf8) {
  expect_error(ErrorCode::kInvalidArgument, "string in the metadata is not UTF-8: \"\\xff\"", [] {
    round_trip({{"text", "\xFF"}});
  });
  expect_error(ErrorCode::kInvalidArgument, "metadata key \"\\xff\" is not UTF-8", [] {
    round_trip({{"\xFF", 1}});
  });
  expect_refused("string in the metadata is not UTF-8", [](Builder& b) {
    return encode_values(b, {{"text", "\xFF"}});
  });
  expect_refused("metadata key \"\\xff\" is not UTF-8", [](Builder& b) {
    return encode_values(b, {{"\xFF", 1}});
  });
}

TEST(ValueCodec, BoundsTheWeightOfMetadata) {
  // 48 for the map, 8 and 1 for the entry, 48 for the string, and its bytes.
  const std::string text(kMaxMetaBytes - 48 - 8 - 1 - 48, 'x');
  expect_round_trip({{"k", text}});
  expect_error(ErrorCode::kInvalidArgument, "weighs 1048577 bytes; at most 1048576 are allowed",
               [&] {
                 round_trip({{"k", text + "x"}});
               });
  expect_refused("weighs 1048577 bytes", [&](Builder& b) {
    return encode_values(b, {{"k", text + "x"}});
  });
}

TEST(ValueCodec, WeighsAtLeastWhatTheValuesTake) {
  MetaValue::Map values;
  for (int i = 0; i < 50; ++i) {
    const std::string key(static_cast<std::size_t>(i), 'k');
    values.emplace(key + "a", MetaValue::List(static_cast<std::size_t>(i), true));
    values.emplace(key + "b", std::string(static_cast<std::size_t>(i), 'x'));
    values.emplace(key + "c", MetaValue::Map{{key, i}, {key + "d", 0.5}});
  }
  Builder builder;
  encode_values(builder, values);
  EXPECT_LE(builder.GetSize(), weigh_values(values, "values"));
}

TEST(ValueCodec, RefusesMetadataThatIsNoMap) {
  expect_refused("the metadata are no map, but of kind 2",
                 [](Builder& b) { return fb::CreateValue(b, fb::ValueKind::Int, 1); });
}

TEST(ValueCodec, RefusesUnknownKinds) {
  expect_value_refused("unknown kind 0",
                       [](Builder& b) { return fb::CreateValue(b, fb::ValueKind::None); });
  expect_value_refused("unknown kind 8", [](Builder& b) {
    return fb::CreateValue(b, static_cast<fb::ValueKind>(8));
  });
}

TEST(ValueCodec, RefusesABoolThatIsNeitherTrueNorFalse) {
  expect_value_refused("a bool in the metadata is 2",
                       [](Builder& b) { return fb::CreateValue(b, fb::ValueKind::Bool, 2); });
}

TEST(ValueCodec, RefusesFieldsOfAnotherKind) {
  const std::string_view text = "has a field of another kind";
  expect_value_refused(text,
                       [](Builder& b) { return fb::CreateValue(b, fb::ValueKind::Int, 1, 0.5); });
  expect_value_refused(text,
                       [](Builder& b) { return fb::CreateValue(b, fb::ValueKind::Double, 1); });
  expect_value_refused(
      text, [](Builder& b) { return fb::CreateValue(b, fb::ValueKind::String, 0, -0.0); });
  expect_value_refused(text, [](Builder& b) {
    return fb::CreateValue(b, fb::ValueKind::List, 0, 0, b.CreateVector<std::uint8_t>({1}));
  });
  expect_value_refused(text, [](Builder& b) {
    return fb::CreateValue(b, fb::ValueKind::Int, 1, 0, 0, b.CreateVector<ValueOffset>({}));
  });
  expect_value_refused(text, [](Builder& b) {
    return fb::CreateValue(b, fb::ValueKind::List, 0, 0, 0, 0, b.CreateVector<std::uint8_t>({1}));
  });
}

TEST(ValueCodec, RefusesKeysThatDoNotFitTheValues) {
  const auto with_keys = [](std::vector<std::uint8_t> keys, std::vector<std::uint32_t> lengths) {
    return [=](Builder& b) {
      return map_of(b, fb::CreateValue(b, fb::ValueKind::Int, 1), keys, lengths);
    };
  };
  expect_refused("runs beyond the keys", with_keys({'a', 'b'}, {1, 2}));
  expect_refused("runs beyond the keys", with_keys({'a', 'b'}, {1, 0xFFFFFFFF}));
  expect_refused("1 bytes of the keys of a map in the metadata belong to no key",
                 with_keys({'a', 'b', 'c'}, {1, 1}));
  expect_refused("not ascending: \"a\" after \"b\"", with_keys({'b', 'a'}, {1, 1}));
  expect_refused("not ascending: \"a\" after \"a\"", with_keys({'a', 'a'}, {1, 1}));
}

TEST(ValueCodec, RefusesAMapWithAnotherNumberOfKeys) {
  expect_refused("has 1 values but 0 keys", [](Builder& b) {
    const auto items = b.CreateVector<ValueOffset>({fb::CreateValue(b, fb::ValueKind::Int, 1)});
    return fb::CreateValue(b, fb::ValueKind::Map, 0, 0, 0, items);
  });
}

TEST(ValueCodec, RefusesListsThatShareTheirElementsLevelByLevel) {
  // Ten elements, all the same list of ten elements, sixteen deep: 10^16 values in 1 KB.
  expect_refused("no well-formed FlatBuffer", [](Builder& b) {
    ValueOffset value = fb::CreateValue(b, fb::ValueKind::Int, 1);
    for (int i = 0; i < MetaValue::kMaxDepth; ++i) {
      const auto items = b.CreateVector(std::vector<ValueOffset>(10, value));
      value = fb::CreateValue(b, fb::ValueKind::List, 0, 0, 0, items);
    }
    return map_of(b, value);
  });
}

TEST(ValueCodec, RefusesElementsThatShareOneLongText) {
  // 40 strings that are one string of 1,000 bytes: few enough tables for the verifier.
  expect_refused("parts of it are shared", [](Builder& b) {
    const auto text = b.CreateVector(std::vector<std::uint8_t>(1000, 'x'));
    std::vector<ValueOffset> items;
    for (int i = 0; i < 40; ++i) {
      items.push_back(fb::CreateValue(b, fb::ValueKind::String, 0, 0, text));
    }
    return map_of(b, fb::CreateValue(b, fb::ValueKind::List, 0, 0, 0, b.CreateVector(items)));
  });
}

TEST(ValueCodec, RefusesMapsThatShareTheirKeys) {
  expect_refused("parts of it are shared", [](Builder& b) {
    const auto keys = b.CreateVector(std::vector<std::uint8_t>(60'000, 'x'));
    const auto lengths = b.CreateVector<std::uint32_t>({60'000});
    const auto one = fb::CreateValue(b, fb::ValueKind::Int, 1);
    std::vector<ValueOffset> maps;
    for (int i = 0; i < 3; ++i) {
      const auto items = b.CreateVector<ValueOffset>({one});
      maps.push_back(fb::CreateValue(b, fb::ValueKind::Map, 0, 0, 0, items, keys, lengths));
    }
    return map_of(b, fb::CreateValue(b, fb::ValueKind::List, 0, 0, 0, b.CreateVector(maps)));
  });
}

TEST(ValueCodec, RefusesAListThatIsSharedBeforeItTakesMemory) {
  // Each of 100 lists has the same 1,000 elements: refused at the second or third.
  expect_refused("", [](Builder& b) {
    const auto one = fb::CreateValue(b, fb::ValueKind::Int, 1);
    const auto items = b.CreateVector(std::vector<ValueOffset>(1000, one));
    const auto list = fb::CreateValue(b, fb::ValueKind::List, 0, 0, 0, items);
    return map_of(b, fb::CreateValue(b, fb::ValueKind::List, 0, 0, 0,
                                     b.CreateVector(std::vector<ValueOffset>(100, list))));
  });
}

}  // namespace
}  // namespace cairn::format
