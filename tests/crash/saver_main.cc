// Saves checkpoint after checkpoint until it is killed: the child of the kill loop.
//
// Usage: saver_main STORE MODE [MAX_FILE_BYTES]
//   keep    keeps the newest two
//   fill    keeps all until the disk is full, then deletes all but the newest
//   fight   keeps two, and gives the writer lock up after every few saves, for another to take
//
// Says what the store holds after each change, by the numbers of its checkpoints, which also make
// their contents: "begin SEQUENCE NUMBERS" before, with the sequence that the store has then, and
// "done SEQUENCE NUMBERS" after; "failed" when there was no space, and nothing happened.

#include "support/states.h"

#include <cairn/store.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr int kSavesForEachLock = 3;

void say(const std::string& line) {
  if (::write(STDOUT_FILENO, (line + "\n").data(), line.size() + 1) < 0) std::exit(1);
}

std::string text_of(const char* what, std::uint64_t sequence,
                    const std::vector<std::uint64_t>& numbers) {
  std::string text = std::string(what) + " " + std::to_string(sequence);
  for (const std::uint64_t number : numbers) text += " " + std::to_string(number);
  return text;
}

std::vector<std::uint64_t> all_but_two(std::span<const cairn::CheckpointInfo> all) {
  std::vector<std::uint64_t> going;
  for (const auto& info : all.subspan(std::min<std::size_t>(2, all.size()))) {
    going.push_back(info.id);
  }
  return going;
}

/// Newest first.
std::vector<std::uint64_t> numbers_in(const cairn::Store& store) {
  std::vector<std::uint64_t> numbers;
  for (const auto& info : store.checkpoints()) {
    numbers.push_back(std::strtoull(info.name.c_str(), nullptr, 10));
  }
  return numbers;
}

void save_next(cairn::Store& store, bool keep_two) {
  std::vector<std::uint64_t> after = numbers_in(store);
  const std::uint64_t number = after.empty() ? 1 : after.front() + 1;
  const auto state = cairn::testing::model_of(number, 4, 40'000);
  after.insert(after.begin(), number);
  if (keep_two) after.resize(std::min<std::size_t>(2, after.size()));
  say(text_of("begin", store.stat().sequence, after));
  cairn::SaveOptions options{.name = std::to_string(number)};
  if (keep_two) options.retention = all_but_two;
  store.save(state, options);
  say(text_of("done", store.stat().sequence, after));
}

void keep_newest(cairn::Store& store) {
  const std::vector<cairn::CheckpointInfo> all = store.checkpoints();
  std::vector<std::uint64_t> going;
  for (std::size_t i = 1; i < all.size(); ++i) going.push_back(all[i].id);
  const std::vector<std::uint64_t> after{numbers_in(store).front()};
  say(text_of("begin", store.stat().sequence, after));
  store.remove(going);
  say(text_of("done", store.stat().sequence, after));
}

[[noreturn]] void keep(const char* path) {
  cairn::Store store(path);
  for (;;) save_next(store, true);
}

[[noreturn]] void fill(const char* path) {
  cairn::Store store(path);
  for (;;) {
    try {
      save_next(store, false);
    } catch (const cairn::Error& error) {
      if (error.code() != cairn::ErrorCode::kNoSpace) throw;
      say("failed");
      keep_newest(store);
    }
  }
}

[[noreturn]] void fight(const char* path) {
  for (;;) {
    try {
      cairn::Store store(path);
      for (int i = 0; i < kSavesForEachLock; ++i) save_next(store, true);
    } catch (const cairn::Error& error) {
      if (error.code() != cairn::ErrorCode::kBusy) throw;
      say("busy");
      ::usleep(200);  // so that the holder gets on; nothing depends on it
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  const std::string_view mode = arguments[2];
  if (count > 3) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlim_t bytes = std::strtoull(arguments[3], nullptr, 10);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
  }
  try {
    if (mode == "keep") keep(arguments[1]);
    if (mode == "fill") fill(arguments[1]);
    if (mode == "fight") fight(arguments[1]);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "saver_main: %s\n", error.what());
    return 1;
  }
}
