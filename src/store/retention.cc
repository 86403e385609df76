// Which checkpoints to find and which to keep. Pure: the answer depends on the lists alone, and for
// `keep_for` on the time that the caller's clock tells.
//
// One order underlies everything here: a score (larger is better, NaN last), then the newer commit.
#include "base/text.h"

#include <cairn/error.h>
#include <cairn/retention.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <compare>
#include <cstdint>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

namespace cairn {
namespace {

using Pointers = std::vector<const CheckpointInfo*>;

// Exact for every i64 and every f64, so that a mixture of both compares as the numbers do.
using Score = long double;
static_assert(std::numeric_limits<Score>::digits >= 63);

constexpr std::size_t kMaxListedKeys = 20;

bool newer(const CheckpointInfo& a, const CheckpointInfo& b) {
  return a.sequence != b.sequence ? a.sequence > b.sequence : a.id > b.id;
}

struct Ranked {
  const CheckpointInfo* checkpoint = nullptr;
  Score score = 0;
};

bool better(const Ranked& a, const Ranked& b) {
  const bool a_is_nan = std::isnan(a.score);
  const bool b_is_nan = std::isnan(b.score);
  if (a_is_nan != b_is_nan) return b_is_nan;
  if (!a_is_nan && a.score != b.score) return a.score > b.score;
  return newer(*a.checkpoint, *b.checkpoint);
}

std::string keys_that_exist(const Pointers& checkpoints) {
  std::set<std::string_view> keys;
  for (const CheckpointInfo* checkpoint : checkpoints) {
    for (const auto& [key, value] : checkpoint->meta) keys.insert(key);
  }
  if (keys.empty()) return "they have no metadata at all";
  std::string text = "keys that exist: ";
  std::size_t listed = 0;
  for (const std::string_view key : keys) {
    if (listed == kMaxListedKeys) return text + ", ...";
    if (listed++ != 0) text += ", ";
    text += base::quoted(key);
  }
  return text;
}

// Why `key` cannot rank these checkpoints, or "". Without checkpoints there is nothing to rank.
std::string problem_with_key(const Pointers& checkpoints, const std::string& key,
                             const CheckpointPredicate& predicate) {
  bool exists = checkpoints.empty();
  for (const CheckpointInfo* checkpoint : checkpoints) {
    const MetaValue* value = checkpoint->meta.find(key);
    if (value == nullptr) continue;
    if (!value->is_number()) {
      return "metadata key " + base::quoted(key) +
             " ranks checkpoints only by numbers, but in checkpoint " +
             base::quoted(checkpoint->name) + " it is of type " + std::string(value->type_name());
    }
    exists = true;
  }
  if (exists) return {};
  return std::string("no checkpoint") + (predicate ? " that the predicate accepts" : "") +
         " has the metadata key " + base::quoted(key) + "; " + keys_that_exist(checkpoints);
}

// Ranks those that have the key, which has no problem.
std::vector<Ranked> rank_by_key(const Pointers& checkpoints, const std::string& key, bool largest) {
  std::vector<Ranked> ranked;
  for (const CheckpointInfo* checkpoint : checkpoints) {
    const MetaValue* value = checkpoint->meta.find(key);
    if (value == nullptr) continue;
    const Score score = value->is_int() ? static_cast<Score>(value->as_int())
                                        : static_cast<Score>(value->as_double());
    ranked.push_back({checkpoint, largest ? score : -score});
  }
  return ranked;
}

std::vector<Ranked> rank_by_importance(const Pointers& checkpoints,
                                       const CheckpointImportance& importance) {
  std::vector<Ranked> ranked;
  ranked.reserve(checkpoints.size());
  for (const CheckpointInfo* checkpoint : checkpoints) {
    ranked.push_back({checkpoint, static_cast<Score>(importance(*checkpoint))});
  }
  return ranked;
}

std::vector<Ranked> rank_by_age(const Pointers& checkpoints) {
  std::vector<Ranked> ranked;
  ranked.reserve(checkpoints.size());
  for (const CheckpointInfo* checkpoint : checkpoints) ranked.push_back({checkpoint, 0});
  return ranked;
}

bool accepts(const CheckpointPredicate& predicate, const CheckpointInfo& checkpoint) {
  return !predicate || predicate(checkpoint);
}

}  // namespace

std::vector<CheckpointInfo> select_checkpoints(std::span<const CheckpointInfo> checkpoints,
                                               const FindOptions& options) {
  const int criteria = (options.importance_key ? 1 : 0) + (options.max_key.empty() ? 0 : 1) +
                       (options.min_key.empty() ? 0 : 1);
  if (criteria > 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "at most one of importance_key, max_key and min_key can rank checkpoints");
  }
  Pointers accepted;
  for (const CheckpointInfo& checkpoint : checkpoints) {
    if (accepts(options.ckpt_predicate, checkpoint)) accepted.push_back(&checkpoint);
  }
  const bool largest = !options.max_key.empty();
  const std::string& key = largest ? options.max_key : options.min_key;
  std::vector<Ranked> ranked;
  if (options.importance_key) {
    ranked = rank_by_importance(accepted, options.importance_key);
  } else if (!key.empty()) {
    const std::string problem = problem_with_key(accepted, key, options.ckpt_predicate);
    if (!problem.empty()) throw Error(ErrorCode::kInvalidArgument, problem);
    ranked = rank_by_key(accepted, key, largest);
  } else {
    ranked = rank_by_age(accepted);
  }
  std::sort(ranked.begin(), ranked.end(), better);
  const std::size_t wanted =
      std::min(ranked.size(), options.max_num_checkpoints.value_or(ranked.size()));
  std::vector<CheckpointInfo> selected;
  selected.reserve(wanted);
  for (std::size_t i = 0; i < wanted; ++i) selected.push_back(*ranked[i].checkpoint);
  return selected;
}

