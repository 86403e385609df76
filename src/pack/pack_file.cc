#include "pack/pack_file.h"

#include "base/checked.h"
#include "base/thread_pool.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace cairn::pack {

using base::range_fits;
using base::round_up;
using format::ChunkId;
using format::ChunkRef;
using format::Extent;
using format::kAlignment;
using format::kDataBegin;
using format::kRecordHeaderBytes;
using format::kSlotBytes;
using format::kSlotCount;
using format::kSlotOffsets;
using format::kSuperblockBytes;
using format::kSuperblockOffsets;
using format::RecordType;
using format::Slot;
using format::Superblock;

namespace {

/// Neighbouring extents are joined into requests of at most so many bytes: large enough for the
/// disk, small enough to share among threads and to bound memory.
constexpr std::uint64_t kRequestBytes = std::uint64_t{4} << 20;

/// Bytes read per step of a scan.
constexpr std::size_t kScanBytes = std::size_t{8} << 20;

std::vector<std::byte> read_up_to(const io::File& file, std::uint64_t offset, std::size_t bytes) {
  std::vector<std::byte> buffer(bytes);
  buffer.resize(file.read_some(offset, buffer));
  return buffer;
}

}  // namespace

void rethrow_at(const std::filesystem::path& path, std::uint64_t offset) {
  try {
    throw;
  } catch (const Error& error) {
    if (!error.path().empty()) throw;
    throw Error(error.code(), error.what(), {.path = path, .offset = offset});
  }
}

// ---- slots --------------------------------------------------------------------------------------

const Slot* SlotTable::find(std::uint64_t sequence) const noexcept {
  for (const auto& slot : slots) {
    if (slot && slot->sequence == sequence) return &*slot;
  }
  return nullptr;
}

std::vector<const Slot*> SlotTable::newest_first() const {
  std::vector<const Slot*> readable;
  for (const auto& slot : slots) {
    if (slot) readable.push_back(&*slot);
  }
  std::sort(readable.begin(), readable.end(),
            [](const Slot* a, const Slot* b) { return a->sequence > b->sequence; });
  return readable;
}

std::uint64_t SlotTable::highest_sequence() const noexcept {
  std::uint64_t highest = 0;
  for (const auto& slot : slots) {
    if (slot) highest = std::max(highest, slot->sequence);
  }
  return highest;
}

SlotTable PackFile::read_slots() const {
  SlotTable table;
  for (std::uint32_t number = 0; number < kSlotCount; ++number) {
    const std::vector<std::byte> sector = read_up_to(file_, kSlotOffsets[number], kSlotBytes);
    table.slots[number] = format::decode_slot(sector, uuid(), number, &table.errors[number]);
  }
  return table;
}

void PackFile::write_slot(const Slot& slot) const {
  file_.write(kSlotOffsets.at(slot.number), format::encode_slot(slot, uuid()));
}

// ---- writing
// ---------------------------------------------------------------------------------------

ExtentWrite record_write(RecordType type, const Extent& extent, std::uint64_t sequence,
                         const format::Uuid& uuid, std::span<const std::byte> payload) {
  return {.offset = extent.offset, .bytes = extent.bytes, .fill = [=](std::span<std::byte> out) {
            const auto record = format::encode_record(
                {.type = type, .own_offset = extent.offset, .sequence = sequence}, uuid, payload);
            std::memcpy(out.data(), record.data(), record.size());
          }};
}

