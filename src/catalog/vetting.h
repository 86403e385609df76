// Vetting an LMDB file before LMDB may follow its pointers. Pure reading through `io::File`; knows
// LMDB's file layout (mdb.c of 0.9.24, data version 1, 64 bit), and nothing of Cairn's rows.
#pragma once

#include "io/file.h"

#include <cstdint>
#include <span>

namespace cairn::catalog {

/// What the two meta pages say.
struct LmdbMeta {
  std::uint32_t page_bytes = 0;
  std::uint64_t transaction = 0;  // of the newest meta page that is valid
  std::uint64_t last_page = 0;    // of the same
};

/// Checks both meta pages: page flags and numbers, magic, version, page size, map size, roots and
/// last page within each other and the file. This must pass before LMDB opens the file.
/// Errors: damaged (the message says what and where); unsupported_version.
LmdbMeta vet_meta_pages(const io::File& file);

/// Walks every page of the snapshot of `transaction`, whose read transaction the caller holds (so
/// that no writer touches them), with bounds checked: page numbers inside the file and each used
/// once, node pointers inside their page, keys in order, counts and depth as the meta page says,
/// the list of free pages included (a writer would follow it).
/// Property: what it accepts, LMDB can traverse and change without leaving the map.
/// False when the meta page of that transaction is there no more: begin a newer one and try again.
/// Errors: damaged; truncated (a page beyond the end of the file).
bool vet_snapshot(const io::File& file, std::uint64_t transaction);

}  // namespace cairn::catalog