namespace {

// "90 s", "2 days".
std::string duration_text(std::chrono::seconds duration) {
  struct Unit {
    std::int64_t seconds;
    std::string_view one, many;
  };
  static constexpr Unit kUnits[] = {{86400, " day", " days"}, {3600, " hour", " hours"}};
  for (const Unit& unit : kUnits) {
    if (duration.count() % unit.seconds != 0) continue;
    const std::int64_t count = duration.count() / unit.seconds;
    return std::to_string(count) + std::string(count == 1 ? unit.one : unit.many);
  }
  return std::to_string(duration.count()) + " s";
}

// True for what was saved less than `duration` (above 0) before `now`, and for what was saved
// after.
bool is_younger(std::int64_t created_unix_ns, std::int64_t now_unix_ns,
                std::chrono::seconds duration) {
  if (created_unix_ns >= now_unix_ns) return true;
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  // The difference of two int64 always fits an uint64; it is below 2^64 ns, some 584 years.
  const std::uint64_t age_ns =
      static_cast<std::uint64_t>(now_unix_ns) - static_cast<std::uint64_t>(created_unix_ns);
  return age_ns / kNsPerSecond < static_cast<std::uint64_t>(duration.count());
}

void require_valid(const KeepOptions& options) {
  const auto refuse = [](std::string_view option, std::int64_t value) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string(option) + " is " + std::to_string(value) + "; it must be 0 or more");
  };
  if (options.num_to_keep < 0) refuse("num_to_keep", options.num_to_keep);
  if (options.keep_for.count() < 0) refuse("keep_for", options.keep_for.count());
}

// One checkpoint on its way to a decision.
struct Case {
  const CheckpointInfo* checkpoint = nullptr;
  bool accepted = false;
  bool ranked = false;
  std::vector<std::string> protected_by = {};
};

class Planner {
 public:
  Planner(std::span<const CheckpointInfo> checkpoints, const KeepOptions& options)
      : options_(options) {
    cases_.reserve(checkpoints.size());
    for (const CheckpointInfo& checkpoint : checkpoints) {
      cases_.push_back(
          {.checkpoint = &checkpoint, .accepted = accepts(options.ckpt_predicate, checkpoint)});
    }
    std::sort(cases_.begin(), cases_.end(),
              [](const Case& a, const Case& b) { return newer(*a.checkpoint, *b.checkpoint); });
    for (Case& one : cases_) {
      if (one.accepted) accepted_.push_back(one.checkpoint);
    }
  }

  // Why one of the keys cannot rank, or "".
  std::string problem() const {
    for (const auto* keys : {&options_.max_keys, &options_.min_keys}) {
      for (const std::string& key : *keys) {
        std::string problem = problem_with_key(accepted_, key, options_.ckpt_predicate);
        if (!problem.empty()) return problem;
      }
    }
    return {};
  }

  RetentionPlan keep_all(std::string problem) const {
    RetentionPlan plan;
    for (const Case& one : cases_) {
      plan.kept.push_back({*one.checkpoint, "nothing is deleted, because " + problem});
    }
    plan.problem = std::move(problem);
    return plan;
  }

