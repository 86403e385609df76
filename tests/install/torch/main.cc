// A program that uses an installed cairn::torch: saves a module, keeps, and recovers another from
// it.
#include <cairn/torch/checkpointer.h>

#include <torch/torch.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  torch::nn::Linear saved(2, 3);
  {
    cairn::Checkpointer checkpointer(argv[1]);
    checkpointer.add_recoverable("model", saved);
    checkpointer.save_and_keep_only({.meta = {{"loss", 0.5}}}, {.min_keys = {"loss"}});
  }
  torch::nn::Linear loaded(2, 3);
  cairn::Checkpointer checkpointer(argv[1]);
  checkpointer.add_recoverable("model", loaded);
  if (!checkpointer.recover_if_possible()) return 1;
  if (!torch::equal(loaded->weight, saved->weight)) return 1;
  std::puts("ok");
  return 0;
}
