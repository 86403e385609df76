// Helpers of the checkpointer's tests: small networks, and comparing bits.
#pragma once

#include "support/scratch.h"
#include "support/states.h"

#include <cairn/torch/checkpointer.h>
#include <cairn/torch/training.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace cairn::testing {

/// Whether two tensors have the same dtype, shape and bits (NaN equals itself).
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const at::Tensor left = a.detach().resolve_conj().resolve_neg().contiguous();
  const at::Tensor right = b.detach().resolve_conj().resolve_neg().contiguous();
  return left.numel() == 0 || std::memcmp(left.data_ptr(), right.data_ptr(), left.nbytes()) == 0;
}

/// Copies of all parameters and buffers.
inline std::vector<at::Tensor> bits_of(const torch::nn::Module& module) {
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : module.parameters()) copies.push_back(tensor.detach().clone());
  for (const at::Tensor& tensor : module.buffers()) copies.push_back(tensor.detach().clone());
  return copies;
}

inline bool same_bits(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same_bits(a[i], b[i])) return false;
  }
  return true;
}

/// A network with parameters, buffers and dropout.
inline torch::nn::Sequential make_net(std::uint64_t seed = 1) {
  torch::manual_seed(seed);
  return torch::nn::Sequential(torch::nn::Linear(4, 8), torch::nn::BatchNorm1d(8),
                               torch::nn::Tanh(), torch::nn::Linear(8, 1));
}

/// One step of training on data that depends on `step` alone.
inline double train_step(torch::nn::Sequential& net, torch::optim::Optimizer& optimizer, int step) {
  const at::Tensor x = torch::sin(torch::arange(24, torch::kFloat).reshape({6, 4}) + step);
  const at::Tensor y = x.sum(1, /*keepdim=*/true);
  const at::Tensor loss = optimizer.step([&] {
    optimizer.zero_grad();
    at::Tensor value = torch::mse_loss(net->forward(x), y);
    value.backward();
    return value;
  });
  return loss.item<double>();
}

/// Whether `text` has each of `parts`, in any order; says which are missing.
inline ::testing::AssertionResult mentions(const std::string& text,
                                           const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (text.find(part) == std::string::npos) {
      return ::testing::AssertionFailure() << "no \"" << part << "\" in: " << text;
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace cairn::testing
