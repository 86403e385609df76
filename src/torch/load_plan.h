// How a load is all or nothing over every object of a checkpointer.
//
//   1. Plan. Each object compares its saved state with itself and changes nothing. Differences are
//      collected; what is needed to decide (states of generators and archives, tensors that a
//      custom object asks for) is read, verified, into new memory and tried on copies.
//   2. Refuse. Any difference: one `mismatch` that lists all of them.
//   3. Archives. Objects that can only be loaded through their own archive operators are loaded,
//      each with an archive of its present state as undo. They go first because they alone can
//      still refuse.
//   4. Bytes. One `Checkpoint::load` fills all tensors: contiguous CPU targets in place, others by
//      way of host memory, optimizer state in new tensors. If it throws, step 3 is undone.
//   5. Apply. Copies from host memory, exchange of optimizer state, values, generators, and last
//      the apply steps of custom objects. Nothing here is expected to fail.
#pragma once

#include "tensor_bridge.h"

#include <cairn/checkpoint.h>
#include <cairn/state.h>
#include <cairn/torch/recoverable.h>

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::detail {

/// Collects the state of one object for a save; what a `StateWriter` writes to.
class StateWriterImpl {
 public:
  StateWriterImpl(std::string name, bool end_of_epoch, HostCopies& copies)
      : end_of_epoch_(end_of_epoch), copies_(copies) {
    state_.name = std::move(name);
  }

  void tensor(std::string key, const at::Tensor& tensor);
  void value(std::string key, MetaValue value);

  bool end_of_epoch() const { return end_of_epoch_; }
  const std::string& name() const { return state_.name; }
  RecoverableState take() { return std::move(state_); }

 private:
  RecoverableState state_;
  std::set<std::string, std::less<>> keys_;  // of the tensors
  bool end_of_epoch_;
  HostCopies& copies_;
};

/// A load of several objects from one checkpoint; see the protocol above.
class LoadPlan {
 public:
  LoadPlan(const Checkpoint& checkpoint, LoadMode mode) : checkpoint_(checkpoint), mode_(mode) {}

  const Checkpoint& checkpoint() const { return checkpoint_; }

  /// Remembers a difference between what was saved and what there is; `text` names the place.
  void mismatch(std::string text) { mismatches_.push_back(std::move(text)); }
  bool fits() const { return mismatches_.empty(); }

  /// Has tensor number `tensor` written to `target`, which has its shape, and its dtype or one that
  /// it can be cast to.
  void transfer(std::size_t tensor, at::Tensor target);

  /// Changes an object by `apply` in step 3; `undo` takes that back.
  void archive(std::string place, std::function<void()> apply, std::function<void()> undo);

  /// Changes an object in step 5: LibTorch's and Cairn's own, then custom ones.
  void step(ApplyStep step) { steps_.push_back(std::move(step)); }
  void custom_step(ApplyStep step) { custom_steps_.push_back(std::move(step)); }

  void ignore(std::string place) { ignored_.push_back(std::move(place)); }
  const std::vector<std::string>& ignored() const { return ignored_; }

  /// Steps 2 to 5. Errors: mismatch, damaged, truncated, io.
  void execute();

 private:
  struct Transfer {
    std::size_t tensor;
    at::Tensor target;
  };
  struct Archive {
    std::string place;
    std::function<void()> apply;
    std::function<void()> undo;
  };

  std::string place_of(std::size_t tensor) const;
  bool same_bytes(std::size_t a, std::size_t b) const;
  void merge_tied();
  void throw_mismatches() const;
  void apply_archives();
  void undo_archives();
  void fill_tensors();

  const Checkpoint& checkpoint_;
  LoadMode mode_;
  std::vector<std::string> mismatches_;
  std::vector<Transfer> transfers_;
  std::vector<Archive> archives_;
  std::size_t applied_ = 0;  // of the archives
  std::vector<ApplyStep> steps_;
  std::vector<ApplyStep> custom_steps_;
  std::vector<std::string> ignored_;
};

/// The saved state of one object during the planning of a load; what a `StateReader` reads from.
class StateReaderImpl {
 public:
  StateReaderImpl(std::string name, LoadPlan& plan)
      : name_(std::move(name)), plan_(plan), values_(plan.checkpoint().values(name_)) {}

  LoadPlan& plan() { return plan_; }
  const Checkpoint& checkpoint() const { return plan_.checkpoint(); }
  const std::string& name() const { return name_; }

  /// `"name": ` and the difference.
  void mismatch(const std::string& text) { plan_.mismatch(in_quotes(name_) + ": " + text); }

  const MetaValue::Map& values() const { return values_; }
  /// The value, or null.
  const MetaValue* find_value(std::string_view key);
  bool has_value(std::string_view key) const { return values_.find(key) != values_.end(); }

  /// The position of a tensor in the checkpoint, or nothing.
  std::optional<std::size_t> find_tensor(std::string_view key);
  bool has_tensor(std::string_view key) const {
    return checkpoint().find_tensor(name_, key).has_value();
  }
  const TensorInfo& info(std::size_t tensor) const { return checkpoint().tensors()[tensor]; }

  /// Plans to write a saved tensor into `target`, or notes why that cannot be.
  void read_into(std::string_view key, const at::Tensor& target);
  /// Plans to fill a new tensor on `device`; undefined when the checkpoint has none under `key`.
  at::Tensor read_new(std::string_view key, at::Device device);
  /// Reads a tensor at once, verified, into new host memory; undefined when there is none.
  at::Tensor read_now(std::string_view key);

  /// Notes as differences, or for a custom object as ignored, what was saved and not asked for.
  void finish(bool strict);

 private:
  std::string name_;
  LoadPlan& plan_;
  const MetaValue::Map& values_;
  std::set<std::string, std::less<>> used_values_;
  std::set<std::size_t> used_tensors_;
};

/// One kind of object, and the object: how its state is taken and how a load of it is planned.
class RecoverableImpl {
 public:
  virtual ~RecoverableImpl() = default;

  virtual void save(StateWriterImpl& writer) const = 0;
  virtual void plan_load(StateReaderImpl& reader) const = 0;

  /// Why the object needs hooks; empty when it can be saved and loaded without.
  virtual std::string problem() const { return {}; }
};

/// `name` with '.' as %2E and '%' as %25, so that it can be part of a path of names joined by '.'.
std::string escaped(std::string_view name);

/// What an exception has to say, without LibTorch's back trace.
std::string message_of(const std::exception& error);

/// A type's name as people write it.
std::string type_name(const std::type_info& type);

/// Has a saved object's type, kept in its values as "type", compared with that of the target.
/// False, with the difference noted, when they are not the same.
bool check_type(StateReaderImpl& reader, std::string_view type);

}  // namespace cairn::detail
