// Saves checkpoint after checkpoint, keeping only two, until it is killed: the child of the kill
// loop. Usage: saver_main STORE FIRST. Writes "begin N" before each save and "done N" after it.

#include "support/states.h"

#include <cairn/store.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

namespace {

void say(const char* what, std::uint64_t number) {
  const std::string line = std::string(what) + " " + std::to_string(number) + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) std::exit(1);
}

std::vector<std::uint64_t> all_but_two(std::span<const cairn::CheckpointInfo> all) {
  std::vector<std::uint64_t> going;
  for (const auto& info : all.subspan(std::min<std::size_t>(2, all.size()))) {
    going.push_back(info.id);
  }
  return going;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  try {
    cairn::Store store(arguments[1]);
    for (std::uint64_t number = std::strtoull(arguments[2], nullptr, 10);; ++number) {
      const auto state = cairn::testing::model_of(number, 4, 40'000);
      say("begin", number);
      store.save(state, {.name = std::to_string(number), .retention = all_but_two});
      say("done", number);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "saver_main: %s\n", error.what());
    return 1;
  }
}
