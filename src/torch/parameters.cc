#include "load_plan.h"

#include <cairn/error.h>
#include <cairn/torch/checkpointer.h>
#include <cairn/torch/parameters.h>

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace cairn {

using detail::describe;
using detail::in_quotes;

namespace {

std::map<std::string, at::Tensor> tensors_of(const torch::nn::Module& module) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& item : module.named_parameters()) tensors.emplace(item.key(), item.value());
  for (const auto& item : module.named_buffers()) tensors.emplace(item.key(), item.value());
  return tensors;
}

void require(const Checkpoint& checkpoint, std::string_view recoverable) {
  if (checkpoint.has_recoverable(recoverable)) return;
  throw Error(ErrorCode::kNotFound, "checkpoint " + in_quotes(checkpoint.info().name) +
                                        " has no recoverable " + in_quotes(recoverable) +
                                        "; it has: " + in_quotes(checkpoint.info().recoverables));
}

at::Tensor read_whole(const Checkpoint& checkpoint, std::size_t tensor) {
  const TensorInfo& info = checkpoint.tensors()[tensor];
  at::Tensor out = detail::empty_tensor(info.dtype, info.shape);
  const LoadTarget target{.tensor = tensor, .out = detail::bytes_of(out)};
  checkpoint.load({&target, 1}, LoadMode::kSinglePass);
  return out;
}

bool can_become(const TensorInfo& saved, at::ScalarType type) {
  const auto from = detail::scalar_type_of(saved.dtype);
  return from && c10::canCast(*from, type);
}

// What `ReadOptions` ask for, checked before anything is read.
class Form {
 public:
  explicit Form(const ReadOptions& options) {
    try {
      device_ = at::Device(options.device);
    } catch (const c10::Error& error) {
      throw Error(ErrorCode::kInvalidArgument, "cannot read onto device " +
                                                   in_quotes(options.device) + ": " +
                                                   error.what_without_backtrace());
    }
    if (!options.dtype) return;
    type_ = detail::scalar_type_of(*options.dtype);
    if (!type_) {
      throw Error(ErrorCode::kInvalidArgument,
                  "cannot read as " + std::string(to_string(*options.dtype)) +
                      ": this LibTorch (" TORCH_VERSION ") has no such dtype");
    }
  }

  void check(const TensorInfo& info) const {
    if (!type_ || can_become(info, *type_)) return;
    throw Error(ErrorCode::kInvalidArgument, "cannot read tensor " + in_quotes(info.key) + " as " +
                                                 c10::toString(*type_) + ": it was saved as " +
                                                 describe(info.dtype, info.shape));
  }

  at::Tensor of(const at::Tensor& read) const {
    return read.to(device_, type_.value_or(read.scalar_type()));
  }

 private:
  at::Device device_ = at::kCPU;
  std::optional<at::ScalarType> type_;
};

// The position of a tensor by "recoverable/key"; only the key may have a '/' in it.
std::size_t position_of(const Checkpoint& checkpoint, std::string_view name) {
  for (const std::string& recoverable : checkpoint.info().recoverables) {
    if (!name.starts_with(recoverable + "/")) continue;
    const auto found = checkpoint.find_tensor(recoverable, name.substr(recoverable.size() + 1));
    if (found) return *found;
  }
  std::string text = "checkpoint " + in_quotes(checkpoint.info().name) + " has no tensor " +
                     in_quotes(name) + "; names are \"recoverable/key\"";
  constexpr std::size_t kShown = 10;
  const auto all = checkpoint.tensors();
  for (std::size_t i = 0; i < all.size() && i < kShown; ++i) {
    text += (i == 0 ? ", such as " : ", ") +
            in_quotes(std::string(all[i].recoverable) + "/" + std::string(all[i].key));
  }
  if (all.size() > kShown) text += ", ... (" + std::to_string(all.size()) + " tensors)";
  throw Error(ErrorCode::kNotFound, text);
}

// Notes where `other` has other tensors than `first`.
void compare(const Checkpoint& first, const Checkpoint& other, std::string_view recoverable,
             std::vector<std::string>& differences) {
  const std::string in_other = " in " + in_quotes(other.info().name);
  for (const TensorInfo& info : first.tensors(recoverable)) {
    const auto at = other.find_tensor(recoverable, info.key);
    if (!at) {
      differences.push_back(in_quotes(info.key) + " is missing" + in_other);
      continue;
    }
    const TensorInfo& found = other.tensors()[*at];
    if (found.dtype != info.dtype || !std::ranges::equal(found.shape, info.shape)) {
      differences.push_back(in_quotes(info.key) + " is " + describe(found.dtype, found.shape) +
                            in_other + ", " + describe(info.dtype, info.shape) + " in " +
                            in_quotes(first.info().name));
    }
  }
  for (const TensorInfo& info : other.tensors(recoverable)) {
    if (!first.find_tensor(recoverable, info.key)) {
      differences.push_back(in_quotes(info.key) + " is only" + in_other);
    }
  }
}

