// The public `Store` and `Checkpoint`: each function forwards to the layer that does the work.

#include "base/checked.h"
#include "base/text.h"
#include "io/file.h"
#include "store/backup.h"
#include "store/checks.h"
#include "store/handle.h"
#include "store/reader.h"
#include "store/repair.h"
#include "store/save.h"
#include "store/verify.h"

#include <cairn/store.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

namespace cairn {

using store::CheckpointReader;
using store::StoreHandle;

// ---- Store
// ----------------------------------------------------------------------------------------

Store::Store(const std::filesystem::path& directory, const StoreOptions& options)
    : handle_(StoreHandle::open(directory, options)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&& other) noexcept {
  if (this != &other) {
    if (handle_) handle_->settle();
    handle_ = std::move(other.handle_);
  }
  return *this;
}
// An open `Checkpoint` may keep the handle alive; a save on its way must be done all the same.
Store::~Store() {
  if (handle_) handle_->settle();
}

const std::filesystem::path& Store::directory() const {
  return handle_->paths().directory;
}
bool Store::read_only() const {
  return !handle_->is_writable();
}
const OpenReport& Store::open_report() const {
  return handle_->report();
}

std::vector<CheckpointInfo> Store::checkpoints() const {
  handle_->require_not_forked();
  std::vector<CheckpointInfo> infos;
  if (handle_->is_writable()) {
    infos = handle_->writer().checkpoints();
  } else {
    handle_->catalog().read().for_each_checkpoint(
        [&](const catalog::CheckpointRow& row) { infos.push_back(store::info_of(row)); });
  }
  std::reverse(infos.begin(), infos.end());
  return infos;
}

std::optional<CheckpointInfo> Store::find(std::uint64_t id) const {
  handle_->require_not_forked();
  const auto row = handle_->catalog().read().checkpoint(id);
  return row ? std::optional(store::info_of(*row)) : std::nullopt;
}

std::optional<CheckpointInfo> Store::find_by_name(std::string_view name) const {
  handle_->require_not_forked();
  const catalog::ReadTransaction view = handle_->catalog().read();
  const auto id = view.checkpoint_by_name(name);
  if (!id) return std::nullopt;
  const auto row = view.checkpoint(*id);
  return row ? std::optional(store::info_of(*row)) : std::nullopt;
}

Checkpoint Store::open(std::uint64_t id) const {
  handle_->require_not_forked();
  return Checkpoint(std::make_unique<CheckpointReader>(handle_, id));
}

SaveResult Store::save(const CheckpointState& state, const SaveOptions& options) {
  store::AsyncSaver& saver = handle_->saver();
  const store::TakenState taken =
      store::take_state(state, options, handle_->pack().superblock().chunk_bytes);
  return saver.change([&] {
    return handle_->writer().commit({.add = &taken.checkpoint, .retention = options.retention});
  });
}

void Store::check(const CheckpointState& state, const SaveOptions& options) {
  store::check_state(state, options);
}

SaveFuture<SaveResult> Store::save_async(const CheckpointState& state, const SaveOptions& options,
                                         const AsyncOptions& async) {
  return handle_->saver().save(state, options, async);
}

namespace {

void make_change(store::StoreHandle& handle, const store::Change& change) {
  handle.saver().change([&] { return handle.writer().commit(change); });
}

}  // namespace

SaveResult Store::copy(const Checkpoint& source, const CopyOptions& options) {
  store::AsyncSaver& saver = handle_->saver();
  const store::NewCheckpoint copy = source.reader_->copy(options);
  return saver.change([&] { return handle_->writer().commit({.add = &copy}); });
}

void Store::remove(std::span<const std::uint64_t> ids) {
  handle_->writer();  // for its errors
  if (!ids.empty()) make_change(*handle_, {.remove = {ids.begin(), ids.end()}});
}

void Store::set_pinned(std::span<const std::uint64_t> ids, bool pinned) {
  handle_->writer();
  store::Change change;
  for (const std::uint64_t id : ids) change.flags.push_back({.id = id, .pinned = pinned});
  if (!ids.empty()) make_change(*handle_, change);
}

void Store::set_damaged(std::span<const std::uint64_t> ids, bool damaged) {
  handle_->writer();
  store::Change change;
  for (const std::uint64_t id : ids) change.flags.push_back({.id = id, .damaged = damaged});
  if (!ids.empty()) make_change(*handle_, change);
}

CompactReport Store::compact(const CompactOptions& options) {
  CompactReport report;
  handle_->saver().change([&] {
    report = handle_->writer().compact(options);
    return SaveResult();
  });
  return report;
}

BackupReport Store::backup(const std::filesystem::path& file, const BackupOptions& options) const {
  handle_->require_not_forked();
  return store::back_up(handle_->paths(), handle_->pack(), handle_->catalog(), file, options);
}

VerifyReport Store::verify(std::span<const std::uint64_t> ids,
                           const ProgressCallback& progress) const {
  handle_->require_not_forked();
  const pack::SlotTable slots = handle_->pack().read_slots();
  const catalog::ReadTransaction view = handle_->catalog().read();
  return store::verify_store(handle_->paths(), handle_->pack(), slots, view, ids, progress);
}

ScrubReport Store::scrub(std::uint64_t max_bytes) {
  handle_->require_not_forked();
  return handle_->scrubber().step(max_bytes);
}

StoreStats Store::stat() const {
  handle_->require_not_forked();
  const auto oldest = handle_->catalog().oldest_reader();
  const catalog::ReadTransaction view = handle_->catalog().read();
  const catalog::InfoRow info = view.info();
  const auto space = [](std::uint64_t bytes) { return base::round_up(bytes, format::kAlignment); };

  StoreStats stats;
  stats.format_version = info.format_version;
  stats.sequence = info.sequence;
  stats.next_id = info.next_id;
  stats.chunks = view.chunk_rows();
  const format::Superblock superblock = handle_->pack().current_superblock();
  stats.chunk_bytes = superblock.chunk_bytes;
  stats.compressed = (superblock.incompat & format::kIncompatCompressed) != 0;
  stats.pack_bytes = handle_->pack().file().bytes();
  stats.allocated_bytes = handle_->pack().file().allocated_bytes();
  stats.catalog_bytes = handle_->catalog().file_bytes();
  const format::Uuid& uuid = handle_->pack().uuid();
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    static constexpr char kDigits[] = "0123456789abcdef";
    if (i == 4 || i == 6 || i == 8 || i == 10) stats.uuid += '-';
    stats.uuid += kDigits[std::to_integer<unsigned>(uuid[i]) >> 4];
    stats.uuid += kDigits[std::to_integer<unsigned>(uuid[i]) & 15];
  }
  view.for_each_checkpoint([&](const catalog::CheckpointRow& row) {
    ++stats.checkpoints;
    stats.logical_bytes += row.summary.logical_bytes;
  });
  // The next commit's transaction is one after this view's.
  const std::uint64_t horizon = view.id() >= 1 ? view.id() - 1 : 0;
  view.for_each_free([&](const catalog::FreeRow& row) {
    stats.free_bytes += row.bytes;
    if (oldest && row.freed_by > oldest->transaction) {
      stats.held_back_bytes += row.bytes;
    } else if (row.freed_by <= horizon) {
      stats.reusable_bytes += row.bytes;
    }
  });
  if (stats.held_back_bytes > 0) stats.oldest_reader_pid = oldest->pid;
  stats.stored_bytes = space(info.data_end) - format::kDataBegin - stats.free_bytes;
  return stats;
}

