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

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::store {

/// True for an error that says that bytes are not what they should be, rather than that the system
/// failed or that this version is too old.
bool is_damage(const Error& error) noexcept;

/// Errors: damaged for a catalog of another store, and for one that is an older copy.
void check_identity(const StorePaths& paths, const pack::PackFile& pack,
                    const pack::SlotTable& slots, const catalog::InfoRow& info);

/// Errors: truncated for a pack that ends before the catalog's end of data.
void check_length(const StorePaths& paths, const pack::PackFile& pack,
                  const catalog::InfoRow& info);

/// Reads both copies of the committed root; one good copy is enough. Two bad ones are an error,
/// although the catalog alone would do: a store that lost its catalog next could not be brought
/// back. Adds to `notes` what is damaged but does no harm yet.
/// Errors: damaged.
format::Root check_root(const StorePaths& paths, const pack::PackFile& pack,
                        const pack::SlotTable& slots, const catalog::InfoRow& info,
                        std::vector<std::string>& notes);

/// Errors: damaged when root and catalog list different checkpoints.
void check_listing(const StorePaths& paths, const format::Root& root,
                   const catalog::ReadTransaction& view);

/// All of the above. Returns the notes.
std::vector<std::string> check_store(const StorePaths& paths, const pack::PackFile& pack,
                                     const pack::SlotTable& slots,
                                     const catalog::ReadTransaction& view);

/// The note for a root that is newer than the catalog, or nothing.
std::optional<std::string> stranded_note(const pack::SlotTable& slots,
                                         std::uint64_t committed_sequence);

}  // namespace cairn::store
