// A child saves and keeps only two, and is killed at random moments. What is found afterwards is
// the last acknowledged state or the one in flight, and nothing else.

#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <random>
#include <sstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace cairn {
namespace {

using testing::contents;
using testing::everything;
using testing::model_of;
using testing::ScratchDirectory;

struct ChildRun {
  std::uint64_t begun = 0;  // 0: none
  std::uint64_t done = 0;
};

/// Starts the child at checkpoint `first`, kills it after `delay`, and returns what it said.
ChildRun run_and_kill(const std::filesystem::path& store, std::uint64_t first,
                      std::chrono::microseconds delay) {
  int ends[2];
  if (::pipe(ends) != 0) ADD_FAILURE() << "no pipe";
  const std::string program = CAIRN_TEST_BIN_DIR "/saver_main";
  const std::string number = std::to_string(first);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execl(program.c_str(), program.c_str(), store.c_str(), number.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  // Timed from its first word on, so that kills land in saves and not in the program's start.
  std::string said(1, '\0');
  said.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(ends[0], said.data(), 1))));
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    said.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
  ChildRun run;
  std::istringstream words(said);
  std::string what;
  for (std::uint64_t n = 0; words >> what >> n;) (what == "begin" ? run.begun : run.done) = n;
  return run;
}

TEST(KillLoop, FindsTheLastAcknowledgedStateOrTheOneInFlight) {
  const char* given = std::getenv("CAIRN_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("CAIRN_TEST_SEED=" + std::to_string(seed));
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);

  const ScratchDirectory scratch;
  const auto path = scratch / "store";
  { const Store store(path); }
  std::uint64_t acknowledged = 0;
  int in_flight_won = 0;
  int rebuilt = 0;
  for (int round = 0; round < 200; ++round) {
    const std::uint64_t first = acknowledged + 1;
    const ChildRun run = run_and_kill(path, first, std::chrono::microseconds(random() % 25'000));
    const std::uint64_t last_done = std::max(run.done, acknowledged);
    const bool lose_catalog = round % 4 == 3;
    if (lose_catalog) std::filesystem::remove(path / "catalog.mdb");

    const Store store(path);
    if (store.open_report().rebuilt_catalog) ++rebuilt;
    std::map<std::string, testing::Contents> held = everything(store);
    const auto expect_newest = [&](std::uint64_t newest) {
      std::map<std::string, testing::Contents> expected;
      for (std::uint64_t n = newest; n > 0 && n + 2 > newest; --n) {
        expected[std::to_string(n)] = contents(model_of(n, 4, 40'000));
      }
      return expected;
    };
    if (run.begun > last_done && held == expect_newest(run.begun)) {
      acknowledged = run.begun;
      ++in_flight_won;
    } else {
      ASSERT_EQ(held, expect_newest(last_done)) << "round " << round;
      acknowledged = last_done;
    }
    const VerifyReport report = store.verify();
    ASSERT_TRUE(report.ok) << "round " << round << ": " << report.damaged.front().message;
  }
  EXPECT_GE(rebuilt, 50);
  std::printf("200 kills, %llu saves, %d times the one in flight was there, %d catalogs rebuilt\n",
              static_cast<unsigned long long>(acknowledged), in_flight_won, rebuilt);
}

}  // namespace
}  // namespace cairn
