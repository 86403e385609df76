// The checkpointer: saves and loads the state of a LibTorch training job as a whole.
#pragma once

#include <cairn/async.h>
#include <cairn/checkpoint.h>
#include <cairn/error.h>
#include <cairn/retention.h>
#include <cairn/state.h>
#include <cairn/store.h>
#include <cairn/torch/parameters.h>
#include <cairn/torch/recoverable.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn {

/// What `load_checkpoint` takes besides the checkpoint.
struct LoadOptions {
  std::vector<std::string> only = {};  ///< Names of recoverables; empty: all that are registered.
  LoadMode mode = LoadMode::kVerifyFirst;
};

/// What a load did with each name. Each list is in byte order.
struct LoadReport {
  std::vector<std::string> loaded = {};
  std::vector<std::string> missing = {};  ///< Optional recoverables that the checkpoint lacks.
  /// Saved state that nothing asked for: "recoverable", or "recoverable/key" of a custom object.
  std::vector<std::string> ignored = {};
};

/// A checkpoint that recovery did not take.
struct PassedOver {
  CheckpointInfo checkpoint = {};
  std::string reason = {};  ///< For people: which tensor is damaged, and where.
};

/// What `recover_if_possible` loaded: a checkpoint, or nothing when there was none to load.
///
/// `if (recovery) ... recovery->name`; dereferencing an empty one is undefined, as of an optional.
class Recovery {
 public:
  Recovery() = default;
  Recovery(std::optional<CheckpointInfo> checkpoint, LoadReport loaded,
           std::vector<PassedOver> passed)
      : passed_over(std::move(passed)),
        report(std::move(loaded)),
        checkpoint_(std::move(checkpoint)) {}

  explicit operator bool() const noexcept { return checkpoint_.has_value(); }
  bool has_value() const noexcept { return checkpoint_.has_value(); }
  const CheckpointInfo* operator->() const { return &*checkpoint_; }
  const CheckpointInfo& operator*() const { return *checkpoint_; }

  /// Checkpoints that were wanted more, but are damaged; the most wanted first.
  std::vector<PassedOver> passed_over = {};
  LoadReport report = {};

 private:
  std::optional<CheckpointInfo> checkpoint_ = {};
};

/// What `save_and_keep_only` did in its one commit. Newest first in each list.
struct SaveAndKeepResult {
  CheckpointInfo saved = {};
  std::uint64_t new_bytes = 0;   ///< Bytes of chunks that were not stored before.
  std::uint64_t new_chunks = 0;  ///< How many of them.
  /// The one just saved is among them, unless the rule keeps nothing: then it is among `deleted`.
  std::vector<RetentionDecision> kept = {};
  std::vector<RetentionDecision> deleted = {};
  std::string problem = {};  ///< Why the rule could not be applied, so that nothing was deleted.
};

/// Saves and loads the state of a training job, whole or not at all.
///
/// Register the objects that make up the job, recover, then train and save. One process at a time
/// holds a directory open for writing; any number read it (`.read_only = true`).
/// Threads: none of its functions may run at the same time as another of the same checkpointer, or
/// while another thread changes a registered object.
/// Errors: those of `Store` besides the ones named; whatever throws leaves every registered object
/// as it was, unless its description says otherwise.
class Checkpointer {
 public:
  /// Opens, or makes, the store in `directory`, and takes its writer lock unless `.read_only`: a
  /// job that is started twice fails here. Without a `.log`, what there is to say becomes a warning
  /// of LibTorch's. Errors: as the constructor of `Store`.
  explicit Checkpointer(const std::filesystem::path& directory, const StoreOptions& options = {});
  Checkpointer(Checkpointer&&) noexcept;
  Checkpointer& operator=(Checkpointer&&) noexcept;
  ~Checkpointer();

  /// Registers an object under the name by which checkpoints know it; see `Recoverable`.
  ///
  /// Errors: invalid_argument for an empty name, an empty module holder, one hook without the
  /// other, or a type that needs hooks; already_exists for a name that is registered.
  Checkpointer& add_recoverable(std::string name, Recoverable object,
                                RecoverableOptions options = {});

  /// Registers several objects, all of them or none. Errors: as `add_recoverable`.
  Checkpointer& add_recoverables(Recoverables objects);

  /// Registers LibTorch's default generators, from which dropout, shuffling and `torch::randn`
  /// draw: the CPU's as "PREFIX.cpu", and that of each CUDA device that there is as "PREFIX.cuda0",
  /// ...
  ///
  /// Those of CUDA may be missing from a checkpoint, and when it is loaded on a machine with fewer
  /// devices the rest is ignored and reported. Errors: as `add_recoverable`.
  Checkpointer& add_default_generators(const std::string& prefix = "generator");

  /// The names that are registered, in byte order.
  std::vector<std::string> recoverables() const;

