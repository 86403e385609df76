#include "mend.h"

#include "base/checked.h"
#include "base/digest.h"
#include "base/little_endian.h"
#include "codec/grouped.h"
#include "format/fixed.h"
#include "format/pack_generated.h"
#include "format/record.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <set>

namespace cairn::fuzz {
namespace {

using base::load_le;
using base::store_le;
using format::ChunkId;
using format::kRecordHeaderBytes;
using format::load_bytes;
using format::store_bytes;
using format::Uuid;

// Places that format/SPEC.md gives.
constexpr std::size_t kUuidInSuperblock = 48;
constexpr std::size_t kUuidInPart = 16;  // of slots and records
constexpr std::size_t kRecordOwnOffset = 32;
constexpr std::size_t kRecordSequence = 40;
constexpr std::size_t kRecordType = 12;
constexpr std::size_t kRecordPayloadBytes = 48;
constexpr std::size_t kRecordPayloadDigest = 56;
constexpr std::size_t kSlotFirstOffset = 64;
constexpr std::size_t kSlotSecondOffset = 72;
constexpr std::size_t kSlotSequence = 32;
constexpr std::size_t kSlotParentSequence = 40;
constexpr std::size_t kSlotParentDigest = 48;
constexpr std::size_t kSlotRootBytes = 80;
constexpr std::size_t kSlotRootDigest = 96;

/// Puts a digest in the place of one in a payload, which is ours to change.
void replace(const fb::Digest& old, const ChunkId& digest) {
  static_assert(sizeof(fb::Digest) == sizeof(ChunkId));
  std::memcpy(static_cast<void*>(&const_cast<fb::Digest&>(old)), &digest, sizeof(digest));
}

/// Tables are only looked into where the FlatBuffers verifier finds nothing wrong.
template <typename Table>
const Table* table_in(std::span<std::byte> payload) {
  if (payload.size() < 16) return nullptr;
  const auto* data = reinterpret_cast<const std::uint8_t*>(payload.data());
  flatbuffers::Verifier verifier(data, payload.size());
  if (!verifier.VerifyBuffer<Table>(nullptr)) return nullptr;
  return flatbuffers::GetRoot<Table>(data);
}

/// A vector of structs, or none when they lie where they could not be looked at: the verifier does
/// not ask.
template <typename Struct>
const flatbuffers::Vector<const Struct*>* aligned(
    const flatbuffers::Vector<const Struct*>* structs) {
  if (structs == nullptr) return nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(structs->Data());
  return address % alignof(Struct) == 0 ? structs : nullptr;
}

struct Record {
  std::size_t offset = 0;
  std::uint32_t type = 0;
  std::uint64_t sequence = 0;
  std::span<std::byte> payload{};
  ChunkId digest() const { return base::xxh3_128(payload); }
};

class PackMender {
 public:
  explicit PackMender(std::span<std::byte> pack) : pack_(pack) {}

  void run() {
    if (pack_.size() < format::kSuperblockBytes) return;
    for (const std::uint64_t at : format::kSuperblockOffsets) {
      if (base::range_fits(at, format::kSuperblockBytes, pack_.size()) && !is_blank(at)) {
        mend_superblock(pack_.subspan(at, format::kSuperblockBytes));
      }
    }
    uuid_ = load_bytes<Uuid>(pack_, kUuidInSuperblock);
    find_records();
    for (const auto& [offset, record] : records_) {
      if (record.type == static_cast<std::uint32_t>(format::RecordType::kIndex)) mend_index(record);
    }
    mend_roots();
    mend_slots();
    for (const auto& [offset, record] : records_) {
      mend_sequence(record);
      mend_record(pack_.subspan(offset, kRecordHeaderBytes + record.payload.size()), uuid_, offset);
    }
  }

 private:
  bool is_blank(std::size_t at) const { return pack_[at] == std::byte{0}; }

  void find_records() {
    for (std::size_t at = format::kDataBegin; at + kRecordHeaderBytes < pack_.size();
         at += format::kAlignment) {
      if (!format::looks_like_record(pack_.subspan(at, kRecordHeaderBytes))) continue;
      auto bytes = load_le<std::uint64_t>(pack_, at + kRecordPayloadBytes);
      bytes = std::min<std::uint64_t>(bytes, pack_.size() - at - kRecordHeaderBytes);
      records_[at] = {.offset = at,
                      .type = load_le<std::uint32_t>(pack_, at + kRecordType),
                      .sequence = load_le<std::uint64_t>(pack_, at + kRecordSequence),
                      .payload = pack_.subspan(at + kRecordHeaderBytes, bytes)};
    }
  }

