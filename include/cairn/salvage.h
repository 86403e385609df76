// Getting checkpoints out of a lone pack: when the rest of a store is lost, or the disk is dying.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/store.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace cairn {

struct SalvageOptions {
  bool allow_network_file_system = false;
  LogCallback log = {};
  ProgressCallback progress = {};  ///< Of reading everything twice: to check it, and to copy it.
};

/// A checkpoint that could not be taken over whole.
struct SalvageLoss {
  std::uint64_t id = 0;   ///< In the pack.
  std::string name = {};  ///< In the pack.
  std::string why = {};
};

struct SalvageReport {
  std::vector<CheckpointInfo> saved = {};  ///< As they stand in the new store, newest first.
  std::vector<SalvageLoss> lost = {};      ///< Listed by the pack's root, but not intact.
  /// No root could be read: these were found by their index records, and some of them may have been
  /// deleted from the store before.
  bool by_scan = false;
};

/// Copies every intact checkpoint of `pack` into a new store in `directory`.
///
/// Reads `pack` only, takes no lock and needs no catalog; it may be a copy of the file alone. The
/// checkpoints are those of the newest root that can be read, and without one those whose index
/// records a scan finds. Names, metadata, times and pins come along, ids are new. Each chunk is
/// verified before a checkpoint is taken over.
/// Durability: each checkpoint is a commit of its own; after a failure those before it are there.
/// Errors: not_found (no pack); damaged, truncated (no superblock is good, and neither slot nor
/// record tells of which store it is: not a pack);
/// unsupported_version; already_exists (`directory` holds checkpoints); no_space; io.
SalvageReport salvage(const std::filesystem::path& pack, const std::filesystem::path& directory,
                      const SalvageOptions& options = {});

}  // namespace cairn
