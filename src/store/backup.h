// A backup: a pack alone that holds the checkpoints of a store.
#pragma once

#include "catalog/catalog.h"
#include "pack/pack_file.h"
#include "store/paths.h"

#include <cairn/store.h>

#include <filesystem>

namespace cairn::store {

/// As `Store::backup` says.
BackupReport back_up(const StorePaths& paths, const pack::PackFile& from,
                     const catalog::Catalog& catalog, const std::filesystem::path& file,
                     const BackupOptions& options);

}  // namespace cairn::store
