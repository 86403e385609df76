// A small training job with everything that the next step depends on, for each optimizer.
#pragma once

#include <cairn/torch/checkpointer.h>
#include <cairn/torch/training.h>

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace cairn::testing {

/// Every optimizer, and the options that give one more state.
inline const std::vector<std::string>& optimizer_names() {
  static const std::vector<std::string> names{
      "SGD",     "SGD-momentum",     "Adam",    "Adam-amsgrad", "AdamW",
      "RMSprop", "RMSprop-centered", "Adagrad", "LBFGS",        "LBFGS-strong-wolfe"};
  return names;
}

inline std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::string& name,
                                                               std::vector<at::Tensor> parameters) {
  namespace optim = torch::optim;
  if (name == "SGD") return std::make_unique<optim::SGD>(parameters, 0.05);
  if (name == "SGD-momentum") {
    return std::make_unique<optim::SGD>(
        parameters, optim::SGDOptions(0.05).momentum(0.9).nesterov(true).weight_decay(0.01));
  }
  if (name == "Adam") return std::make_unique<optim::Adam>(parameters, optim::AdamOptions(0.01));
  if (name == "Adam-amsgrad") {
    return std::make_unique<optim::Adam>(parameters, optim::AdamOptions(0.01).amsgrad(true));
  }
  if (name == "AdamW") return std::make_unique<optim::AdamW>(parameters, optim::AdamWOptions(0.01));
  if (name == "RMSprop") {
    return std::make_unique<optim::RMSprop>(parameters, optim::RMSpropOptions(0.01));
  }
  if (name == "RMSprop-centered") {
    return std::make_unique<optim::RMSprop>(
        parameters, optim::RMSpropOptions(0.01).momentum(0.5).centered(true));
  }
  if (name == "Adagrad") {
    return std::make_unique<optim::Adagrad>(
        parameters, optim::AdagradOptions(0.05).lr_decay(0.01).initial_accumulator_value(0.1));
  }
  if (name == "LBFGS") {
    return std::make_unique<optim::LBFGS>(parameters,
                                          optim::LBFGSOptions(0.1).max_iter(3).history_size(4));
  }
  if (name == "LBFGS-strong-wolfe") {
    return std::make_unique<optim::LBFGS>(
        parameters, optim::LBFGSOptions(0.1).max_iter(3).line_search_fn("strong_wolfe"));
  }
  throw std::invalid_argument("no optimizer " + name);
}

/// Dropout and the sampler draw from LibTorch's default generator, which is part of the job.
class TrainingJob {
 public:
  TrainingJob(const std::string& optimizer_name, std::uint64_t seed)
      : net(seeded_net(seed)),
        optimizer(make_optimizer(optimizer_name, net->parameters())),
        schedule(*optimizer, /*step_size=*/1, /*gamma=*/0.9) {}

  void register_in(Checkpointer& checkpointer) {
    checkpointer.add_default_generators();
    checkpointer.add_recoverable("average", average)
        .add_recoverable("epochs", epochs)
        .add_recoverable("gradients", gradients)
        .add_recoverable("model", net)
        .add_recoverable("optimizer", *optimizer)
        .add_recoverable("sampler", sampler)
        .add_recoverable("schedule", schedule)
        .add_recoverable("stopping", stopping);
  }

  /// Trains for so many steps; the loss of each.
  std::vector<double> run(int steps) {
    std::vector<double> losses;
    for (int i = 0; i < steps; ++i) losses.push_back(step());
    return losses;
  }

  torch::nn::Sequential net;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  torch::optim::StepLR schedule;
  torch::data::samplers::RandomSampler sampler{24};
  EpochCounter epochs{100};
  EarlyStopping stopping{{.patience = 50}};
  std::map<std::string, at::Tensor> average;
  std::vector<at::Tensor> gradients;

 private:
  static torch::nn::Sequential seeded_net(std::uint64_t seed) {
    torch::manual_seed(seed);
    return torch::nn::Sequential(torch::nn::Linear(4, 8), torch::nn::BatchNorm1d(8),
                                 torch::nn::Tanh(), torch::nn::Dropout(0.3),
                                 torch::nn::Linear(8, 1));
  }

  double step() {
    if (epochs.current() == 0) epochs.next();
    auto rows = sampler.next(6);
    if (!rows) {
      schedule.step();
      sampler.reset();
      epochs.next();
      rows = sampler.next(6);
    }
    const at::Tensor index =
        torch::tensor(std::vector<std::int64_t>(rows->begin(), rows->end())).to(torch::kFloat);
    const at::Tensor x = torch::sin(torch::outer(index + 1, torch::arange(1, 5)));
    const at::Tensor y = x.sum(1, /*keepdim=*/true);
    const at::Tensor loss = optimizer->step([&] {
      optimizer->zero_grad();
      at::Tensor value = torch::mse_loss(net->forward(x), y);
      value.backward();
      return value;
    });
    const torch::NoGradGuard no_grad;
    gradients.clear();
    for (const auto& item : net->named_parameters()) {
      at::Tensor& mean = average[item.key()];
      mean = mean.defined() ? mean * 0.9 + item.value() * 0.1 : item.value().detach().clone();
      gradients.push_back(item.value().grad().clone());
    }
    stopping.update(loss.item<double>());
    return loss.item<double>();
  }
};

}  // namespace cairn::testing
