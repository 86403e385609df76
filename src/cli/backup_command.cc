#include "commands.h"
#include "interrupt.h"
#include "json.h"
#include "meter.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {
namespace {

void print_json(const BackupReport& report, bool dry_run, Output& output) {
  Json object = new_document();
  object["dry_run"] = dry_run;
  object["ok"] = report.lost.empty();
  object["created"] = report.created;
  object["copied"] = json_of(std::span<const CheckpointInfo>(report.copied));
  object["deleted"] = json_of(std::span<const CheckpointInfo>(report.deleted));
  object["lost"] = Json::array();
  for (const BackupLoss& loss : report.lost) {
    Json one = json_of(loss.checkpoint);
    one["why"] = json_of(std::string_view(loss.why));
    object["lost"].push_back(std::move(one));
  }
  object["checkpoints"] = json_of(report.checkpoints);
  object["new_bytes"] = json_of(report.new_bytes);
  output.line(to_text(object));
}

void print_text(const BackupReport& report, bool dry_run, const std::string& file, Output& output) {
  const std::string_view would = dry_run ? "would be " : "";
  for (const CheckpointInfo& info : report.copied) {
    output.line(fmt::format("{}copied   {} {}", would, info.id, printable(info.name)));
  }
  for (const CheckpointInfo& info : report.deleted) {
    output.line(fmt::format("{}deleted  {} {}: not in the store any more", would, info.id,
                            printable(info.name)));
  }
  for (const BackupLoss& loss : report.lost) {
    output.line(fmt::format("{}  {} {}: {}", output.styled("left out", Style::kBad),
                            loss.checkpoint.id, printable(loss.checkpoint.name),
                            printable(loss.why)));
  }
  output.line(fmt::format("{} {} {}: {} new", printable(file), dry_run ? "would hold" : "holds",
                          count_of(report.checkpoints, "checkpoint"),
                          human_bytes(report.new_bytes)));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const bool dry_run = invocation.has("--dry-run");
  const std::string& file = invocation.argument("FILE");
  const Store store = open_for_reading(invocation, output);
  BackupReport report;
  {
    const Interrupts interrupts;
    Meter meter(output, "copying");
    report = store.backup(file, {.keep_deleted = invocation.has("--keep-deleted"),
                                 .dry_run = dry_run,
                                 .progress = meter.interruptible()});
  }
  if (invocation.has("--json")) {
    print_json(report, dry_run, output);
  } else {
    print_text(report, dry_run, file, output);
  }
  return report.lost.empty() ? kDone : kDamageFound;
}

}  // namespace

Command backup_command() {
  return {
      .name = "backup",
      .summary = "bring one file to the state of a store in use",
      .description =
          "FILE is a pack alone, which may lie on any file system: it needs no locks. Given again "
          "with the same FILE, only chunks that it lacks are copied, and checkpoints that the "
          "store has deleted are deleted there too, unless --keep-deleted. All of one moment, "
          "while the job goes on; each chunk is verified, and the file goes from one state to the "
          "next whole. Ids, names and pins come along. What is damaged in the store is left out, "
          "or stays as FILE has it: exit code 3.\n\n"
          "cairn salvage FILE NEW makes a store of it.",
      .arguments = {{.name = "STORE", .help = "The store; it may be in use."},
                    {.name = "FILE", .help = "The backup; made when it is absent."}},
      .options = {{.name = "--keep-deleted",
                   .help = "Keep what the store has deleted, unless its name is used again."},
                  {.name = "--dry-run", .help = "Say what would be done; change nothing."},
                  kAssumeNoWriter},
      .examples =
          "cairn backup runs/a /mnt/nas/a.pack\n"
          "cairn backup runs/a /mnt/nas/a.pack --dry-run --json\n"
          "cairn salvage /mnt/nas/a.pack runs/restored",
      .run = run};
}

}  // namespace cairn::cli
