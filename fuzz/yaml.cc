// YAML beside a checkpoint of SpeechBrain: a value that a checkpoint may hold, or an error.
#include "cli/yaml_value.h"
#include "mend.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn;
  fuzz::accepts([&] {
    const auto value = cli::parse_yaml({reinterpret_cast<const char*>(data), size}, "CKPT.yaml");
    if (value) CAIRN_FUZZ_REQUIRE(value->depth() <= MetaValue::kMaxDepth + 1);
  });
  return 0;
}
