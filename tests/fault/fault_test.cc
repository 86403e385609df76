// Every call to the system, LMDB's among them, fails once or from then on, in everything that a
// store does. After each: success, or an error of the right code; nothing leaks; the handle works
// on or is poisoned, as its documentation says; and after closing and opening again the store holds
// the state before or the one in flight, whole, and works.
#include "catalog/catalog.h"
#include "fault/injector.h"
#include "fault/lost_writes.h"
#include "fault/scenario.h"
#include "format/layout.h"
#include "support/effort.h"
#include "support/scratch.h"
#include "support/watched.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <map>
#include <new>
#include <numeric>
#include <optional>
#include <random>
#include <sched.h>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cairn::fault {
namespace {

using testing::Effort;
using testing::Progress;
using testing::ScratchDirectory;

namespace fs = std::filesystem;

/// Calls to try of each scenario, kind and duration, unless all are asked for.
constexpr std::size_t kSampleOfCalls = 6;
/// Flushes are few, and each is there for a reason of its own.
constexpr std::size_t kSampleOfFlushes = 20;

/// The codes that a kind of fault may lead to. LMDB turns some into others: a short read of its
/// file into another format, a short write into a full disk. The write of its meta page may end in
/// `commit_unknown` however it fails.
const std::map<Kind, std::set<ErrorCode>>& right_codes() {
  using enum ErrorCode;
  static const std::map<Kind, std::set<ErrorCode>> table = {
      {Kind::kEio, {kIo, kCommitUnknown}},
      {Kind::kEnospc, {kNoSpace, kIo, kCommitUnknown}},  // io: of a flush
      {Kind::kEdquot, {kNoSpace, kIo, kCommitUnknown}},
      {Kind::kEintr, {kIo}},  // of a flush
      {Kind::kShortRead, {kIo}},
      {Kind::kShortWrite, {kNoSpace, kIo, kCommitUnknown}},
      {Kind::kEmfile, {kIo}},
      {Kind::kEnomem, {kIo}},
      {Kind::kBadAlloc, {}},  // std::bad_alloc
      {Kind::kMalloc, {kIo}},
      {Kind::kLostFlush, {kIo, kCommitUnknown}},
  };
  return table;
}

struct Outcome {
  bool succeeded = false;
  bool out_of_memory = false;
  std::optional<ErrorCode> code{};
  std::string message{};
};

template <typename Call>
Outcome outcome_of(const Call& call) {
  Outcome outcome;
  try {
    call();
    outcome.succeeded = true;
  } catch (const Error& error) {
    outcome.code = error.code();
    outcome.message = error.what();
  } catch (const std::bad_alloc&) {
    outcome.out_of_memory = true;
    outcome.message = "out of memory";
  } catch (const std::exception& error) {
    outcome.message = std::string("an exception of another type: ") + error.what();
  }
  return outcome;
}

std::set<std::string> open_files() {
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    files.insert(entry.path().filename().string() + " " + fs::read_symlink(entry, gone).string());
  }
  // The one that this listing itself has open.
  std::erase_if(files, [](const std::string& file) {
    return file.find("/proc/") != std::string::npos || file.ends_with(" ");
  });
  return files;
}

/// The scenario at hand: its store as it is before, and what a store may hold afterwards.
class Trial {
 public:
  Trial(const Scenario& scenario, const fs::path& work)
      : scenario_(scenario), before_files_(work / "before"), work_(work / "work") {
    fs::create_directory(before_files_);
    scenario_.prepare(before_files_);
    make_work();
    before_ = held_after_reopening();
    make_work();
    if (scenario_.held_besides != nullptr) before_besides_ = scenario_.held_besides(directory());
    attempt({.at = 0});
    if (scenario_.held_besides != nullptr) after_besides_ = scenario_.held_besides(directory());
    if (fs::exists(Session(directory()).file))
      exported_ = testing::read_file(Session(directory()).file);
    after_ = held_after_reopening();
  }

