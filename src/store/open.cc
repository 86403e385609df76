// Opening and making a store.
//
// Making, under the writer's lock: `pack.tmp` with superblocks, an empty root and its slot,
// flushed; renamed to `pack`; directory and its parent flushed; then the catalog, as a rebuild
// makes it. So a crash leaves either no pack (a new attempt starts over) or a whole one (opening
// rebuilds).
//
// Opening: locks, superblock, slots, catalog (vetted before LMDB may follow its pointers), and the
// checks that pack and catalog belong together. For writing, a catalog that is absent, empty, not
// LMDB or fails vetting is rebuilt from the pack; anything else that is wrong is an error. For
// reading no file is changed.

#include "base/mutant.h"
#include "base/text.h"
#include "io/file.h"
#include "io/fork_guard.h"
#include "store/checks.h"
#include "store/handle.h"
#include "store/rebuild.h"

#include <cairn/error.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace cairn::store {

using io::PathKind;

namespace {

bool is_leftover_of_making(const std::string& name) {
  return name == "lock" || name == "pack.tmp" || name == "catalog.mdb.new" ||
         name == "catalog.mdb.new-lock";
}

/// True for a catalog that is absent, empty, not LMDB or fails vetting; errors of the system and
/// newer versions are no reason to make a new one.
bool a_rebuild_helps(const Error& error) {
  return is_damage(error) || error.code() == ErrorCode::kNotFound;
}

/// The nearest ancestor that exists, to ask about its file system.
std::filesystem::path existing_ancestor(std::filesystem::path path) {
  path = std::filesystem::absolute(path);
  while (!io::file_id(path) && path.has_relative_path()) {  // a link to nothing is nothing
    path = path.parent_path();
  }
  return path;
}

void refuse_network_file_system(const std::filesystem::path& directory) {
  const auto name = io::network_file_system(existing_ancestor(directory));
  if (!name) return;
  throw Error(ErrorCode::kInvalidArgument,
              "the directory is on a network file system (" + std::string(*name) +
                  "), where locks and flushes cannot be relied upon; use a local disk, or set "
                  "allow_network_file_system (--allow-network-fs) to go on at your own risk",
              {.path = directory});
}

/// Makes a directory and its missing ancestors, durably.
void make_directories(const std::filesystem::path& directory) {
  const auto absolute = std::filesystem::absolute(directory).lexically_normal();
  const auto path = absolute.has_filename() ? absolute : absolute.parent_path();
  if (io::path_kind(path) != PathKind::kAbsent) return;
  make_directories(path.parent_path());
  io::make_directory(path);
  io::sync_directory(path.parent_path());
}

std::uint64_t wanted_features(const StoreOptions& options) {
  return options.compression == Compression::kZstd ? format::kIncompatCompressed : 0;
}

void make_pack(const StorePaths& paths, const StoreOptions& options) {
  format::Superblock superblock{.chunk_bytes = options.chunk_bytes};
  superblock.incompat = wanted_features(options);
  io::fill_random(superblock.uuid);
  pack::PackFile::create(paths.pack_tmp, superblock);
  io::rename_file(paths.pack_tmp, paths.pack);
  io::sync_directory(paths.directory);
  io::sync_directory(std::filesystem::absolute(paths.directory).lexically_normal().parent_path());
}

void check_options(const StoreOptions& options) {
  const auto refuse = [](const char* why) { throw Error(ErrorCode::kInvalidArgument, why); };
  if (options.chunk_bytes % format::kAlignment != 0 ||
      options.chunk_bytes < format::kMinChunkBytes ||
      options.chunk_bytes > format::kMaxChunkBytes) {
    refuse("chunk_bytes must be a multiple of 4096 from 65,536 to 67,108,864");
  }
  if (options.busy_timeout.count() < 0) refuse("busy_timeout must not be negative");
  if (options.assume_no_writer && !options.read_only) refuse("assume_no_writer needs read_only");
}

}  // namespace

// ---- opening
// ----------------------------------------------------------------------------------------

