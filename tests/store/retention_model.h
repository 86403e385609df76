// The rules for finding and keeping once more, said slowly: nothing is sorted, each checkpoint
// counts the others that stand before it. Written from DESIGN.md, section 7, and docs/retention.md;
// it shares no code with src/store/retention.cc, and is as slow as it looks.
#pragma once

#include <cairn/retention.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::testing {

class RetentionModel {
 public:
  struct Verdict {
    bool stays = true;
    std::string rule = {};
  };

  RetentionModel(std::vector<CheckpointInfo> all, KeepOptions options)
      : all_(std::move(all)), options_(std::move(options)) {
    const std::string n = std::to_string(options_.num_to_keep);
    if (options_.keep_recent) {
      criteria_.push_back({"newest " + n, [](const CheckpointInfo&) { return 0.0; }});
    }
    for (const CheckpointImportance& importance : options_.importance_keys) {
      criteria_.push_back({"best " + n + " by importance",
                           [importance](const CheckpointInfo& c) { return importance(c); }});
    }
    for (const std::string& key : options_.max_keys) {
      criteria_.push_back({"best " + n + " by max " + key,
                           [key](const CheckpointInfo& c) { return number(c, key, 1); }});
    }
    for (const std::string& key : options_.min_keys) {
      criteria_.push_back({"best " + n + " by min " + key,
                           [key](const CheckpointInfo& c) { return number(c, key, -1); }});
    }
  }

  /// True when a key is named that no checkpoint has, among those that may be deleted.
  bool names_an_unknown_key() const {
    const auto unknown = [&](const std::string& key) {
      bool any = false;
      bool known = false;
      for (const CheckpointInfo& c : all_) {
        any = any || may_go(c);
        known = known || (may_go(c) && c.meta.contains(key));
      }
      return any && !known;
    };
    return std::any_of(options_.max_keys.begin(), options_.max_keys.end(), unknown) ||
           std::any_of(options_.min_keys.begin(), options_.min_keys.end(), unknown);
  }

  Verdict verdict(const CheckpointInfo& c) const {
    if (c.pinned) return {true, "pinned"};
    if (!may_go(c)) return {true, "not accepted by the predicate"};
    const std::string rules = c.damaged ? "" : protected_by(c);
    if (!rules.empty()) return {true, rules};
    if (!is_candidate(c)) return {true, "not ranked by any criterion"};
    if (!c.damaged) return {false, "not protected"};
    int intact = 0;
    for (const CheckpointInfo& d : all_) intact += is_candidate(d) && !d.damaged ? 1 : 0;
    if (intact >= options_.num_to_keep) return {false, "damaged"};
    return {true, "damaged, but fewer than " + std::to_string(options_.num_to_keep) +
                      " intact ones exist"};
  }

 private:
  struct Criterion {
    std::string rule;
    std::function<std::optional<double>(const CheckpointInfo&)> score;  // Nothing: not ranked.
  };

  static std::optional<double> number(const CheckpointInfo& c, const std::string& key, int sign) {
    if (!c.meta.contains(key)) return std::nullopt;
    return sign * c.meta.get(key)->as_double();
  }

  bool may_go(const CheckpointInfo& c) const {
    return !options_.ckpt_predicate || options_.ckpt_predicate(c);
  }

  bool is_candidate(const CheckpointInfo& c) const {
    return may_go(c) && std::any_of(criteria_.begin(), criteria_.end(),
                                    [&](const Criterion& by) { return by.score(c).has_value(); });
  }

  // Of an intact checkpoint that may go.
  std::string protected_by(const CheckpointInfo& c) const {
    std::string rules;
    const auto add = [&](const std::string& rule) { rules += (rules.empty() ? "" : ", ") + rule; };
    for (const Criterion& by : criteria_) {
      if (!by.score(c)) continue;
      int before = 0;
      for (const CheckpointInfo& d : all_) {
        before += !d.damaged && may_go(d) && by.score(d) && stands_before(d, c, by) ? 1 : 0;
      }
      if (before < options_.num_to_keep) add(by.rule);
    }
    if (options_.keep_every != 0 && c.id % options_.keep_every == 0) {
      add("id is a multiple of " + std::to_string(options_.keep_every));
    }
    if (options_.keep_for.count() != 0) {
      const std::int64_t now =
          std::chrono::nanoseconds(options_.clock().time_since_epoch()).count();
      if (now - c.created_unix_ns < options_.keep_for.count() * 1'000'000'000) {
        add("younger than " + std::to_string(options_.keep_for.count()) + " s");
      }
    }
    return rules;
  }

  static bool stands_before(const CheckpointInfo& d, const CheckpointInfo& c, const Criterion& by) {
    const double of_c = *by.score(c);
    const double of_d = *by.score(d);
    if (std::isnan(of_d) && !std::isnan(of_c)) return false;
    if (std::isnan(of_c) && !std::isnan(of_d)) return true;
    if (of_d > of_c) return true;
    if (of_d < of_c) return false;
    return d.sequence > c.sequence;
  }

  std::vector<CheckpointInfo> all_;
  KeepOptions options_;
  std::vector<Criterion> criteria_;
};

/// What a search finds, best first: again and again the one that no other stands before.
///
/// Nothing when the options name a key that none of the accepted has.
inline std::optional<std::vector<std::uint64_t>> found_by_model(
    const std::vector<CheckpointInfo>& all, const FindOptions& options) {
  const std::string key = options.max_key + options.min_key;  // At most one is set.
  const auto score = [&](const CheckpointInfo& c) {
    if (options.importance_key) return options.importance_key(c);
    if (key.empty()) return 0.0;
    return (options.max_key.empty() ? -1 : 1) * c.meta.get(key)->as_double();
  };
  std::vector<const CheckpointInfo*> left;
  bool any = false;
  for (const CheckpointInfo& c : all) {
    if (options.ckpt_predicate && !options.ckpt_predicate(c)) continue;
    any = true;
    if (key.empty() || c.meta.contains(key)) left.push_back(&c);
  }
  if (any && left.empty()) return std::nullopt;
  std::vector<std::uint64_t> found;
  while (!left.empty() && found.size() < options.max_num_checkpoints.value_or(all.size())) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < left.size(); ++i) {
      const double mine = score(*left[i]);
      const double its = score(*left[best]);
      const bool equal = mine == its || (std::isnan(mine) && std::isnan(its));
      if (equal ? left[i]->sequence > left[best]->sequence
                : mine > its || (std::isnan(its) && !std::isnan(mine))) {
        best = i;
      }
    }
    found.push_back(left[best]->id);
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(best));
  }
  return found;
}

}  // namespace cairn::testing