  struct Result {
    std::uint64_t calls = 0;  // that the kind can hit
    bool is_hit = false;
  };

  /// Runs the operation under the fault and checks all that must hold.
  Result run(const Fault& fault, bool lose_catalog) {
    make_work();
    EXPECT_EQ(leaked_allocations(fault), 0) << "memory leaked";

    make_work();
    Result result;
    Expected expected;
    std::optional<LostWrites> lost;
    if (fault.kind == Kind::kLostFlush) lost.emplace(directory());
    const auto files_before = open_files();
    {
      Session session(directory());
      scenario_.begin(session);
      watching_lost_writes() = lost ? &*lost : nullptr;
      Outcome outcome;
      bool hit_pack_flush = false;
      {
        const Injection injection(fault);
        outcome = outcome_of([&] { scenario_.run(session); });
        result = {.calls = injection.calls(), .is_hit = injection.hits() > 0};
        hit_pack_flush = injection.hit_a_flush_of_the_pack();
      }
      expected.state = outcome.succeeded ? after_ : before_;
      expected.is_unknown = outcome.code == ErrorCode::kCommitUnknown;
      expect_right_code(fault, outcome, result.is_hit);
      expect_no_leftovers(session, fault, outcome);
      if (scenario_.only_reads) expect_untouched();
      if (scenario_.held_besides != nullptr) {
        expect_besides(outcome.succeeded);
        scenario_.run(session);
      }
      if (session.store) check_handle(session, outcome, hit_pack_flush, expected);
      watching_lost_writes() = nullptr;
    }
    EXPECT_EQ(open_files(), files_before) << "descriptors leaked";
    if (lost) lost->take_away();
    if (scenario_.held_besides != nullptr) expect_besides(true);
    check_reopened(std::move(expected), lose_catalog);
    return result;
  }

 private:
  struct Expected {
    State state{};
    bool is_unknown = false;  // then the state after will do as well
  };

  fs::path directory() const { return work_ / "store"; }

  void make_work() const {
    fs::remove_all(work_);
    fs::create_directory(work_);
    if (fs::exists(before_files_))
      fs::copy(before_files_, directory(), fs::copy_options::recursive);
  }

  void attempt(const Fault& fault) const {
    Session session(directory());
    scenario_.begin(session);
    const Injection injection(fault);
    scenario_.run(session);
  }

  std::int64_t leaked_allocations(const Fault& fault) const {
    const std::int64_t before = live_allocations();
    try {
      attempt(fault);
    } catch (const std::exception&) {  // `run` looks at it.
    }
    return live_allocations() - before;
  }

  State held_after_reopening() const {
    if (scenario_.needs_repair) Store::repair(directory());
    return state_of(Store(directory()));
  }

  static void expect_right_code(const Fault& fault, const Outcome& outcome, bool is_hit) {
    if (outcome.succeeded) return;
    EXPECT_TRUE(is_hit) << "failed without a fault: " << outcome.message;
    if (fault.kind == Kind::kBadAlloc) {
      EXPECT_TRUE(outcome.out_of_memory) << outcome.message;
      return;
    }
    ASSERT_TRUE(outcome.code.has_value()) << outcome.message;
    EXPECT_TRUE(right_codes().at(fault.kind).contains(*outcome.code))
        << to_string(*outcome.code) << ": " << outcome.message;
  }

  void expect_untouched() const {
    for (const char* name : {"pack", "catalog.mdb"}) {
      if (!fs::exists(before_files_ / name)) continue;
      EXPECT_EQ(testing::read_file(directory() / name), testing::read_file(before_files_ / name))
          << name << " was changed by what only reads";
    }
  }

