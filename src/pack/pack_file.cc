#include "pack/pack_file.h"

#include "base/checked.h"
#include "base/mutant.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>

namespace cairn::pack {

using base::range_fits;
using base::round_up;
using format::ChunkId;
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

/// What a new store has unless it is told; a rescue's guess where no index tells.
constexpr std::uint64_t kDefaultChunkBytes = std::uint64_t{1} << 20;

/// Bytes read per step of a scan.
constexpr std::size_t kScanBytes = std::size_t{8} << 20;

std::vector<std::byte> read_up_to(const io::File& file, std::uint64_t offset, std::size_t bytes) {
  std::vector<std::byte> buffer(bytes);
  buffer.resize(file.read_some(offset, buffer));
  return buffer;
}

/// Visits the beginning of every place where an extent may begin, as much as a record's header.
template <typename Visit>
void for_each_block(const io::File& file, const Visit& visit) {
  const std::uint64_t end = file.bytes();
  io::AlignedBuffer buffer(kScanBytes);
  for (std::uint64_t base = kDataBegin; base < end; base += kScanBytes) {
    const std::size_t got = file.read_some(base, buffer.span());
    for (std::size_t at = 0; at + kRecordHeaderBytes <= got; at += kAlignment) {
      visit(base + at, std::span<const std::byte>(buffer.span().subspan(at, kRecordHeaderBytes)));
    }
  }
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

// ---- making and opening -------------------------------------------------------------------------

PackFile::PackFile(io::File file, const Superblock& superblock)
    : file_(std::move(file)),
      superblock_(superblock),
      buffers_(std::make_unique<Buffers>(superblock.chunk_bytes)) {}

void PackFile::create(const std::filesystem::path& path, const Superblock& superblock) {
  const PackFile pack(io::File::create(path), superblock);
  // Deletions must go on a full disk, where a slot that was never written would find no room.
  pack.file_.reserve(0, kSlotOffsets.back() + kSlotBytes);
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

PackFile PackFile::open(const std::filesystem::path& path, io::File::Access access,
                        bool allow_direct) {
  io::File file = io::File::open(path, access);
  if (allow_direct) file.enable_direct();
  std::optional<Error> first_error;
  for (const std::uint64_t offset : kSuperblockOffsets) {
    try {
      const auto bytes = read_up_to(file, offset, kSuperblockBytes);
      const Superblock superblock = format::decode_superblock(bytes);
      return PackFile(std::move(file), superblock);
    } catch (const Error& error) {
      // A good copy of a newer version is an answer; a bad first copy may have a good second one.
      if (error.code() == ErrorCode::kUnsupportedVersion) {
        throw Error(error.code(), error.what(), {.path = path, .offset = offset});
      }
      if (first_error) continue;
      first_error.emplace(error.code(),
                          std::string(error.what()) +
                              ", and its second copy is no better; if this is a store, `cairn "
                              "repair` makes both anew",
                          ErrorContext{.path = path, .offset = offset});
    }
  }
  throw *first_error;
}

namespace {

/// The UUID that most slots carry; if no slot is good, most records.
std::optional<format::Uuid> find_uuid(const io::File& file) {
  std::map<format::Uuid, std::size_t> votes;
  for (std::uint32_t number = 0; number < kSlotCount; ++number) {
    const auto sector = read_up_to(file, kSlotOffsets[number], kSlotBytes);
    if (const auto uuid = format::uuid_of_slot(sector, number)) ++votes[*uuid];
  }
  if (votes.empty()) {
    for_each_block(file, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      if (const auto uuid = format::uuid_of_record(bytes, offset)) ++votes[*uuid];
    });
  }
  const auto most = std::max_element(
      votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == votes.end() ? std::nullopt : std::optional(most->first);
}

}  // namespace

PackFile PackFile::open_to_rescue(const std::filesystem::path& path, io::File::Access access,
                                  std::string& how) {
  try {
    return open(path, access);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kTruncated) throw;
    io::File file = io::File::open(path, access);
    file.enable_direct();
    const auto uuid = find_uuid(file);
    if (!uuid) throw;
    PackFile pack(std::move(file), {.uuid = *uuid, .chunk_bytes = kDefaultChunkBytes});
    pack.superblock_.chunk_bytes = pack.chunk_bytes_of_indexes();
    how = "take the store's identity from its slots and records, and the chunk size, " +
          std::to_string(pack.superblock_.chunk_bytes) +
          " bytes, from its indexes: neither copy of the superblock is good";
    return pack;
  }
}

// A tensor of several chunks is cut into pieces of the chunk size; another program's may be cut
// otherwise.
std::uint64_t PackFile::chunk_bytes_of_indexes() const {
  std::uint64_t largest = kDefaultChunkBytes;
  const std::uint64_t end = round_up(file_.bytes(), kAlignment);
  for (const FoundRecord& found : scan(RecordType::kIndex)) {
    try {
      const format::Index index = read_index(found.extent, found.header.payload_digest, end);
      for (const format::IndexRecoverable& recoverable : index.recoverables) {
        for (const format::IndexTensor& tensor : recoverable.tensors) {
          const auto bytes = *format::tensor_bytes(tensor.dtype, tensor.shape);
          if (bytes == 0) continue;
          const std::uint64_t piece = index.chunks[tensor.first_chunk].plain_bytes;
          const bool may_be_chunk_size = piece % kAlignment == 0 && piece >= format::kMinChunkBytes;
          if (piece < bytes && may_be_chunk_size) return piece;
          largest = std::max(largest, round_up(piece, kAlignment));
        }
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kTruncated) throw;
    }
  }
  return std::min(largest, format::kMaxChunkBytes);
}

std::array<std::optional<Superblock>, 2> PackFile::read_superblocks(
    std::array<std::string, 2>& errors) const {
  std::array<std::optional<Superblock>, 2> copies;
  for (std::size_t copy = 0; copy < copies.size(); ++copy) {
    const auto bytes = read_up_to(file_, kSuperblockOffsets[copy], kSuperblockBytes);
    try {
      copies[copy] = format::decode_superblock(bytes);
    } catch (const Error& error) {
      errors[copy] = error.what();
    }
  }
  return copies;
}

namespace {

/// `superblock` with the features of those copies that differ from it in nothing else.
Superblock with_features_of(std::span<const std::optional<Superblock>> copies,
                            const Superblock& superblock) {
  Superblock all = superblock;
  for (const auto& copy : copies) {
    if (!copy) continue;
    Superblock other = *copy;
    other.incompat = superblock.incompat;
    if (other == superblock) all.incompat |= copy->incompat;
  }
  return all;
}

}  // namespace

Superblock PackFile::current_superblock() const {
  std::array<std::string, 2> ignored;
  return with_features_of(read_superblocks(ignored), superblock_);
}

std::array<std::string, 2> PackFile::superblock_errors() const {
  std::array<std::string, 2> errors;
  const auto copies = read_superblocks(errors);
  const Superblock wanted = with_features_of(copies, superblock_);
  for (std::size_t copy = 0; copy < copies.size(); ++copy) {
    if (!copies[copy] || *copies[copy] == wanted) continue;
    Superblock other = *copies[copy];
    other.incompat = wanted.incompat;
    errors[copy] = other == wanted ? kLacksFeatures : "the copies differ";
  }
  return errors;
}

void PackFile::rewrite_superblock(std::size_t copy) const {
  file_.write(kSuperblockOffsets.at(copy), format::encode_superblock(superblock_));
}

std::vector<std::string> PackFile::renew_superblocks(std::uint64_t incompat) {
  if ((superblock_.compat & ~format::kKnownCompat) != 0) {
    if ((incompat & ~superblock_.incompat) == 0) return {};
    throw Error(ErrorCode::kUnsupportedVersion,
                "the superblock has features that this version of Cairn does not know, so it can "
                "add none: go on without compression, or update Cairn",
                {.path = path()});
  }
  std::array<std::string, 2> errors;
  const auto copies = read_superblocks(errors);
  superblock_ = with_features_of(copies, superblock_);
  superblock_.incompat |= incompat;
  std::vector<std::string> mended;
  for (std::size_t copy = 0; copy < copies.size(); ++copy) {
    if (copies[copy] == superblock_) continue;
    rewrite_superblock(copy);
    if (!CAIRN_MUTANT(kSuperblocksAtOnce)) sync();
    mended.push_back(copies[copy] ? "the copies differ" : errors[copy]);
  }
  return mended;
}

// ---- records ------------------------------------------------------------------------------------

ExtentWrite record_write(RecordType type, const Extent& extent, std::uint64_t sequence,
                         const format::Uuid& uuid, std::span<const std::byte> payload) {
  return {.offset = extent.offset, .bytes = extent.bytes, .fill = [=](std::span<std::byte> out) {
            format::encode_record({.type = type, .own_offset = extent.offset, .sequence = sequence},
                                  uuid, payload, out);
          }};
}

namespace {

/// A scan orders records by what their headers say, so that must be what they are.
void check_sequence(std::uint64_t header, std::uint64_t payload) {
  if (header == payload) return;
  throw Error(ErrorCode::kDamaged, "the record's header tells of commit " + std::to_string(header) +
                                       ", its payload of commit " + std::to_string(payload));
}

}  // namespace

std::span<const std::byte> PackFile::read_record(const Extent& extent, RecordType type,
                                                 const ChunkId& digest, io::AlignedBuffer& storage,
                                                 std::uint64_t* sequence) const {
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
    if (sequence != nullptr) *sequence = header.sequence;
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
  std::uint64_t sequence = 0;
  const auto payload = read_record(copy, RecordType::kRoot, digest, storage, &sequence);
  try {
    format::Root root = format::decode_root(payload, data_end);
    check_sequence(sequence, root.sequence);
    return root;
  } catch (const Error&) {
    rethrow_at(path(), copy.offset);
  }
}

void PackFile::check_root_copy(const Extent& copy, const ChunkId& digest) const {
  io::AlignedBuffer storage;
  read_record(copy, RecordType::kRoot, digest, storage);
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
  std::uint64_t sequence = 0;
  const auto payload = read_record(record, RecordType::kIndex, digest, storage, &sequence);
  try {
    format::Index index = format::decode_index(payload, data_end);
    check_sequence(sequence, index.sequence);
    return index;
  } catch (const Error&) {
    rethrow_at(path(), record.offset);
  }
}

// ---- scanning -----------------------------------------------------------------------------------

std::vector<FoundRecord> PackFile::scan(RecordType type) const {
  std::vector<FoundRecord> found;
  for_each_block(file_, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
    if (!format::looks_like_record(bytes)) return;
    try {
      const auto header = format::decode_record_header(bytes, uuid(), offset);
      if (header.type != type) return;
      found.push_back(
          {.header = header,
           .extent = {.offset = offset, .bytes = kRecordHeaderBytes + header.payload_bytes}});
    } catch (const Error&) {
      // A tensor's bytes, an older store's record, or a damaged one.
    }
  });
  return found;
}

}  // namespace cairn::pack
