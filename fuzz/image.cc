#include "image.h"

#include "base/checked.h"
#include "base/little_endian.h"

#include <algorithm>
#include <array>

namespace cairn::fuzz {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kPieceHeaderBytes = 6;
constexpr std::size_t kMaxPieceBytes = 0xFFFF;
// Zeros that end a piece: fewer cost less than a new piece.
constexpr std::size_t kGapBytes = 16;

bool is_zero(std::byte byte) {
  return byte == std::byte{0};
}

}  // namespace

Image expand(View input) {
  Image image;
  if (input.empty()) return image;
  const std::size_t script_bytes = std::min<std::size_t>(static_cast<std::uint8_t>(input[0]),  //
                                                         input.size() - 1);
  const View script = input.subspan(1, script_bytes);
  image.script.assign(script.begin(), script.end());
  View rest = input.subspan(1 + script_bytes);
  while (rest.size() >= kPieceHeaderBytes) {
    const std::size_t offset = base::load_le<std::uint32_t>(rest, 0);
    const std::size_t length = base::load_le<std::uint16_t>(rest, 4);
    rest = rest.subspan(kPieceHeaderBytes);
    if (length > rest.size() || !base::range_fits(offset, length, kMaxImageBytes)) break;
    if (image.file.size() < offset + length) {
      image.file.resize(base::round_up(offset + length, kPageBytes));
    }
    std::copy_n(rest.begin(), length, image.file.begin() + static_cast<std::ptrdiff_t>(offset));
    rest = rest.subspan(length);
  }
  return image;
}

Bytes compress(const Image& image) {
  Bytes input;
  const std::size_t script_bytes = std::min<std::size_t>(image.script.size(), 255);
  input.push_back(static_cast<std::byte>(script_bytes));
  input.insert(input.end(), image.script.begin(),
               image.script.begin() + static_cast<std::ptrdiff_t>(script_bytes));
  const auto begin = image.file.begin();
  const auto end = image.file.end();
  const auto add = [&](Bytes::const_iterator first, Bytes::const_iterator last) {
    std::array<std::byte, kPieceHeaderBytes> header{};
    base::store_le(std::span(header), 0, static_cast<std::uint32_t>(first - begin));
    base::store_le(std::span(header), 4, static_cast<std::uint16_t>(last - first));
    input.insert(input.end(), header.begin(), header.end());
    input.insert(input.end(), first, last);
  };
  auto at = std::find_if_not(begin, end, is_zero);
  auto covered = begin;
  while (at != end) {
    auto last = at;  // the end of the piece so far
    for (auto next = at; next != end && next - last < static_cast<std::ptrdiff_t>(kGapBytes) &&
                         next - at < static_cast<std::ptrdiff_t>(kMaxPieceBytes);
         ++next) {
      if (!is_zero(*next)) last = next + 1;
    }
    add(at, last);
    covered = last;
    at = std::find_if_not(last, end, is_zero);
  }
  // The file's length, when it ends with whole pages of zeros.
  const auto covered_bytes = static_cast<std::size_t>(covered - begin);
  if (base::round_up(covered_bytes, kPageBytes) < image.file.size()) add(end, end);
  return input;
}

}  // namespace cairn::fuzz
