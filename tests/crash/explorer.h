// Takes recorded workloads apart into the states that a crash may leave, and has each judged.
#pragma once

#include "crash/crash_states.h"
#include "crash/legal_states.h"
#include "crash/oracle.h"
#include "crash/workload.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <unordered_set>

namespace cairn::crash {

/// A directory in memory where there is one (/dev/shm), gone with this object.
class FastDirectory {
 public:
  FastDirectory();
  ~FastDirectory();
  FastDirectory(const FastDirectory&) = delete;
  FastDirectory& operator=(const FastDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Runs this thread, and those that it starts, on one core: the core library then uses no further
/// threads, and equal workloads make equal logs.
class OneCore {
 public:
  OneCore();
  ~OneCore();
  OneCore(const OneCore&) = delete;
  OneCore& operator=(const OneCore&) = delete;

 private:
  std::string before_;  // a cpu_set_t
};

struct Counts {
  std::uint64_t workloads = 0;
  std::uint64_t events = 0;
  std::uint64_t exhausted_events = 0;  // every choice of what was pending there
  std::uint64_t states = 0;            // distinct, and judged with and without the catalog
  std::uint64_t recovery_states = 0;   // those of them that a second crash left
  std::uint64_t continuations = 0;     // jobs that went on after a crash, until a second one
  std::uint64_t rotten_states = 0;     // judged once more with a byte of a chunk changed
  std::uint64_t direct_writes = 0;     // past the page cache
};

/// What is looked at in a workload follows from the seed and the workload alone, whatever came
/// before it (but that no state is judged twice).
struct ExplorerOptions {
  std::uint64_t seed = 1;
  Thoroughness thoroughness{};
  /// In one of so many states new blocks hold what they held for another file.
  std::uint64_t old_bytes_every = 8;
  /// One in so many states is opened under the recorder, and the opening is taken apart, too.
  std::uint64_t recovery_every = 64;
  /// In one of so many of those two random operations follow.
  std::uint64_t continuation_every = 4;
  /// In one of so many a byte of a chunk rots before the store is opened again.
  std::uint64_t rot_every = 16;
  Thoroughness recovery{.exhaustive_units = 4, .exhaustive_groups = 3, .samples = 2, .at_most = 4};
  /// Asked before each state: whether to leave the rest of the workload.
  std::function<bool()> time_is_up = [] { return false; };
};

class Explorer {
 public:
  explicit Explorer(const ExplorerOptions& options);

  /// Runs the workload and judges the states that crashes during it may leave. What is wrong with
  /// the first bad one, with where it was found; or nothing.
  std::optional<std::string> explore(std::span<const Operation> operations, NameRule rule,
                                     const Interference& interference = {});

  const Counts& counts() const { return counts_; }

 private:
  /// The states that a crash at any event from `first` on may leave; `expected_after` is told
  /// each event, and says what is legal then.
  std::optional<std::string> take_apart(
      const EventLog& log, std::size_t first, const Thoroughness& how,
      const std::function<Expectation(const Event&)>& expected_after, bool in_recovery,
      std::mt19937_64 random);
  /// Opens the store under the recorder, runs the operations, and takes that apart.
  std::optional<std::string> judge_recovery(const Tree& tree, const Expectation& expected,
                                            std::span<const Operation> operations,
                                            std::mt19937_64 random);
  static Expectation expectation_of(const Legal& legal, const Recording& recording);
  /// Of the state and of what is expected of it.
  static base::Digest128 key_of(const Tree& tree, const Expectation& expected);

  ExplorerOptions options_;
  OneCore one_core_;
  FastDirectory directory_;
  Oracle oracle_;
  Counts counts_;
  NameRule rule_ = NameRule::kStrict;
  std::unordered_set<base::Digest128, base::DigestHash> seen_;
};

}  // namespace cairn::crash
