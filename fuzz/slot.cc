// A root slot: what decodes is written back byte for byte, and nothing is thrown.
#include "format/slot.h"

#include "mend.h"

#include <algorithm>
#include <string>

namespace {
[[maybe_unused]] void mend(std::span<std::byte> bytes) {
  cairn::fuzz::mend_slot(bytes, cairn::fuzz::sample_uuid());
}
}  // namespace

CAIRN_FUZZ_MEND(mend);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  const fuzz::View input = fuzz::as_view(data, size);
  const format::Uuid uuid = fuzz::sample_uuid();
  for (std::uint32_t number = 0; number < format::kSlotCount; ++number) {
    std::string error;
    const auto slot = format::decode_slot(input, uuid, number, &error);
    if (!slot) continue;
    CAIRN_FUZZ_REQUIRE(error.empty());
    const auto again = format::encode_slot(*slot, uuid);
    CAIRN_FUZZ_REQUIRE(std::equal(again.begin(), again.end(), input.begin()));
  }
  return 0;
}