/// The steps of opening a store, in order; what they find out lives here meanwhile.
class Opening {
 public:
  Opening(const std::filesystem::path& directory, StoreOptions options)
      : paths_(directory), options_(std::move(options)) {}

  std::shared_ptr<StoreHandle> run() {
    check_options(options_);
    if (paths_.directory.empty()) {
      throw Error(ErrorCode::kInvalidArgument, "the store's path is empty");
    }
    if (!options_.allow_network_file_system) refuse_network_file_system(paths_.directory);
    return options_.read_only ? open_for_reading() : open_for_writing();
  }

 private:
  std::shared_ptr<StoreHandle> open_for_reading() {
    require_directory();
    if (!has_pack()) {
      if (io::path_kind(paths_.catalog) != PathKind::kAbsent) throw_no_pack();
      throw_no_store();
    }
    StoreLocks locks = options_.assume_no_writer ? StoreLocks() : StoreLocks::for_reader(paths_);
    pack::PackFile pack =
        pack::PackFile::open(paths_.pack, io::File::Access::kRead, options_.direct_io);
    catalog::Catalog catalog = [&] {
      try {
        return catalog::Catalog::open(
            paths_.catalog,
            options_.assume_no_writer ? catalog::Mode::kReadOnlyNoLock : catalog::Mode::kReadOnly,
            &vetted_);
      } catch (const Error& error) {
        if (!a_rebuild_helps(error)) throw;
        throw Error(ErrorCode::kDamaged,
                    std::string("the catalog cannot be used; `cairn repair`, or opening the store "
                                "for writing, makes it anew from the pack: ") +
                        error.what());
      }
    }();
    // In this order: a slot that is there names a parent that the catalog already has.
    const pack::SlotTable slots = pack.read_slots();
    const catalog::ReadTransaction view = catalog.read();
    for (std::string& text : check_store(paths_, pack, slots, view, rows_of(view))) {
      note(std::move(text));
    }
    if (auto text = stranded_note(slots, view.info().sequence);
        text && !locks.another_writer_is_active()) {
      note(std::move(*text));
    }
    return finish(std::move(locks), std::move(pack), std::move(catalog));
  }