void PackFile::write_extents(std::vector<ExtentWrite> writes) const {
  std::sort(writes.begin(), writes.end(),
            [](const ExtentWrite& a, const ExtentWrite& b) { return a.offset < b.offset; });
  struct Request {
    std::size_t first = 0;
    std::size_t count = 0;
    std::uint64_t bytes = 0;  // padding included
  };
  std::vector<Request> requests;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    const std::uint64_t space = round_up(writes[i].bytes, kAlignment);
    if (!requests.empty()) {
      Request& last = requests.back();
      const bool neighbour = writes[last.first].offset + last.bytes == writes[i].offset;
      if (neighbour && last.bytes + space <= kRequestBytes) {
        ++last.count;
        last.bytes += space;
        continue;
      }
    }
    requests.push_back({.first = i, .count = 1, .bytes = space});
  }
  base::parallel_for(requests.size(), [&](std::size_t r) {
    // One buffer a thread, kept from request to request: touching fresh memory costs far more than
    // copying into it.
    thread_local io::AlignedBuffer buffer;
    const Request& request = requests[r];
    if (buffer.size() < request.bytes) buffer = io::AlignedBuffer(request.bytes);
    std::uint64_t at = 0;
    for (std::size_t i = request.first; i < request.first + request.count; ++i) {
      const std::uint64_t space = round_up(writes[i].bytes, kAlignment);
      writes[i].fill(buffer.span().subspan(at, writes[i].bytes));
      std::memset(buffer.data() + at + writes[i].bytes, 0, space - writes[i].bytes);
      at += space;
    }
    file_.write(writes[request.first].offset, buffer.span().first(request.bytes));
  });
}

// ---- making and opening -------------------------------------------------------------------------

void PackFile::create(const std::filesystem::path& path, const Superblock& superblock) {
  const PackFile pack(io::File::create(path), superblock);
  for (std::size_t copy = 0; copy < kSuperblockOffsets.size(); ++copy) {
    pack.rewrite_superblock(copy);
  }
  const format::Root root{.sequence = 1, .parent_sequence = 0, .next_id = 1};
  const std::vector<std::byte> payload = format::encode_root(root);
  const ChunkId digest = base::xxh3_128(payload);
  const std::uint64_t record_bytes = kRecordHeaderBytes + payload.size();
  const Extent first{.offset = kDataBegin, .bytes = record_bytes};
  const Extent second{.offset = kDataBegin + round_up(record_bytes, kAlignment),
                      .bytes = record_bytes};
  std::vector<ExtentWrite> writes;
  for (const Extent& copy : {first, second}) {
    writes.push_back(
        record_write(RecordType::kRoot, copy, root.sequence, superblock.uuid, payload));
  }
  pack.write_extents(std::move(writes));
  pack.write_slot({.number = 0,
                   .sequence = root.sequence,
                   .parent_sequence = 0,
                   .root = {.first = first, .second = second, .digest = digest},
                   .data_end = second.offset + round_up(record_bytes, kAlignment)});
  pack.file_.sync_all();
}

PackFile PackFile::open(const std::filesystem::path& path, io::File::Access access) {
  io::File file = io::File::open(path, access);
  std::optional<Error> first_error;
  for (const std::uint64_t offset : kSuperblockOffsets) {
    try {
      const auto bytes = read_up_to(file, offset, kSuperblockBytes);
      const Superblock superblock = format::decode_superblock(bytes);
      return PackFile(std::move(file), superblock);
    } catch (const Error& error) {
      // A good copy of a newer version is an answer; a bad first copy may have a good second one.
      Error placed(error.code(), error.what(), {.path = path, .offset = offset});
      if (error.code() == ErrorCode::kUnsupportedVersion) throw placed;
      if (!first_error) first_error = placed;
    }
  }
  throw *first_error;
}

std::array<std::string, 2> PackFile::superblock_errors() const {
  std::array<std::string, 2> errors;
  for (std::size_t copy = 0; copy < kSuperblockOffsets.size(); ++copy) {
    try {
      const auto bytes = read_up_to(file_, kSuperblockOffsets[copy], kSuperblockBytes);
      if (!(format::decode_superblock(bytes) == superblock_)) errors[copy] = "the copies differ";
    } catch (const Error& error) {
      errors[copy] = error.what();
    }
  }
  return errors;
}

