// Trains a small transformer language model on text, and survives kill -9.
//
// Everything that the next step depends on is a recoverable: the model, the optimizer, the
// schedule, the sampler with its place in the epoch, the random generator that dropout and
// shuffling draw from, and the counters. A run that is killed at any moment, any number of times,
// and started again with the same command therefore ends with the same bits as one that was never
// disturbed. `./dev demo` does that to this program.
#include <cairn/torch/checkpointer.h>
#include <cairn/torch/training.h>

#include <CLI/CLI.hpp>
#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;
namespace nn = torch::nn;
using torch::Tensor;

struct Options {
  fs::path store;
  std::vector<fs::path> text = {"README.md", "docs", "format"};
  std::int64_t text_bytes = 1 << 20;
  std::int64_t epochs = 3;
  std::int64_t save_every = 10;
  std::uint64_t seed = 1;
  fs::path losses = {};
  fs::path parameters = {};
};

constexpr std::int64_t kContext = 48;  // Bytes that the model sees at a time.
constexpr std::int64_t kBatch = 8;
constexpr std::int64_t kWidth = 64;
constexpr std::int64_t kHeads = 4;
constexpr std::int64_t kLayers = 2;
constexpr std::int64_t kVocabulary = 256;
constexpr double kDropout = 0.1;

// ---- the model ---------------------------------------------------------------------------------

nn::LayerNorm make_norm() {
  return nn::LayerNorm(nn::LayerNormOptions({kWidth}));
}

// Causal self-attention, then a two-layer perceptron, each behind a norm and beside a shortcut.
struct BlockImpl : nn::Module {
  Tensor forward(Tensor x) {
    x = x + dropout(attention_out(attend(attention_norm(x))));
    return x + dropout(mlp_down(torch::gelu(mlp_up(mlp_norm(x)))));
  }

  Tensor attend(const Tensor& x) {
    const auto batch = x.size(0), length = x.size(1), head_width = kWidth / kHeads;
    const auto heads = query_key_value(x).view({batch, length, 3, kHeads, head_width});
    const auto qkv = heads.permute({2, 0, 3, 1, 4}).unbind(0);
    const Tensor scores = qkv[0].matmul(qkv[1].transpose(-2, -1)) / std::sqrt(head_width);
    const Tensor future = torch::ones({length, length}, torch::kBool).triu(1);
    const Tensor weights = dropout(scores.masked_fill(future, -INFINITY).softmax(-1));
    return weights.matmul(qkv[2]).transpose(1, 2).reshape({batch, length, kWidth});
  }

  nn::LayerNorm attention_norm = register_module("attention_norm", make_norm());
  nn::Linear query_key_value = register_module("query_key_value", nn::Linear(kWidth, 3 * kWidth));
  nn::Linear attention_out = register_module("attention_out", nn::Linear(kWidth, kWidth));
  nn::LayerNorm mlp_norm = register_module("mlp_norm", make_norm());
  nn::Linear mlp_up = register_module("mlp_up", nn::Linear(kWidth, 4 * kWidth));
  nn::Linear mlp_down = register_module("mlp_down", nn::Linear(4 * kWidth, kWidth));
  nn::Dropout dropout = register_module("dropout", nn::Dropout(kDropout));
};
TORCH_MODULE(Block);

struct LanguageModelImpl : nn::Module {
  LanguageModelImpl() {
    for (int i = 0; i < kLayers; ++i) blocks->push_back(Block());
    torch::NoGradGuard no_grad;
    bytes->weight.normal_(0.0, 0.05);
    positions->weight.normal_(0.0, 0.05);
  }

  // Scores for the byte that comes next, at every position.
  Tensor forward(const Tensor& x) {
    Tensor h = bytes(x) + positions(torch::arange(x.size(1)));
    for (const auto& block : *blocks) h = block->as<Block>()->forward(h);
    return torch::linear(norm(h), bytes->weight);  // Embedding and output share their weights.
  }

  // The mean cross-entropy of predicting each byte of `windows` from those before it.
  Tensor loss(const Tensor& windows) {
    const Tensor x = windows.to(torch::kInt64);
    const Tensor scores = forward(x.slice(1, 0, kContext));
    return nn::functional::cross_entropy(scores.reshape({-1, kVocabulary}),
                                         x.slice(1, 1).reshape({-1}));
  }