  std::shared_ptr<StoreHandle> open_for_writing() {
    if (io::on_read_only_file_system(existing_ancestor(paths_.directory))) {
      throw Error(ErrorCode::kIo,
                  "the directory is on a read-only file system, so nothing can be saved there; "
                  "choose another, or only read the store, with `assume_no_writer`",
                  {.path = paths_.directory, .system_errno = EROFS});
    }
    if (options_.create && io::path_kind(paths_.directory) == PathKind::kAbsent) {
      make_directories(paths_.directory);
    }
    require_directory();
    // Looked at before the lock file is made, so that a directory that is no store stays as it is.
    if (!has_pack()) require_makeable();
    StoreLocks locks = StoreLocks::for_writer(paths_, options_.busy_timeout);
    if (!has_pack()) {
      require_makeable();
      make_pack(paths_, options_);
      report_.created = true;
      if (io::on_memory_file_system(paths_.directory)) {
        note(
            "the new store is on a file system in memory: it is lost when the machine stops; use a "
            "directory on a disk for what must last: " +
            paths_.directory.string());
      }
    }
    pack::PackFile pack =
        pack::PackFile::open(paths_.pack, io::File::Access::kReadWrite, options_.direct_io);
    if (format::is_read_only_for_us(pack.superblock())) {
      throw Error(ErrorCode::kUnsupportedVersion,
                  "the store has features that this version of Cairn can only read; open it "
                  "read-only, or update Cairn",
                  {.path = paths_.pack});
    }
    catalog::Catalog catalog = open_or_rebuild_catalog(locks, pack);
    bool stranded = false;
    bool roots_damaged = false;
    Listing listing;
    {
      const pack::SlotTable slots = pack.read_slots();
      const catalog::ReadTransaction view = catalog.read();
      for (std::string& text : check_store(paths_, pack, slots, view, rows_of(view), &listing,
                                           report_.rebuilt_catalog)) {
        note(std::move(text));
        roots_damaged = true;
      }
      roots_damaged |= slots.find(view.info().sequence) == nullptr;
      if (auto text = stranded_note(slots, view.info().sequence)) {
        note(std::move(*text));
        stranded = true;
      }
    }
    renew_superblocks(pack);
    options_.compression = compression_of(pack);
    auto handle = finish(std::move(locks), std::move(pack), std::move(catalog));
    handle->writer_ = std::make_unique<Writer>(handle->pack_, handle->catalog_,
                                               handle->options_.log, handle->options_.heal_every,
                                               std::move(listing), *handle->options_.compression);
    handle->saver_ = std::make_unique<AsyncSaver>(*handle->writer_, handle->pack_, handle->catalog_,
                                                  handle->options_.log);
    // The state that this opening found gets a root and a slot of its own, newer than any that was
    // stranded or passed over: from here on, no later rebuild can find another. So it does when a
    // copy of its root or its slot is bad: a rebuild may have taken a root that was half written,
    // and have been cut short before it came to this.
    if (handle->report_.rebuilt_catalog || roots_damaged ||
        (stranded && !CAIRN_MUTANT(kNoSuperseding))) {
      try {
        handle->writer_->renew_roots();
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kNoSpace) throw;  // the next commit tries again
      }
    }
    return handle;
  }

  /// A crash may have torn a copy when a feature was added; and a feature must be known before the
  /// first chunk is stored that needs it.
  void renew_superblocks(pack::PackFile& pack) {
    const std::uint64_t wanted = wanted_features(options_);
    const bool is_new = (wanted & ~pack.superblock().incompat) != 0;
    try {
      const auto mended = pack.renew_superblocks(wanted);
      if (is_new) {
        note(
            "new chunks are compressed from now on; versions of Cairn that cannot read them "
            "refuse the store");
        return;
      }
      for (const std::string& what : mended) {
        note("a copy of the superblock was written anew: " + what);
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNoSpace || is_new) throw;  // the next opening tries again
    }
  }

  Compression compression_of(const pack::PackFile& pack) const {
    const bool may = (pack.superblock().incompat & format::kIncompatCompressed) != 0;
    return options_.compression.value_or(may ? Compression::kZstd : Compression::kNone);
  }

  catalog::Catalog open_or_rebuild_catalog(StoreLocks& locks, const pack::PackFile& pack) {
    std::string why;
    try {
      catalog::Catalog catalog =
          catalog::Catalog::open(paths_.catalog, catalog::Mode::kReadWrite, &vetted_);
      // Where a writer was killed right after its commit, and a reader keeps LMDB's lock file
      // alive, LMDB goes on showing readers the commit before, until the dead writer's lock is
      // taken: only that makes it look at its meta pages again (mdb_mutex_failed).
      static_cast<void>(catalog.write());
      return catalog;
    } catch (const Error& error) {
      if (!a_rebuild_helps(error)) throw;
      why = error.what();
    }
    if (!CAIRN_MUTANT(kRebuildUnderOpenHandle)) locks.make_exclusive();
    const auto chosen = choose_root(pack);
    if (!chosen) {
      throw Error(ErrorCode::kDamaged,
                  "the catalog cannot be used (" + why +
                      "), and no root in the pack can be read; `cairn repair` lists the "
                      "checkpoints that it can still find",
                  {.path = paths_.pack});
    }
    const auto aside = install_catalog(paths_, derive_catalog(pack, chosen->slot, chosen->root));
    locks.make_shared();
    if (!report_.created) {
      report_.rebuilt_catalog = true;
      note("the catalog was made anew from the pack, at commit " +
           std::to_string(chosen->slot.sequence) + ", because: " + why);
      for (const std::string& text : chosen->notes) note(text);
      if (aside) note("the old catalog was kept as " + base::quoted(aside->filename().string()));
    }
    return catalog::Catalog::open(paths_.catalog, catalog::Mode::kReadWrite, &vetted_);
  }

  /// The rows that vetting read, unless a commit came between; they are given away.
  std::vector<catalog::CheckpointRow> rows_of(const catalog::ReadTransaction& view) {
    catalog::Vetted vetted = std::exchange(vetted_, {});
    return vetted.transaction == view.id() ? std::move(vetted.checkpoints) : read_rows(view);
  }

  bool has_pack() const { return io::path_kind(paths_.pack) != PathKind::kAbsent; }

  void require_directory() const {
    // Through a link, too.
    if (io::path_kind(paths_.directory / ".") == PathKind::kDirectory) return;
    if (io::path_kind(paths_.directory) == PathKind::kAbsent) throw_no_store();
    throw Error(ErrorCode::kInvalidArgument,
                "a store is a directory, and this is none; choose another path",
                {.path = paths_.directory});
  }

  /// Errors unless a store may be made in this directory, which has no pack.
  void require_makeable() const {
    const auto names = io::list_directory(paths_.directory);
    const auto stranger = std::find_if_not(names.begin(), names.end(), is_leftover_of_making);
    if (stranger != names.end() && stranger->starts_with("catalog.mdb")) {
      throw_no_pack();
    }
    if (stranger != names.end()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the directory is no store and not empty (it holds " + base::quoted(*stranger) +
                      "); choose an empty or new directory",
                  {.path = paths_.directory});
    }
    if (!options_.create) throw_no_store();
  }

  [[noreturn]] void throw_no_pack() const {
    throw Error(ErrorCode::kDamaged,
                "the store's pack is missing, and the pack holds all data; put it back",
                {.path = paths_.pack});
  }

  [[noreturn]] void throw_no_store() const {
    throw Error(ErrorCode::kNotFound, "there is no store here; check the path",
                {.path = paths_.directory});
  }

  void note(std::string text) {
    if (options_.log) options_.log(text);
    report_.notes.push_back(std::move(text));
  }

  std::shared_ptr<StoreHandle> finish(StoreLocks locks, pack::PackFile pack,
                                      catalog::Catalog catalog) {
    return std::shared_ptr<StoreHandle>(new StoreHandle(std::move(paths_), std::move(options_),
                                                        std::move(report_), std::move(locks),
                                                        std::move(pack), std::move(catalog)));
  }

  StorePaths paths_;
  StoreOptions options_;
  OpenReport report_;
  catalog::Vetted vetted_;
};

