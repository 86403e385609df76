// A safetensors file: imported whole; what its header says is written back and read to the same.
#include "base/little_endian.h"
#include "interop/safetensors_header.h"
#include "mend.h"

#include <cairn/safetensors.h>

namespace {

using namespace cairn;

// The length in front of the header, which a change of its text makes wrong; the data behind it is
// found by the first '}}' that ends the text.
[[maybe_unused]] void mend(std::span<std::byte> file) {
  constexpr std::size_t kLengthBytes = interop::kLengthBytes;
  if (file.size() < kLengthBytes) return;
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes,
                              file.size() - kLengthBytes);
  const std::size_t end = text.rfind('}');
  const std::size_t header_bytes = end == std::string_view::npos ? text.size() : end + 1;
  base::store_le(file, 0, std::uint64_t{header_bytes});
}

}  // namespace

CAIRN_FUZZ_MEND(mend);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Scratch scratch;
  static const std::filesystem::path path = scratch.path() / "in.safetensors";
  fuzz::write_file(path, fuzz::as_view(data, size));
  fuzz::accepts([&] {
    const RecoverableState state = read_safetensors(path, "model");
    interop::SafetensorsHeader header;
    std::uint64_t end = 0;
    for (const TensorInput& tensor : state.tensors) {
      std::uint64_t bytes = bits_per_element(tensor.dtype);
      for (const std::int64_t dimension : tensor.shape) {
        bytes *= static_cast<std::uint64_t>(dimension);
      }
      bytes /= 8;
      CAIRN_FUZZ_REQUIRE(bytes <= size);
      std::vector<std::byte> out(bytes);
      tensor.source->read(0, out);
      header.entries.push_back({.name = tensor.key,
                                .dtype = tensor.dtype,
                                .shape = tensor.shape,
                                .begin = end,
                                .end = end + bytes});
      end += bytes;
    }
    try {
      const std::string text = interop::format_safetensors_header(header);
      const auto again = interop::parse_safetensors_header(text, end, path);
      CAIRN_FUZZ_REQUIRE(again.entries.size() == header.entries.size());
      CAIRN_FUZZ_REQUIRE(interop::format_safetensors_header(again) == text);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::abort();
    }
  });
  return 0;
}
