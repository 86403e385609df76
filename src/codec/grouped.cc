#include "codec/grouped.h"

#include "base/digest.h"
#include "base/little_endian.h"

#include <cairn/error.h>

#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <string>

namespace cairn::codec {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kWidthAt = 0;
constexpr std::size_t kRotatedAt = 1;
constexpr std::size_t kReservedAt = 2;
constexpr std::size_t kLengthBytes = 4;  // of a group's stored length
constexpr std::size_t kDigestBytes = 16;

/// A group is stored as it is unless coding saves one part in so many.
constexpr std::size_t kLeastGain = 32;

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

[[noreturn]] void fail(const char* what) {
  throw Error(ErrorCode::kDamaged, std::string("a compressed chunk is damaged: ") + what);
}

/// What one thread needs to encode or decode, kept from call to call.
struct Workspace {
  std::unique_ptr<std::byte[]> groups = std::make_unique<std::byte[]>(kBlockBytes);
};

std::byte* groups_of_this_thread() {
  thread_local Workspace workspace;
  return workspace.groups.get();
}

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

// Level 1 with a small table and matches of 7 bytes at least: in the groups there is nothing to
// find, and looking for it is what costs time. Of the stable interface this is the closest to
// entropy coding alone.
ZSTD_CCtx* compressor() {
  thread_local std::unique_ptr<ZSTD_CCtx, FreeContext> context;
  if (!context) {
    context.reset(ZSTD_createCCtx());
    if (!context) throw std::bad_alloc();
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, 1);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_strategy, ZSTD_fast);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_minMatch, 7);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_hashLog, 8);
  }
  return context.get();
}

ZSTD_DCtx* decompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeContext> context;
  if (!context) {
    context.reset(ZSTD_createDCtx());
    if (!context) throw std::bad_alloc();
  }
  return context.get();
}

template <typename Element>
void split(const std::byte* from, std::size_t count, bool rotated, std::byte* groups) {
  for (std::size_t i = 0; i < count; ++i) {
    Element element;
    std::memcpy(&element, from + i * sizeof(Element), sizeof(Element));
    if (rotated) element = std::rotl(element, 1);
    for (std::size_t k = 0; k < sizeof(Element); ++k) {
      groups[k * count + i] = static_cast<std::byte>(element >> (8 * k));
    }
  }
}

template <typename Element>
void join(const std::array<const std::byte*, 8>& groups, std::size_t count, bool rotated,
          std::byte* to) {
  for (std::size_t i = 0; i < count; ++i) {
    Element element = 0;
    for (std::size_t k = 0; k < sizeof(Element); ++k) {
      element = static_cast<Element>(
          element | (static_cast<Element>(std::to_integer<std::uint8_t>(groups[k][i])) << (8 * k)));
    }
    if (rotated) element = std::rotr(element, 1);
    std::memcpy(to + i * sizeof(Element), &element, sizeof(Element));
  }
}

/// Calls `work` with an unsigned number of the layout's width.
template <typename Work>
void with_element(Layout layout, const Work& work) {
  switch (layout.width) {
    case 1:
      return work(std::uint8_t{});
    case 2:
      return work(std::uint16_t{});
    case 4:
      return work(std::uint32_t{});
    default:
      return work(std::uint64_t{});
  }
}

/// Hands out `out` piece by piece; keeps room for the digest.
class Output {
 public:
  explicit Output(std::span<std::byte> out) : out_(out) {}

  std::size_t at() const { return at_; }
  std::size_t room() const { return out_.size() - std::min(out_.size(), at_ + kDigestBytes); }
  std::byte* here() const { return out_.data() + at_; }
  bool append(const void* bytes, std::size_t count) {
    if (count > room()) return false;
    std::memcpy(here(), bytes, count);
    at_ += count;
    return true;
  }
  void skip(std::size_t count) { at_ += count; }

 private:
  std::span<std::byte> out_;
  std::size_t at_ = 0;
};

bool encode_block(std::span<const std::byte> block, Layout layout, Output& out) {
  const std::size_t count = block.size() / layout.width;
  std::byte* groups = groups_of_this_thread();
  with_element(layout, [&](auto element) {
    split<decltype(element)>(block.data(), count, layout.rotated, groups);
  });
  std::byte* lengths = out.here();
  const std::size_t lengths_bytes = layout.width * kLengthBytes;
  if (lengths_bytes > out.room()) return false;
  out.skip(lengths_bytes);
  for (std::size_t k = 0; k < layout.width; ++k) {
    const std::byte* group = groups + k * count;
    const std::size_t most = std::min(count - count / kLeastGain, out.room());
    std::size_t length = ZSTD_compress2(compressor(), out.here(), most, group, count);
    if (ZSTD_isError(length) != 0 || length >= count) {  // above all: it does not fit
      length = count;
      if (!out.append(group, count)) return false;
    } else {
      out.skip(length);
    }
    const auto stored = static_cast<std::uint32_t>(length);
    std::memcpy(lengths + k * kLengthBytes, &stored, sizeof(stored));
  }
  return out.append(block.data() + count * layout.width, block.size() - count * layout.width);
}

/// Takes `encoded` apart piece by piece.
class Input {
 public:
  explicit Input(std::span<const std::byte> encoded) : encoded_(encoded) {}

  std::span<const std::byte> taken() const { return encoded_.first(at_); }
  std::span<const std::byte> rest() const { return encoded_.subspan(at_); }
  std::span<const std::byte> take(std::size_t count) {
    if (count > encoded_.size() - at_) fail("it is cut short");
    at_ += count;
    return encoded_.subspan(at_ - count, count);
  }

