#include "load_plan.h"

#include <cairn/torch/checkpointer.h>

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <string_view>

namespace cairn {

using detail::in_quotes;

namespace {

struct Registered {
  detail::RecoverablePtr object;
  bool optional_load = false;
};
using Registry = std::map<std::string, Registered>;

std::string name_of(const CheckpointInfo& checkpoint) {
  return in_quotes(checkpoint.name) + " (id " + std::to_string(checkpoint.id) + ")";
}

std::vector<std::uint64_t> ids_of(const std::vector<RetentionDecision>& decisions) {
  std::vector<std::uint64_t> ids;
  for (const RetentionDecision& decision : decisions) ids.push_back(decision.checkpoint.id);
  return ids;
}

// What `.replace` deletes, at its place in the plan.
void add_replaced(const CheckpointInfo& replaced, RetentionPlan& plan) {
  const auto at = std::partition_point(plan.deleted.begin(), plan.deleted.end(),
                                       [&](const RetentionDecision& decision) {
                                         return decision.checkpoint.sequence > replaced.sequence;
                                       });
  plan.deleted.insert(at, {.checkpoint = replaced, .rule = "replaced"});
}

Registered prepare(const std::string& name, const Recoverable& object, RecoverableOptions options) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument,
                "cannot add recoverable " + in_quotes(name) + ": " + why);
  };
  if (name.empty()) refuse("its name is empty; give the name by which checkpoints shall know it");
  if (static_cast<bool>(options.custom_load_hook) != static_cast<bool>(options.custom_save_hook)) {
    refuse(
        "it has one hook without the other; give both `.custom_load_hook` and "
        "`.custom_save_hook`, or none");
  }
  Registered registered{.object = object.impl(), .optional_load = options.optional_load};
  if (options.custom_load_hook) {
    registered.object = detail::recover_custom(std::move(options.custom_save_hook),
                                               std::move(options.custom_load_hook));
  }
  if (const std::string problem = registered.object->problem(); !problem.empty()) refuse(problem);
  return registered;
}

// The first half of a save: what the job's state is now. CPU tensors are referred to, not copied;
// a save in the background would copy what this returns and hand the copy to the second half,
// `Store::save`.
CheckpointState take_state(const Registry& registry, bool end_of_epoch) {
  if (registry.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "nothing to save: register objects with `add_recoverable` first");
  }
  CheckpointState state;
  detail::HostCopies copies;
  for (const auto& [name, registered] : registry) {
    detail::StateWriterImpl writer(name, end_of_epoch, copies);
    registered.object->save(writer);
    state.push_back(writer.take());
  }
  return state;
}

LoadReport load(const Registry& registry, const Checkpoint& checkpoint, LoadMode mode,
                const std::vector<std::string>& only) {
  LoadReport report;
  detail::LoadPlan plan(checkpoint, mode);
  for (const auto& [name, registered] : registry) {
    if (!only.empty() && std::find(only.begin(), only.end(), name) == only.end()) continue;
    if (!checkpoint.has_recoverable(name)) {
      if (registered.optional_load) {
        report.missing.push_back(name);
      } else {
        plan.mismatch(in_quotes(name) +
                      ": it is missing from the checkpoint; if it may be, register it with "
                      "`.optional_load = true`");
      }
      continue;
    }
    detail::StateReaderImpl reader(name, plan);
    registered.object->plan_load(reader);
    report.loaded.push_back(name);
  }
  plan.execute();
  report.ignored = plan.ignored();
  if (only.empty()) {
    for (const std::string& name : checkpoint.info().recoverables) {
      if (!registry.contains(name)) report.ignored.push_back(name);
    }
  }
  std::sort(report.ignored.begin(), report.ignored.end());
  return report;
}

bool is_damage(const Error& error) {
  return error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated;
}

// A job hears of recoveries and the like also when it gave no log.
StoreOptions with_log(StoreOptions options) {
  if (!options.log) options.log = [](std::string_view message) { TORCH_WARN(message); };
  return options;
}

}  // namespace

