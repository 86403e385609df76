// A record's header and payload: what decodes is written back byte for byte.
#include "format/record.h"

#include "mend.h"

#include <algorithm>

namespace {
[[maybe_unused]] void mend(std::span<std::byte> bytes) {
  cairn::fuzz::mend_record(bytes, cairn::fuzz::sample_uuid(), cairn::fuzz::kRecordOffset);
}
}  // namespace

CAIRN_FUZZ_MEND(mend);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  const fuzz::View input = fuzz::as_view(data, size);
  const format::Uuid uuid = fuzz::sample_uuid();
  format::looks_like_record(input);
  for (const auto type : {format::RecordType::kIndex, format::RecordType::kRoot}) {
    fuzz::accepts([&] {
      format::RecordHeader header;
      const auto payload = format::decode_record(input, uuid, fuzz::kRecordOffset, type, &header);
      CAIRN_FUZZ_REQUIRE(header.type == type && payload.size() == header.payload_bytes);
      const auto again = format::encode_record(header, uuid, payload);
      CAIRN_FUZZ_REQUIRE(again.size() <= input.size());
      CAIRN_FUZZ_REQUIRE(std::equal(again.begin(), again.end(), input.begin()));
    });
  }
  return 0;
}
