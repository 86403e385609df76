// What every open checks before it believes a store: that pack and catalog belong together and that
// the committed root verifies. All against one snapshot of the catalog; `slots` were read before
// the snapshot was taken, so that a slot which is there names a parent that the catalog already
// has.
#pragma once

#include "catalog/catalog.h"
#include "format/root.h"
#include "pack/pack_file.h"
#include "store/paths.h"

#include <cairn/error.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn::store {

/// True for an error that says that bytes are not what they should be, rather than that the system
/// failed or that this version is too old.
bool is_damage(const Error& error) noexcept;

/// The same for bytes of a chunk, which are as good as lost where the disk cannot read them.
bool is_lost(const Error& error) noexcept;

/// The index of a checkpoint, as a root or the catalog lists it. One that verifies, but is another
/// checkpoint's, would give its bytes under the wrong name. (The name in the index may differ: a
/// repair that takes in two of one name changes it in the root.)
/// Errors: as `PackFile::read_index`.
template <typename Listed>
format::Index read_index_of(const pack::PackFile& pack, const Listed& listed,
                            std::uint64_t data_end) {
  format::Index index = pack.read_index(listed.index, listed.index_digest, data_end);
  if (index.id != listed.id || index.sequence != listed.sequence) {
    throw Error(ErrorCode::kDamaged, "the index is that of another checkpoint",
                {.path = pack.path(), .offset = listed.index.offset});
  }
  return index;
}

/// Errors: damaged for a catalog of another store, and for one that is an older copy, unless it has
/// just been rebuilt: where newer roots cannot be read, slots still tell of them.
void check_identity(const StorePaths& paths, const pack::PackFile& pack,
                    const pack::SlotTable& slots, const catalog::InfoRow& info,
                    bool is_rebuilt = false);

/// Errors: truncated for a pack that ends before the catalog's end of data.
void check_length(const StorePaths& paths, const pack::PackFile& pack,
                  const catalog::InfoRow& info);

/// The checkpoints that a snapshot of the catalog lists. They are many perhaps, so opening reads
/// them once, and hands them on.
struct Listing {
  std::vector<catalog::CheckpointRow> rows{};  // ascending by id
  std::vector<std::byte> root_payload{};       // what `format::encode_root` makes of them
};

std::vector<catalog::CheckpointRow> read_rows(const catalog::ReadTransaction& view);
format::RootEntry entry_of(const catalog::CheckpointRow& row);
/// The payload of the root that lists `rows`. Errors: invalid_argument.
std::vector<std::byte> encode_root_of(const catalog::InfoRow& info,
                                      std::span<const catalog::CheckpointRow> rows);

/// Reads both copies of the committed root; one good copy is enough. Two bad ones are an error,
/// although the catalog alone would do: a store that lost its catalog next could not be brought
/// back. Adds to `notes` what is damaged but does no harm yet.
/// Errors: damaged.
format::Root check_root(const StorePaths& paths, const pack::PackFile& pack,
                        const pack::SlotTable& slots, const catalog::InfoRow& info,
                        std::vector<std::string>& notes);

/// What is missing of the slots of the committed root and of its parent. `slots` were read after
/// the snapshot that `info` is of.
std::vector<std::string> lost_slots(const pack::SlotTable& slots, const catalog::InfoRow& info);

/// Errors: damaged when root and catalog list different checkpoints.
void check_listing(const StorePaths& paths, const format::Root& root, const catalog::InfoRow& info,
                   std::span<const catalog::CheckpointRow> rows);

/// All of the above, for the rows that `view` has. Returns the notes, and the listing in `listing`
/// unless it is null.
///
/// Where the root that the rows make has the digest of the committed one, both list the same, and
/// the copies in the pack are read for their digest alone.
std::vector<std::string> check_store(const StorePaths& paths, const pack::PackFile& pack,
                                     const pack::SlotTable& slots,
                                     const catalog::ReadTransaction& view,
                                     std::vector<catalog::CheckpointRow> rows,
                                     Listing* listing = nullptr, bool is_rebuilt = false);

/// The note for a root that is newer than the catalog, or nothing.
std::optional<std::string> stranded_note(const pack::SlotTable& slots,
                                         std::uint64_t committed_sequence);

}  // namespace cairn::store