  // Expects that there is no problem.
  RetentionPlan plan() {
    const std::string count = std::to_string(options_.num_to_keep);
    const auto best = [&](std::string_view by) {
      return "best " + count + " by " + std::string(by);
    };
    if (options_.keep_recent) apply(rank_by_age(accepted_), "newest " + count);
    for (const CheckpointImportance& importance : options_.importance_keys) {
      apply(rank_by_importance(accepted_, importance), best("importance"));
    }
    for (const std::string& key : options_.max_keys) {
      apply(rank_by_key(accepted_, key, true), best("max " + key));
    }
    for (const std::string& key : options_.min_keys) {
      apply(rank_by_key(accepted_, key, false), best("min " + key));
    }
    protect_beside();
    intact_candidates_ =
        static_cast<std::size_t>(std::count_if(cases_.begin(), cases_.end(), [](const Case& one) {
          return one.ranked && !one.checkpoint->damaged;
        }));
    RetentionPlan plan;
    for (const Case& one : cases_) decide(one, plan);
    return plan;
  }

 private:
  // Lets one criterion protect the best that it ranks; the damaged take no place among them.
  void apply(std::vector<Ranked> ranked, const std::string& rule) {
    std::sort(ranked.begin(), ranked.end(), better);
    std::size_t places = static_cast<std::size_t>(options_.num_to_keep);
    for (const Ranked& entry : ranked) {
      Case& one = case_of(*entry.checkpoint);
      one.ranked = true;
      if (places == 0 || entry.checkpoint->damaged) continue;
      one.protected_by.push_back(rule);
      --places;
    }
  }

  // What protects beside the criteria: neither a rank nor a place is taken.
  void protect_beside() {
    const std::size_t every = options_.keep_every;
    const bool by_age = options_.keep_for.count() > 0;
    const std::int64_t now = by_age ? now_unix_ns() : 0;
    for (Case& one : cases_) {
      const CheckpointInfo& checkpoint = *one.checkpoint;
      if (!one.accepted || checkpoint.damaged) continue;
      if (every != 0 && checkpoint.id % every == 0) {
        one.protected_by.push_back("id is a multiple of " + std::to_string(every));
      }
      if (by_age && is_younger(checkpoint.created_unix_ns, now, options_.keep_for)) {
        one.protected_by.push_back("younger than " + duration_text(options_.keep_for));
      }
    }
  }

  std::int64_t now_unix_ns() const {
    const auto now = options_.clock ? options_.clock() : std::chrono::system_clock::now();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  }

  void decide(const Case& one, RetentionPlan& plan) const {
    const CheckpointInfo& checkpoint = *one.checkpoint;
    const auto keep = [&](std::string rule) { plan.kept.push_back({checkpoint, std::move(rule)}); };
    if (checkpoint.pinned) return keep("pinned");
    if (!one.accepted) return keep("not accepted by the predicate");
    if (!one.protected_by.empty()) return keep(join(one.protected_by));
    if (!one.ranked) return keep("not ranked by any criterion");
    if (checkpoint.damaged) {
      const auto needed = static_cast<std::size_t>(options_.num_to_keep);
      if (intact_candidates_ < needed) {
        return keep("damaged, but fewer than " + std::to_string(needed) + " intact ones exist");
      }
      plan.deleted.push_back({checkpoint, "damaged"});
      return;
    }
    plan.deleted.push_back({checkpoint, "not protected"});
  }

  static std::string join(const std::vector<std::string>& rules) {
    std::string text;
    for (const std::string& rule : rules) text += (text.empty() ? "" : ", ") + rule;
    return text;
  }

  Case& case_of(const CheckpointInfo& checkpoint) {
    return *std::lower_bound(cases_.begin(), cases_.end(), checkpoint,
                             [](const Case& one, const CheckpointInfo& wanted) {
                               return newer(*one.checkpoint, wanted);
                             });
  }

  const KeepOptions& options_;
  std::vector<Case> cases_;  // Newest first.
  Pointers accepted_;
  std::size_t intact_candidates_ = 0;
};

}  // namespace

RetentionPlan plan_retention(std::span<const CheckpointInfo> checkpoints,
                             const KeepOptions& options) {
  require_valid(options);
  Planner planner(checkpoints, options);
  const std::string problem = planner.problem();
  if (!problem.empty()) throw Error(ErrorCode::kInvalidArgument, problem);
  return planner.plan();
}

RetentionPlan plan_retention_or_keep_all(std::span<const CheckpointInfo> checkpoints,
                                         const KeepOptions& options) {
  require_valid(options);
  Planner planner(checkpoints, options);
  std::string problem = planner.problem();
  return problem.empty() ? planner.plan() : planner.keep_all(std::move(problem));
}

}  // namespace cairn
