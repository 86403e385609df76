#include "load_plan.h"

#include <cairn/error.h>

#include <torch/torch.h>

#include <cstdlib>
#include <cxxabi.h>
#include <map>
#include <memory>
#include <utility>

namespace cairn {

// ---- the public faces
// ------------------------------------------------------------------------------

void StateWriter::tensor(std::string key, const at::Tensor& tensor) {
  impl_.tensor(std::move(key), tensor);
}
void StateWriter::value(std::string key, MetaValue value) {
  impl_.value(std::move(key), std::move(value));
}
bool StateWriter::end_of_epoch() const {
  return impl_.end_of_epoch();
}
const std::string& StateWriter::name() const {
  return impl_.name();
}

bool StateReader::has_value(std::string_view key) const {
  return impl_.has_value(key);
}
bool StateReader::has_tensor(std::string_view key) const {
  return impl_.has_tensor(key);
}
const MetaValue::Map& StateReader::values() const {
  for (const auto& [key, value] : impl_.values()) impl_.find_value(key);
  return impl_.values();
}

const MetaValue& StateReader::value(std::string_view key) const {
  const MetaValue* value = impl_.find_value(key);
  if (value == nullptr) {
    throw Error(ErrorCode::kMismatch,
                "the checkpoint has no value " + detail::in_quotes(key) + " for it");
  }
  return *value;
}

at::Tensor StateReader::tensor(std::string_view key) const {
  at::Tensor tensor = impl_.read_now(key);
  if (!tensor.defined()) {
    throw Error(ErrorCode::kMismatch,
                "the checkpoint has no tensor " + detail::in_quotes(key) + " for it");
  }
  return tensor;
}

void StateReader::read_into(std::string_view key, const at::Tensor& target) const {
  impl_.read_into(key, target);
}

bool StateReader::end_of_epoch() const {
  const MetaValue* value = impl_.checkpoint().info().meta.find("end-of-epoch");
  return value == nullptr || !value->is_bool() || value->as_bool();
}
const CheckpointInfo& StateReader::checkpoint() const {
  return impl_.checkpoint().info();
}
const std::string& StateReader::name() const {
  return impl_.name();
}

namespace detail {

// ---- saving
// ----------------------------------------------------------------------------------------

void StateWriterImpl::tensor(std::string key, const at::Tensor& tensor) {
  const std::string place = state_.name + "/" + key;
  if (!keys_.insert(key).second) {
    throw Error(ErrorCode::kInvalidArgument,
                "cannot save tensor " + in_quotes(place) + ": the name is taken by another tensor");
  }
  state_.tensors.push_back(tensor_input(std::move(key), tensor, place, copies_));
}

void StateWriterImpl::value(std::string key, MetaValue value) {
  const auto [it, inserted] = state_.values.try_emplace(std::move(key), std::move(value));
  if (!inserted) {
    throw Error(ErrorCode::kInvalidArgument, "cannot save value " +
                                                 in_quotes(state_.name + "/" + it->first) +
                                                 ": the name is taken by another value");
  }
}

// ---- planning
// --------------------------------------------------------------------------------------

const MetaValue* StateReaderImpl::find_value(std::string_view key) {
  const auto it = values_.find(key);
  if (it == values_.end()) return nullptr;
  used_values_.emplace(key);
  return &it->second;
}

std::optional<std::size_t> StateReaderImpl::find_tensor(std::string_view key) {
  const auto tensor = checkpoint().find_tensor(name_, key);
  if (tensor) used_tensors_.insert(*tensor);
  return tensor;
}

void StateReaderImpl::read_into(std::string_view key, const at::Tensor& target) {
  const auto tensor = find_tensor(key);
  if (!tensor) {
    return mismatch("tensor " + in_quotes(key) + " is missing from the checkpoint; here it is " +
                    describe(target));
  }
  if (const std::string problem = tensor_problem(target); !problem.empty()) {
    return mismatch("tensor " + in_quotes(key) + " cannot be loaded: here " + problem);
  }
  const TensorInfo& saved = info(*tensor);
  if (!matches(saved.dtype, saved.shape, target)) {
    return mismatch("tensor " + in_quotes(key) + " was saved as " +
                    describe(saved.dtype, saved.shape) + ", here it is " + describe(target));
  }
  if (overlaps_itself(target)) {
    return mismatch("tensor " + in_quotes(key) +
                    " cannot be loaded: here several of its elements share memory; use a "
                    "`contiguous()` copy");
  }
  plan_.transfer(*tensor, target);
}

at::Tensor StateReaderImpl::read_new(std::string_view key, at::Device device) {
  const auto tensor = find_tensor(key);
  if (!tensor) return {};
  const TensorInfo& saved = info(*tensor);
  at::Tensor target = empty_tensor(saved.dtype, saved.shape, device);
  plan_.transfer(*tensor, target);
  return target;
}

at::Tensor StateReaderImpl::read_now(std::string_view key) {
  const auto tensor = find_tensor(key);
  if (!tensor) return {};
  const TensorInfo& saved = info(*tensor);
  at::Tensor target = empty_tensor(saved.dtype, saved.shape);
  const LoadTarget load{.tensor = *tensor, .out = bytes_of(target)};
  checkpoint().load({&load, 1}, LoadMode::kSinglePass);
  return target;
}

void StateReaderImpl::finish(bool strict) {
  const auto report = [&](std::string_view kind, std::string_view key) {
    if (strict) {
      mismatch(std::string(kind) + " " + in_quotes(key) +
               " is in the checkpoint; here there is none of that name");
    } else {
      plan_.ignore(name_ + "/" + std::string(key));
    }
  };
  const auto all = checkpoint().tensors();
  const auto own = checkpoint().tensors(name_);
  const std::size_t first = own.empty() ? 0 : static_cast<std::size_t>(own.data() - all.data());
  for (std::size_t i = first; i < first + own.size(); ++i) {
    if (!used_tensors_.contains(i)) report("tensor", all[i].key);
  }
  for (const auto& [key, value] : values_) {
    if (!used_values_.contains(key)) report("value", key);
  }
}

bool check_type(StateReaderImpl& reader, std::string_view type) {
  const MetaValue* saved = reader.find_value("type");
  if (saved != nullptr && saved->is_string() && saved->as_string() == type) return true;
  const std::string was = saved != nullptr && saved->is_string()
                              ? "as " + saved->as_string()
                              : "as something that names no type";
  reader.mismatch("it was saved " + was + ", here it is " + std::string(type));
  return false;
}

std::string message_of(const std::exception& error) {
  if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error)) {
    return torch_error->what_without_backtrace();
  }
  return error.what();
}

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : type.name();
}

