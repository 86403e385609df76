// The superblock: what decodes and uses no unknown feature is written back byte for byte.
#include "format/superblock.h"

#include "mend.h"

#include <algorithm>

CAIRN_FUZZ_MEND(cairn::fuzz::mend_superblock);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  const fuzz::View input = fuzz::as_view(data, size);
  fuzz::accepts([&] {
    const format::Superblock superblock = format::decode_superblock(input);
    CAIRN_FUZZ_REQUIRE((superblock.incompat & ~format::kKnownIncompat) == 0);
    if (superblock.compat != 0 || superblock.ro_compat != 0) return;
    const auto again = format::encode_superblock(superblock);
    CAIRN_FUZZ_REQUIRE(std::equal(again.begin(), again.end(), input.begin()));
  });
  return 0;
}
