// Holds the newest checkpoint open, and reads it over and over: the child of the kill loop that is
// stopped and continued. Usage: reader_main STORE
//
// Says "open N" once, N being the checkpoint's number, which also makes its contents. When its
// standard input ends it reads once more and exits with 0; with 1 if anything was not as it was
// saved.

#include "support/states.h"

#include <cairn/store.h>

#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <string>
#include <unistd.h>

int main(int count, char** arguments) {
  if (count != 2) return 2;
  try {
    const cairn::Store store(arguments[1], {.read_only = true});
    const cairn::CheckpointInfo newest = store.checkpoints().front();
    const cairn::Checkpoint checkpoint = store.open(newest.id);
    const auto expected = cairn::testing::contents(
        cairn::testing::model_of(std::strtoull(newest.name.c_str(), nullptr, 10), 4, 40'000));
    const std::string line = "open " + newest.name + "\n";
    if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) return 1;
    for (bool last = false;;) {
      if (cairn::testing::contents(checkpoint) != expected) return 1;
      if (last) return 0;
      pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
      last = ::poll(&input, 1, 0) > 0;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "reader_main: %s\n", error.what());
    return 1;
  }
}
