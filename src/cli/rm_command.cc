#include "commands.h"
#include "decisions.h"
#include "reference.h"
#include "session.h"

namespace cairn::cli {
namespace {

ExitCode run(const Invocation& invocation, Output& output) {
  const bool dry_run = invocation.has("--dry-run");
  Store store =
      dry_run ? open_for_reading(invocation, output) : open_for_writing(invocation, output);
  const std::vector<CheckpointInfo> doomed =
      find_checkpoints(store.checkpoints(), invocation.arguments("CKPT"));
  if (!dry_run) expecting_checkpoints([&] { store.remove(ids_of(doomed)); });

  RetentionPlan done;
  for (const CheckpointInfo& checkpoint : doomed) done.deleted.push_back({checkpoint, "named"});
  const auto print = invocation.has("--json") ? print_plan_json : print_plan_text;
  print(done, dry_run, output);
  return kDone;
}

}  // namespace

Command rm_command() {
  return {.name = "rm",
          .summary = "delete checkpoints, all that are named or none",
          .description =
              "One commit. A pin does not protect what is named here. The space becomes "
              "reusable by later saves.",
          .arguments = {kStoreArgument, {.name = "CKPT", .help = kCkptHelp, .repeats = true}},
          .options = {{.name = "--dry-run", .help = "Say what would be deleted; change nothing."},
                      kAssumeNoWriter},
          .examples =
              "cairn rm runs/a epoch-1 epoch-2\n"
              "cairn rm runs/a id:7 --dry-run",
          .run = run};
}

}  // namespace cairn::cli