  nn::Embedding bytes = register_module("bytes", nn::Embedding(kVocabulary, kWidth));
  nn::Embedding positions = register_module("positions", nn::Embedding(kContext, kWidth));
  nn::ModuleList blocks = register_module("blocks", nn::ModuleList());
  nn::LayerNorm norm = register_module("norm", make_norm());
};
TORCH_MODULE(LanguageModel);

// ---- the text ----------------------------------------------------------------------------------

std::string read_text(const Options& options) {
  std::vector<fs::path> files;
  for (const auto& path : options.text) {
    if (fs::is_directory(path)) {
      for (const auto& entry : fs::recursive_directory_iterator(path))
        if (entry.path().extension() == ".md") files.push_back(entry.path());
    } else if (fs::exists(path)) {
      files.push_back(path);
    } else {
      std::cerr << "train: no text at " << path << "\n";
    }
  }
  std::sort(files.begin(), files.end());  // The order must not depend on the file system.
  std::string text;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    text.append(std::istreambuf_iterator<char>(in), {});
  }
  if (std::ssize(text) > options.text_bytes) text.resize(options.text_bytes);
  return text;
}

Tensor to_tensor(const std::string& text) {
  if (text.size() < 2 * kBatch * kContext) throw std::runtime_error("too little text; see --text");
  Tensor bytes = torch::empty({std::ssize(text)}, torch::kUInt8);
  std::copy(text.begin(), text.end(), bytes.data_ptr<std::uint8_t>());
  return bytes;
}

// ---- training ----------------------------------------------------------------------------------

double mean_loss(LanguageModel& model, const Tensor& windows) {
  torch::NoGradGuard no_grad;
  model->eval();
  double sum = 0;
  for (const auto& batch : windows.split(kBatch)) {
    sum += model->loss(batch).item<double>() * static_cast<double>(batch.size(0));
  }
  model->train();
  return sum / static_cast<double>(windows.size(0));
}

// What the model writes after `start`.
std::string continue_text(LanguageModel& model, std::string start, int length) {
  torch::NoGradGuard no_grad;
  model->eval();
  for (int i = 0; i < length; ++i) {
    const auto seen = start.substr(start.size() - std::min<std::size_t>(start.size(), kContext));
    const Tensor bytes = torch::tensor(std::vector<std::int64_t>(seen.begin(), seen.end()));
    const Tensor scores = model->forward(bytes.unsqueeze(0))[0][-1].slice(0, 0, 128);  // ASCII.
    start += static_cast<char>((scores / 0.7).softmax(0).multinomial(1).item<std::int64_t>());
  }
  return start;
}

// One line in one write: the bits tell what the rounded number hides.
void append_loss(const fs::path& file, std::int64_t step, float loss) {
  std::ostringstream line;
  line << step << " " << std::hex << std::bit_cast<std::uint32_t>(loss) << " " << loss << "\n";
  std::ofstream(file, std::ios::app) << line.str() << std::flush;
}

void write_parameters(const fs::path& file, LanguageModel& model) {
  std::ofstream out(file, std::ios::binary);
  for (const auto& parameter : model->parameters()) {
    const Tensor bytes = parameter.detach().contiguous();
    out.write(static_cast<const char*>(bytes.data_ptr()),
              static_cast<std::streamsize>(bytes.nbytes()));
  }
  if (!out.flush()) throw std::runtime_error("could not write " + file.string());
}