[[noreturn]] void throw_differences(const std::string& what,
                                    const std::vector<std::string>& differences) {
  std::string text = what;
  for (const std::string& line : differences) text += "\n  " + line;
  throw Error(ErrorCode::kMismatch, text);
}

}  // namespace

TransferReport parameter_transfer(torch::nn::Module& module, const Checkpoint& checkpoint,
                                  std::string_view recoverable, const TransferOptions& options) {
  require(checkpoint, recoverable);
  // The saved tensors under the module's names.
  std::map<std::string, std::size_t> saved;
  for (const TensorInfo& info : checkpoint.tensors(recoverable)) {
    std::string name(info.key);
    if (options.rename) name = options.rename(name);
    if (name.empty()) continue;
    const auto [it, inserted] =
        saved.try_emplace(name, *checkpoint.find_tensor(recoverable, info.key));
    if (!inserted) {
      throw Error(ErrorCode::kInvalidArgument, "`.rename` gives the name " + in_quotes(name) +
                                                   " to two tensors, " +
                                                   in_quotes(checkpoint.tensors()[it->second].key) +
                                                   " and " + in_quotes(info.key));
    }
  }
  TransferReport report;
  detail::LoadPlan plan(checkpoint, LoadMode::kVerifyFirst);
  for (const auto& [name, target] : tensors_of(module)) {
    const auto at = saved.find(name);
    if (at == saved.end()) {
      report.missing.push_back(name);
      continue;
    }
    const std::size_t tensor = at->second;
    saved.erase(at);
    const TensorInfo& info = checkpoint.tensors()[tensor];
    const bool same_shape = std::ranges::equal(info.shape, target.sizes());
    const bool fits =
        detail::matches(info.dtype, info.shape, target) ||
        (options.convert_dtype && same_shape && can_become(info, target.scalar_type()));
    if (!fits || !detail::tensor_problem(target).empty() || detail::overlaps_itself(target)) {
      report.mismatched.push_back(name + ": saved as " + describe(info.dtype, info.shape) +
                                  ", here " + describe(target));
      continue;
    }
    plan.transfer(tensor, target);
    report.loaded.push_back(name);
  }
  for (const auto& [name, tensor] : saved) report.unexpected.push_back(name);
  plan.execute();
  return report;
}

void load_parameters(torch::nn::Module& module, const ParameterMap& parameters) {
  const std::map<std::string, at::Tensor> wanted = tensors_of(module);
  std::vector<std::string> differences;
  for (const auto& [name, target] : wanted) {
    const auto it = parameters.find(name);
    if (it == parameters.end()) {
      differences.push_back(in_quotes(name) + " is missing; the module has " + describe(target));
    } else if (!it->second.defined() || it->second.scalar_type() != target.scalar_type() ||
               it->second.sizes() != target.sizes()) {
      differences.push_back(in_quotes(name) + " is " + describe(it->second) + ", the module has " +
                            describe(target));
    } else if (detail::overlaps_itself(target)) {
      differences.push_back(in_quotes(name) +
                            " cannot be written: several elements of the module's tensor share "
                            "memory");
    }
  }
  for (const auto& [name, tensor] : parameters) {
    if (!wanted.contains(name)) differences.push_back(in_quotes(name) + " is not in the module");
  }
  if (!differences.empty()) {
    throw_differences("the parameters do not fit the module (nothing was changed):", differences);
  }
  const at::NoGradGuard no_grad;
  for (const auto& [name, target] : wanted) at::Tensor(target).copy_(parameters.at(name));
}

ParameterMap read_parameters(const Checkpoint& checkpoint, std::string_view recoverable,
                             const ReadOptions& options) {
  require(checkpoint, recoverable);
  const Form form(options);
  ParameterMap parameters;
  std::vector<LoadTarget> targets;
  const auto all = checkpoint.tensors();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].recoverable != recoverable) continue;
    form.check(all[i]);
    at::Tensor tensor = detail::empty_tensor(all[i].dtype, all[i].shape);
    targets.push_back({.tensor = i, .out = detail::bytes_of(tensor)});
    parameters.emplace(all[i].key, std::move(tensor));
  }
  checkpoint.load(targets, LoadMode::kSinglePass);
  for (auto& [name, tensor] : parameters) tensor = form.of(tensor);
  return parameters;
}

