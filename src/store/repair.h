// Bringing a store back.
#pragma once

#include <cairn/store.h>

#include <filesystem>

namespace cairn::store {

/// Errors: as `Store::repair` says.
RepairReport repair_store(const std::filesystem::path& directory, const RepairOptions& options);

}  // namespace cairn::store
