#include "commands.h"
#include "damage_text.h"
#include "json.h"
#include "meter.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace cairn::cli {
namespace {

// "--adopt 3 --adopt 5" or "--adopt 3,5".
std::vector<std::uint64_t> ids_to_adopt(const Invocation& invocation) {
  std::vector<std::uint64_t> ids;
  for (const std::string& text : invocation.values("--adopt")) {
    std::size_t begin = 0;
    while (begin <= text.size()) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      const auto id = parse_number(std::string_view(text).substr(begin, end - begin), "--adopt", 0,
                                   std::numeric_limits<std::int64_t>::max());
      ids.push_back(static_cast<std::uint64_t>(id));
      begin = end + 1;
    }
  }
  return ids;
}

// The ids that are not among the checkpoints, as text.
std::string missing(std::span<const std::uint64_t> ids,
                    std::span<const CheckpointInfo> checkpoints) {
  std::string text;
  for (const std::uint64_t id : ids) {
    const bool there = std::any_of(checkpoints.begin(), checkpoints.end(),
                                   [&](const CheckpointInfo& c) { return c.id == id; });
    if (!there) text += (text.empty() ? "id " : ", ") + std::to_string(id);
  }
  return text;
}

void print_json(const RepairReport& report, bool dry_run, Output& output) {
  Json object = new_document();
  object["ok"] = report.remaining.empty();
  object["dry_run"] = dry_run;
  object["changed"] = report.changed;
  object["actions"] = report.actions;
  object["checkpoints"] = json_of(std::span<const CheckpointInfo>(report.checkpoints));
  object["dropped"] = json_of(std::span<const CheckpointInfo>(report.dropped));
  object["remaining"] = json_of(std::span<const Damage>(report.remaining));
  object["found"] = json_of(std::span<const CheckpointInfo>(report.found));
  output.line(to_text(object));
}

void print_list(std::string_view heading, std::span<const CheckpointInfo> checkpoints,
                Output& output) {
  for (const CheckpointInfo& checkpoint : checkpoints) {
    output.line(fmt::format("{} checkpoint {} ({}), saved {}", heading, checkpoint.id,
                            printable(checkpoint.name), utc_time(checkpoint.created_unix_ns)));
  }
}

void print_text(const RepairReport& report, bool dry_run, Output& output) {
  for (const std::string& action : report.actions) {
    output.line((dry_run ? "would: " : "") + printable(action));
  }
  print_list(dry_run ? "would drop" : "dropped", report.dropped, output);
  print_list("found, and --adopt may name it:", report.found, output);
  print_damage(report.remaining, output);
  const std::string holds = count_of(report.checkpoints.size(), "checkpoint");
  if (!report.remaining.empty()) {
    output.line("the store holds " + holds + "; " + output.styled("damage remains", Style::kBad));
  } else if (!report.changed) {
    output.line("the store holds " + holds + "; nothing to repair");
  } else {
    output.line(fmt::format("the store {} {} and {} consistent", dry_run ? "would hold" : "holds",
                            holds, dry_run ? "be" : "is"));
  }
}

// What is said on the way and is no action of the report; that one is printed anyway.
class OtherNotes {
 public:
  explicit OtherNotes(Output& output) : output_(output) {}
  LogCallback collect() {
    return [this](std::string_view message) { messages_.emplace_back(message); };
  }
  void print(std::span<const std::string> actions) const {
    for (const std::string& message : messages_) {
      if (std::find(actions.begin(), actions.end(), message) == actions.end()) {
        output_.note("note: " + message);
      }
    }
  }

 private:
  Output& output_;
  std::vector<std::string> messages_;
};

RepairReport repair(const Invocation& invocation, const std::vector<std::uint64_t>& adopt,
                    Output& output) {
  OtherNotes notes(output);
  Meter meter(output, "checking");
  try {
    RepairReport report =
        Store::repair(invocation.argument("STORE"),
                      {.drop_damaged = invocation.has("--drop-damaged"),
                       .dry_run = invocation.has("--dry-run"),
                       .adopt = adopt,
                       .allow_network_file_system = invocation.has("--allow-network-fs"),
                       .busy_timeout = busy_timeout(invocation),
                       .log = notes.collect(),
                       .progress = meter.callback()});
    notes.print(report.actions);
    return report;
  } catch (const Error&) {
    notes.print({});
    throw;
  }
}

ExitCode run(const Invocation& invocation, Output& output) {
  const bool dry_run = invocation.has("--dry-run");
  const std::vector<std::uint64_t> adopt = ids_to_adopt(invocation);
  const RepairReport report = repair(invocation, adopt, output);
  const auto print = invocation.has("--json") ? print_json : print_text;
  print(report, dry_run, output);
  if (const std::string absent = missing(adopt, report.checkpoints); !absent.empty()) {
    output.flush();
    throw Failure(kNoSuchCheckpoint, "nothing to adopt was found under " + absent);
  }
  return report.remaining.empty() ? kDone : kDamageFound;
}

}  // namespace

Command repair_command() {
  return {
      .name = "repair",
      .summary = "bring a damaged store back to consistency",
      .description =
          "Restores superblocks and roots and rebuilds the catalog from the pack. Checkpoints are "
          "dropped only with --drop-damaged. Needs that no process has the store open. Exit code "
          "3 when damage remains.\n\n"
          "When no root can be read, it lists the checkpoints that a scan finds; --adopt takes "
          "in those that you name.",
      .arguments = {kStoreArgument},
      .options = {{.name = "--drop-damaged",
                   .help = "Delete the checkpoints that cannot be read whole."},
                  {.name = "--dry-run", .help = "Say what would be done; change nothing."},
                  {.name = "--adopt",
                   .value = "ID",
                   .help = "Take in this checkpoint that a scan found.",
                   .repeats = true}},
      .examples =
          "cairn repair runs/a --dry-run\n"
          "cairn repair runs/a --drop-damaged",
      .run = run};
}

}  // namespace cairn::cli
