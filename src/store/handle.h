// An open store: what `Store` and every `Checkpoint` of it share.
#pragma once

#include "catalog/catalog.h"
#include "pack/pack_file.h"
#include "store/async_saver.h"
#include "store/commit.h"
#include "store/locks.h"
#include "store/paths.h"
#include "store/scrub.h"

#include <cairn/store.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace cairn::store {

class StoreHandle {
 public:
  /// Opens or makes a store; see open.cc for the order of its steps.
  static std::shared_ptr<StoreHandle> open(const std::filesystem::path& directory,
                                           const StoreOptions& options);

  const StorePaths& paths() const noexcept { return paths_; }
  const StoreOptions& options() const noexcept { return options_; }
  const OpenReport& report() const noexcept { return report_; }
  const pack::PackFile& pack() const noexcept { return pack_; }
  const catalog::Catalog& catalog() const noexcept { return catalog_; }

  /// Errors: forked, in a child of the process that opened the store.
  void require_not_forked() const;
  /// Errors: forked; invalid_argument for a read-only handle.
  Writer& writer();
  /// Gives changes their turn. Errors: as `writer`.
  AsyncSaver& saver();
  Scrubber& scrubber() noexcept { return *scrubber_; }
  /// Ends the scrub, and waits for a save on its way.
  void settle() noexcept;
  bool is_writable() const noexcept { return writer_ != nullptr; }

  void log(std::string_view message) const;

 private:
  friend class Opening;
  StoreHandle(StorePaths paths, StoreOptions options, OpenReport report, StoreLocks locks,
              pack::PackFile pack, catalog::Catalog catalog);

  StorePaths paths_;
  StoreOptions options_;
  OpenReport report_;
  std::uint64_t fork_generation_;
  // Closed in reverse: the scrub, the saver, which waits for a save on its way, the writer, the
  // catalog, the pack, and last the locks.
  StoreLocks locks_;
  pack::PackFile pack_;
  catalog::Catalog catalog_;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<AsyncSaver> saver_;
  std::unique_ptr<Scrubber> scrubber_;
  std::unique_ptr<BackgroundScrub> background_scrub_;
};

}  // namespace cairn::store
