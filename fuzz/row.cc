// A row of the catalog: what decodes is encoded again to the same key and value.
//
//   u8 table (1 to 5), u8 length of the key, key, value
#include "catalog/row_codec.h"
#include "mend.h"

#include <algorithm>
#include <string_view>

namespace {

using cairn::fuzz::View;

struct Row {
  std::uint32_t table = 0;
  View key{};
  View value{};
};

Row row_of(View input) {
  if (input.size() < 2) return {};
  const auto key_bytes = std::min<std::size_t>(static_cast<std::uint8_t>(input[1]),  //
                                               input.size() - 2);
  return {.table = static_cast<std::uint32_t>(input[0]),
          .key = input.subspan(2, key_bytes),
          .value = input.subspan(2 + key_bytes)};
}

[[maybe_unused]] void mend(std::span<std::byte> input) {
  const Row row = row_of(input);
  if (row.table == 0) return;
  cairn::fuzz::mend_row(row.table, row.key, input.last(row.value.size()));
}

bool same(View a, View b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

CAIRN_FUZZ_MEND(mend);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  const Row row = row_of(fuzz::as_view(data, size));
  fuzz::accepts([&] {
    switch (row.table) {
      case 1: {
        const catalog::InfoRow info = catalog::decode_info(row.key, row.value);
        CAIRN_FUZZ_REQUIRE(same(catalog::encode_info(info), row.value));
        break;
      }
      case 2: {
        // The summary may be laid out in another way; its meaning stays.
        const catalog::CheckpointRow checkpoint = catalog::decode_checkpoint(row.key, row.value);
        CAIRN_FUZZ_REQUIRE(same(catalog::number_key(checkpoint.id), row.key));
        const auto value = catalog::encode_checkpoint(checkpoint);
        CAIRN_FUZZ_REQUIRE(
            same(catalog::encode_checkpoint(catalog::decode_checkpoint(row.key, value)), value));
        break;
      }
      case 3: {
        const std::uint64_t id = catalog::decode_name(row.key, row.value);
        const std::string_view name(reinterpret_cast<const char*>(row.key.data()), row.key.size());
        CAIRN_FUZZ_REQUIRE(same(catalog::encode_name(name, id), row.value));
        break;
      }
      case 4: {
        const catalog::ChunkKey key = catalog::decode_chunk_key(row.key);
        const catalog::ChunkRow chunk = catalog::decode_chunk(row.key, row.value);
        CAIRN_FUZZ_REQUIRE(same(catalog::chunk_key(key), row.key));
        CAIRN_FUZZ_REQUIRE(same(catalog::encode_chunk(key, chunk), row.value));
        break;
      }
      case 5: {
        const catalog::FreeRow free = catalog::decode_free(row.key, row.value);
        CAIRN_FUZZ_REQUIRE(same(catalog::encode_free(free), row.value));
        break;
      }
      default:
        break;
    }
  });
  return 0;
}
