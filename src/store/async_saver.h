// Saving behind the caller's back.
//
//  1. Changes of a store come in the order of their calls, one after another: each takes its turn,
//     which waits for the save before it. So from the look-up of step 2 to the commit of step 4
//     nothing else changes the store, and a chunk that was stored at the look-up still is.
//  2. On the caller's thread: each chunk is hashed, looked up, and copied if it is new. What is
//     stored already is not copied at all.
//  3. The retention rule is asked, on the caller's thread too. The caller may go on.
//  4. On a thread of its own: the ordinary commit (commit.h), from the copies.
//
// At most one save is on its way. A second one would have to keep copies of what the first may
// still fail to store, and the memory for them, to gain nothing: the disk is busy with the first.
#pragma once

#include "catalog/catalog.h"
#include "io/aligned_buffer.h"
#include "io/buffer_pool.h"
#include "pack/pack_file.h"
#include "store/commit.h"
#include "store/save.h"

#include <cairn/async.h>
#include <cairn/state.h>
#include <cairn/store.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace cairn::store {

/// Memory for the new bytes of one save, kept from save to save: touching fresh memory costs far
/// more than copying into it.
class SaveBuffer {
 public:
  /// So many bytes, or none when that would be more than `max_bytes` in all since `clear`.
  std::span<std::byte> take(std::size_t bytes, std::uint64_t max_bytes);
  void clear() noexcept;
  std::uint64_t taken_bytes() const noexcept { return taken_bytes_; }

 private:
  std::vector<io::AlignedBuffer> slabs_;
  std::size_t slab_ = 0;  // the one that is being handed out
  std::size_t at_ = 0;    // so much of it is
  std::uint64_t taken_bytes_ = 0;
};

/// A save on its way, shared by its future and the saver.
class PendingSave final : public detail::Pending {
 public:
  bool ready() const override;
  void wait() const override;

  void succeed(SaveResult result);
  void fail(std::exception_ptr error);
  /// Waits, and gives the result or throws the error, which then is told.
  SaveResult take();
  /// The error, once, if nobody was told of it; null otherwise.
  std::exception_ptr untold_error();

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable done_;
  bool is_done_ = false;
  SaveResult result_{};
  std::exception_ptr error_;
  bool is_told_ = false;
};

/// Gives every change of a store its turn, and lets saves go on behind their callers.
/// Threads: safe at once.
class AsyncSaver {
 public:
  /// What it is given outlives it.
  AsyncSaver(Writer& writer, const pack::PackFile& pack, const catalog::Catalog& catalog,
             LogCallback log);
  /// Waits for the save on its way, and logs an error that nobody was told of. In a child of the
  /// process that made it there is nothing to wait for.
  ~AsyncSaver();
  AsyncSaver(const AsyncSaver&) = delete;
  AsyncSaver& operator=(const AsyncSaver&) = delete;

  /// Makes a change when its turn comes. Errors: those of the change; that of an asynchronous save
  /// before it that nobody was told of, and then nothing is changed.
  SaveResult change(const std::function<SaveResult()>& make);

  /// As `change`, for one that no caller asked for: it waits without the turn, so that nobody waits
  /// for it meanwhile, and an untold error stays for the next change that a caller makes.
  SaveResult change_aside(const std::function<SaveResult()>& make);

  SaveFuture<SaveResult> save(const CheckpointState& state, const SaveOptions& options,
                              const AsyncOptions& async);

  /// Waits for the save on its way; its error stays untold.
  void wait() noexcept;

 private:
  /// What is left of a save when its caller may go on.
  struct Job;

  bool is_in_child() const noexcept;
  void join() noexcept;
  void throw_untold();
  bool is_on_its_way() const;
  /// Hashes the state and copies what is not stored; sets `fill` of what is to null.
  TakenState copy_new(const CheckpointState& state, const SaveOptions& options,
                      std::uint64_t max_bytes, AsyncCost& cost);
  void commit(const Job& job, PendingSave& pending) noexcept;
  std::vector<catalog::ChunkKey> chunks_of_damaged() const;

  Writer& writer_;
  const pack::PackFile& pack_;
  const catalog::Catalog& catalog_;
  LogCallback log_;
  std::uint64_t fork_generation_;

  std::mutex turn_;  // held by a change from its look-ups on
  SaveBuffer buffer_;
  std::shared_ptr<PendingSave> last_;
  std::thread thread_;
};

}  // namespace cairn::store