  // A header tells the sequence of its payload.
  void mend_sequence(const Record& record) {
    std::uint64_t sequence = 0;
    if (record.type == static_cast<std::uint32_t>(format::RecordType::kIndex)) {
      if (const auto* index = table_in<fb::Index>(record.payload)) sequence = index->sequence();
    } else if (const auto* root = table_in<fb::Root>(record.payload)) {
      sequence = root->sequence();
    }
    if (sequence != 0) store_le(pack_, record.offset + kRecordSequence, sequence);
  }

  void mend_index(const Record& record) {
    const auto* index = table_in<fb::Index>(record.payload);
    const auto* chunks = index == nullptr ? nullptr : aligned(index->chunks());
    if (chunks == nullptr) return;
    for (const fb::Chunk* chunk : *chunks) {
      if (!base::range_fits(chunk->offset(), chunk->plain_bytes(), pack_.size())) continue;
      const ChunkId digest = base::xxh3_128(pack_.subspan(chunk->offset(), chunk->plain_bytes()));
      replace(chunk->digest(), digest);
    }
  }

  // Older ones first: each root holds its parent's digest.
  void mend_roots() {
    std::multimap<std::uint64_t, const Record*> roots;
    for (const auto& [offset, record] : records_) {
      if (record.type == static_cast<std::uint32_t>(format::RecordType::kRoot)) {
        roots.emplace(record.sequence, &record);
      }
    }
    for (const auto& [sequence, record] : roots) {
      const auto* root = table_in<fb::Root>(record->payload);
      if (root == nullptr) continue;
      if (const auto* checkpoints = aligned(root->checkpoints())) {
        for (const fb::RootEntry* entry : *checkpoints) {
          const auto index = records_.find(entry->index_offset());
          if (index == records_.end()) continue;
          const ChunkId digest = index->second.digest();
          replace(entry->index_digest(), digest);
        }
      }
      const auto parent = digests_.find(root->parent_sequence());
      if (root->parent_digest() != nullptr && parent != digests_.end()) {
        replace(*root->parent_digest(), parent->second);
      }
      digests_[sequence] = record->digest();
    }
  }

  void mend_slots() {
    for (const std::uint64_t at : format::kSlotOffsets) {
      if (!base::range_fits(at, format::kSlotBytes, pack_.size()) || is_blank(at)) continue;
      const auto slot = pack_.subspan(at, format::kSlotBytes);
      const auto first = records_.find(load_le<std::uint64_t>(slot, kSlotFirstOffset));
      const auto second = records_.find(load_le<std::uint64_t>(slot, kSlotSecondOffset));
      const auto root = first != records_.end() ? first : second;
      if (root != records_.end()) {
        store_le(slot, kSlotRootBytes, kRecordHeaderBytes + root->second.payload.size());
        store_bytes(slot, kSlotRootDigest, root->second.digest());
        digests_.emplace(load_le<std::uint64_t>(slot, kSlotSequence), root->second.digest());
      }
      const auto parent = digests_.find(load_le<std::uint64_t>(slot, kSlotParentSequence));
      if (parent != digests_.end()) store_bytes(slot, kSlotParentDigest, parent->second);
      mend_slot(slot, uuid_);
    }
  }

  std::span<std::byte> pack_;
  Uuid uuid_{};
  std::map<std::uint64_t, Record> records_;   // by offset
  std::map<std::uint64_t, ChunkId> digests_;  // of roots, by sequence
};

// ---- the catalog, by LMDB's layout (src/catalog/vetting.cc tells it) ----------------------------

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kPageHeaderBytes = 16;
constexpr std::uint16_t kBranchFlag = 1;
constexpr std::uint16_t kLeafFlag = 2;
constexpr std::uint16_t kBigDataFlag = 1;
constexpr std::uint16_t kTableFlag = 2;
constexpr std::size_t kNodeHeaderBytes = 8;
constexpr std::size_t kTransactionInMetaPage = 144;
constexpr std::size_t kRootInMetaPage = 128;  // of the tree of tables
constexpr std::size_t kRootInTable = 40;
constexpr std::size_t kTransactionInInfo = 120;
constexpr std::size_t kRowSumInInfo = 128;
constexpr std::size_t kChecksumBytes = 8;

/// Goes through the trees of the newer meta page, as far as they lead anywhere.
class CatalogMender {
 public:
  explicit CatalogMender(std::span<std::byte> file) : file_(file) {}

