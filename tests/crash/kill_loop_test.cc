// Children save, delete, fill the disk and fight for the lock, and are killed at random moments.
// What is found afterwards is the last acknowledged state or the one in flight, and nothing else.
//
// CAIRN_TEST_SEED repeats a run as far as time lets it. CAIRN_KILL_FACTOR multiplies the kills.

#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cairn {
namespace {

using testing::contents;
using testing::everything;
using testing::model_of;
using testing::ScratchDirectory;

using Numbers = std::vector<std::uint64_t>;

/// A loop that waits for something to have happened gives up after so many rounds.
constexpr int kRoundsAtMost = 2000;

/// A store's state as a child told it: the numbers of its checkpoints.
struct Told {
  std::uint64_t sequence = 0;
  Numbers numbers{};
};

/// The end of what one child said.
struct LastWords {
  std::optional<Told> done{};
  std::optional<Told> begun{};  // in flight when it was killed
  int failed = 0;               // how often there was no space
  int busy = 0;                 // how often another one had the lock
};

LastWords parse(const std::string& said) {
  LastWords last;
  std::istringstream lines(said);
  for (std::string line; std::getline(lines, line) && !lines.eof();) {
    std::istringstream words(line);
    std::string what;
    Told told;
    words >> what >> told.sequence;
    for (std::uint64_t number = 0; words >> number;) told.numbers.push_back(number);
    if (what == "begin") last.begun = told;
    if (what == "done") last.done = told;
    if (what == "failed") ++last.failed;
    if (what == "busy") ++last.busy;
    if (what != "begin") last.begun.reset();
  }
  return last;
}

class Child {
 public:
  explicit Child(const std::vector<std::string>& words) {
    int out[2];
    int in[2];
    if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(in, O_CLOEXEC) != 0) ADD_FAILURE() << "no pipe";
    const std::string program = std::string(CAIRN_TEST_BIN_DIR "/") + words.front();
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(in[0], STDIN_FILENO);
      ::execv(program.c_str(), arguments.data());
      ::_exit(127);
    }
    ::close(out[1]);
    ::close(in[0]);
    out_ = out[0];
    in_ = in[1];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) kill();
    ::close(out_);
    if (in_ >= 0) ::close(in_);
  }

  /// Kills are timed from the first word on, so that they land in saves and not in the start.
  void wait_for_a_word() { read_byte(); }
  /// Until it has said a line that begins with `what` so many times, or ends.
  void wait_for(std::string_view what, int times) {
    std::size_t line = 0;
    while (times > 0 && read_byte()) {
      if (said_.back() != '\n') continue;
      if (std::string_view(said_).substr(line).starts_with(what)) --times;
      line = said_.size();
    }
  }
  void send(int signal) const { ::kill(pid_, signal); }
  void wait_until_stopped() const {
    int status = 0;
    ::waitpid(pid_, &status, WUNTRACED);
    EXPECT_TRUE(WIFSTOPPED(status));
  }
  /// Ends its input, and gives its exit status.
  int finish() {
    ::close(std::exchange(in_, -1));
    return wait();
  }
  /// Kills it; everything that it said.
  std::string kill() {
    send(SIGKILL);
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(out_, buffer, sizeof(buffer))) > 0;) {
      said_.append(buffer, static_cast<std::size_t>(got));
    }
    EXPECT_TRUE(WIFSIGNALED(wait())) << "the child ended by itself";
    return std::exchange(said_, {});
  }

 private:
  bool read_byte() {
    char byte = 0;
    if (::read(out_, &byte, 1) != 1) return false;
    said_ += byte;
    return true;
  }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

  pid_t pid_ = -1;
  int out_ = -1;
  int in_ = -1;
  std::string said_;
};

