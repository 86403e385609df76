#include "load_plan.h"

#include <cairn/error.h>
#include <cairn/torch/checkpointer.h>
#include <cairn/torch/parameters.h>

#include <torch/torch.h>

#include <algorithm>
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

at::Tensor read_tensor(const Checkpoint& checkpoint, std::string_view recoverable,
                       std::string_view key) {
  const auto tensor = checkpoint.find_tensor(recoverable, key);
  const TensorInfo& info = checkpoint.tensors()[*tensor];
  at::Tensor out = detail::empty_tensor(info.dtype, info.shape);
  const LoadTarget target{.tensor = *tensor, .out = detail::bytes_of(out)};
  checkpoint.load({&target, 1}, LoadMode::kSinglePass);
  return out;
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
                                  std::string_view recoverable) {
  require(checkpoint, recoverable);
  TransferReport report;
  detail::LoadPlan plan(checkpoint, LoadMode::kVerifyFirst);
  const std::map<std::string, at::Tensor> wanted = tensors_of(module);
  for (const auto& [name, target] : wanted) {
    const auto tensor = checkpoint.find_tensor(recoverable, name);
    if (!tensor) {
      report.missing.push_back(name);
      continue;
    }
    const TensorInfo& saved = checkpoint.tensors()[*tensor];
    if (!detail::matches(saved.dtype, saved.shape, target) ||
        !detail::tensor_problem(target).empty() || detail::overlaps_itself(target)) {
      report.mismatched.push_back(name + ": saved as " + describe(saved.dtype, saved.shape) +
                                  ", here " + describe(target));
      continue;
    }
    plan.transfer(*tensor, target);
    report.loaded.push_back(name);
  }
  for (const TensorInfo& info : checkpoint.tensors(recoverable)) {
    if (!wanted.contains(std::string(info.key))) report.unexpected.emplace_back(info.key);
  }
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

ParameterMap read_parameters(const Checkpoint& checkpoint, std::string_view recoverable) {
  require(checkpoint, recoverable);
  ParameterMap parameters;
  std::vector<LoadTarget> targets;
  const auto all = checkpoint.tensors();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].recoverable != recoverable) continue;
    at::Tensor tensor = detail::empty_tensor(all[i].dtype, all[i].shape);
    targets.push_back({.tensor = i, .out = detail::bytes_of(tensor)});
    parameters.emplace(all[i].key, std::move(tensor));
  }
  checkpoint.load(targets, LoadMode::kSinglePass);
  return parameters;
}

ParameterMap average_checkpoints(const Checkpointer& checkpointer,
                                 std::span<const CheckpointInfo> checkpoints,
                                 std::string_view recoverable) {
  if (checkpoints.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "no checkpoints to average were given");
  }
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
  const at::NoGradGuard no_grad;
  ParameterMap mean;
  for (const TensorInfo& info : opened.front().tensors(recoverable)) {
    at::Tensor first = read_tensor(opened.front(), recoverable, info.key);
    if (opened.size() == 1 || (!first.is_floating_point() && !first.is_complex())) {
      mean.emplace(info.key, std::move(first));
      continue;
    }
    at::Tensor sum = first.to(first.is_complex() ? at::kComplexDouble : at::kDouble);
    for (std::size_t i = 1; i < opened.size(); ++i) {
      sum += read_tensor(opened[i], recoverable, info.key).to(sum.scalar_type());
    }
    sum /= static_cast<double>(opened.size());
    mean.emplace(info.key, sum.to(first.scalar_type()));
  }
  return mean;
}

}  // namespace cairn