  void expect_no_leftovers(const Session& session, const Fault& fault,
                           const Outcome& outcome) const {
    // The flush of the directory comes after the file has its name.
    if (fs::exists(session.file)) {
      EXPECT_EQ(testing::read_file(session.file), exported_) << "half an export";
    }
    EXPECT_TRUE(!outcome.succeeded || exported_.empty() || fs::exists(session.file));
    // Names cannot be removed while that fails.
    if (fault.kind == Kind::kEio || fault.kind == Kind::kEnospc) return;
    for (const auto& entry : fs::directory_iterator(work_)) {
      const std::string name = entry.path().filename().string();
      EXPECT_FALSE(name.starts_with(".cairn-export") || name.ends_with(".partial")) << entry;
    }
  }

  void expect_besides(bool is_done) const {
    const State held = scenario_.held_besides(directory());
    const auto is_part = [&] {
      return std::all_of(held.begin(), held.end(), [&](const auto& one) {
        const auto whole = after_besides_.find(one.first);
        return whole != after_besides_.end() && one.second == whole->second;
      });
    };
    EXPECT_TRUE(held == after_besides_ ||
                (!is_done && (scenario_.goes_in_steps ? is_part() : held == before_besides_)))
        << "another state in what the scenario writes besides";
  }

  /// The handle goes on, or is poisoned as documented; reading goes on unless LMDB gave up.
  void check_handle(Session& session, const Outcome& outcome, bool hit_pack_flush,
                    Expected& expected) const {
    session.checkpoint.reset();
    const Store& store = *session.store;
    const Outcome reading = outcome_of([&] {
      expect_state(state_of(store), expected, "in the handle");
      using catalog::Catalog;
      const auto catalog = Catalog::open(directory() / "catalog.mdb", catalog::Mode::kReadOnly);
      EXPECT_FALSE(catalog.oldest_reader().has_value()) << "a reader was left behind";
    });
    EXPECT_TRUE(reading.succeeded || (expected.is_unknown && reading.code == ErrorCode::kPoisoned))
        << "reading on: " << reading.message;
    if (store.read_only()) return;

    const Outcome saving =
        outcome_of([&] { session.store->save(other_state(), {.name = "afterwards"}); });
    if (saving.succeeded) {
      EXPECT_FALSE(expected.is_unknown || hit_pack_flush) << "the handle should be poisoned";
      expected.state["afterwards"] = {.contents = testing::contents(other_state())};
      expect_state(state_of(store), expected, "after a further save");
    } else {
      EXPECT_EQ(saving.code, ErrorCode::kPoisoned) << "saving on: " << saving.message;
      EXPECT_TRUE(outcome.code == ErrorCode::kIo || expected.is_unknown)
          << "poisoned after: " << outcome.message;
    }
  }

  void expect_state(const State& held, const Expected& expected, const char* where) const {
    EXPECT_TRUE(held == expected.state || (expected.is_unknown && held == after_) ||
                (scenario_.mends && held == mended(expected.state)))
        << "another state " << where;
  }

  /// The state when what was damaged before has become whole, whatever else has come of the call.
  State mended(State state) const {
    for (auto& [name, held] : state) {
      if (held.damaged && after_.contains(name)) held = after_.at(name);
    }
    return state;
  }

  void check_reopened(Expected expected, bool lose_catalog) const {
    if (scenario_.needs_repair) Store::repair(directory());
    State state;
    {
      Store store(directory());
      state = state_of(store);
      expect_state(state, expected, "after opening again");
      expect_sound(store, state);
      const auto saved = store.save(other_state(), {.name = "later"}).saved.id;
      state["later"] = {.contents = testing::contents(other_state())};
      EXPECT_EQ(state_of(store), state);
      store.remove(std::vector{saved});
      state.erase("later");
      expect_sound(store, state);
    }
    if (!lose_catalog) return;
    fs::remove(directory() / "catalog.mdb");
    EXPECT_EQ(state_of(Store(directory())), state) << "after the loss of the catalog";
  }