struct Checkpointer::Impl {
  Impl(const std::filesystem::path& directory, const StoreOptions& options)
      : log(options.log), store(directory, options) {}

  void remember_damage(const CheckpointInfo& checkpoint) {
    if (store.read_only()) return;
    try {
      const auto known = store.find(checkpoint.id);
      if (!known || known->damaged) return;
      store.set_damaged({&checkpoint.id, 1}, true);
    } catch (const Error& error) {
      // Recovery goes on: the next one will look at the checkpoint again, that is all.
      log("cannot remember that checkpoint " + name_of(checkpoint) +
          " is damaged: " + error.what());
    }
  }

  // Once for each, not at every save.
  void say_why_nothing_is_deleted(const std::string& problem) {
    if (!problem.empty() && problem != last_problem) {
      log("nothing is deleted while saving: " + problem);
    }
    last_problem = problem;
  }

  // What stands in a plan for the checkpoint that a save with these options would make.
  CheckpointInfo upcoming(const SaveOptions& options) const;

  LogCallback log;
  Store store;
  Registry registry;
  std::string last_problem;
};

CheckpointInfo Checkpointer::Impl::upcoming(const SaveOptions& options) const {
  using std::chrono::duration;
  using std::chrono::nanoseconds;
  const StoreStats stats = store.stat();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  CheckpointInfo next;
  next.id = stats.next_id;
  next.sequence = stats.sequence + 1;
  next.name = options.name.empty() ? "ckpt-" + std::to_string(next.id) : options.name;
  next.created_unix_ns = std::chrono::duration_cast<nanoseconds>(now).count();
  next.meta = options.meta;
  if (!next.meta.contains("unixtime")) next.meta.set("unixtime", duration<double>(now).count());
  if (!next.meta.contains("end-of-epoch")) next.meta.set("end-of-epoch", options.end_of_epoch);
  for (const auto& [name, registered] : registry) next.recoverables.push_back(name);
  return next;
}

Checkpointer::Checkpointer(const std::filesystem::path& directory, const StoreOptions& options)
    : impl_(std::make_unique<Impl>(directory, with_log(options))) {}
Checkpointer::Checkpointer(Checkpointer&&) noexcept = default;
Checkpointer& Checkpointer::operator=(Checkpointer&&) noexcept = default;
Checkpointer::~Checkpointer() = default;

Store& Checkpointer::store() {
  return impl_->store;
}
const Store& Checkpointer::store() const {
  return impl_->store;
}

// ---- what is saved
// ---------------------------------------------------------------------------------

Checkpointer& Checkpointer::add_recoverable(std::string name, Recoverable object,
                                            RecoverableOptions options) {
  Registered registered = prepare(name, object, std::move(options));
  const auto [it, inserted] = impl_->registry.try_emplace(std::move(name), std::move(registered));
  if (!inserted) {
    throw Error(ErrorCode::kAlreadyExists,
                "cannot add recoverable " + in_quotes(it->first) +
                    ": the name is registered already; give this object another");
  }
  return *this;
}

Checkpointer& Checkpointer::add_recoverables(Recoverables objects) {
  Registry registry = impl_->registry;
  registry.swap(impl_->registry);  // `registry` is what to return to
  try {
    for (auto& [name, object] : objects) add_recoverable(name, std::move(object));
  } catch (...) {
    registry.swap(impl_->registry);
    throw;
  }
  return *this;
}

Checkpointer& Checkpointer::add_default_generators(const std::string& prefix) {
  add_recoverable(prefix + ".cpu", at::detail::getDefaultCPUGenerator());
  const auto cuda_devices = static_cast<int>(torch::cuda::device_count());
  for (int i = 0; i < cuda_devices; ++i) {
    const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(i));
    add_recoverable(prefix + ".cuda" + std::to_string(i),
                    std::as_const(at::globalContext().defaultGenerator(device)),
                    {.optional_load = true});
  }
  return *this;
}

