#include "commands.h"
#include "decisions.h"
#include "reference.h"
#include "session.h"
#include "text.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>

namespace cairn::cli {
namespace {

// One criterion with a number of its own, and which checkpoints it ranks.
struct Criterion {
  KeepOptions options;
  std::function<bool(const CheckpointInfo&)> ranks;
};

int count_from(std::string_view text, std::string_view option) {
  return static_cast<int>(parse_number(text, option, 0, std::numeric_limits<int>::max()));
}

Criterion newest(std::string_view text) {
  return {{.num_to_keep = count_from(text, "--recent")},
          [](const CheckpointInfo&) { return true; }};
}

// KEY:N; the key may hold colons itself.
Criterion best(std::string_view text, std::string_view option) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    throw UsageError(std::string(option) + " takes KEY:N, not " + quote(text));
  }
  const std::string key(text.substr(0, colon));
  Criterion criterion{
      {.num_to_keep = count_from(text.substr(colon + 1), option), .keep_recent = false},
      [key](const CheckpointInfo& c) { return c.meta.contains(key); }};
  (option == "--best-min" ? criterion.options.min_keys : criterion.options.max_keys) = {key};
  return criterion;
}

// Damaged ones stay as far as this criterion goes: it has no number of intact ones that must exist.
Criterion every(std::string_view text) {
  const auto step = parse_number(text, "--every", 1, std::numeric_limits<std::int64_t>::max());
  return {{.num_to_keep = 0, .keep_every = static_cast<std::size_t>(step)},
          [](const CheckpointInfo& c) { return !c.damaged; }};
}

// "90s", "30m", "36h", "7d".
std::chrono::seconds duration_from(std::string_view text, std::string_view option) {
  static const std::map<char, std::int64_t> kSeconds = {
      {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
  const auto unit = text.empty() ? kSeconds.end() : kSeconds.find(text.back());
  if (unit == kSeconds.end()) {
    throw UsageError(std::string(option) + " takes a duration such as 90s, 30m, 36h or 7d, not " +
                     quote(text));
  }
  text.remove_suffix(1);
  constexpr std::int64_t kMaxSeconds = std::numeric_limits<std::int64_t>::max();
  return std::chrono::seconds(unit->second *
                              parse_number(text, option, 1, kMaxSeconds / unit->second));
}

// As with --every, damaged ones stay as far as this criterion goes.
Criterion younger(std::string_view text) {
  return {{.num_to_keep = 0, .keep_for = duration_from(text, "--keep-for")},
          [](const CheckpointInfo& c) { return !c.damaged; }};
}

std::vector<Criterion> criteria_of(const Invocation& invocation) {
  std::vector<Criterion> criteria;
  for (const auto& text : invocation.values("--recent")) criteria.push_back(newest(text));
  for (const std::string_view option : {"--best-min", "--best-max"}) {
    for (const auto& text : invocation.values(option)) criteria.push_back(best(text, option));
  }
  for (const auto& text : invocation.values("--every")) criteria.push_back(every(text));
  for (const auto& text : invocation.values("--keep-for")) criteria.push_back(younger(text));
  if (criteria.empty()) {
    throw UsageError(
        "keep needs at least one of --recent, --best-min, --best-max, --every, --keep-for");
  }
  return criteria;
}

// A checkpoint goes if a criterion ranks it, none protects it, and it is not pinned.
RetentionPlan plan_union(std::span<const CheckpointInfo> checkpoints,
                         std::span<const Criterion> criteria) {
  std::map<std::uint64_t, std::string> protected_by;
  std::map<std::uint64_t, std::string> given_up_by;
  for (const Criterion& criterion : criteria) {
    const RetentionPlan plan = plan_retention(checkpoints, criterion.options);
    for (const RetentionDecision& kept : plan.kept) {
      if (!kept.checkpoint.pinned && !criterion.ranks(kept.checkpoint)) continue;
      std::string& rules = protected_by[kept.checkpoint.id];
      if (rules == kept.rule) continue;  // "pinned" needs saying once.
      rules += (rules.empty() ? "" : ", ") + kept.rule;
    }
    for (const RetentionDecision& deleted : plan.deleted) {
      if (criterion.ranks(deleted.checkpoint)) {
        given_up_by.emplace(deleted.checkpoint.id, deleted.rule);
      }
    }
  }
  RetentionPlan plan;
  for (const CheckpointInfo& checkpoint : checkpoints) {
    if (const auto it = protected_by.find(checkpoint.id); it != protected_by.end()) {
      plan.kept.push_back({checkpoint, it->second});
    } else if (const auto gone = given_up_by.find(checkpoint.id); gone != given_up_by.end()) {
      plan.deleted.push_back({checkpoint, gone->second});
    } else {
      plan.kept.push_back({checkpoint, "not ranked by any criterion"});
    }
  }
  return plan;
}

ExitCode run(const Invocation& invocation, Output& output) {
  const bool dry_run = invocation.has("--dry-run");
  const std::vector<Criterion> criteria = criteria_of(invocation);
  Store store =
      dry_run ? open_for_reading(invocation, output) : open_for_writing(invocation, output);
  // The writer's lock is held: what is planned here is still true when it is done.
  const RetentionPlan plan = plan_union(store.checkpoints(), criteria);
  if (!dry_run && !plan.deleted.empty()) {
    std::vector<std::uint64_t> ids;
    for (const RetentionDecision& decision : plan.deleted) ids.push_back(decision.checkpoint.id);
    store.remove(ids);
  }
  const auto print = invocation.has("--json") ? print_plan_json : print_plan_text;
  print(plan, dry_run, output);
  return kDone;
}

}  // namespace

Command keep_command() {
  return {
      .name = "keep",
      .summary = "delete every checkpoint that no criterion protects",
      .description =
          "Each criterion protects its own; a checkpoint stays if any of them protects it, if it "
          "is pinned, or if none of them ranks it (it lacks every KEY that was named). One "
          "commit.\n\n"
          "Checkpoints known to be damaged protect nothing; they go once the criterion's N "
          "intact ones exist.",
      .arguments = {kStoreArgument},
      .options =
          {{.name = "--recent", .value = "N", .help = "Protect the newest N.", .repeats = true},
           {.name = "--best-min",
            .value = "KEY:N",
            .help = "Protect the N with the smallest numbers under a metadata key.",
            .repeats = true},
           {.name = "--best-max",
            .value = "KEY:N",
            .help = "Protect the N with the largest.",
            .repeats = true},
           {.name = "--every",
            .value = "N",
            .help = "Protect those whose id is a multiple of N.",
            .repeats = true},
           {.name = "--keep-for",
            .value = "TIME",
            .help = "Protect those saved less than TIME ago by the clock: 90s, 30m, 36h, 7d.",
            .repeats = true},
           {.name = "--dry-run", .help = "Say what would be deleted; change nothing."},
           kAssumeNoWriter},
      .examples =
          "cairn keep runs/a --recent 3 --best-min loss:2\n"
          "cairn keep runs/a --every 10 --recent 1 --dry-run\n"
          "cairn keep runs/a --recent 1 --keep-for 2d",
      .run = run};
}

}  // namespace cairn::cli
