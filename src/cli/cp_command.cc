#include "commands.h"
#include "decisions.h"
#include "json.h"
#include "meter.h"
#include "reference.h"
#include "same.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <thread>

namespace cairn::cli {
namespace {

constexpr std::chrono::milliseconds kPollInterval{500};

// A copy that was made before is left alone, so that a command that was interrupted can be given
// again.
bool is_there(const Store& to, const Checkpoint& source) {
  const auto known = to.find_by_name(source.info().name);
  if (!known || known->created_unix_ns != source.info().created_unix_ns) return false;
  return same_contents(source, to.open(known->id));
}

/// What would be copied, and what it would take the place of.
struct Plan {
  std::vector<CheckpointInfo> copies{};
  std::vector<RetentionDecision> replaced{};
  std::uint64_t was_there = 0;
};

Plan plan_copies(const Store& from, std::span<const CheckpointInfo> wanted, const Store* to,
                 bool replace) {
  Plan plan;
  for (const CheckpointInfo& info : wanted) {
    const Checkpoint source = expecting_checkpoints([&] { return from.open(info.id); });
    if (to != nullptr && is_there(*to, source)) {
      ++plan.was_there;
      continue;
    }
    const auto known = to != nullptr ? to->find_by_name(info.name) : std::nullopt;
    if (known && !replace) {
      throw Failure(kFailed, fmt::format("the store has another checkpoint named {} (id {}); "
                                         "--replace would delete it",
                                         quote(info.name), known->id));
    }
    if (known) plan.replaced.push_back({*known, "replaced under its name"});
    plan.copies.push_back(info);
  }
  return plan;
}

ExitCode dry_run(const Store& from, std::span<const CheckpointInfo> wanted,
                 const Invocation& invocation, Output& output) {
  const std::string& directory = invocation.argument("DST");
  std::optional<Store> to;
  try {
    to.emplace(open_named_for_reading(directory, invocation, output, /*assume_no_writer=*/false));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;  // it would be made
  }
  const Plan plan = plan_copies(from, wanted, to ? &*to : nullptr, invocation.has("--replace"));
  if (invocation.has("--json")) {
    Json object = new_document();
    object["dry_run"] = true;
    object["copied"] = json_of(std::span<const CheckpointInfo>(plan.copies));
    object["deleted"] = decisions_json(plan.replaced);
    object["already_there"] = json_of(plan.was_there);
    output.line(to_text(object));
    return kDone;
  }
  for (const CheckpointInfo& info : plan.copies) {
    output.line(
        fmt::format("would copy {}: {}", printable(info.name), human_bytes(info.logical_bytes)));
  }
  for (const RetentionDecision& one : plan.replaced) {
    output.line(fmt::format("would delete {} ({}): {}", one.checkpoint.id,
                            printable(one.checkpoint.name), one.rule));
  }
  if (plan.was_there > 0) {
    output.line(fmt::format("{} already there", count_of(plan.was_there, "checkpoint")));
  }
  return kDone;
}

struct Copied {
  Json copies = Json::array();
  Json replaced = Json::array();
  std::uint64_t was_there = 0;
};

void copy_one(const Checkpoint& source, Store& to, const Invocation& invocation, Output& output,
              Copied& copied) {
  if (is_there(to, source)) {
    ++copied.was_there;
    return;
  }
  const auto copy = [&] {
    Meter meter(output, "copying " + printable(source.info().name));
    return to.copy(source, {.replace = invocation.has("--replace"), .progress = meter.callback()});
  };
  const auto replaced = to.find_by_name(source.info().name);
  const SaveResult result = copy();
  if (invocation.has("--json")) {
    Json object = json_of(result.saved);
    object["new_bytes"] = json_of(result.new_bytes);
    object["new_stored_bytes"] = json_of(result.new_stored_bytes);
    copied.copies.push_back(std::move(object));
    if (replaced) copied.replaced.push_back(decision_json({*replaced, "replaced under its name"}));
    return;
  }
  output.line(fmt::format("copied {} as {}: {}, of which {}", printable(source.info().name),
                          result.saved.id, human_bytes(result.saved.logical_bytes),
                          new_text(result)));
  if (replaced) {
    output.line(fmt::format("deleted {} ({}): replaced under its name", replaced->id,
                            printable(replaced->name)));
  }
}

// So that the copy's order is the original's.
std::vector<CheckpointInfo> oldest_first(std::vector<CheckpointInfo> checkpoints) {
  std::sort(
      checkpoints.begin(), checkpoints.end(),
      [](const CheckpointInfo& a, const CheckpointInfo& b) { return a.sequence < b.sequence; });
  return checkpoints;
}

void copy_all(const Store& from, std::span<const CheckpointInfo> wanted, Store& to,
              const Invocation& invocation, Output& output, Copied& copied) {
  for (const CheckpointInfo& info : wanted) {
    copy_one(expecting_checkpoints([&] { return from.open(info.id); }), to, invocation, output,
             copied);
  }
}

// Until the process is stopped: a copy under way is then there whole or not at all.
[[noreturn]] void follow(const Store& from, Store& to, const Invocation& invocation, Output& output,
                         std::set<std::uint64_t> seen) {
  for (;;) {
    std::vector<CheckpointInfo> infos = from.checkpoints();
    std::reverse(infos.begin(), infos.end());
    for (const CheckpointInfo& info : infos) {
      if (!seen.insert(info.id).second) continue;
      Copied copied;
      try {
        copy_one(from.open(info.id), to, invocation, output, copied);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kNotFound) throw;  // deleted before its turn came
      }
      if (invocation.has("--json")) {
        for (const Json& copy : copied.copies) {
          Json object = new_document();
          object.update(copy);
          output.line(to_text(object));
        }
      }
      output.flush();
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

ExitCode run(const Invocation& invocation, Output& output) {
  if (invocation.has("--follow") && invocation.has_argument("CKPT")) {
    throw UsageError("cp: --follow copies what comes; it takes no CKPT");
  }
  const Store from = open_named_for_reading(invocation.argument("SRC"), invocation, output,
                                            invocation.has(kAssumeNoWriter.name));
  const std::vector<CheckpointInfo> all = from.checkpoints();
  if (invocation.has("--follow") && invocation.has("--dry-run")) {
    throw UsageError("cp: --follow copies what is not there yet; there is nothing to say of it");
  }
  const std::vector<CheckpointInfo> wanted = oldest_first(
      invocation.has_argument("CKPT") ? find_checkpoints(all, invocation.arguments("CKPT")) : all);
  if (invocation.has("--dry-run")) return dry_run(from, wanted, invocation, output);
  Store to = open_named(invocation.argument("DST"), invocation, output, /*create=*/true);
  if (invocation.has("--follow")) follow(from, to, invocation, output, {});

  Copied copied;
  copy_all(from, wanted, to, invocation, output, copied);
  if (invocation.has("--json")) {
    Json object = new_document();
    object["dry_run"] = false;
    object["copied"] = std::move(copied.copies);
    object["deleted"] = std::move(copied.replaced);
    object["already_there"] = json_of(copied.was_there);
    output.line(to_text(object));
  } else if (copied.was_there > 0) {
    output.line(fmt::format("{} already there", count_of(copied.was_there, "checkpoint")));
  }
  return kDone;
}

}  // namespace

Command cp_command() {
  return {.name = "cp",
          .summary = "copy checkpoints into another store",
          .description =
              "All of them, oldest first, or those that are named. Only chunks that DST lacks are "
              "read and written, each verified on its way. Names, metadata and times come along, "
              "pins do not. What is there already is left alone, so the command may be given "
              "again. DST is made when it is absent or empty.",
          .arguments = {{.name = "SRC", .help = "The store to copy from; it may be in use."},
                        {.name = "DST", .help = "The store that gets the copies."},
                        {.name = "CKPT", .help = kCkptHelp, .optional = true, .repeats = true}},
          .options = {{.name = "--follow",
                       .help = "Go on copying what is saved, until stopped; with --json, one line "
                               "for each."},
                      {.name = "--replace",
                       .help = "Replace another checkpoint of the same name instead of failing."},
                      {.name = "--dry-run", .help = "Say what would be copied; change nothing."},
                      {.name = kAssumeNoWriter.name,
                       .help = "For SRC on a read-only disk; you vouch that no process writes."},
                      kCompress},
          .examples =
              "cairn cp runs/a /mnt/backup/a\n"
              "cairn cp runs/a best-models best:min:loss\n"
              "cairn cp runs/a /mnt/backup/a --follow",
          .run = run};
}

}  // namespace cairn::cli
