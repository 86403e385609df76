// What a save adds to a store, for several ways of training: the figures of docs/guide.md.
//
// Each line trains a small model, saves after every step, and adds up the bytes of the chunks that
// a save had to write because the store did not have them. `space [DIRECTORY]` keeps its stores in
// a directory of its own, by default among the system's temporary files, and removes it in the end.
#include <cairn/torch/checkpointer.h>

#include <torch/torch.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iomanip>
#include <iostream>
#include <string>

namespace fs = std::filesystem;
namespace nn = torch::nn;
using torch::Tensor;

constexpr int kSaves = 10;
constexpr std::int64_t kWidth = 512;
constexpr std::int64_t kRows = 65536;
constexpr std::int64_t kColumns = 64;
constexpr std::int64_t kRowsPerStep = 32;

// ---- measuring
// -----------------------------------------------------------------------------------

void print_row(const std::string& what, double checkpoint, double first, double later) {
  std::cout << std::left << std::setw(46) << what << std::right << std::fixed
            << std::setprecision(1) << std::setw(10) << checkpoint << std::setw(10) << first
            << std::setw(10) << later << "\n";
}

double mebibytes(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

// Saves after each of several steps, and prints what the first save wrote and each later one.
void measure(const std::string& what, cairn::Checkpointer& checkpointer,
             const std::function<void()>& step) {
  std::uint64_t checkpoint = 0, first = 0, later = 0;
  for (int i = 0; i < kSaves; ++i) {
    step();
    const cairn::SaveResult result = checkpointer.save_checkpoint();
    checkpoint = result.saved.logical_bytes;
    (i == 0 ? first : later) += result.new_bytes;
  }
  print_row(what, mebibytes(checkpoint), mebibytes(first), mebibytes(later) / (kSaves - 1));
}

// ---- the jobs
// ------------------------------------------------------------------------------------

nn::Sequential make_network() {
  nn::Sequential network;
  for (int i = 0; i < 4; ++i) {
    network->push_back(nn::Linear(kWidth, kWidth));
    network->push_back(nn::Tanh());
  }
  return network;
}

void train_step(nn::Sequential& network, torch::optim::Optimizer& optimizer) {
  const Tensor x = torch::randn({8, kWidth});
  optimizer.zero_grad();
  torch::mse_loss(network->forward(x), x.flip(1)).backward();
  optimizer.step();
}

// Trains all layers from `first` on, or all of them.
void train_network(const std::string& what, const fs::path& store, std::size_t first = 0) {
  torch::manual_seed(1);
  nn::Sequential network = make_network();
  std::vector<Tensor> trained;
  for (std::size_t i = 0; i < network->size(); ++i) {
    for (Tensor& parameter : network->ptr(i)->parameters()) {
      parameter.set_requires_grad(i >= first);
      if (i >= first) trained.push_back(parameter);
    }
  }
  torch::optim::Adam optimizer(trained, 1e-3);
  cairn::Checkpointer checkpointer(store);
  checkpointer.add_recoverable("model", network).add_recoverable("optimizer", optimizer);
  measure(what, checkpointer, [&] { train_step(network, optimizer); });
}

// Trains a few rows of a large embedding in each step: any of them, or any of the first `rows`.
void train_embedding(const std::string& what, const fs::path& store, std::int64_t rows,
                     std::uint64_t chunk_bytes, bool momenta = false) {
  torch::manual_seed(1);
  nn::Embedding embedding(kRows, kColumns);
  torch::optim::SGD plain(embedding->parameters(), 0.1);
  torch::optim::Adam adam(embedding->parameters(), 0.1);
  torch::optim::Optimizer& optimizer =
      momenta ? static_cast<torch::optim::Optimizer&>(adam) : plain;
  cairn::Checkpointer checkpointer(store, {.chunk_bytes = chunk_bytes});
  checkpointer.add_recoverable("embedding", embedding);
  if (momenta) {
    checkpointer.add_recoverable("optimizer", adam);
  } else {
    checkpointer.add_recoverable("optimizer", plain);
  }
  measure(what, checkpointer, [&] {
    optimizer.zero_grad();
    embedding(torch::randint(rows, {kRowsPerStep}, torch::kInt64)).square().sum().backward();
    optimizer.step();
  });
}

void run(const fs::path& directory) {
  at::set_num_threads(1);  // Sums come out in the same order every time.
  constexpr std::uint64_t kDefault = 1 << 20, kSmall = 1 << 16;
  std::cout << "MiB                                           checkpoint     first each later\n";
  train_network("full training, Adam", directory / "full");
  train_network("the last of four layers, the rest frozen", directory / "frozen", 6);
  train_embedding("embedding, 32 rows anywhere", directory / "rows", kRows, kDefault);
  train_embedding("  the same, chunks of 64 KiB", directory / "rows-small", kRows, kSmall);
  train_embedding("embedding, 32 of its first 4096 rows", directory / "near", 4096, kDefault);
  train_embedding("embedding, 32 rows anywhere, Adam", directory / "rows-adam", kRows, kDefault,
                  /*momenta=*/true);
  train_network("full training once more, same store and seed", directory / "full");
}

int main(int argc, char** argv) {
  std::string directory =
      (argc > 1 ? fs::path(argv[1]) : fs::temp_directory_path()) / "space-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) {
    std::cerr << "space: cannot make a directory " << directory << "\n";
    return 1;
  }
  int status = 0;
  try {
    run(directory);
  } catch (const std::exception& error) {
    std::cerr << "space: " << error.what() << "\n";
    status = 1;
  }
  fs::remove_all(directory);
  return status;
}
