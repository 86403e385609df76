// Values and summaries: what decodes is encoded again, and decodes to the same.
#include "format/index.h"
#include "mend.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  fuzz::accepts([&] {
    const format::IndexSummary summary = format::decode_summary(fuzz::as_view(data, size));
    try {
      // By their bytes: NaN differs from itself.
      const auto payload = format::encode_summary(summary);
      CAIRN_FUZZ_REQUIRE(format::encode_summary(format::decode_summary(payload)) == payload);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::abort();
    }
  });
  return 0;
}
