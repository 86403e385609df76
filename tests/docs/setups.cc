#include "docs/setups.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace cairn::docs {

double train_step(torch::nn::Linear& model, torch::optim::Optimizer& optimizer) {
  const at::Tensor x = torch::sin(torch::arange(32, torch::kFloat)).reshape({16, 2});
  optimizer.zero_grad();
  const at::Tensor loss = torch::mse_loss(model(x), x.sum(1, /*keepdim=*/true));
  loss.backward();
  optimizer.step();
  return loss.item<double>();
}

double train_epoch(torch::nn::Linear& model, torch::optim::Optimizer& optimizer) {
  double loss = 0;
  for (int step = 0; step < 4; ++step) loss = train_step(model, optimizer);
  return loss;
}

double validate(torch::nn::Linear& model) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = torch::cos(torch::arange(32, torch::kFloat)).reshape({16, 2});
  return torch::mse_loss(model(x), x.sum(1, /*keepdim=*/true)).item<double>();
}

std::string output_of(const std::string& command) {
  const std::string path =
      std::string(CAIRN_BIN_DIR) + ":" + CAIRN_BIN_DIR "/examples:" + std::getenv("PATH");
  const std::string whole = "export PATH='" + path + "'; " + command;
  std::FILE* pipe = ::popen(whole.c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), got);
  }
  EXPECT_EQ(::pclose(pipe), 0) << command << "\n" << output;
  return output;
}

void run_shell(const std::string& script) {
  std::ofstream("script.sh") << script;
  output_of("bash -eu script.sh 2>&1");
}

namespace fixtures {

Finished::Finished() {
  Checkpointer checkpointer("runs/a");
  checkpointer.add_recoverable("model", model)
      .add_recoverable("optimizer", optimizer)
      .add_recoverable("epochs", epochs);
  const std::array losses = {0.9, 0.5, 0.2, 0.3, 0.4};
  for (const auto epoch : epochs) {
    train_epoch(model, optimizer);
    checkpointer.save_checkpoint({.meta = {{"loss", losses.at(static_cast<std::size_t>(epoch - 1))},
                                           {"validation", epoch % 2 == 0 ? "full" : "fast"}},
                                  .name = "epoch-" + std::to_string(epoch)});
  }
}

}  // namespace fixtures
}  // namespace cairn::docs
