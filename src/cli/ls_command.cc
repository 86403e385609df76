#include "commands.h"
#include "json.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {
namespace {

// Bytes that each checkpoint alone would free, or nothing where damage hides them.
std::vector<std::uint64_t> freed_bytes(const Store& store,
                                       std::span<const CheckpointInfo> checkpoints,
                                       Output& output) {
  try {
    return store.bytes_freed_if_deleted(checkpoints);
  } catch (const Error& error) {
    output.note(std::string("note: bytes freed are unknown: ") + error.what());
    return {};
  }
}

std::string meta_text(const Metadata& meta) {
  std::string text;
  for (const auto& [key, value] : meta) {
    if (key == "unixtime") continue;  // The time has its own column.
    text += (text.empty() ? "" : " ") + printable(key) + "=" + value_text(value);
  }
  return text;
}

std::string marks(const CheckpointInfo& checkpoint) {
  std::string text = checkpoint.pinned ? "pinned" : "";
  if (checkpoint.damaged) text += text.empty() ? "damaged" : ", damaged";
  return text;
}

void print_json(std::span<const CheckpointInfo> checkpoints, std::span<const std::uint64_t> freed,
                Output& output) {
  std::string separator = "[";
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    Json object = document_of(checkpoints[i]);
    object["recoverables"] = checkpoints[i].recoverables;
    object["freed_bytes"] = i < freed.size() ? json_of(freed[i]) : Json();
    output.write(separator + to_text(object));
    separator = ",\n ";
  }
  output.line(checkpoints.empty() ? "[]" : "]");
}

ExitCode run(const Invocation& invocation, Output& output) {
  if (invocation.has("--names") && invocation.has("--json")) {
    throw UsageError("ls: --names prints text; what --json prints has the names, too");
  }
  const Store store = open_for_reading(invocation, output);
  const std::vector<CheckpointInfo> checkpoints = store.checkpoints();
  if (invocation.has("--names")) {
    for (const CheckpointInfo& checkpoint : checkpoints) output.line(checkpoint.name);
    return kDone;
  }
  const std::vector<std::uint64_t> freed = freed_bytes(store, checkpoints, output);
  if (invocation.has("--json")) {
    print_json(checkpoints, freed, output);
    return kDone;
  }
  if (checkpoints.empty()) {
    output.note("the store holds no checkpoints");
    return kDone;
  }
  using Align = Table::Align;
  Table table({{"ID", Align::kRight},
               {"NAME"},
               {"SAVED"},
               {"TENSORS", Align::kRight},
               {"SIZE", Align::kRight},
               {"FREES", Align::kRight},
               {"MARKS"},
               {"METADATA"}});
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    const CheckpointInfo& checkpoint = checkpoints[i];
    table.add({std::to_string(checkpoint.id), printable(checkpoint.name),
               utc_time(checkpoint.created_unix_ns), std::to_string(checkpoint.tensors),
               human_bytes(checkpoint.logical_bytes),
               i < freed.size() ? human_bytes(freed[i]) : "?", marks(checkpoint),
               meta_text(checkpoint.meta)});
  }
  table.print(output);
  return kDone;
}

}  // namespace

Command ls_command() {
  return {.name = "ls",
          .summary = "list the checkpoints, newest first",
          .description =
              "SIZE is what the tensors hold, FREES what the store would gain if this "
              "checkpoint alone were deleted. Times are UTC.",
          .arguments = {kStoreArgument},
          .options = {{.name = "--names", .help = "Only the names, one a line."}, kAssumeNoWriter},
          .examples =
              "cairn ls runs/a\n"
              "cairn ls runs/a --json | jq -r '.[] | select(.pinned) | .name'",
          .run = run};
}

}  // namespace cairn::cli
