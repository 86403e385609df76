// A training loop that goes on where it was killed. Run it, interrupt it, run it again.
#include <cairn/torch/checkpointer.h>
#include <cairn/torch/training.h>

#include <torch/torch.h>

#include <iostream>

int main(int argc, char** argv) {
  torch::nn::Linear model(2, 1);
  torch::optim::Adam optimizer(model->parameters(), /*lr=*/0.1);
  cairn::EpochCounter epochs(100);

  cairn::Checkpointer checkpointer(argc > 1 ? argv[1] : "quickstart-store");
  checkpointer.add_recoverable("model", model)
      .add_recoverable("optimizer", optimizer)
      .add_recoverable("epochs", epochs);

  if (const auto from = checkpointer.recover_if_possible()) {
    std::cout << "resumed from " << from->name << ", epoch " << epochs.current() << std::endl;
  }
  for (const auto epoch : epochs) {
    const auto x = torch::rand({64, 2});
    const auto loss = torch::mse_loss(model(x), x.sum(/*dim=*/1, /*keepdim=*/true));
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    checkpointer.save_and_keep_only({.meta = {{"loss", loss.item<double>()}}}, {.num_to_keep = 2});
    std::cout << "epoch " << epoch << ", loss " << loss.item<double>() << std::endl;
  }
}
