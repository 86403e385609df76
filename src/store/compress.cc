#include "store/compress.h"

#include "base/checked.h"
#include "format/layout.h"

#include <algorithm>
#include <array>

namespace cairn::store {

namespace {

constexpr std::uint64_t kLeastGain = 16;  // one part in so many

constexpr std::array<codec::Layout, 8> kLayouts = {{{.width = 1},
                                                    {.width = 2},
                                                    {.width = 4},
                                                    {.width = 8},
                                                    {.width = 1, .rotated = true},
                                                    {.width = 2, .rotated = true},
                                                    {.width = 4, .rotated = true},
                                                    {.width = 8, .rotated = true}}};

std::size_t number_of(codec::Layout layout) {
  return static_cast<std::size_t>(std::find(kLayouts.begin(), kLayouts.end(), layout) -
                                  kLayouts.begin());
}

}  // namespace

std::vector<codec::Layout> layouts_of(std::span<const format::IndexRecoverable> recoverables,
                                      std::span<const std::uint64_t> plain_bytes) {
  std::vector<std::array<std::uint32_t, kLayouts.size()>> shares(plain_bytes.size());
  for (const format::IndexRecoverable& recoverable : recoverables) {
    for (const format::IndexTensor& tensor : recoverable.tensors) {
      std::uint64_t left = format::tensor_bytes(tensor.dtype, tensor.shape).value_or(0);
      const std::size_t layout = number_of(codec::layout_of(tensor.dtype));
      std::uint64_t offset = tensor.offset_in_chunk;
      for (std::size_t i = tensor.first_chunk; i < shares.size() && left > 0; ++i) {
        const std::uint64_t here = std::min(left, plain_bytes[i] - offset);
        // Tied tensors count again; a sum that wraps around costs a good layout, nothing else.
        shares[i][layout] += static_cast<std::uint32_t>(here);
        left -= here;
        offset = 0;
      }
    }
  }
  std::vector<codec::Layout> layouts;
  layouts.reserve(shares.size());
  for (const auto& share : shares) {
    const auto most = std::max_element(share.begin(), share.end());
    layouts.push_back(kLayouts[static_cast<std::size_t>(most - share.begin())]);
  }
  return layouts;
}

std::size_t encode_if_worth(std::span<const std::byte> plain, codec::Layout layout,
                            std::span<std::byte> out) {
  const std::uint64_t pages = base::round_up(plain.size(), format::kAlignment);
  if (pages == format::kAlignment) return 0;
  const std::uint64_t most =
      std::min<std::uint64_t>(plain.size() - plain.size() / kLeastGain, pages - format::kAlignment);
  return codec::encode(plain, layout, out.first(most));
}

std::optional<codec::Layout> layout_that_fits(std::span<const std::byte> plain,
                                              std::uint64_t stored_bytes) {
  std::vector<std::byte> out(codec::most_encoded_bytes(plain.size()));
  for (const codec::Layout layout : kLayouts) {
    if (codec::encode(plain, layout, out) <= stored_bytes) return layout;
  }
  return std::nullopt;
}

}  // namespace cairn::store