void PackFile::rewrite_superblock(std::size_t copy) const {
  file_.write(kSuperblockOffsets.at(copy), format::encode_superblock(superblock_));
}

// ---- reading ------------------------------------------------------------------------------------

std::span<const std::byte> PackFile::read_record(const Extent& extent, RecordType type,
                                                 const ChunkId& digest,
                                                 io::AlignedBuffer& storage) const {
  // The length is checked against the file before memory is taken for it.
  const std::uint64_t file_bytes = file_.bytes();
  if (extent.bytes < kRecordHeaderBytes || !range_fits(extent.offset, extent.bytes, file_bytes)) {
    throw Error(ErrorCode::kTruncated, "the pack ends before this record does",
                {.path = path(), .offset = extent.offset});
  }
  try {
    storage = io::AlignedBuffer(extent.bytes);
    file_.read_exactly(extent.offset, storage.span());
    format::RecordHeader header;
    const auto payload =
        format::decode_record(storage.span(), uuid(), extent.offset, type, &header);
    if (header.payload_digest != digest || payload.size() != extent.bytes - kRecordHeaderBytes) {
      throw Error(ErrorCode::kDamaged, "the record is not the one that is referred to");
    }
    return payload;
  } catch (const Error&) {
    rethrow_at(path(), extent.offset);
  }
}

format::Root PackFile::read_root_copy(const Extent& copy, const ChunkId& digest,
                                      std::uint64_t data_end) const {
  io::AlignedBuffer storage;
  const auto payload = read_record(copy, RecordType::kRoot, digest, storage);
  try {
    return format::decode_root(payload, data_end);
  } catch (const Error&) {
    rethrow_at(path(), copy.offset);
  }
}

format::Root PackFile::read_root(const format::RootLocation& root, std::uint64_t data_end) const {
  try {
    return read_root_copy(root.first, root.digest, data_end);
  } catch (const Error&) {
    return read_root_copy(root.second, root.digest, data_end);
  }
}

format::Index PackFile::read_index(const Extent& record, const ChunkId& digest,
                                   std::uint64_t data_end) const {
  io::AlignedBuffer storage;
  const auto payload = read_record(record, RecordType::kIndex, digest, storage);
  try {
    return format::decode_index(payload, data_end);
  } catch (const Error&) {
    rethrow_at(path(), record.offset);
  }
}

void PackFile::read_chunk(const ChunkRef& chunk, std::span<std::byte> out) const {
  file_.read_exactly(chunk.offset, out);
  if (base::xxh3_128(out) != chunk.id) {
    throw Error(ErrorCode::kDamaged,
                "the bytes of chunk " + chunk.id.to_hex() + " (" + std::to_string(out.size()) +
                    " bytes) do not match their digest",
                {.path = path(), .offset = chunk.offset});
  }
}

// ---- scanning -----------------------------------------------------------------------------------

std::vector<FoundRecord> PackFile::scan(RecordType type) const {
  std::vector<FoundRecord> found;
  const std::uint64_t end = file_.bytes();
  io::AlignedBuffer buffer(kScanBytes);
  for (std::uint64_t base = kDataBegin; base < end; base += kScanBytes) {
    const std::size_t got = file_.read_some(base, buffer.span());
    for (std::size_t at = 0; at + kRecordHeaderBytes <= got; at += kAlignment) {
      const auto bytes = buffer.span().subspan(at, kRecordHeaderBytes);
      if (!format::looks_like_record(bytes)) continue;
      try {
        const auto header = format::decode_record_header(bytes, uuid(), base + at);
        if (header.type != type) continue;
        found.push_back(
            {.header = header,
             .extent = {.offset = base + at, .bytes = kRecordHeaderBytes + header.payload_bytes}});
      } catch (const Error&) {
        continue;  // a tensor's bytes, an older store's record, or a damaged one
      }
    }
  }
  return found;
}

}  // namespace cairn::pack
