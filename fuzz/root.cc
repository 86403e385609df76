// A root's payload: what decodes is encoded again, and decodes to the same.
#include "format/root.h"

#include "mend.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  constexpr std::uint64_t kMaxEnd = std::uint64_t{1} << 40;
  fuzz::accepts([&] {
    const format::Root root = format::decode_root(fuzz::as_view(data, size), kMaxEnd);
    // Outside of `accepts`' reach: what a decoder accepts, its encoder must.
    try {
      CAIRN_FUZZ_REQUIRE(format::decode_root(format::encode_root(root), kMaxEnd) == root);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::abort();
    }
  });
  return 0;
}
