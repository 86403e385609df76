// What a commit writes.
#pragma once

#include "store/commit.h"
#include "store/references.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cairn::store {

/// Everything that one commit will write, decided before the first byte is.
struct Writer::Plan {
  std::uint64_t transaction = 0;  // LMDB's id of this commit
  bool adds = false;

  format::RootChange root{};
  std::vector<std::byte> root_payload{};
  std::vector<std::byte> index_payload{};
  std::unique_ptr<const catalog::CheckpointRow> new_row{};
  std::map<std::uint64_t, std::unique_ptr<catalog::CheckpointRow>> changed_rows{};  // by id

  ReferenceChanges references{};
  // Chunks that are stored once more, compressed, while every index that names them changes.
  std::vector<std::pair<catalog::ChunkKey, catalog::ChunkRow>> rewritten{};
  std::vector<format::Extent> released{};
  std::vector<pack::ExtentWrite> writes{};
  format::Slot slot{};
  std::vector<std::string> notes{};  // for the log, once the commit is made
#ifdef CAIRN_MUTANTS
  std::vector<pack::ExtentWrite> late_writes{};
#endif
};

}  // namespace cairn::store
