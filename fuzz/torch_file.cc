// A file of torch.save: imported, and every tensor read. The first byte of the input says what the
// rest is, so that mutations need not keep the lengths and offsets of a ZIP archive right:
//   0  a whole file
//   1  a pickle, which gets an archive around it, with a storage "0"
//   2  what follows the first three pickles of the legacy format
#include "interop/export_file.h"
#include "interop/zip_writer.h"
#include "mend.h"

#include <cairn/torch_file.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace {

using namespace cairn;

constexpr std::string_view kStorage =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
// The magic number, version 1001, and an empty description of the machine.
constexpr std::string_view kLegacyBegin(
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.", 24);

fuzz::View as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

void write_archive(const std::filesystem::path& path, fuzz::View pickle) {
  interop::ExportFile file(path);
  interop::ZipWriter zip(file);
  zip.begin_entry("a/data.pkl", pickle.size());
  zip.append(pickle);
  zip.begin_entry("a/data/0", kStorage.size());
  zip.append(as_bytes(kStorage));
  zip.finish();
  file.finish();
  file.rename();
}

void write_input(const std::filesystem::path& path, fuzz::View input) {
  const int kind = input.empty() ? 0 : std::to_integer<int>(input[0]) % 3;
  const fuzz::View rest = input.empty() ? input : input.subspan(1);
  if (kind == 1) return write_archive(path, rest);
  std::string file(kind == 2 ? kLegacyBegin : std::string_view());
  file.append(reinterpret_cast<const char*>(rest.data()), rest.size());
  fuzz::write_file(path, as_bytes(file));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Scratch scratch;
  static const std::filesystem::path path = scratch.path() / "in.pt";
  write_input(path, fuzz::as_view(data, size));
  fuzz::accepts([&] {
    const RecoverableState state = read_torch_file(path, "model");
    for (const TensorInput& tensor : state.tensors) {
      std::uint64_t bytes = bits_per_element(tensor.dtype) / 8;
      for (const std::int64_t dimension : tensor.shape) {
        bytes *= static_cast<std::uint64_t>(dimension);
      }
      if (bytes == 0) continue;
      CAIRN_FUZZ_REQUIRE(tensor.source != nullptr);
      // The beginning and the end: views may repeat elements often.
      constexpr std::uint64_t kPart = 256;
      const std::uint64_t element = bits_per_element(tensor.dtype) / 8;
      std::vector<std::byte> out(std::min(bytes, kPart / element * element));
      // What is accepted lies in the file: no read fails.
      try {
        tensor.source->read(0, out);
        tensor.source->read(bytes - out.size(), out);
      } catch (const Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        std::abort();
      }
    }
  });
  return 0;
}