  /// Saves the state of everything registered as one checkpoint.
  ///
  /// `.end_of_epoch = false` says that the epoch is not over: an `EpochCounter` will run it again.
  /// Durability: on return it survives power loss; on throw it is absent (after `commit_unknown`:
  /// absent or complete). Memory: CPU tensors are saved from where they lie, others by way of a
  /// copy. Errors: invalid_argument (nothing registered; a tensor that cannot be saved, by name);
  /// already_exists (a name that is taken, unless `.replace`); no_space; as `Store::save`.
  SaveResult save_checkpoint(const SaveOptions& options = {});

  /// Saves, and deletes what `keep` does not protect, in one commit; the new checkpoint counts.
  ///
  /// A key by which nothing can be ranked fails no save: all are kept, and the result and the log
  /// say why (`plan_retention_or_keep_all`).
  /// Errors: as `save_checkpoint` and `plan_retention_or_keep_all`; invalid_argument when `options`
  /// has a retention of its own.
  SaveAndKeepResult save_and_keep_only(const SaveOptions& options = {},
                                       const KeepOptions& keep = {});

  /// As `save_checkpoint`, but returns as soon as the registered objects may change again: when all
  /// tensors are hashed and what is new is copied. The rest goes on behind; see `Store::save_async`
  /// for the order of saves, for errors, and for what happens when they come faster than the disk
  /// is. The destructor waits.
  ///
  ///     auto saving = checkpointer.save_checkpoint_async({.meta = {{"loss", loss}}});
  ///     ...                   // train on
  ///     saving.get();         // durable now; throws what went wrong
  SaveFuture<SaveResult> save_checkpoint_async(const SaveOptions& options = {},
                                               const AsyncOptions& async = {});
  /// As `save_and_keep_only`, in the same way. `keep` is asked before the call returns.
  SaveFuture<SaveAndKeepResult> save_and_keep_only_async(const SaveOptions& options = {},
                                                         const KeepOptions& keep = {},
                                                         const AsyncOptions& async = {});

  /// What `save_and_keep_only` would keep and delete; changes nothing. The checkpoint that would be
  /// saved stands in the plan without sizes.
  RetentionPlan plan_save_and_keep_only(const SaveOptions& options = {},
                                        const KeepOptions& keep = {}) const;

  /// Deletes what `keep` does not protect, in one commit, and says what and why.
  /// Errors: as `plan_retention`.
  RetentionPlan delete_checkpoints(const KeepOptions& keep = {});
  /// What `delete_checkpoints` would do; changes nothing.
  RetentionPlan plan_delete_checkpoints(const KeepOptions& keep = {}) const;

  /// All checkpoints, newest first.
  std::vector<CheckpointInfo> list_checkpoints() const;
  /// The checkpoints that `options` asks for, best first. Those known to be damaged are among them,
  /// with `damaged` set; a predicate can leave them out. Errors: as `select_checkpoints`.
  std::vector<CheckpointInfo> find_checkpoints(const FindOptions& options = {}) const;
  /// The first of these, or nothing.
  std::optional<CheckpointInfo> find_checkpoint(const FindOptions& options = {}) const;

  /// Loads the best checkpoint by `options` (without any: the newest) that is intact.
  ///
  /// Passes over damaged checkpoints only, reports each, and remembers them in the store; a
  /// mismatch of names, shapes or dtypes, or an I/O error, throws: a job must not start from zero
  /// because of it. Empty only when there are no checkpoints or the predicate rejects all.
  /// Resume from the newest; the best by a metric is for after the loop.
  /// Errors: damaged (none is intact; lists all with the reason); mismatch (lists all differences);
  /// io; invalid_argument (nothing registered; as `select_checkpoints`).
  Recovery recover_if_possible(const FindOptions& options = {});

  /// Loads a checkpoint into the registered objects, all of them or none.
  ///
  /// Tensors are written in place, never rebound. State that the checkpoint has and nothing asks
  /// for is ignored and reported. In the default mode only a read error between the two passes can
  /// leave tensors half written, and is reported as that; `LoadMode::kStaged` has no exception.
  /// Errors: not_found (deleted meanwhile; a name in `.only` that is not registered); mismatch,
  /// listing every missing or unexpected name, shape and dtype of all objects; damaged, truncated
  /// (which the store remembers, unless it is read-only).
  LoadReport load_checkpoint(const CheckpointInfo& checkpoint, const LoadOptions& options = {});

  /// Opens a checkpoint for reading. It holds its bytes in place while it lives, so keep it no
  /// longer than needed. Errors: not_found; damaged (its index).
  Checkpoint open(const CheckpointInfo& checkpoint) const;

  /// Exempts a checkpoint from retention, or ends that. Errors: not_found.
  void pin(const CheckpointInfo& checkpoint);
  void unpin(const CheckpointInfo& checkpoint);

  /// The store below, for what is not specific to training: `stat`, `verify`, `remove`.
  Store& store();
  const Store& store() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn
