// The bytes of the catalog's rows: keys and values as LMDB holds them. Pure: no I/O, no LMDB.
// Offsets stand in format/SPEC.md, section "Catalog".
#pragma once

#include "catalog/rows.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cairn::catalog {

/// The version of the rows; a newer one is unsupported_version. Stands in the row of table info.
inline constexpr std::uint32_t kRowFormat = 1;

/// A table's number, which goes into the checksum of its values. Never reuse one.
enum class Table : std::uint32_t {
  kInfo = 1,
  kCheckpoints = 2,
  kNames = 3,
  kChunks = 4,
  kFree = 5,
};

inline constexpr std::array kTables = {Table::kInfo, Table::kCheckpoints, Table::kNames,
                                       Table::kChunks, Table::kFree};

/// The name under which LMDB knows a table.
std::string_view name_of(Table table) noexcept;

using Bytes = std::span<const std::byte>;

// ---- keys: numbers are big-endian, so that LMDB's byte order is the order of the numbers ------

std::span<const std::byte> info_key() noexcept;
std::array<std::byte, 8> number_key(std::uint64_t number) noexcept;  // an id, an offset
std::array<std::byte, 24> chunk_key(const ChunkKey& key) noexcept;
std::span<const std::byte> name_key(std::string_view name) noexcept;  // Lifetime: of `name`.

/// Errors: damaged (length).
std::uint64_t decode_number_key(Table table, Bytes key);
ChunkKey decode_chunk_key(Bytes key);

// ---- values -----------------------------------------------------------------------------------
// Every value ends with an XXH3-64 of table number, key and value. Every decoder checks length,
// checksum, reserved bytes and ranges. Errors: damaged; of the encoders invalid_argument, for a row
// that its decoder would refuse.

/// The checksum that a value ends with, unchecked.
std::uint64_t checksum_of(Bytes value) noexcept;

std::vector<std::byte> encode_info(const InfoRow& row);
/// Errors: also unsupported_version.
InfoRow decode_info(Bytes key, Bytes value);

std::vector<std::byte> encode_checkpoint(const CheckpointRow& row);
CheckpointRow decode_checkpoint(Bytes key, Bytes value);

std::vector<std::byte> encode_name(std::string_view name, std::uint64_t checkpoint_id);
std::uint64_t decode_name(Bytes key, Bytes value);

std::vector<std::byte> encode_chunk(const ChunkKey& key, const ChunkRow& row);
ChunkRow decode_chunk(Bytes key, Bytes value);

std::vector<std::byte> encode_free(const FreeRow& row);
FreeRow decode_free(Bytes key, Bytes value);

}  // namespace cairn::catalog
