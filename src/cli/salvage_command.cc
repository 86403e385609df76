#include "commands.h"
#include "json.h"
#include "meter.h"
#include "session.h"
#include "text.h"

#include <cairn/salvage.h>

#include <fmt/format.h>

namespace cairn::cli {
namespace {

void print_json(const SalvageReport& report, Output& output) {
  Json lost = Json::array();
  for (const SalvageLoss& loss : report.lost) {
    Json object;
    object["id"] = json_of(loss.id);
    object["name"] = loss.name;
    object["why"] = loss.why;
    lost.push_back(std::move(object));
  }
  Json object = new_document();
  object["ok"] = report.lost.empty();
  object["by_scan"] = report.by_scan;
  object["saved"] = json_of(std::span<const CheckpointInfo>(report.saved));
  object["lost"] = std::move(lost);
  output.line(to_text(object));
}

void print_text(const SalvageReport& report, const Invocation& invocation, Output& output) {
  for (const CheckpointInfo& saved : report.saved) {
    output.line(fmt::format("saved {} as {}: {}, {}", printable(saved.name), saved.id,
                            count_of(saved.tensors, "tensor"), human_bytes(saved.logical_bytes)));
  }
  for (const SalvageLoss& loss : report.lost) {
    output.line(fmt::format("{} {} ({}): {}", output.styled("lost", Style::kBad), loss.id,
                            printable(loss.name), printable(loss.why)));
  }
  output.line(fmt::format("{} saved to {}", count_of(report.saved.size(), "checkpoint"),
                          printable(invocation.argument("OUT"))));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const auto report = [&] {
    Meter meter(output, "salvaging");
    return salvage(invocation.argument("PACK"), invocation.argument("OUT"),
                   {.allow_network_file_system = invocation.has("--allow-network-fs"),
                    .log = note_to(output),
                    .progress = meter.callback()});
  }();
  invocation.has("--json") ? print_json(report, output) : print_text(report, invocation, output);
  return report.lost.empty() ? kDone : kDamageFound;
}

}  // namespace

Command salvage_command() {
  return {.name = "salvage",
          .summary = "copy every intact checkpoint of a lone pack into a new store",
          .description =
              "For a pack without its store: a backup, a file from a dying disk. PACK is only "
              "read, and each checkpoint is verified before it is taken over. Names, metadata, "
              "times and pins come along; ids are new. Exit code 3 when a checkpoint is lost.\n\n"
              "When no root can be read, checkpoints are found by their index records; some of "
              "them may have been deleted before. To mend a whole store in its place, use repair.",
          .arguments = {{.name = "PACK", .help = "The file \"pack\" of a store, or a copy of it."},
                        {.name = "OUT", .help = "The store to make; absent or empty."}},
          .examples =
              "cairn salvage /mnt/old/runs/a/pack rescued\n"
              "cairn salvage backup.pack rescued --json",
          .run = run};
}

}  // namespace cairn::cli
