// Rows and catalogs for the tests of this directory.
#pragma once

#include "catalog/catalog.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <vector>

namespace cairn::catalog::sample {

/// Everything that a catalog says. `transaction` of info is left out: it is not the caller's.
struct Contents {
  InfoRow info{};
  std::vector<CheckpointRow> checkpoints{};
  std::map<ChunkKey, ChunkRow> chunks{};
  std::vector<FreeRow> free{};
  friend bool operator==(const Contents&, const Contents&) = default;
};

Contents contents_of(const ReadTransaction& view);

/// Rows that differ in every field and follow from the number alone.
InfoRow info_row(std::uint64_t number);
CheckpointRow checkpoint_row(std::uint64_t id);
CheckpointRow checkpoint_row_of_bytes(std::uint64_t id, std::size_t meta_bytes);
ChunkKey chunk_key_of(std::uint64_t number);
ChunkRow chunk_row(std::uint64_t number);
FreeRow free_row(std::uint64_t number);

using Image = std::vector<std::byte>;  // the bytes of a file
Image read_file(const std::filesystem::path& file);
/// In place: an environment that is open on the file sees it.
void write_file(const std::filesystem::path& file, std::span<const std::byte> bytes);
void write_at(const std::filesystem::path& file, std::uint64_t offset,
              std::span<const std::byte> bytes);

/// One commit, which must succeed.
void commit(const Catalog& catalog, const std::function<void(WriteTransaction&)>& change);

/// Makes a catalog with an info row, closed again.
void make_catalog(const std::filesystem::path& file);

/// A small catalog with everything in it: several rows in each table, overflow pages, free pages
/// of several commits.
void make_small_catalog(const std::filesystem::path& file);

/// So many chunk rows, in trees of several levels, with free pages.
void make_large_catalog(const std::filesystem::path& file, std::uint64_t chunks);

}  // namespace cairn::catalog::sample