std::shared_ptr<StoreHandle> StoreHandle::open(const std::filesystem::path& directory,
                                               const StoreOptions& options) {
  auto handle = Opening(directory, options).run();
  handle->scrubber_ = std::make_unique<Scrubber>(handle->paths_, handle->pack_, handle->catalog_,
                                                 handle->writer_.get(), handle->saver_.get());
  if (options.scrub_bytes_per_second > 0) {
    handle->background_scrub_ = std::make_unique<BackgroundScrub>(
        *handle->scrubber_, options.scrub_bytes_per_second, options.log);
  }
  return handle;
}

StoreHandle::StoreHandle(StorePaths paths, StoreOptions options, OpenReport report,
                         StoreLocks locks, pack::PackFile pack, catalog::Catalog catalog)
    : paths_(std::move(paths)),
      options_(std::move(options)),
      report_(std::move(report)),
      fork_generation_(io::fork_generation()),
      locks_(std::move(locks)),
      pack_(std::move(pack)),
      catalog_(std::move(catalog)) {}

void StoreHandle::require_not_forked() const {
  if (fork_generation_ != io::fork_generation()) {
    throw Error(ErrorCode::kForked,
                "this handle was opened by the process that forked this one; open the store again",
                {.path = paths_.directory});
  }
}

Writer& StoreHandle::writer() {
  require_not_forked();
  if (!writer_) {
    throw Error(ErrorCode::kInvalidArgument,
                "the store was opened read-only; open it for writing to change it",
                {.path = paths_.directory});
  }
  return *writer_;
}

AsyncSaver& StoreHandle::saver() {
  writer();  // for its errors
  return *saver_;
}

void StoreHandle::settle() noexcept {
  background_scrub_.reset();
  if (saver_) saver_->wait();
}

void StoreHandle::log(std::string_view message) const {
  if (options_.log) options_.log(message);
}

}  // namespace cairn::store