  /// Only what the scenario itself has damaged is damaged, and no space is lost.
  static void expect_sound(const Store& store, const State& state) {
    const bool holds_damage = std::any_of(state.begin(), state.end(),
                                          [](const auto& held) { return held.second.damaged; });
    for (const Damage& damage : store.verify().damaged) {
      if (!holds_damage || damage.what != "chunk") ADD_FAILURE() << damage.message;
    }
    const StoreStats stats = store.stat();
    EXPECT_LE(format::kDataBegin + stats.stored_bytes + stats.free_bytes, stats.pack_bytes);
    EXPECT_FALSE(stats.oldest_reader_pid.has_value());
  }

  const Scenario& scenario_;
  fs::path before_files_;
  fs::path work_;
  State before_;
  State after_;
  State before_besides_;
  State after_besides_;
  testing::Bytes exported_;  // what the scenario writes besides
};

/// Which calls to hit: all of them, or a sample.
std::vector<std::uint64_t> chosen_calls(Kind kind, std::uint64_t calls, const Effort& effort,
                                        std::mt19937_64& random) {
  const std::size_t count = kind == Kind::kLostFlush ? kSampleOfFlushes : kSampleOfCalls;
  std::vector<std::uint64_t> all(calls);
  std::iota(all.begin(), all.end(), 1);
  if (effort.is_exhaustive() || calls <= count) return all;
  std::vector<std::uint64_t> sample;
  std::sample(all.begin(), all.end(), std::back_inserter(sample), count, random);
  return sample;
}

/// One thread, so that a call has the same number in every run.
void use_one_core() {
  cpu_set_t all;
  CPU_ZERO(&all);
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &all)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    return;
  }
}

void fail_calls_of(const Scenario& scenario, std::uint64_t number, const Effort& effort,
                   Progress& progress) {
  use_one_core();
  const ScratchDirectory scratch(testing::Where::kMemory);
  auto random = effort.random(number);
  progress.begin(scenario.name);
  Trial trial(scenario, scratch.path());
  std::vector<Fault> faults;
  for (const Kind kind : kKinds) {
    const std::uint64_t calls = trial.run({.kind = kind, .at = 0}, false).calls;
    for (const Duration duration : {Duration::kOnce, Duration::kLasting}) {
      for (const std::uint64_t call : chosen_calls(kind, calls, effort, random)) {
        faults.push_back({.kind = kind, .duration = duration, .at = call});
      }
    }
  }
  // Where time is short, some of each kind.
  std::shuffle(faults.begin(), faults.end(), random);
  std::uint64_t cases = 0;
  for (const Fault& fault : faults) {
    if (effort.time_is_up()) return;
    progress.begin(std::string(scenario.name) + ": " + describe(fault));
    if (trial.run(fault, ++cases % 4 == 0).is_hit) {
      ++progress.counts[fault.duration == Duration::kOnce ? 0 : 1];
    }
    if (progress.has_failed()) return;
  }
}

TEST(Faults, EveryCallMayFailInEverythingThatAStoreDoes) {
  const Effort effort;
  std::uint64_t once = 0;
  std::uint64_t lasting = 0;
  for (std::size_t i = 0; i < scenarios().size(); ++i) {
    const Effort part = effort.one_of(scenarios().size() - i);
    const Progress progress = testing::run_watched(
        [&](Progress& shared) { fail_calls_of(scenarios()[i], i, part, shared); });
    once += progress.counts[0];
    lasting += progress.counts[1];
  }
  std::printf(
      "faults injected: %llu (%zu operations, %zu kinds; %llu once, %llu lasting; seed %llu)\n",
      static_cast<unsigned long long>(once + lasting), scenarios().size(), kKinds.size(),
      static_cast<unsigned long long>(once), static_cast<unsigned long long>(lasting),
      static_cast<unsigned long long>(effort.seed()));
  EXPECT_TRUE(once + lasting >= 1000 || (effort.is_limited() && once + lasting > 0) ||
              HasFailure());
}

}  // namespace
}  // namespace cairn::fault