void train(const Options& options) {
  at::set_num_threads(1);  // Sums come out in the same order every time.
  torch::manual_seed(options.seed);

  // Rows of what the model sees and the byte that follows; they are views of the text.
  Tensor text = to_tensor(read_text(options));
  const Tensor windows = text.unfold(0, kContext + 1, kContext);
  const auto held_out = std::max(windows.size(0) / 20, kBatch);
  const Tensor validation = windows.slice(0, 0, held_out);
  const Tensor training = windows.slice(0, held_out);
  const auto steps = options.epochs * ((training.size(0) + kBatch - 1) / kBatch);
  std::cout << options.epochs << " epochs, " << steps << " steps" << std::endl;

  LanguageModel model;
  torch::optim::Adam optimizer(model->parameters(),
                               torch::optim::AdamOptions(3e-3).weight_decay(1e-5));
  torch::optim::StepLR schedule(optimizer, /*step_size=*/1, /*gamma=*/0.7);
  // Drawn from by hand: a torch::data::DataLoader would reset a private copy of it.
  torch::data::samplers::RandomSampler sampler(training.size(0));
  cairn::EpochCounter epochs(options.epochs);
  std::int64_t step = 0;

  // The log tells which damaged checkpoints recovery passed over, and the like.
  const auto log = [](std::string_view message) { std::cout << " [" << message << "]\n"; };
  cairn::Checkpointer checkpointer(options.store, {.log = log});
  checkpointer.add_recoverable("model", model)
      .add_recoverable("optimizer", optimizer)
      .add_recoverable("schedule", schedule)
      .add_recoverable("sampler", sampler)
      .add_recoverable("generator", at::detail::getDefaultCPUGenerator())  // Dropout, shuffling.
      .add_recoverable("epochs", epochs)
      .add_recoverable("step", step)
      .add_recoverable("text", text);  // Never changes, so all checkpoints share one copy of it.

  if (const auto from = checkpointer.recover_if_possible()) {
    std::cout << "resumed from " << from->name << std::endl;
  }

  const auto save = [&](const std::string& name, bool end_of_epoch, double loss) {
    std::cout << "epoch " << epochs.current() << "  step " << step << "/" << steps << "  loss "
              << loss << "  saving" << std::flush;
    // The predicate says which ones may be deleted: those of each kind rotate among themselves.
    checkpointer.save_and_keep_only(
        {.meta = {{"loss", loss}}, .end_of_epoch = end_of_epoch, .name = name, .replace = true},
        {.num_to_keep = 2,
         .ckpt_predicate =
             end_of_epoch ? cairn::saved_at_end_of_epoch : cairn::saved_within_epoch});
    std::cout << "  saved " << name << std::endl;
  };

  const cairn::StopSignal stop;  // SIGTERM and SIGUSR1 ask for a save and an end.
  for (const auto epoch : epochs) {
    while (const auto rows = sampler.next(kBatch)) {  // After a resume: the rest of the epoch.
      const Tensor batch = training.index_select(
          0, torch::tensor(std::vector<std::int64_t>(rows->begin(), rows->end())));
      optimizer.zero_grad();
      const Tensor loss = model->loss(batch);
      loss.backward();
      optimizer.step();
      ++step;
      if (!options.losses.empty()) append_loss(options.losses, step, loss.item<float>());
      if (step % options.save_every == 0 || stop.requested()) {
        save("step-" + std::to_string(step), /*end_of_epoch=*/false, loss.item<double>());
      }
      if (stop.requested()) {
        std::cout << "stopped as asked; start again to go on" << std::endl;
        return;
      }
    }
    // Before the save, so that what it saves is the beginning of the next epoch.
    schedule.step();
    sampler.reset();
    save("epoch-" + std::to_string(epoch), /*end_of_epoch=*/true, mean_loss(model, validation));
  }

  if (!options.parameters.empty()) write_parameters(options.parameters, model);
  std::cout << "done: " << step << " steps, validation loss " << mean_loss(model, validation)
            << "; the model writes:\n"
            << continue_text(model, "The ", 160) << std::endl;
}

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Trains a small language model; kill it and start it again, it goes on.", "train");
  app.add_option("--store", options.store, "Directory of the checkpoints")->required();
  app.add_option("--text", options.text, "Files to learn, or directories of .md files");
  app.add_option("--text-bytes", options.text_bytes, "Take no more of them than this")
      ->capture_default_str();
  app.add_option("--epochs", options.epochs)->capture_default_str();
  app.add_option("--save-every", options.save_every, "Steps between saves")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--losses", options.losses, "Append \"step bits loss\" here after every step");
  app.add_option("--parameters", options.parameters, "Write the parameters' bytes here in the end");
  CLI11_PARSE(app, argc, argv);
  try {
    train(options);
  } catch (const std::exception& error) {
    std::cerr << "train: " << error.what() << std::endl;
    return 1;
  }
}