// ---- executing
// -------------------------------------------------------------------------------------

void LoadPlan::transfer(std::size_t tensor, at::Tensor target) {
  transfers_.push_back({.tensor = tensor, .target = std::move(target)});
}

void LoadPlan::archive(std::string place, std::function<void()> apply, std::function<void()> undo) {
  archives_.push_back(
      {.place = std::move(place), .apply = std::move(apply), .undo = std::move(undo)});
}

std::string LoadPlan::place_of(std::size_t tensor) const {
  const TensorInfo& info = checkpoint_.tensors()[tensor];
  return in_quotes(std::string(info.recoverable) + "/" + std::string(info.key));
}

// Tensors saved from tied parameters are one place in the pack; those that merely agree are not, so
// what decides is their bytes.
bool LoadPlan::same_bytes(std::size_t a, std::size_t b) const {
  if (a == b) return true;
  const TensorInfo& info = checkpoint_.tensors()[a];
  const auto chunks_a = checkpoint_.chunks(a);
  const auto chunks_b = checkpoint_.chunks(b);
  // Chunks that hold nothing else decide by digest; those shared with neighbours do not.
  std::uint64_t plain_bytes = 0;
  bool same_chunks = chunks_a.size() == chunks_b.size();
  for (std::size_t i = 0; i < chunks_a.size(); ++i) {
    plain_bytes += chunks_a[i].plain_bytes;
    same_chunks = same_chunks && chunks_a[i].digest == chunks_b[i].digest;
  }
  if (same_chunks && plain_bytes == info.bytes) return true;
  return checkpoint_.read(a) == checkpoint_.read(b);
}