std::vector<std::string> Checkpointer::recoverables() const {
  std::vector<std::string> names;
  for (const auto& [name, registered] : impl_->registry) names.push_back(name);
  return names;
}

// ---- saving
// ----------------------------------------------------------------------------------------

SaveResult Checkpointer::save_checkpoint(const SaveOptions& options) {
  const CheckpointState state = take_state(impl_->registry, options.end_of_epoch);
  return impl_->store.save(state, options);
}

SaveFuture<SaveResult> Checkpointer::save_checkpoint_async(const SaveOptions& options,
                                                           const AsyncOptions& async) {
  const CheckpointState state = take_state(impl_->registry, options.end_of_epoch);
  return impl_->store.save_async(state, options, async);
}

namespace {

/// Asks the rule of a `save_and_keep_only` while it is saved, and makes its result afterwards.
class KeepOnly {
 public:
  /// Lifetime: `keep` must live until the store has asked the rule.
  KeepOnly(const Store& store, const SaveOptions& options, const KeepOptions& keep)
      : options_(options) {
    if (options.retention) {
      throw Error(ErrorCode::kInvalidArgument,
                  "save_and_keep_only decides itself what to delete: leave `.retention` empty, or "
                  "use save_checkpoint");
    }
    if (options.replace && !options.name.empty()) replaced_ = store.find_by_name(options.name);
    options_.retention = [plan = plan_, &keep](std::span<const CheckpointInfo> checkpoints) {
      *plan = plan_retention_or_keep_all(checkpoints, keep);
      return ids_of(plan->deleted);
    };
  }

  const SaveOptions& options() const { return options_; }
  /// Why the rule could not be applied, once it has been asked.
  const std::string& problem() const { return plan_->problem; }

  SaveAndKeepResult result(SaveResult saved) {
    if (replaced_) add_replaced(*replaced_, *plan_);
    return {.saved = std::move(saved.saved),
            .new_bytes = saved.new_bytes,
            .new_chunks = saved.new_chunks,
            .kept = std::move(plan_->kept),
            .deleted = std::move(plan_->deleted),
            .problem = std::move(plan_->problem)};
  }

 private:
  SaveOptions options_;
  std::optional<CheckpointInfo> replaced_;
  std::shared_ptr<RetentionPlan> plan_ = std::make_shared<RetentionPlan>();
};

}  // namespace

SaveAndKeepResult Checkpointer::save_and_keep_only(const SaveOptions& options,
                                                   const KeepOptions& keep) {
  KeepOnly keep_only(impl_->store, options, keep);
  SaveResult saved = save_checkpoint(keep_only.options());
  impl_->say_why_nothing_is_deleted(keep_only.problem());
  return keep_only.result(std::move(saved));
}

SaveFuture<SaveAndKeepResult> Checkpointer::save_and_keep_only_async(const SaveOptions& options,
                                                                     const KeepOptions& keep,
                                                                     const AsyncOptions& async) {
  KeepOnly keep_only(impl_->store, options, keep);
  auto future = save_checkpoint_async(keep_only.options(), async);
  impl_->say_why_nothing_is_deleted(keep_only.problem());
  return std::move(future).map<SaveAndKeepResult>(
      [keep_only](SaveResult saved) mutable { return keep_only.result(std::move(saved)); });
}

RetentionPlan Checkpointer::plan_save_and_keep_only(const SaveOptions& options,
                                                    const KeepOptions& keep) const {
  std::vector<CheckpointInfo> checkpoints = list_checkpoints();
  CheckpointInfo next = impl_->upcoming(options);
  std::optional<CheckpointInfo> replaced;
  const auto holder = std::find_if(checkpoints.begin(), checkpoints.end(),
                                   [&](const CheckpointInfo& c) { return c.name == options.name; });
  if (options.replace && holder != checkpoints.end()) {
    next.pinned = holder->pinned;
    replaced = std::move(*holder);
    checkpoints.erase(holder);
  }
  checkpoints.insert(checkpoints.begin(), std::move(next));
  RetentionPlan plan = plan_retention_or_keep_all(checkpoints, keep);
  if (replaced) add_replaced(*replaced, plan);
  return plan;
}