class KillLoop : public ::testing::Test {
 protected:
  KillLoop() {
    const char* given = std::getenv("CAIRN_TEST_SEED");
    seed_ = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    random_.seed(seed_);
    std::printf("CAIRN_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed_));
  }

  static int times(int rounds) {
    const char* factor = std::getenv("CAIRN_KILL_FACTOR");
    return factor != nullptr ? rounds * std::max(1, std::atoi(factor)) : rounds;
  }
  void pause_at_random() {
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % 25'000));
  }
  /// Killed at a random moment after its first word, or after so many changes that were done.
  LastWords run_and_kill(const std::vector<std::string>& words, int done = 0) {
    Child child(words);
    child.wait_for_a_word();
    child.wait_for("done", done);
    pause_at_random();
    ++kills_;
    return parse(child.kill());
  }

  static std::map<std::string, testing::Contents> contents_of(const Numbers& numbers) {
    std::map<std::string, testing::Contents> expected;
    for (const std::uint64_t number : numbers) {
      expected[std::to_string(number)] = contents(model_of(number, 4, 40'000));
    }
    return expected;
  }

  /// The store must hold what was done last, by whichever child, or a change in flight after that;
  /// every byte must be right, and the store whole. Remembers what it holds.
  void expect_legal(const Store& store, const std::vector<LastWords>& children) {
    std::vector<Told> in_flight;
    for (const LastWords& last : children) {
      if (last.done && last.done->sequence > done_.sequence) done_ = *last.done;
    }
    for (const LastWords& last : children) {
      if (last.begun && last.begun->sequence >= done_.sequence) in_flight.push_back(*last.begun);
    }
    const auto held = everything(store);
    if (held != contents_of(done_.numbers)) {
      const auto won = std::find_if(in_flight.begin(), in_flight.end(), [&](const Told& told) {
        return held == contents_of(told.numbers);
      });
      ASSERT_NE(won, in_flight.end()) << describe(held);
      done_ = *won;
      ++in_flight_won_;
    }
    ASSERT_GE(store.stat().sequence, done_.sequence);
    const VerifyReport report = store.verify();
    ASSERT_TRUE(report.ok) << report.damaged.front().message;
  }

  std::string describe(const std::map<std::string, testing::Contents>& held) const {
    std::string text = "CAIRN_TEST_SEED=" + std::to_string(seed_) + "; last done:";
    for (const std::uint64_t number : done_.numbers) text += " " + std::to_string(number);
    text += "; found:";
    for (const auto& [name, bytes] : held) text += " " + name;
    return text;
  }

  void print(const std::string& what) const {
    std::printf("kills: %d (%s; %d times the change in flight was there)\n", kills_, what.c_str(),
                in_flight_won_);
  }

  ScratchDirectory scratch_;
  std::uint64_t seed_ = 0;
  std::mt19937_64 random_;
  Told done_{};
  int kills_ = 0;
  int in_flight_won_ = 0;
};

TEST_F(KillLoop, FindsTheLastAcknowledgedStateOrTheOneInFlight) {
  const auto path = scratch_ / "store";
  { const Store store(path); }
  int rebuilt = 0;
  const int rounds = times(200);
  for (int round = 0; round < rounds; ++round) {
    const LastWords last = run_and_kill({"saver_main", path, "keep"});
    if (round % 4 == 3) std::filesystem::remove(path / "catalog.mdb");
    const Store store(path);
    if (store.open_report().rebuilt_catalog) ++rebuilt;
    ASSERT_NO_FATAL_FAILURE(expect_legal(store, {last})) << "round " << round;
  }
  EXPECT_EQ(rebuilt, rounds / 4);
  print("saves that keep two, " + std::to_string(rebuilt) + " times the catalog was lost as well");
}

// What a reader holds open is freed while it is stopped. It must find it as it was; and a reader
// that is killed must not hold space back for ever.
TEST_F(KillLoop, AStoppedReaderFindsItsCheckpointAsItWas) {
  const auto path = scratch_ / "store";
  { Store(path).save(model_of(1, 4, 40'000), {.name = "1"}); }
  done_ = {.sequence = 0, .numbers = {1}};
  const int rounds = times(12);
  for (int round = 0; round < rounds; ++round) {
    Child reader({"reader_main", path});
    reader.wait_for_a_word();
    const std::uint64_t held = done_.numbers.front();
    pause_at_random();
    reader.send(SIGSTOP);
    reader.wait_until_stopped();
    for (int i = 0; i < 4; ++i) {
      const LastWords last = run_and_kill({"saver_main", path, "keep"}, 2);
      const Store store(path);
      ASSERT_NO_FATAL_FAILURE(expect_legal(store, {last})) << "round " << round;
    }
    // Two commits after it went, its space would be written again.
    ASSERT_GT(done_.numbers.back(), held + 2);
    if (round % 3 == 2) {
      reader.kill();
      ++kills_;
      Store store(path);
      EXPECT_EQ(store.stat().held_back_bytes, 0U);
    } else {
      reader.send(SIGCONT);
      const int status = reader.finish();
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "round " << round;
    }
  }
  print("while a reader was stopped and what it held was freed, " + std::to_string(rounds) +
        " times");
}

/// A file system of a few megabytes where one can be mounted.
class SmallDisk {
 public:
  SmallDisk(std::filesystem::path directory, std::uint64_t bytes) : directory_(directory) {
    std::filesystem::create_directory(directory_);
    const std::string size = "size=" + std::to_string(bytes);
    is_mounted_ = ::mount("cairn", directory_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (is_mounted_) ::umount2(directory_.c_str(), MNT_DETACH);
  }
  bool is_mounted() const { return is_mounted_; }

 private:
  std::filesystem::path directory_;
  bool is_mounted_ = false;
};

TEST_F(KillLoop, OnADiskThatFillsUpAndIsEmptied) {
  constexpr std::uint64_t kDiskBytes = 4 << 20;
  const SmallDisk disk(scratch_ / "disk", kDiskBytes);
  const auto path = scratch_ / "disk/store";
  { const Store store(path); }
  std::vector<std::string> words = {"saver_main", path, "fill"};
  if (!disk.is_mounted()) words.push_back(std::to_string(kDiskBytes / 2));
  int failed = 0;
  const int rounds = times(40);
  for (int round = 0; round < rounds || failed == 0; ++round) {
    ASSERT_LT(round, rounds + kRoundsAtMost) << "the disk was never full";
    const LastWords last = run_and_kill(words);
    failed += last.failed;
    const Store store(path);
    ASSERT_NO_FATAL_FAILURE(expect_legal(store, {last})) << "round " << round;
  }
  print("on " + std::string(disk.is_mounted() ? "a disk of 4 MiB" : "files of at most 2 MiB") +
        ", which was full " + std::to_string(failed) + " times");
}

TEST_F(KillLoop, TwoJobsThatFightForTheWriterLock) {
  const auto path = scratch_ / "store";
  { const Store store(path); }
  int busy = 0;
  const int rounds = times(40);
  for (int round = 0; round < rounds || busy == 0; ++round) {
    ASSERT_LT(round, rounds + kRoundsAtMost) << "they never met";
    Child one({"saver_main", path, "fight"});
    Child other({"saver_main", path, "fight"});
    one.wait_for_a_word();
    other.wait_for_a_word();
    pause_at_random();
    const bool one_first = random_() % 2 == 0;
    const LastWords first = parse((one_first ? one : other).kill());
    pause_at_random();
    const LastWords second = parse((one_first ? other : one).kill());
    kills_ += 2;
    busy += first.busy + second.busy;
    const Store store(path);
    ASSERT_NO_FATAL_FAILURE(expect_legal(store, {first, second})) << "round " << round;
  }
  print("two jobs on one store, " + std::to_string(busy) + " times one found it busy");
}

}  // namespace
}  // namespace cairn
