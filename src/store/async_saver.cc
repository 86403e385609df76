#include "store/async_saver.h"

#include "base/digest.h"
#include "base/mutant.h"
#include "base/stream_copy.h"
#include "io/fork_guard.h"
#include "store/checks.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstring>
#include <semaphore>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>

namespace cairn::store {

using catalog::ChunkKey;

namespace {

/// Slabs of this size: large enough that the unused end of each does not matter.
constexpr std::size_t kSlabBytes = std::size_t{64} << 20;

struct KeyHash {
  std::size_t operator()(const ChunkKey& key) const noexcept {
    return base::DigestHash{}(key.id) ^ key.plain_bytes;
  }
};

#ifdef CAIRN_MUTANTS
std::binary_semaphore overtaken(0);
#endif

}  // namespace

// ---- the buffer --------------------------------------------------------------------------------

std::span<std::byte> SaveBuffer::take(std::size_t bytes, std::uint64_t max_bytes) {
  if (bytes > max_bytes - std::min(max_bytes, taken_bytes_)) return {};
  while (slab_ < slabs_.size() && slabs_[slab_].size() - at_ < bytes) {
    ++slab_;
    at_ = 0;
  }
  if (slab_ == slabs_.size()) slabs_.push_back(io::huge_buffer(std::max(bytes, kSlabBytes)));
  const auto taken = slabs_[slab_].span().subspan(at_, bytes);
  at_ += bytes;
  taken_bytes_ += bytes;
  return taken;
}

void SaveBuffer::clear() noexcept {
  slab_ = 0;
  at_ = 0;
  taken_bytes_ = 0;
}

// ---- a save on its way -------------------------------------------------------------------------

bool PendingSave::ready() const {
  const std::lock_guard lock(mutex_);
  return is_done_;
}

void PendingSave::wait() const {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return is_done_; });
}

void PendingSave::succeed(SaveResult result) {
  const std::lock_guard lock(mutex_);
  result_ = std::move(result);
  is_done_ = true;
  done_.notify_all();
}

void PendingSave::fail(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  error_ = std::move(error);
  is_done_ = true;
  done_.notify_all();
}

SaveResult PendingSave::take() {
  wait();
  const std::lock_guard lock(mutex_);
  if (!error_) return std::move(result_);
  is_told_ = true;
  std::rethrow_exception(error_);
}

std::exception_ptr PendingSave::untold_error() {
  const std::lock_guard lock(mutex_);
  if (!error_ || std::exchange(is_told_, true)) return nullptr;
  return error_;
}

// ---- the saver ---------------------------------------------------------------------------------

struct AsyncSaver::Job {
  NewCheckpoint checkpoint{};
  std::vector<std::uint64_t> deletes{};  // what the retention rule says
};

AsyncSaver::AsyncSaver(Writer& writer, const pack::PackFile& pack, const catalog::Catalog& catalog,
                       LogCallback log)
    : writer_(writer),
      pack_(pack),
      catalog_(catalog),
      log_(std::move(log)),
      fork_generation_(io::fork_generation()) {}

AsyncSaver::~AsyncSaver() {
  join();
  if (is_in_child() || !last_ || !log_) return;
  try {
    if (const auto error = last_->untold_error()) std::rethrow_exception(error);
  } catch (const std::exception& error) {
    try {
      log_(std::string("an asynchronous save failed: ") + error.what());
    } catch (...) {  // Nobody is left to tell.
    }
  }
}

bool AsyncSaver::is_in_child() const noexcept {
  return fork_generation_ != io::fork_generation();
}

void AsyncSaver::join() noexcept {
  if (!thread_.joinable()) return;
  if (is_in_child()) {
    // There is no such thread here, and nothing may be done with what stood for it: left alone.
    static_cast<void>(new std::thread(std::move(thread_)));
    return;
  }
  thread_.join();
}

void AsyncSaver::wait() noexcept {
  if (is_in_child()) return;
  const std::lock_guard lock(turn_);
  join();
}

bool AsyncSaver::is_on_its_way() const {
  return last_ && !last_->ready();
}

void AsyncSaver::throw_untold() {
  if (!last_) return;
  const std::exception_ptr untold = std::exchange(last_, nullptr)->untold_error();
  if (!untold) return;
  try {
    std::rethrow_exception(untold);
  } catch (const Error& error) {
    throw Error(error.code(),
                std::string("an asynchronous save before this call failed, and this call did "
                            "nothing: ") +
                    error.what(),
                {.offset = error.offset(), .system_errno = error.system_errno()});
  }
}

SaveResult AsyncSaver::change(const std::function<SaveResult()>& make) {
  const std::lock_guard lock(turn_);
#ifdef CAIRN_MUTANTS
  if (CAIRN_MUTANT(kAsyncSaveOvertaken) && is_on_its_way()) {
    SaveResult result = make();
    overtaken.release();
    join();
    return result;
  }
#endif
  join();
  throw_untold();
  return make();
}