ChunkStats Store::chunk_stats() const {
  handle_->require_not_forked();
  ChunkStats stats;
  const catalog::ReadTransaction view = handle_->catalog().read();
  view.for_each_chunk([&](const catalog::ChunkKey& key, const catalog::ChunkRow& row) {
    ++stats.chunks;
    if (row.encoding != format::Encoding::kRaw) ++stats.compressed_chunks;
    stats.plain_bytes += key.plain_bytes;
    stats.stored_bytes += row.stored_bytes;
  });
  return stats;
}

std::vector<std::uint64_t> Store::bytes_freed_if_deleted(std::span<const CheckpointInfo> of) const {
  handle_->require_not_forked();
  const catalog::ReadTransaction view = handle_->catalog().read();
  const std::uint64_t data_end = view.info().data_end;
  const auto space = [](std::uint64_t bytes) { return base::round_up(bytes, format::kAlignment); };
  std::vector<std::uint64_t> freed;
  for (const CheckpointInfo& info : of) {
    std::uint64_t& bytes = freed.emplace_back(0);
    const auto row = view.checkpoint(info.id);
    if (!row) continue;
    bytes = space(row->index.bytes);
    try {
      const auto index = store::read_index_of(handle_->pack(), *row, data_end);
      std::unordered_map<std::uint64_t, std::uint64_t> references;  // by offset
      for (const format::ChunkRef& chunk : index.chunks) ++references[chunk.offset];
      for (const format::ChunkRef& chunk : index.chunks) {
        const auto at = references.find(chunk.offset);
        if (at == references.end()) continue;
        const auto chunk_row = view.chunk(catalog::key_of(chunk));
        if (chunk_row && chunk_row->references == at->second) bytes += space(chunk.stored_bytes);
        references.erase(at);
      }
    } catch (const Error& error) {  // a damaged index: what it holds cannot be told
      if (!store::is_damage(error)) throw;
    }
  }
  return freed;
}

RepairReport Store::repair(const std::filesystem::path& directory, const RepairOptions& options) {
  return store::repair_store(directory, options);
}

// ---- Checkpoint
// -----------------------------------------------------------------------------------

Checkpoint::Checkpoint(std::unique_ptr<CheckpointReader> reader) : reader_(std::move(reader)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const CheckpointInfo& Checkpoint::info() const {
  return reader_->info();
}
std::span<const TensorInfo> Checkpoint::tensors() const {
  return reader_->tensors();
}
std::span<const TensorInfo> Checkpoint::tensors(std::string_view recoverable) const {
  return reader_->tensors(recoverable);
}
std::optional<std::size_t> Checkpoint::find_tensor(std::string_view recoverable,
                                                   std::string_view key) const {
  return reader_->find_tensor(recoverable, key);
}
bool Checkpoint::has_recoverable(std::string_view recoverable) const {
  return reader_->find_recoverable(recoverable) != nullptr;
}
const MetaValue::Map& Checkpoint::values(std::string_view recoverable) const {
  return reader_->values(recoverable);
}
std::vector<ChunkInfo> Checkpoint::chunks(std::size_t tensor) const {
  return reader_->chunks(tensor);
}

std::vector<std::byte> Checkpoint::read(std::size_t tensor) const {
  if (tensor >= tensors().size()) {
    throw Error(ErrorCode::kInvalidArgument, "there is no tensor number " + std::to_string(tensor));
  }
  std::vector<std::byte> bytes(tensors()[tensor].bytes);
  reader_->read_range(tensor, 0, bytes);
  return bytes;
}
void Checkpoint::read_range(std::size_t tensor, std::uint64_t offset,
                            std::span<std::byte> out) const {
  reader_->read_range(tensor, offset, out);
}
void Checkpoint::load(std::span<const LoadTarget> targets, LoadMode mode) const {
  reader_->load(targets, mode);
}

}  // namespace cairn
