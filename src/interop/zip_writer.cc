#include "interop/zip_writer.h"

#include "base/little_endian.h"
#include "base/text.h"

#include <cairn/error.h>

#include <array>
#include <zlib.h>

namespace cairn::interop {

namespace {

constexpr std::uint32_t kLocalMagic = 0x04034b50;
constexpr std::uint32_t kCentralMagic = 0x02014b50;
constexpr std::uint32_t kEndMagic = 0x06054b50;
constexpr std::uint32_t kEnd64Magic = 0x06064b50;
constexpr std::uint32_t kLocator64Magic = 0x07064b50;
constexpr std::uint16_t kVersionPlain = 20;
constexpr std::uint16_t kVersion64 = 45;
constexpr std::uint16_t kUtf8Name = 1 << 11;
constexpr std::uint16_t kMidnight1980 = 0x21;  // no date of its own: equal contents, equal files
constexpr std::uint16_t kZip64Field = 1;
constexpr std::uint32_t kInField = 0xFFFFFFFF;
constexpr std::size_t kCrcAt = 14;  // in a local header
constexpr std::size_t kMaxNameBytes = 65535;

class Fields {
 public:
  template <typename T>
  Fields& add(T number) {
    std::array<std::byte, sizeof(T)> bytes{};
    base::store_le<T>(bytes, 0, number);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Fields& u16(std::uint64_t number) { return add(static_cast<std::uint16_t>(number)); }
  Fields& u32(std::uint64_t number) { return add(static_cast<std::uint32_t>(number)); }
  Fields& u64(std::uint64_t number) { return add(number); }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

void ZipWriter::begin_entry(std::string_view name, std::uint64_t bytes) {
  if (name.size() > kMaxNameBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                "a ZIP archive cannot hold the name " + base::quoted(name) +
                    ", which has more than " + std::to_string(kMaxNameBytes) + " bytes",
                {.path = file_.destination()});
  }
  entries_.push_back({.name = std::string(name), .bytes = bytes, .offset = file_.bytes()});
  const bool is_large = bytes > limits_.bytes;
  Fields fields;
  fields.u32(kLocalMagic).u16(is_large ? kVersion64 : kVersionPlain).u16(kUtf8Name).u16(0);
  fields.u16(0).u16(kMidnight1980).u32(0);
  fields.u32(is_large ? kInField : bytes).u32(is_large ? kInField : bytes);
  fields.u16(name.size()).u16(is_large ? 20 : 0);
  file_.append(fields.bytes());
  file_.append(name);
  if (is_large) file_.append(Fields().u16(kZip64Field).u16(16).u64(bytes).u64(bytes).bytes());
}

void ZipWriter::append(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;  // without a pointer zlib would begin anew
  std::uint32_t& crc = entries_.back().crc;
  crc = static_cast<std::uint32_t>(
      crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  file_.append(bytes);
}

void ZipWriter::finish() {
  const std::uint64_t directory = file_.bytes();
  for (const Entry& entry : entries_) {
    const bool is_large = entry.bytes > limits_.bytes;
    const bool is_far = entry.offset > limits_.bytes;
    Fields extra;  // what did not fit, in this order
    if (is_large || is_far) {
      extra.u16(kZip64Field).u16((is_large ? 16 : 0) + (is_far ? 8 : 0));
      if (is_large) extra.u64(entry.bytes).u64(entry.bytes);
      if (is_far) extra.u64(entry.offset);
    }
    const std::uint16_t version = is_large || is_far ? kVersion64 : kVersionPlain;
    Fields fields;
    fields.u32(kCentralMagic).u16(version).u16(version).u16(kUtf8Name).u16(0);
    fields.u16(0).u16(kMidnight1980).u32(entry.crc);
    fields.u32(is_large ? kInField : entry.bytes).u32(is_large ? kInField : entry.bytes);
    fields.u16(entry.name.size()).u16(extra.bytes().size());
    fields.u16(0).u16(0).u16(0).u32(0);  // comment, disk, attributes
    fields.u32(is_far ? kInField : entry.offset);
    file_.append(fields.bytes());
    file_.append(entry.name);
    file_.append(extra.bytes());
  }
  const std::uint64_t end = file_.bytes();
  const std::uint64_t count = entries_.size();
  const bool is_many = count > limits_.entries;
  const bool is_far = directory > limits_.bytes || end - directory > limits_.bytes;
  if (is_many || is_far) {
    Fields fields;
    fields.u32(kEnd64Magic).u64(44).u16(kVersion64).u16(kVersion64).u32(0).u32(0);
    fields.u64(count).u64(count).u64(end - directory).u64(directory);
    fields.u32(kLocator64Magic).u32(0).u64(end).u32(1);
    file_.append(fields.bytes());
  }
  Fields fields;
  fields.u32(kEndMagic).u16(0).u16(0);
  fields.u16(is_many ? 0xFFFF : count).u16(is_many ? 0xFFFF : count);
  fields.u32(is_far ? kInField : end - directory).u32(is_far ? kInField : directory).u16(0);
  file_.append(fields.bytes());
  file_.flush();
  for (const Entry& entry : entries_) {
    file_.file().write(entry.offset + kCrcAt, Fields().u32(entry.crc).bytes());
  }
}

}  // namespace cairn::interop