  void run() {
    if (file_.size() < 2 * kPageBytes) return;
    const auto second = file_.subspan(kPageBytes);
    const bool is_second = load_le<std::uint64_t>(second, kTransactionInMetaPage) >
                           load_le<std::uint64_t>(file_, kTransactionInMetaPage);
    const std::span<const std::byte> meta = is_second ? second : file_;
    transaction_ = load_le<std::uint64_t>(meta, kTransactionInMetaPage);
    walk(load_le<std::uint64_t>(meta, kRootInMetaPage), 0);
    if (info_.empty()) return;
    store_le(info_, kTransactionInInfo, transaction_);
    store_le(info_, kRowSumInInfo, row_sum_);
    mend_row(kInfoTable, info_key_, info_);
  }

 private:
  static constexpr std::uint32_t kInfoTable = 1;
  static constexpr std::uint32_t kNamesTable = 3;

  /// The number of a table by its name; 0 for none.
  static std::uint32_t table_of(View name) {
    constexpr std::string_view kNames[] = {"info", "checkpoints", "names", "chunks", "free"};
    const std::string_view text(reinterpret_cast<const char*>(name.data()), name.size());
    const auto* const found = std::find(std::begin(kNames), std::end(kNames), text);
    return found == std::end(kNames) ? 0
                                     : static_cast<std::uint32_t>(found - std::begin(kNames)) + 1;
  }

  /// `table` is 0 in the tree of tables.
  void walk(std::uint64_t number, std::uint32_t table) {
    if (number < 2 || number >= file_.size() / kPageBytes || !seen_.insert(number).second) return;
    const auto page = file_.subspan(number * kPageBytes, kPageBytes);
    const auto flags = load_le<std::uint16_t>(page, 10);
    const std::size_t lower = load_le<std::uint16_t>(page, 12);
    for (std::size_t at = kPageHeaderBytes; at + 2 <= std::min(lower, kPageBytes); at += 2) {
      const std::size_t node = load_le<std::uint16_t>(page, at);
      if (node + kNodeHeaderBytes > kPageBytes) continue;
      if (flags == kBranchFlag) {
        walk(load_le<std::uint32_t>(page, node) |
                 std::uint64_t{load_le<std::uint16_t>(page, node + 4)} << 32,
             table);
      } else if (flags == kLeafFlag) {
        visit(page, node, table);
      }
    }
  }

  void visit(std::span<std::byte> page, std::size_t node, std::uint32_t table) {
    const std::size_t value_bytes = load_le<std::uint32_t>(page, node);
    const auto flags = load_le<std::uint16_t>(page, node + 4);
    const std::size_t key_bytes = load_le<std::uint16_t>(page, node + 6);
    const std::size_t key_at = node + kNodeHeaderBytes;
    if (!base::range_fits(key_at, key_bytes, kPageBytes)) return;
    const auto key = page.subspan(key_at, key_bytes);
    const std::size_t value_at = key_at + key_bytes;
    if (flags == kBigDataFlag && base::range_fits(value_at, 8, kPageBytes)) {
      const auto run = load_le<std::uint64_t>(page, value_at);
      if (run >= file_.size() / kPageBytes) return;
      const std::size_t begin = run * kPageBytes + kPageHeaderBytes;
      if (base::range_fits(begin, value_bytes, file_.size())) {
        mend(table, key, file_.subspan(begin, value_bytes));
      }
      return;
    }
    if (!base::range_fits(value_at, value_bytes, kPageBytes)) return;
    const auto value = page.subspan(value_at, value_bytes);
    if (flags == 0) {
      mend(table, key, value);
    } else if (table == 0 && flags == kTableFlag && value_bytes >= kRootInTable + 8) {
      if (const auto inner = table_of(key))
        walk(load_le<std::uint64_t>(value, kRootInTable), inner);
    }
  }

