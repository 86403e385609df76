// The mutator of images: only built where libFuzzer is.
#include "format/fixed.h"
#include "image.h"
#include "mend.h"

#include <algorithm>

namespace cairn::fuzz {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kMaxScriptBytes = 64;

// Mutates a part of the bytes in place: that many stay that many.
void mutate_in_place(std::span<std::byte> bytes) {
  Bytes copy(bytes.begin(), bytes.end());
  LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(copy.data()), copy.size(), copy.size());
  std::copy(copy.begin(), copy.end(), bytes.begin());
}

}  // namespace

std::size_t mutate_image(std::uint8_t* data, std::size_t size, std::size_t max_size,
                         unsigned int seed, void (*mend)(std::span<std::byte>)) {
  const auto use = [&](const Bytes& input) -> std::size_t {
    if (input.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
    std::copy(input.begin(), input.end(), reinterpret_cast<std::byte*>(data));
    return input.size();
  };
  if (seed % 8 == 0) size = LLVMFuzzerMutate(data, size, max_size);
  Image image = expand(as_view(data, size));
  if (seed % 8 == 1) {
    const std::size_t script_bytes = image.script.size();
    image.script.resize(kMaxScriptBytes);
    image.script.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(image.script.data()),
                                         script_bytes, kMaxScriptBytes));
  } else if (seed % 8 != 0 && !image.file.empty()) {
    // A few bytes somewhere in a page that holds something.
    std::vector<std::size_t> pages;
    for (std::size_t at = 0; at < image.file.size(); at += kPageBytes) {
      const auto page = std::span(image.file).subspan(at, kPageBytes);
      if (!format::all_zero(page)) pages.push_back(at);
    }
    if (!pages.empty()) {
      const auto page = std::span(image.file).subspan(pages[(seed / 8) % pages.size()], kPageBytes);
      const auto used = std::find_if_not(page.rbegin(), page.rend(),
                                         [](std::byte b) { return b == std::byte{0}; })
                            .base() -
                        page.begin();
      const auto begin = std::find_if_not(page.begin(), page.end(),
                                          [](std::byte b) { return b == std::byte{0}; }) -
                         page.begin();
      const auto span = static_cast<std::size_t>(used - begin);
      const std::size_t from = static_cast<std::size_t>(begin) + (seed / 64) % span;
      constexpr std::size_t kWindowBytes = 64;
      mutate_in_place(page.subspan(from, std::min(kWindowBytes, kPageBytes - from)));
    }
  }
  if (seed % 16 != 3) mend(image.file);
  return use(compress(image));
}
}  // namespace cairn::fuzz