 private:
  std::span<const std::byte> encoded_;
  std::size_t at_ = 0;
};

Layout take_layout(Input& in) {
  const auto header = in.take(kHeaderBytes);
  const Layout layout{.width = std::to_integer<std::uint8_t>(header[kWidthAt]),
                      .rotated = header[kRotatedAt] != std::byte{0}};
  if (!std::has_single_bit(layout.width) || layout.width > 8) fail("its width is none");
  if (header[kRotatedAt] > std::byte{1}) fail("its rotation is none");
  if (!all_zero(header.subspan(kReservedAt))) fail("a reserved byte is not zero");
  return layout;
}

/// What a block is stored as, each piece where it lies.
struct Block {
  std::array<std::span<const std::byte>, 8> groups{};
  std::span<const std::byte> tail{};
};

Block take_block(Input& in, Layout layout, std::size_t block_bytes) {
  const std::size_t count = block_bytes / layout.width;
  const auto lengths = in.take(layout.width * kLengthBytes);
  Block block;
  for (std::size_t k = 0; k < layout.width; ++k) {
    const auto length = base::load_le<std::uint32_t>(lengths, k * kLengthBytes);
    if (length > count) fail("a group is longer than what it stands for");
    block.groups[k] = in.take(length);
  }
  block.tail = in.take(block_bytes - count * layout.width);
  return block;
}

/// What a group may be stored as: not frames of the formats before RFC 8878, which libzstd decodes
/// as well, nor skippable ones, nor several.
bool is_one_frame(std::span<const std::byte> stored, std::size_t content_bytes) {
  return stored.size() >= sizeof(std::uint32_t) &&
         base::load_le<std::uint32_t>(stored, 0) == ZSTD_MAGICNUMBER &&
         ZSTD_getFrameContentSize(stored.data(), stored.size()) == content_bytes &&
         ZSTD_findFrameCompressedSize(stored.data(), stored.size()) == stored.size();
}

void decode_block(const Block& block, Layout layout, std::span<std::byte> out) {
  const std::size_t count = out.size() / layout.width;
  std::array<const std::byte*, 8> groups{};
  for (std::size_t k = 0; k < layout.width; ++k) {
    const auto stored = block.groups[k];
    groups[k] = stored.data();
    if (stored.size() == count) continue;
    if (!is_one_frame(stored, count)) fail("a group is no frame of its length");
    std::byte* group = groups_of_this_thread() + k * count;
    const std::size_t got =
        ZSTD_decompressDCtx(decompressor(), group, count, stored.data(), stored.size());
    if (ZSTD_isError(got) != 0 || got != count) fail("a group does not decode to its length");
    groups[k] = group;
  }
  with_element(layout, [&](auto element) {
    join<decltype(element)>(groups, count, layout.rotated, out.data());
  });
  if (!block.tail.empty()) {
    std::memcpy(out.data() + count * layout.width, block.tail.data(), block.tail.size());
  }
}

/// Calls `work` with the offset and length of each block.
template <typename Work>
void for_each_block(std::size_t plain_bytes, const Work& work) {
  for (std::size_t at = 0; at < plain_bytes; at += kBlockBytes) {
    work(at, std::min(kBlockBytes, plain_bytes - at));
  }
}

}  // namespace

Layout layout_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16:
    case DType::kC32:
      return {.width = 2, .rotated = true};
    case DType::kF32:
    case DType::kC64:
      return {.width = 4, .rotated = true};
    case DType::kF64:
    case DType::kC128:
      return {.width = 8, .rotated = true};
    default:
      break;
  }
  const std::uint32_t bits = bits_per_element(dtype);
  return {.width = static_cast<std::uint8_t>(bits < 8 ? 1 : bits / 8)};
}

std::size_t encode(std::span<const std::byte> plain, Layout layout, std::span<std::byte> out) {
  Output output(out);
  std::array<std::byte, kHeaderBytes> header{};
  header[kWidthAt] = std::byte{layout.width};
  header[kRotatedAt] = std::byte{layout.rotated};
  if (!output.append(header.data(), header.size())) return 0;
  for (std::size_t at = 0; at < plain.size(); at += kBlockBytes) {
    const auto block = plain.subspan(at, std::min(kBlockBytes, plain.size() - at));
    if (!encode_block(block, layout, output)) return 0;
  }
  const base::Digest128 digest = base::xxh3_128(out.first(output.at()));
  std::memcpy(output.here(), &digest, kDigestBytes);
  return output.at() + kDigestBytes;
}

void decode(std::span<const std::byte> encoded, std::span<std::byte> plain) {
  Input in(encoded);
  const Layout layout = take_layout(in);
  Input blocks = in;
  for_each_block(plain.size(),
                 [&](std::size_t, std::size_t bytes) { take_block(in, layout, bytes); });
  const base::Digest128 digest = base::xxh3_128(in.taken());
  if (std::memcmp(in.take(kDigestBytes).data(), &digest, kDigestBytes) != 0) {
    fail("it does not match its digest");
  }
  if (!all_zero(in.rest())) fail("what follows it is not zero");
  for_each_block(plain.size(), [&](std::size_t at, std::size_t bytes) {
    decode_block(take_block(blocks, layout, bytes), layout, plain.subspan(at, bytes));
  });
}

}  // namespace cairn::codec