RetentionPlan Checkpointer::delete_checkpoints(const KeepOptions& keep) {
  RetentionPlan plan = plan_delete_checkpoints(keep);
  if (!plan.deleted.empty()) impl_->store.remove(ids_of(plan.deleted));
  return plan;
}

RetentionPlan Checkpointer::plan_delete_checkpoints(const KeepOptions& keep) const {
  return plan_retention(list_checkpoints(), keep);
}

void Checkpointer::pin(const CheckpointInfo& checkpoint) {
  impl_->store.set_pinned({&checkpoint.id, 1}, true);
}

void Checkpointer::unpin(const CheckpointInfo& checkpoint) {
  impl_->store.set_pinned({&checkpoint.id, 1}, false);
}

// ---- finding and loading
// -----------------------------------------------------------------------------

std::vector<CheckpointInfo> Checkpointer::list_checkpoints() const {
  return impl_->store.checkpoints();
}

std::vector<CheckpointInfo> Checkpointer::find_checkpoints(const FindOptions& options) const {
  return select_checkpoints(list_checkpoints(), options);
}

std::optional<CheckpointInfo> Checkpointer::find_checkpoint(const FindOptions& options) const {
  std::vector<CheckpointInfo> found = find_checkpoints(options);
  if (found.empty()) return std::nullopt;
  return std::move(found.front());
}

Checkpoint Checkpointer::open(const CheckpointInfo& checkpoint) const {
  return impl_->store.open(checkpoint.id);
}

LoadReport Checkpointer::load_checkpoint(const CheckpointInfo& checkpoint,
                                         const LoadOptions& options) {
  if (impl_->registry.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "nothing to load into: register objects with `add_recoverable` first");
  }
  for (const std::string& name : options.only) {
    if (!impl_->registry.contains(name)) {
      throw Error(ErrorCode::kNotFound,
                  "no recoverable " + in_quotes(name) +
                      " is registered; there are: " + in_quotes(recoverables()));
    }
  }
  try {
    return load(impl_->registry, open(checkpoint), options.mode, options.only);
  } catch (const Error& error) {
    if (is_damage(error)) impl_->remember_damage(checkpoint);
    throw;
  }
}

Recovery Checkpointer::recover_if_possible(const FindOptions& options) {
  if (impl_->registry.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                "nothing to recover into: register objects with `add_recoverable` first");
  }
  FindOptions all = options;
  all.max_num_checkpoints.reset();  // however many are damaged before the first intact one
  std::vector<PassedOver> passed_over;
  std::set<std::uint64_t> tried;
  for (;;) {
    // Looked for anew each time: another process may delete checkpoints meanwhile.
    const std::vector<CheckpointInfo> wanted = find_checkpoints(all);
    const auto next = std::find_if(wanted.begin(), wanted.end(),
                                   [&](const CheckpointInfo& c) { return !tried.contains(c.id); });
    if (next == wanted.end()) break;
    tried.insert(next->id);
    if (next->damaged) {
      passed_over.push_back({*next, "known to be damaged; `cairn verify` tells where"});
      continue;
    }
    try {
      LoadReport report = load_checkpoint(*next);
      return Recovery(*next, std::move(report), std::move(passed_over));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kNotFound && !impl_->store.find(next->id)) continue;
      if (!is_damage(error)) throw;
      impl_->log("passing over damaged checkpoint " + name_of(*next) + ": " + error.what());
      passed_over.push_back({*next, error.what()});
    }
  }
  if (passed_over.empty()) return {};
  std::string text = "no intact checkpoint to recover from; nothing was loaded:";
  for (const PassedOver& passed : passed_over) {
    text += "\n  " + name_of(passed.checkpoint) + ": " + passed.reason;
  }
  throw Error(ErrorCode::kDamaged, text, {.path = impl_->store.directory()});
}

}  // namespace cairn
