// An index' payload: what decodes is encoded again, and decodes to the same; so is its summary.
#include "format/index.h"

#include "mend.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  constexpr std::uint64_t kMaxEnd = std::uint64_t{1} << 40;
  fuzz::accepts([&] {
    const format::Index index = format::decode_index(fuzz::as_view(data, size), kMaxEnd);
    try {
      // By their bytes: NaN differs from itself.
      const auto payload = format::encode_index(index);
      CAIRN_FUZZ_REQUIRE(format::encode_index(format::decode_index(payload, kMaxEnd)) == payload);
      const auto summary = format::encode_summary(format::summarize(index));
      CAIRN_FUZZ_REQUIRE(format::encode_summary(format::decode_summary(summary)) == summary);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::abort();
    }
    for (const format::IndexRecoverable& recoverable : index.recoverables) {
      for (const format::IndexTensor& tensor : recoverable.tensors) {
        const auto bytes = format::tensor_bytes(tensor.dtype, tensor.shape);
        CAIRN_FUZZ_REQUIRE(bytes.has_value());
        const std::size_t chunks = format::chunk_count(index, tensor, *bytes);
        CAIRN_FUZZ_REQUIRE(tensor.first_chunk + chunks <= index.chunks.size());
        std::uint64_t there = 0;
        for (std::size_t i = 0; i < chunks; ++i) {
          there += index.chunks[tensor.first_chunk + i].plain_bytes;
        }
        CAIRN_FUZZ_REQUIRE(*bytes == 0 || there >= tensor.offset_in_chunk + *bytes);
      }
    }
  });
  return 0;
}
