// How a golden vector of format/vectors is decoded, and what comes of it.
#pragma once

#include "codec/grouped.h"
#include "format/index.h"
#include "format/record.h"
#include "format/root.h"
#include "format/slot.h"
#include "format/superblock.h"
#include "pack/pack_file.h"
#include "store/checks.h"

#include <cairn/error.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::format {

/// What every slot, record and pack of the vectors is made for; format/vectors/README.md names
/// them.
inline Uuid vectors_uuid() {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::byte>(i);
  return uuid;
}
inline constexpr std::uint64_t kVectorsEnd = std::uint64_t{1} << 32;       // the end of data
inline constexpr std::size_t kVectorsPlainBytes = codec::kBlockBytes + 6;  // of compressed chunks

/// "ok", or the code of the error; and its offset, or "-".
struct VectorOutcome {
  std::string code = "ok";
  std::string offset = "-";
  friend bool operator==(const VectorOutcome&, const VectorOutcome&) = default;
};

/// Everything that the newest slot of a pack leads to, without recovery of any kind.
inline void read_everything(const std::filesystem::path& path) {
  const auto pack = pack::PackFile::open(path, io::File::Access::kRead);
  const auto slots = pack.read_slots();
  if (slots.newest_first().empty()) throw Error(ErrorCode::kDamaged, "no slot can be read");
  const Slot& slot = *slots.newest_first().front();
  const Root root = pack.read_root(slot.root, slot.data_end);
  if (root.sequence != slot.sequence || root.parent_sequence != slot.parent_sequence ||
      root.parent_digest != slot.parent_digest) {
    throw Error(ErrorCode::kDamaged, "slot and root contradict each other");
  }
  for (const RootEntry& entry : root.checkpoints) {
    const Index index = store::read_index_of(pack, entry, slot.data_end);
    for (const ChunkRef& chunk : index.chunks) {
      std::vector<std::byte> bytes(chunk.plain_bytes);
      pack.read_chunk(chunk, bytes);
    }
  }
}

/// `kind` is a column of the table; `path` is where the bytes lie.
inline VectorOutcome decode_vector(std::string_view kind, std::span<const std::byte> bytes,
                                   const std::filesystem::path& path) {
  try {
    if (kind == "superblock") decode_superblock(bytes);
    if (kind == "slot" && !decode_slot(bytes, vectors_uuid(), 0)) return {.code = "absent"};
    if (kind == "index-record") {
      decode_record(bytes, vectors_uuid(), kDataBegin, RecordType::kIndex);
    }
    if (kind == "root-record") decode_record(bytes, vectors_uuid(), kDataBegin, RecordType::kRoot);
    if (kind == "index") decode_index(bytes, kVectorsEnd);
    if (kind == "root") decode_root(bytes, kVectorsEnd);
    if (kind == "summary") decode_summary(bytes);
    if (kind == "chunk") {
      std::vector<std::byte> plain(kVectorsPlainBytes);
      codec::decode(bytes, plain);
    }
    if (kind == "pack") read_everything(path);
    return {};
  } catch (const Error& error) {
    VectorOutcome outcome{.code = std::string(to_string(error.code()))};
    if (error.offset()) outcome.offset = std::to_string(*error.offset());
    return outcome;
  }
}

}  // namespace cairn::format
