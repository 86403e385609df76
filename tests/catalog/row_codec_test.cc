#include "catalog/row_codec.h"

#include "base/little_endian.h"
#include "catalog/sample.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cairn::catalog {
namespace {

using namespace sample;

using Key = std::vector<std::byte>;
using Value = std::vector<std::byte>;

template <typename Span>
Key key_of(const Span& bytes) {
  return {bytes.begin(), bytes.end()};
}

std::optional<ErrorCode> code_of(const std::function<void()>& call) {
  try {
    call();
    return std::nullopt;
  } catch (const Error& error) {
    return error.code();
  }
}

// One row of a table, and how it is decoded.
struct Sample {
  std::string table;
  Key key;
  Value value;
  std::function<void(Bytes, Bytes)> decode;
};

std::vector<Sample> samples() {
  const std::string name = "checkpoint-5";
  return {
      {"info", key_of(info_key()), encode_info(info_row(3)), decode_info},
      {"checkpoints", key_of(number_key(5)), encode_checkpoint(checkpoint_row(5)),
       decode_checkpoint},
      {"names", key_of(name_key(name)), encode_name(name, 5), decode_name},
      {"chunks", key_of(chunk_key(chunk_key_of(9))), encode_chunk(chunk_key_of(9), chunk_row(9)),
       decode_chunk},
      {"free", key_of(number_key(free_row(2).offset)), encode_free(free_row(2)), decode_free},
  };
}

TEST(RowCodec, GivesEveryFieldBack) {
  EXPECT_EQ(decode_info(info_key(), encode_info(info_row(3))), info_row(3));
  for (const std::uint64_t id : {5U, 6U, 7U, 12U}) {
    EXPECT_EQ(decode_checkpoint(number_key(id), encode_checkpoint(checkpoint_row(id))),
              checkpoint_row(id));
  }
  EXPECT_EQ(decode_name(name_key("a"), encode_name("a", 77)), 77U);
  EXPECT_EQ(decode_chunk(chunk_key(chunk_key_of(9)), encode_chunk(chunk_key_of(9), chunk_row(9))),
            chunk_row(9));
  EXPECT_EQ(decode_chunk_key(chunk_key(chunk_key_of(9))), chunk_key_of(9));
  EXPECT_EQ(decode_free(number_key(free_row(2).offset), encode_free(free_row(2))), free_row(2));
}

TEST(RowCodec, NoticesEveryFlippedBitOfKeysAndValues) {
  for (const Sample& sample : samples()) {
    for (std::size_t bit = 0; bit < 8 * (sample.key.size() + sample.value.size()); ++bit) {
      Sample flipped = sample;
      const std::size_t byte = bit / 8;
      const bool is_key = byte < sample.key.size();
      (is_key ? flipped.key[byte] : flipped.value[byte - sample.key.size()]) ^= std::byte{1}
                                                                                << (bit % 8);
      EXPECT_EQ(code_of([&] { flipped.decode(flipped.key, flipped.value); }), ErrorCode::kDamaged)
          << sample.table << ", bit " << bit;
    }
  }
}

TEST(RowCodec, NoticesEveryOtherLength) {
  for (const Sample& sample : samples()) {
    Value value = sample.value;
    value.push_back(std::byte{0});
    EXPECT_EQ(code_of([&] { sample.decode(sample.key, value); }), ErrorCode::kDamaged);
    for (value.pop_back(); !value.empty();) {
      value.pop_back();
      EXPECT_EQ(code_of([&] { sample.decode(sample.key, value); }), ErrorCode::kDamaged)
          << sample.table << ", " << value.size() << " bytes";
    }
  }
}

TEST(RowCodec, RefusesAGoodValueOfAnotherTable) {
  for (const Sample& a : samples()) {
    for (const Sample& b : samples()) {
      if (a.table == b.table) continue;
      EXPECT_EQ(code_of([&] { a.decode(a.key, b.value); }), ErrorCode::kDamaged);
    }
  }
}

TEST(RowCodec, OrdersKeysAsTheirNumbers) {
  const std::vector<std::uint64_t> numbers = {0, 1, 255, 256, 65535, 65536, ~std::uint64_t{0}};
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    EXPECT_LT(number_key(numbers[i - 1]), number_key(numbers[i]));
    EXPECT_LT(chunk_key({.id = {}, .plain_bytes = numbers[i - 1]}),
              chunk_key({.id = {}, .plain_bytes = numbers[i]}));
  }
}

