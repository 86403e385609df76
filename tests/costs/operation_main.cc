// Does one operation on a store so many times, for a tool that counts instructions to watch:
//
//     operation_main STORE make COUNT        saves COUNT checkpoints
//     operation_main STORE OPERATION COUNT   save, delete, find, load

#include "support/states.h"

#include <cairn/retention.h>

#include <array>
#include <cstdio>
#include <exception>
#include <string>

namespace {

using namespace cairn;  // NOLINT(google-build-using-namespace)

CheckpointState state_of(std::uint64_t seed) {
  return testing::model({testing::tensor("changes", testing::pattern(seed, 4096)),
                         testing::tensor("stays", testing::pattern(1, 65536))});
}

void run(const std::filesystem::path& directory, const std::string& operation,
         std::uint64_t count) {
  Store store(directory);
  std::uint64_t seed = store.stat().next_id * 1000;
  const std::vector<CheckpointInfo> all = store.checkpoints();
  if (operation == "load") {
    const Checkpoint newest = store.open(all.front().id);
    for (std::uint64_t i = 0; i < count; ++i) newest.read(0);
    return;
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (operation == "make" || operation == "save") {
      store.save(state_of(++seed));
    } else if (operation == "find") {
      if (!store.find(all[i].id)) throw std::runtime_error("a checkpoint is gone");
    } else if (operation == "delete") {
      store.remove(std::array{all[all.size() / 2 - i].id});
    } else {
      throw std::runtime_error("unknown operation " + operation);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 4) throw std::runtime_error("usage: operation_main STORE OPERATION COUNT");
    run(argv[1], argv[2], std::stoull(argv[3]));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
