// The index of a sharded safetensors file: what is accepted names files beside it, and is written
// back and read to the same.
#include "interop/safetensors_index.h"
#include "mend.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::accepts([&] {
    const auto index = interop::parse_safetensors_index(text, "index");
    for (const auto& [tensor, shard] : index.shard_of) {
      CAIRN_FUZZ_REQUIRE(std::filesystem::path(shard).filename() == shard);
      CAIRN_FUZZ_REQUIRE(std::filesystem::path("dir").append(shard).lexically_normal() ==
                         std::filesystem::path("dir") / shard);
    }
    const std::string written = interop::format_safetensors_index(index);
    const auto again = interop::parse_safetensors_index(written, "index");
    CAIRN_FUZZ_REQUIRE(again.shard_of == index.shard_of);
    CAIRN_FUZZ_REQUIRE(interop::format_safetensors_index(again) == written);
  });
  return 0;
}
