#include "interop/zip.h"

#include "base/checked.h"
#include "base/little_endian.h"
#include "base/text.h"

#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace cairn::interop {

namespace {

using base::load_le;
using base::range_fits;

constexpr std::uint32_t kLocalMagic = 0x04034b50;
constexpr std::uint32_t kCentralMagic = 0x02014b50;
constexpr std::uint32_t kEndMagic = 0x06054b50;
constexpr std::uint32_t kEnd64Magic = 0x06064b50;
constexpr std::uint32_t kLocator64Magic = 0x07064b50;
constexpr std::size_t kLocalBytes = 30;
constexpr std::size_t kCentralBytes = 46;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kEnd64Bytes = 56;
constexpr std::size_t kLocator64Bytes = 20;
constexpr std::size_t kMaxCommentBytes = 65535;
/// Two million entries; the archives of torch.save have one for each storage.
constexpr std::uint64_t kMaxCentralBytes = std::uint64_t{256} << 20;
constexpr std::uint16_t kZip64Field = 1;
constexpr std::uint32_t kInField = 0xFFFFFFFF;  // the value stands in the ZIP64 field

[[noreturn]] void damaged(const io::File& file, const std::string& what, std::uint64_t offset) {
  throw Error(ErrorCode::kDamaged, "the ZIP archive is damaged: " + what,
              {.path = file.path(), .offset = offset});
}

std::vector<std::byte> read(const io::File& file, std::uint64_t offset, std::uint64_t bytes) {
  if (!range_fits(offset, bytes, file.bytes())) damaged(file, "it refers behind its end", offset);
  std::vector<std::byte> read(bytes);
  file.read_exactly(offset, read);
  return read;
}

/// Where the central directory lies.
struct Central {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
};

Central find_central(const io::File& file) {
  const std::uint64_t file_bytes = file.bytes();
  const std::uint64_t tail_bytes =
      std::min<std::uint64_t>(file_bytes, kEndBytes + kMaxCommentBytes);
  const auto tail = read(file, file_bytes - tail_bytes, tail_bytes);
  std::optional<std::size_t> end;
  for (std::size_t at = tail.size() >= kEndBytes ? tail.size() - kEndBytes + 1 : 0; at-- > 0;) {
    if (load_le<std::uint32_t>(tail, at) != kEndMagic) continue;
    end = at;
    break;
  }
  if (!end) {
    throw Error(ErrorCode::kTruncated,
                "the ZIP archive has no end record; it was cut short, or its writer died",
                {.path = file.path()});
  }
  const std::uint64_t end_offset = file_bytes - tail_bytes + *end;
  Central central{.offset = load_le<std::uint32_t>(tail, *end + 16),
                  .bytes = load_le<std::uint32_t>(tail, *end + 12),
                  .entries = load_le<std::uint16_t>(tail, *end + 10)};
  if (end_offset >= kLocator64Bytes) {
    const auto locator = read(file, end_offset - kLocator64Bytes, kLocator64Bytes);
    if (load_le<std::uint32_t>(locator, 0) == kLocator64Magic) {
      const auto end64 = read(file, load_le<std::uint64_t>(locator, 8), kEnd64Bytes);
      if (load_le<std::uint32_t>(end64, 0) != kEnd64Magic) {
        damaged(file, "its ZIP64 end record is none", end_offset);
      }
      central = {.offset = load_le<std::uint64_t>(end64, 48),
                 .bytes = load_le<std::uint64_t>(end64, 40),
                 .entries = load_le<std::uint64_t>(end64, 32)};
    }
  }
  return central;
}

/// The ZIP64 field holds those of the three values that did not fit, in this order.
void read_zip64_field(std::span<const std::byte> extra, std::uint64_t& plain_bytes,
                      std::uint64_t& stored_bytes, std::uint64_t& local_offset) {
  while (extra.size() >= 4) {
    const auto id = load_le<std::uint16_t>(extra, 0);
    const std::size_t bytes = load_le<std::uint16_t>(extra, 2);
    extra = extra.subspan(4);
    if (bytes > extra.size()) return;
    if (id == kZip64Field) {
      std::size_t at = 0;
      for (std::uint64_t* value : {&plain_bytes, &stored_bytes, &local_offset}) {
        if (*value != kInField || at + 8 > bytes) continue;
        *value = load_le<std::uint64_t>(extra, at);
        at += 8;
      }
      return;
    }
    extra = extra.subspan(bytes);
  }
}

}  // namespace

bool looks_like_zip(const io::File& file) {
  std::array<std::byte, 4> magic{};
  return file.read_some(0, magic) == magic.size() &&
         load_le<std::uint32_t>(magic, 0) == kLocalMagic;
}

ZipDirectory read_zip_directory(const io::File& file) {
  const Central central = find_central(file);
  if (central.bytes > kMaxCentralBytes) {
    damaged(file, "its directory has more than " + std::to_string(kMaxCentralBytes) + " bytes",
            central.offset);
  }
  const auto directory = read(file, central.offset, central.bytes);
  ZipDirectory entries;
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < central.entries; ++i) {
    const std::uint64_t where = central.offset + at;
    if (directory.size() - at < kCentralBytes ||
        load_le<std::uint32_t>(directory, at) != kCentralMagic) {
      damaged(file, "its directory ends early", where);
    }
    const auto flags = load_le<std::uint16_t>(directory, at + 8);
    const auto method = load_le<std::uint16_t>(directory, at + 10);
    std::uint64_t stored_bytes = load_le<std::uint32_t>(directory, at + 20);
    std::uint64_t plain_bytes = load_le<std::uint32_t>(directory, at + 24);
    const std::size_t name_bytes = load_le<std::uint16_t>(directory, at + 28);
    const std::size_t extra_bytes = load_le<std::uint16_t>(directory, at + 30);
    const std::size_t comment_bytes = load_le<std::uint16_t>(directory, at + 32);
    std::uint64_t local_offset = load_le<std::uint32_t>(directory, at + 42);
    at += kCentralBytes;
    if (directory.size() - at < name_bytes + extra_bytes + comment_bytes) {
      damaged(file, "its directory ends early", where);
    }
    const std::string name(reinterpret_cast<const char*>(directory.data() + at), name_bytes);
    read_zip64_field(std::span(directory).subspan(at + name_bytes, extra_bytes), plain_bytes,
                     stored_bytes, local_offset);
    at += name_bytes + extra_bytes + comment_bytes;

    if (method != 0 || (flags & 1) != 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  "entry " + base::quoted(name) +
                      " of the ZIP archive is compressed or encrypted; torch.save does neither",
                  {.path = file.path(), .offset = where});
    }
    if (plain_bytes != stored_bytes) damaged(file, "an entry has two lengths", where);
    const auto local = read(file, local_offset, kLocalBytes);
    if (load_le<std::uint32_t>(local, 0) != kLocalMagic) {
      damaged(file, "an entry is not where the directory says", local_offset);
    }
    const std::uint64_t offset = local_offset + kLocalBytes + load_le<std::uint16_t>(local, 26) +
                                 load_le<std::uint16_t>(local, 28);
    if (!range_fits(offset, plain_bytes, file.bytes())) {
      damaged(file, "an entry ends behind the end of the file", local_offset);
    }
    if (!entries.emplace(name, ZipEntry{.offset = offset, .bytes = plain_bytes}).second) {
      damaged(file, "two entries have the name " + base::quoted(name), where);
    }
  }
  return entries;
}

}  // namespace cairn::interop