SaveResult AsyncSaver::change_aside(const std::function<SaveResult()>& make) {
  for (;;) {
    std::shared_ptr<PendingSave> on_its_way;
    {
      const std::lock_guard lock(turn_);
      if (!is_on_its_way()) {
        join();
        return make();
      }
      on_its_way = last_;
    }
    on_its_way->wait();
  }
}

// A commit looks again at the chunks that a damaged checkpoint shares (healing.h), and then needs
// good bytes at hand.
std::vector<ChunkKey> AsyncSaver::chunks_of_damaged() const {
  std::vector<ChunkKey> keys;
  const std::uint64_t data_end = catalog_.read().info().data_end;
  for (const catalog::CheckpointRow& entry : writer_.damaged_rows()) {
    try {
      const auto index = pack_.read_index(entry.index, entry.index_digest, data_end);
      for (const format::ChunkRef& chunk : index.chunks) {
        keys.push_back(catalog::key_of(chunk));
      }
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
    }
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

SaveFuture<SaveResult> AsyncSaver::save(const CheckpointState& state, const SaveOptions& options,
                                        const AsyncOptions& async) {
  const std::lock_guard lock(turn_);
  AsyncCost cost;
  if (is_on_its_way()) {
    if (async.back_pressure == BackPressure::kSkip) return {};
    const auto begin = std::chrono::steady_clock::now();
    last_->wait();
    cost.waited = std::chrono::steady_clock::now() - begin;
  }
  join();
  throw_untold();

  TakenState taken = copy_new(state, options, async.max_buffer_bytes, cost);
  auto job = std::make_shared<Job>();
  job->checkpoint = std::move(taken.checkpoint);
  job->deletes = writer_.deletes_of(job->checkpoint, options.retention);

  // All that may fail comes before the save begins: once it has, the caller gets its future. And a
  // save that never began must not be one that others wait for.
  const auto pending = std::make_shared<PendingSave>();
  std::function<SaveResult()> take = [pending] { return pending->take(); };
  if (!cost.written_by_caller) {
    try {
      thread_ = std::thread([this, job, pending] { commit(*job, *pending); });
    } catch (const std::system_error&) {  // No more threads to be had.
      cost.written_by_caller = true;
    }
  }
  if (cost.written_by_caller) commit(*job, *pending);
  last_ = pending;
  return SaveFuture<SaveResult>(pending, std::move(take), cost);
}

TakenState AsyncSaver::copy_new(const CheckpointState& state, const SaveOptions& options,
                                std::uint64_t max_bytes, AsyncCost& cost) {
  const std::vector<ChunkKey> suspects = chunks_of_damaged();
  const HealingTurn turn = writer_.healing_turn();
  const catalog::ReadTransaction view = catalog_.read();
  std::mutex mutex;  // over what follows, and over `view`
  std::unordered_map<ChunkKey, std::span<std::byte>, KeyHash> copies;
  buffer_.clear();

  // True for a chunk that the commit will not ask for.
  const auto is_stored = [&](const ChunkKey& key) {
    return view.chunk(key) && !turn.includes(key) &&
           !std::binary_search(suspects.begin(), suspects.end(), key);
  };
  const auto keep = [&](const PlannedChunk& chunk, ChunkContent& content,
                        std::span<const std::byte> bytes) {
    std::span<std::byte> copy;
    bool is_new = false;
    {
      const std::lock_guard lock(mutex);
      const auto known = copies.find(content.key);
      if (known != copies.end()) {
        copy = known->second;
      } else if (is_stored(content.key)) {
        content.fill = nullptr;
        return;
      } else {
        copy = buffer_.take(bytes.size(), max_bytes);
        copies.emplace(content.key, copy);
        is_new = true;
      }
      if (copy.empty()) {  // The commit takes it from where it lies.
        cost.written_by_caller = true;
        return;
      }
    }
    if (is_new) base::stream_copy(copy, bytes);
    content.fill = [copy, id = content.key.id,
                    tensor = chunk.pieces.front().tensor->key](std::span<std::byte> out) {
      std::memcpy(out.data(), copy.data(), copy.size());
      require_unchanged(out, id, tensor);
    };
  };
  TakenState taken = take_state(state, options, pack_.superblock().chunk_bytes, keep);
  cost.copied_bytes = buffer_.taken_bytes();
  return taken;
}

void AsyncSaver::commit(const Job& job, PendingSave& pending) noexcept {
#ifdef CAIRN_MUTANTS
  if (CAIRN_MUTANT(kAsyncSaveOvertaken)) overtaken.acquire();
#endif
  if (CAIRN_MUTANT(kAcknowledgedBeforeCommit)) pending.succeed({});
  try {
    pending.succeed(
        writer_.commit({.add = &job.checkpoint, .retention = [&](std::span<const CheckpointInfo>) {
                          return job.deletes;
                        }}));
  } catch (...) {
    pending.fail(std::current_exception());
  }
}

}  // namespace cairn::store
