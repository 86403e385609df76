// A program that uses an installed Cairn: saves, keeps, loads, and catches an error from the
// library.
#include <cairn/store.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::filesystem::path directory = argv[1];
  const std::array<float, 3> weights = {1, 2, 3};
  cairn::CheckpointState state(1);
  state[0].name = "model";
  state[0].tensors = {{.key = "w",
                       .dtype = cairn::DType::kF32,
                       .shape = {3},
                       .data = reinterpret_cast<const std::byte*>(weights.data())}};
  cairn::Store store(directory);
  const auto saved = store.save(state, {.meta = {{"loss", 0.5}}}).saved;
  const auto best = cairn::select_checkpoints(store.checkpoints(), {.min_key = "loss"});
  if (best.empty() || best.front().id != saved.id) return 1;
  const std::vector<std::byte> bytes = store.open(saved.id).read(0);
  if (!std::ranges::equal(bytes, std::as_bytes(std::span(weights)))) return 1;
  try {
    cairn::Store again(directory);
    return 1;
  } catch (const cairn::Error& error) {
    if (error.code() != cairn::ErrorCode::kBusy) return 1;
  }
  std::puts("ok");
  return 0;
}