at::Tensor read_tensor(const Checkpoint& checkpoint, std::string_view name,
                       const ReadOptions& options) {
  const Form form(options);
  const std::size_t tensor = position_of(checkpoint, name);
  form.check(checkpoint.tensors()[tensor]);
  return form.of(read_whole(checkpoint, tensor));
}

at::Tensor read_rows(const Checkpoint& checkpoint, std::string_view name, std::int64_t begin,
                     std::int64_t end, const ReadOptions& options) {
  const Form form(options);
  const std::size_t tensor = position_of(checkpoint, name);
  const TensorInfo& info = checkpoint.tensors()[tensor];
  form.check(info);
  if (info.shape.empty() || begin < 0 || begin > end || end > info.shape[0]) {
    throw Error(ErrorCode::kInvalidArgument, "cannot read rows " + std::to_string(begin) + " to " +
                                                 std::to_string(end) + " of tensor " +
                                                 in_quotes(name) + ", which is " +
                                                 describe(info.dtype, info.shape));
  }
  std::vector<std::int64_t> shape(info.shape.begin(), info.shape.end());
  shape[0] = end - begin;
  at::Tensor rows = detail::empty_tensor(info.dtype, shape);
  if (rows.numel() > 0) {
    const std::uint64_t row_bytes = info.bytes / static_cast<std::uint64_t>(info.shape[0]);
    checkpoint.read_range(tensor, static_cast<std::uint64_t>(begin) * row_bytes,
                          detail::bytes_of(rows));
  }
  return form.of(rows);
}

namespace {

// The factor of each of `count` checkpoints; they add up to 1.
std::vector<double> factors_of(const AverageOptions& options, std::size_t count) {
  std::vector<double> factors = options.weights;
  if (factors.empty()) factors.assign(count, 1.0);
  double sum = 0;
  bool sound = factors.size() == count;
  for (const double weight : factors) {
    sound = sound && weight >= 0;
    sum += weight;
  }
  if (!sound || !(sum > 0) || !std::isfinite(sum)) {
    throw Error(ErrorCode::kInvalidArgument,
                "averaging " + std::to_string(count) +
                    " checkpoints needs as many weights, none below zero and not all zero");
  }
  for (double& factor : factors) factor /= sum;
  return factors;
}

}  // namespace

ParameterMap average_checkpoints(const Checkpointer& checkpointer,
                                 std::span<const CheckpointInfo> checkpoints,
                                 std::string_view recoverable, const AverageOptions& options) {
  if (checkpoints.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "no checkpoints to average were given");
  }
  const std::vector<double> factors = factors_of(options, checkpoints.size());
  std::vector<Checkpoint> opened;
  std::vector<std::string> differences;
  for (const CheckpointInfo& info : checkpoints) {
    opened.push_back(checkpointer.open(info));
    require(opened.back(), recoverable);
    compare(opened.front(), opened.back(), recoverable, differences);
  }
  if (!differences.empty()) {
    throw_differences("the checkpoints cannot be averaged:", differences);
  }
  const auto read = [&](const Checkpoint& checkpoint, std::string_view key) {
    return read_whole(checkpoint, *checkpoint.find_tensor(recoverable, key));
  };
  const at::NoGradGuard no_grad;
  ParameterMap mean;
  for (const TensorInfo& info : opened.front().tensors(recoverable)) {
    at::Tensor first = read(opened.front(), info.key);
    if (opened.size() == 1 || (!first.is_floating_point() && !first.is_complex())) {
      mean.emplace(info.key, std::move(first));
      continue;
    }
    const at::ScalarType type = first.scalar_type();
    at::Tensor sum = first.to(first.is_complex() ? at::kComplexDouble : at::kDouble);
    if (options.weights.empty()) {
      // Added up and divided once: the mean of equal tensors is that tensor, bit for bit.
      for (std::size_t i = 1; i < opened.size(); ++i) {
        sum += read(opened[i], info.key).to(sum.scalar_type());
      }
      sum /= static_cast<double>(opened.size());
    } else {
      sum *= factors[0];
      for (std::size_t i = 1; i < opened.size(); ++i) {
        sum += read(opened[i], info.key).to(sum.scalar_type()) * factors[i];
      }
    }
    mean.emplace(info.key, sum.to(type));
  }
  return mean;
}

}  // namespace cairn