  void mend(std::uint32_t table, View key, std::span<std::byte> value) {
    if (table == 0 || value.size() < kChecksumBytes) return;
    if (table == kInfoTable && value.size() >= kRowSumInInfo + 2 * kChecksumBytes) {
      info_key_ = key;
      info_ = value;
      return;  // last, when the sum is known
    }
    mend_row(table, key, value);
    if (table == kInfoTable || table == kNamesTable) return;
    row_sum_ += load_le<std::uint64_t>(value, value.size() - kChecksumBytes);
  }

  std::span<std::byte> file_;
  std::uint64_t transaction_ = 0;
  std::uint64_t row_sum_ = 0;
  std::set<std::uint64_t> seen_;
  View info_key_;
  std::span<std::byte> info_;
};

}  // namespace

Uuid sample_uuid() {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::byte>(i);
  return uuid;
}

void mend_superblock(std::span<std::byte> bytes) {
  if (bytes.size() >= format::kSuperblockBytes) format::seal(bytes.first(format::kSuperblockBytes));
}

void mend_slot(std::span<std::byte> bytes, const Uuid& uuid) {
  if (bytes.size() < format::kSlotBytes) return;
  store_bytes(bytes, kUuidInPart, uuid);
  format::seal(bytes.first(format::kSlotBytes));
}

void mend_record(std::span<std::byte> bytes, const Uuid& uuid, std::uint64_t offset) {
  if (bytes.size() < kRecordHeaderBytes) return;
  const std::span<std::byte> payload = bytes.subspan(kRecordHeaderBytes);
  store_bytes(bytes, kUuidInPart, uuid);
  store_le(bytes, kRecordOwnOffset, offset);
  store_le(bytes, kRecordPayloadBytes, std::uint64_t{payload.size()});
  store_bytes(bytes, kRecordPayloadDigest, base::xxh3_128(payload));
  format::seal(bytes.first(kRecordHeaderBytes));
}

void mend_chunk(std::span<std::byte> input) {
  constexpr std::size_t kHeaderBytes = 8;
  if (input.size() < sizeof(std::uint32_t) + kHeaderBytes) return;
  const auto plain_bytes = load_le<std::uint32_t>(input, 0);
  const std::span<std::byte> stored = input.subspan(sizeof(std::uint32_t));
  const auto wanted = std::to_integer<unsigned>(stored[0]);
  if (!std::has_single_bit(wanted) || wanted > 8) {
    stored[0] = static_cast<std::byte>(1U << (wanted % 4));
  }
  stored[1] &= std::byte{1};
  std::fill_n(stored.begin() + 2, kHeaderBytes - 2, std::byte{0});
  const auto width = std::to_integer<std::size_t>(stored[0]);
  std::size_t at = kHeaderBytes;
  for (std::size_t begin = 0; begin < plain_bytes; begin += codec::kBlockBytes) {
    const std::size_t block_bytes = std::min(codec::kBlockBytes, plain_bytes - begin);
    const std::size_t count = block_bytes / width;
    std::size_t groups_at = at + width * sizeof(std::uint32_t);
    if (groups_at > stored.size()) return;
    for (std::size_t k = 0; k < width; ++k) {
      const std::size_t length_at = at + k * sizeof(std::uint32_t);
      const auto length = std::min<std::size_t>(load_le<std::uint32_t>(stored, length_at), count);
      store_le(stored, length_at, static_cast<std::uint32_t>(length));
      groups_at += length;
    }
    at = groups_at + block_bytes % width;
    if (at > stored.size()) return;
  }
  if (stored.size() - at >= sizeof(base::Digest128)) {
    store_bytes(stored, at, base::xxh3_128(stored.first(at)));
  }
}

void mend_pack(std::span<std::byte> pack) {
  PackMender(pack).run();
}

void mend_row(std::uint32_t table, View key, std::span<std::byte> value) {
  if (value.size() < kChecksumBytes) return;
  const std::size_t body_bytes = value.size() - kChecksumBytes;
  Bytes all(8);
  store_le(std::span(all), 0, table);
  store_le(std::span(all), 4, static_cast<std::uint32_t>(key.size()));
  all.insert(all.end(), key.begin(), key.end());
  all.insert(all.end(), value.begin(), value.begin() + static_cast<std::ptrdiff_t>(body_bytes));
  store_le(value, body_bytes, base::xxh3_64(all));
}

void mend_catalog(std::span<std::byte> file) {
  CatalogMender(file).run();
}

}  // namespace cairn::fuzz
