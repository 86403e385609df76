// LibTorch's own torch::save and torch::load, timed on request, by the protocol of peers.py.
#include <torch/torch.h>

#include <chrono>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::int64_t kTensorBytes = std::int64_t{16} << 20;
constexpr const char* kName = "torch::save";

void flush(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 || ::fsync(descriptor) != 0) {
    throw std::runtime_error("cannot flush " + path.string());
  }
  ::close(descriptor);
}

void forget_pages(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 || ::fsync(descriptor) != 0 ||
      ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) != 0) {
    throw std::runtime_error("cannot drop the pages of " + path.string());
  }
  ::close(descriptor);
}

void save(const std::vector<torch::Tensor>& state, const std::filesystem::path& file) {
  const std::filesystem::path temporary = file.string() + ".new";
  torch::save(state, temporary.string());
  flush(temporary);
  std::filesystem::rename(temporary, file);
  flush(file.parent_path());
}

/// Reads every byte once, as the other peers must.
void load(const std::filesystem::path& file) {
  std::vector<torch::Tensor> state;
  torch::load(state, file.string());
  std::int64_t total = 0;
  for (const torch::Tensor& tensor : state) {
    total += tensor.view(torch::kInt64).sum().item<std::int64_t>();
  }
  volatile std::int64_t read = total;
  static_cast<void>(read);
}

template <typename Work>
double seconds_of(const Work& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: torch_peer BYTES DIRECTORY\n";
    return 2;
  }
  try {
    const std::int64_t bytes = std::stoll(argv[1]);
    const std::filesystem::path file = std::filesystem::path(argv[2]) / "peer-torch-cpp";
    std::vector<torch::Tensor> state;
    for (std::int64_t at = 0; at < bytes || state.empty(); at += kTensorBytes) {
      state.push_back(torch::rand({kTensorBytes / 4}));
    }
    std::cout << "ready " << kName << std::endl;
    std::string verb;
    std::string name;
    for (float round = 0; std::cin >> verb >> name; ++round) {
      double seconds = 0;
      if (verb == "save") {
        for (torch::Tensor& tensor : state) tensor[0] = round;
        seconds = seconds_of([&] { save(state, file); });
      } else if (verb == "load") {
        seconds = seconds_of([&] { load(file); });
      } else if (verb == "forget") {
        seconds = seconds_of([&] { forget_pages(file); });
      } else {
        std::cerr << "torch_peer: no such verb: " << verb << "\n";
        return 2;
      }
      std::cout << seconds << std::endl;
    }
  } catch (const std::exception& error) {
    std::cerr << "torch_peer: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