// Two names of one tensor are read once; if they were saved with different values, no state of this
// tensor would be right.
void LoadPlan::merge_tied() {
  std::map<TensorIdentity, std::size_t> first;
  std::vector<Transfer> merged;
  for (Transfer& transfer : transfers_) {
    if (transfer.target.numel() > 0) {
      const auto [it, inserted] = first.try_emplace(identity_of(transfer.target), transfer.tensor);
      if (!inserted) {
        if (!same_bytes(it->second, transfer.tensor)) {
          mismatch("tensors " + place_of(it->second) + " and " + place_of(transfer.tensor) +
                   " were saved with different values; here they are tied, one tensor under two "
                   "names");
        }
        continue;
      }
    }
    merged.push_back(std::move(transfer));
  }
  transfers_ = std::move(merged);
}

void LoadPlan::throw_mismatches() const {
  std::string text = "checkpoint " + in_quotes(checkpoint_.info().name) +
                     " does not fit what it is to be loaded into (nothing was changed); " +
                     std::to_string(mismatches_.size()) +
                     (mismatches_.size() == 1 ? " difference:" : " differences:");
  for (const std::string& line : mismatches_) text += "\n  " + line;
  throw Error(ErrorCode::kMismatch, text);
}

void LoadPlan::fill_tensors() {
  const at::NoGradGuard no_grad;
  std::vector<LoadTarget> targets;
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // from host memory to the target
  targets.reserve(transfers_.size());
  for (const Transfer& transfer : transfers_) {
    const TensorInfo& saved = checkpoint_.tensors()[transfer.tensor];
    at::Tensor host = transfer.target;
    if (!writable_in_place(host) || dtype_of(host.scalar_type()) != saved.dtype) {
      host = empty_tensor(saved.dtype, saved.shape);
      copies.emplace_back(host, transfer.target);
    }
    targets.push_back({.tensor = transfer.tensor, .out = bytes_of(host)});
  }
  checkpoint_.load(targets, mode_);
  for (auto& [host, target] : copies) target.copy_(host);
  // Autograd must notice that tensors changed which it may have kept for a backward pass.
  for (const Transfer& transfer : transfers_) {
    c10::TensorImpl* impl = transfer.target.unsafeGetTensorImpl();
    if (!impl->is_inference()) impl->bump_version();
  }
}

void LoadPlan::apply_archives() {
  for (const Archive& archive : archives_) {
    ++applied_;
    try {
      archive.apply();
    } catch (const std::exception& error) {
      throw Error(ErrorCode::kMismatch,
                  in_quotes(archive.place) + " refused its saved state, so checkpoint " +
                      in_quotes(checkpoint_.info().name) + " was not loaded: " + message_of(error));
    }
  }
}

// Takes back the archives that were applied, the last one first.
void LoadPlan::undo_archives() {
  std::string failed;
  while (applied_ > 0) {
    const Archive& archive = archives_[--applied_];
    try {
      archive.undo();
    } catch (const std::exception& error) {
      failed += "\n  " + in_quotes(archive.place) + ": " + message_of(error);
    }
  }
  if (!failed.empty()) {
    throw Error(ErrorCode::kMismatch,
                "checkpoint " + in_quotes(checkpoint_.info().name) +
                    " could not be loaded, and these objects did not take back their own state, "
                    "so construct them anew:" +
                    failed);
  }
}

void LoadPlan::execute() {
  merge_tied();
  if (!fits()) throw_mismatches();
  try {
    apply_archives();
    fill_tensors();
  } catch (...) {
    undo_archives();
    throw;
  }
  for (const ApplyStep& step : steps_) step();
  for (const ApplyStep& step : custom_steps_) {
    if (step) step();
  }
}

}  // namespace detail
}  // namespace cairn