// The offsets that format/SPEC.md gives.
TEST(RowCodec, KeepsTheOffsetsOfTheSpecification) {
  using base::load_le;
  const Value info = encode_info(info_row(3));
  EXPECT_EQ(info.size(), 144U);
  EXPECT_EQ(load_le<std::uint32_t>(info, 0), kRowFormat);
  EXPECT_EQ(load_le<std::uint32_t>(info, 4), format::kFormatVersion);
  EXPECT_EQ(load_le<std::uint64_t>(info, 24), info_row(3).sequence);
  EXPECT_EQ(load_le<std::uint64_t>(info, 32), info_row(3).next_id);
  EXPECT_EQ(load_le<std::uint64_t>(info, 40), info_row(3).root.first.offset);
  EXPECT_EQ(load_le<std::uint64_t>(info, 88), info_row(3).parent_sequence);
  EXPECT_EQ(load_le<std::uint64_t>(info, 112), info_row(3).data_end);
  InfoRow summed = info_row(3);
  summed.row_sum = 0x0102030405060708;
  EXPECT_EQ(load_le<std::uint64_t>(encode_info(summed), 128), summed.row_sum);

  const Value checkpoint = encode_checkpoint(checkpoint_row(6));
  EXPECT_EQ(load_le<std::uint64_t>(checkpoint, 0), checkpoint_row(6).sequence);
  EXPECT_EQ(load_le<std::uint64_t>(checkpoint, 8), checkpoint_row(6).index.offset);
  EXPECT_EQ(load_le<std::uint32_t>(checkpoint, 40), 3U);  // pinned and damaged
  EXPECT_EQ(load_le<std::uint16_t>(checkpoint, 44), checkpoint_row(6).name.size());

  const Value chunk = encode_chunk(chunk_key_of(9), chunk_row(9));
  EXPECT_EQ(chunk.size(), 40U);
  EXPECT_EQ(load_le<std::uint64_t>(chunk, 16), chunk_row(9).references);
  EXPECT_EQ(encode_free(free_row(2)).size(), 24U);
  EXPECT_EQ(encode_name("a", 1).size(), 16U);

  // The checksum: table, length of the key, key, value before it.
  Value sealed(8);
  base::store_le<std::uint32_t>(sealed, 0, 5);
  base::store_le<std::uint32_t>(sealed, 4, 8);
  const auto key = number_key(free_row(2).offset);
  sealed.insert(sealed.end(), key.begin(), key.end());
  const Value free = encode_free(free_row(2));
  sealed.insert(sealed.end(), free.begin(), free.end() - 8);
  EXPECT_EQ(load_le<std::uint64_t>(free, 16), base::xxh3_64(sealed));
}

// A value with a good checksum, changed by `change`.
template <typename Number>
Value resealed(std::uint32_t table, Bytes key, Value value, std::size_t at, Number number) {
  base::store_le(std::span(value), at, number);
  Value sealed(8);
  base::store_le(std::span(sealed), 0, table);
  base::store_le(std::span(sealed), 4, static_cast<std::uint32_t>(key.size()));
  sealed.insert(sealed.end(), key.begin(), key.end());
  sealed.insert(sealed.end(), value.begin(), value.end() - 8);
  base::store_le(std::span(value), value.size() - 8, base::xxh3_64(sealed));
  return value;
}

TEST(RowCodec, TellsNewerFormatsFromDamage) {
  for (const std::size_t at : {0U, 4U}) {
    const Value newer =
        resealed<std::uint32_t>(1, info_key(), encode_info(info_row(3)), at, 1'000'000);
    EXPECT_EQ(code_of([&] { decode_info(info_key(), newer); }), ErrorCode::kUnsupportedVersion);
  }
}

TEST(RowCodec, RefusesRowsThatCannotBeThoughTheirChecksumIsGood) {
  const auto chunk = chunk_key(chunk_key_of(9));
  const Value good_chunk = encode_chunk(chunk_key_of(9), chunk_row(9));
  const auto no_references = resealed<std::uint64_t>(4, chunk, good_chunk, 16, 0);
  EXPECT_EQ(code_of([&] { decode_chunk(chunk, no_references); }), ErrorCode::kDamaged);
  const auto overflowing = resealed(4, chunk, good_chunk, 8, ~std::uint64_t{0});
  EXPECT_EQ(code_of([&] { decode_chunk(chunk, overflowing); }), ErrorCode::kDamaged);
  const auto encoding = resealed<std::uint8_t>(4, chunk, good_chunk, 24, 9);
  EXPECT_EQ(code_of([&] { decode_chunk(chunk, encoding); }), ErrorCode::kDamaged);
  const auto reserved = resealed<std::uint8_t>(4, chunk, good_chunk, 31, 1);
  EXPECT_EQ(code_of([&] { decode_chunk(chunk, reserved); }), ErrorCode::kDamaged);

  const auto free = number_key(free_row(2).offset);
  const auto unaligned = resealed<std::uint64_t>(5, free, encode_free(free_row(2)), 0, 100);
  EXPECT_EQ(code_of([&] { decode_free(free, unaligned); }), ErrorCode::kDamaged);

  const auto id = number_key(5);
  const Value good = encode_checkpoint(checkpoint_row(5));
  const auto flags = resealed<std::uint32_t>(2, id, good, 40, 4);
  EXPECT_EQ(code_of([&] { decode_checkpoint(id, flags); }), ErrorCode::kDamaged);
  const auto long_name = resealed<std::uint16_t>(2, id, good, 44, 65535);
  EXPECT_EQ(code_of([&] { decode_checkpoint(id, long_name); }), ErrorCode::kDamaged);

  // Under a key that no row has.
  const Key st_te = key_of(name_key("st@te"));
  const auto info = resealed<std::uint32_t>(1, st_te, encode_info(info_row(3)), 0, kRowFormat);
  EXPECT_EQ(code_of([&] { decode_info(st_te, info); }), ErrorCode::kDamaged);
  const Key slash = key_of(name_key("a/b"));
  const auto name = resealed<std::uint64_t>(3, slash, encode_name("a", 5), 0, 5);
  EXPECT_EQ(code_of([&] { decode_name(slash, name); }), ErrorCode::kDamaged);
}

TEST(RowCodec, WritesNoRowThatItWouldNotRead) {
  CheckpointRow unnamed = checkpoint_row(5);
  unnamed.name.clear();
  EXPECT_EQ(code_of([&] { encode_checkpoint(unnamed); }), ErrorCode::kInvalidArgument);
  ChunkRow unused = chunk_row(9);
  unused.references = 0;
  EXPECT_EQ(code_of([&] { encode_chunk(chunk_key_of(9), unused); }), ErrorCode::kInvalidArgument);
  FreeRow unaligned = free_row(2);
  unaligned.bytes = 100;
  EXPECT_EQ(code_of([&] { encode_free(unaligned); }), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::catalog
