// The worked examples of format/SPEC.md.
#include "catalog/row_codec.h"
#include "expect_error.h"
#include "fixed_parts.h"
#include "format/superblock.h"

namespace cairn::format {
namespace {

TEST(Specification, StatesTheDigestOfATensor) {
  const float tensor[] = {1, 2, 3, 4};
  EXPECT_EQ(base::xxh3_128(std::as_bytes(std::span(tensor))).to_hex(),
            "2babafcad3709c7ce3b3073547aa9dc3");
  EXPECT_EQ(base::xxh3_128({}).to_hex(), "99aa06d3014798d86001c324468d497f");
}

TEST(Specification, StatesTheDigestOfASuperblock) {
  Superblock superblock;
  superblock.chunk_bytes = std::uint64_t{1} << 20;
  for (std::size_t i = 0; i < superblock.uuid.size(); ++i) {
    superblock.uuid[i] = static_cast<std::byte>(i);
  }
  const std::vector<std::byte> bytes = encode_superblock(superblock);
  EXPECT_EQ(load_bytes<base::Digest128>(bytes, kSuperblockBytes - kDigestBytes).to_hex(),
            "4fa0ad38a56ec18b53ac1991c6f5a7b0");
  EXPECT_EQ(bytes[74], std::byte{0x10});
}

TEST(Specification, StatesTheChecksumOfARow) {
  const std::uint8_t stated[] = {1,    0,    0,    0,    0,    0,    0,    0,
                                 0xBC, 0xC1, 0x7D, 0x96, 0x18, 0x48, 0x0C, 0x88};
  const std::vector<std::byte> row = catalog::encode_name("one", 1);
  const auto bytes = std::as_bytes(std::span(stated));
  EXPECT_TRUE(std::equal(row.begin(), row.end(), bytes.begin(), bytes.end()));
}

}  // namespace
}  // namespace cairn::format
