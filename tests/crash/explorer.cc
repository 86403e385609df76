#include "crash/explorer.h"

#include "crash/legal_states.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <sched.h>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace cairn::crash {
namespace {

std::mt19937_64 seeded_by(const base::Digest128& digest, std::uint64_t seed) {
  std::uint64_t number = 0;
  std::memcpy(&number, digest.bytes.data(), sizeof(number));
  return std::mt19937_64(number + seed);
}

}  // namespace

FastDirectory::FastDirectory() {
  const std::filesystem::path memory = "/dev/shm";
  const bool usable = ::access(memory.c_str(), W_OK) == 0;
  std::string pattern =
      ((usable ? memory : std::filesystem::temp_directory_path()) / "cairn-crash-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
  path_ = pattern;
}

FastDirectory::~FastDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

OneCore::OneCore() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return;
  before_.assign(reinterpret_cast<const char*>(&set), sizeof(set));
  const int core = ::sched_getcpu();
  CPU_ZERO(&set);
  CPU_SET(core < 0 ? 0 : static_cast<unsigned>(core), &set);
  ::sched_setaffinity(0, sizeof(set), &set);
}

OneCore::~OneCore() {
  if (before_.empty()) return;
  cpu_set_t set;
  std::memcpy(&set, before_.data(), sizeof(set));
  ::sched_setaffinity(0, sizeof(set), &set);
}

Explorer::Explorer(const ExplorerOptions& options)
    : options_(options), oracle_(directory_.path() / "state", std::string(kStorePath)) {}

std::optional<std::string> Explorer::explore(std::span<const Operation> operations, NameRule rule,
                                             const Interference& interference) {
  rule_ = rule;
  ++counts_.workloads;
  const std::string where = describe(operations) + (rule == NameRule::kStrict ? "" : " (ext4)");
  const auto work = directory_.path() / "workload";
  write_tree({}, work);
  const Recording recording = record(operations, work, interference);
  if (!recording.failure.empty()) return where + ": without any crash: " + recording.failure;
  counts_.direct_writes += recording.direct_writes;

  LegalStates states;
  const auto expected_after = [&](const Event& event) {
    states.apply(event);
    return expectation_of(states.now(), recording);
  };
  const auto wrong =
      take_apart(recording.log, 0, options_.thoroughness, expected_after, false,
                 seeded_by(base::xxh3_128(std::as_bytes(std::span(where))), options_.seed));
  return wrong ? std::optional(where + ": " + *wrong) : std::nullopt;
}

std::optional<std::string> Explorer::take_apart(
    const EventLog& log, std::size_t first, const Thoroughness& how,
    const std::function<Expectation(const Event&)>& expected_after, bool in_recovery,
    std::mt19937_64 random) {
  Disk disk(rule_, is_advice);
  for (std::size_t i = 0; i < log.size(); ++i) {
    disk.apply(log[i]);
    const Expectation expected = expected_after(log[i]);
    if (i < first) continue;
    const Choices chosen = choices(disk, how, random);
    for (const Choice& choice : chosen.list) {
      if (options_.time_is_up()) return std::nullopt;
      const bool shows_old = random() % options_.old_bytes_every == 0;
      const Tree tree = disk.state(choice, shows_old ? NewBlocks::kOldBytes : NewBlocks::kZeros);
      const base::Digest128 key = key_of(tree, expected);
      if (!seen_.insert(key).second) continue;
      ++counts_.states;
      if (in_recovery) ++counts_.recovery_states;
      auto wrong = oracle_.judge(tree, expected);
      const bool is_rotten = expected.heals_with != nullptr;
      std::mt19937_64 fate = seeded_by(key, options_.seed);
      if (!wrong && !is_rotten && fate() % options_.rot_every == 0) {
        if (const auto rot = oracle_.choose_rot(tree, fate)) {
          ++counts_.rotten_states;
          wrong = oracle_.judge_with_rot(tree, expected, *rot);
        }
      }
      if (!wrong && !in_recovery && !is_rotten && fate() % options_.recovery_every == 0) {
        std::vector<Operation> operations;
        if (fate() % options_.continuation_every == 0) {
          operations = random_operations(2, fate);
          ++counts_.continuations;
        }
        wrong = judge_recovery(tree, expected, operations, fate);
        if (!wrong) {
          if (const auto bare = oracle_.without_catalog(tree)) {
            Expectation without = expected;
            without.models = expected.models_without_catalog;
            wrong = judge_recovery(*bare, without, operations, fate);
          }
        }
      }
      if (wrong) {
        return "after event " + std::to_string(i) + " (" + to_text(log[i]).substr(0, 60) + "), " +
               *wrong;
      }
    }
    if (in_recovery) continue;
    ++counts_.events;
    if (chosen.is_exhaustive) ++counts_.exhausted_events;
  }
  return std::nullopt;
}

std::optional<std::string> Explorer::judge_recovery(const Tree& tree, const Expectation& expected,
                                                    std::span<const Operation> operations,
                                                    std::mt19937_64 random) {
  const Recording recording = record_again(operations, oracle_.lay_out(tree));
  const std::string where = "gone on with (" + describe(operations) + "): ";
  if (!recording.failure.empty()) return where + "before a second crash: " + recording.failure;
  LegalStates states;
  bool is_open = false;
  const auto expected_after = [&](const Event& event) {
    states.apply(event);
    is_open = is_open || (event.kind == EventKind::kNote && event.name == "done 0");
    return is_open ? expectation_of(states.now(), recording) : expected;
  };
  const auto wrong = take_apart(recording.log, log_of(tree).size(), options_.recovery,
                                expected_after, true, random);
  return wrong ? std::optional(where + *wrong) : std::nullopt;
}

Expectation Explorer::expectation_of(const Legal& legal, const Recording& recording) {
  Expectation expected{.store_exists = legal.store_exists};
  for (const std::size_t number : legal.models) {
    expected.models.push_back(&recording.models[number]);
  }
  for (const std::size_t number : legal.models_without_catalog) {
    expected.models_without_catalog.push_back(&recording.models[number]);
  }
  if (legal.rot) expected.heals_with = &recording.states[*legal.rot];
  return expected;
}

base::Digest128 Explorer::key_of(const Tree& tree, const Expectation& expected) {
  Bytes summary;
  const auto add = [&](const base::Digest128& digest) {
    summary.insert(summary.end(), digest.bytes.begin(), digest.bytes.end());
  };
  add(digest_of(tree));
  for (const Model* model : expected.models) add(digest_of(*model));
  add({});
  for (const Model* model : expected.models_without_catalog) add(digest_of(*model));
  summary.push_back(std::byte{expected.store_exists});
  summary.push_back(std::byte{expected.heals_with != nullptr});
  return base::xxh3_128(summary);
}

}  // namespace cairn::crash
