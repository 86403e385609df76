// Compressed chunks. The input: how many bytes they stand for (u32), then what is stored. What
// decodes fills exactly so many bytes and does so again; and whatever is stored, taken for plain
// bytes, comes back from each layout as it was.
#include "base/little_endian.h"
#include "codec/grouped.h"
#include "mend.h"

#include <algorithm>

CAIRN_FUZZ_MEND(cairn::fuzz::mend_chunk);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  constexpr std::size_t kLengthBytes = sizeof(std::uint32_t);
  constexpr std::size_t kMostPlainBytes = 3 * codec::kBlockBytes;
  const fuzz::View input = fuzz::as_view(data, size);
  if (input.size() < kLengthBytes) return 0;
  const fuzz::View stored = input.subspan(kLengthBytes);
  fuzz::accepts([&] {
    const auto plain_bytes = base::load_le<std::uint32_t>(input, 0);
    fuzz::Bytes plain(std::min<std::size_t>(plain_bytes, kMostPlainBytes));
    codec::decode(stored, plain);
    fuzz::Bytes again(plain.size());
    codec::decode(stored, again);
    CAIRN_FUZZ_REQUIRE(again == plain);
  });
  for (const std::uint8_t width : {1, 2, 4, 8}) {
    for (const bool rotated : {false, true}) {
      fuzz::Bytes encoded(codec::most_encoded_bytes(stored.size()));
      encoded.resize(codec::encode(stored, {.width = width, .rotated = rotated}, encoded));
      CAIRN_FUZZ_REQUIRE(!encoded.empty());
      fuzz::Bytes back(stored.size());
      codec::decode(encoded, back);
      CAIRN_FUZZ_REQUIRE(std::equal(back.begin(), back.end(), stored.begin()));
    }
  }
  return 0;
}
