#include "commands.h"
#include "json.h"
#include "reference.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {
namespace {

ExitCode set_pinned(const Invocation& invocation, Output& output, bool pinned) {
  Store store = open_for_writing(invocation, output);
  std::vector<CheckpointInfo> checkpoints =
      find_checkpoints(store.checkpoints(), invocation.arguments("CKPT"));
  expecting_checkpoints([&] { store.set_pinned(ids_of(checkpoints), pinned); });
  for (CheckpointInfo& checkpoint : checkpoints) checkpoint.pinned = pinned;
  if (invocation.has("--json")) {
    Json list = Json::array();
    for (const CheckpointInfo& checkpoint : checkpoints) list.push_back(document_of(checkpoint));
    output.line(to_text(list));
    return kDone;
  }
  for (const CheckpointInfo& checkpoint : checkpoints) {
    output.line(fmt::format("{} checkpoint {} ({})", pinned ? "pinned" : "unpinned", checkpoint.id,
                            printable(checkpoint.name)));
  }
  return kDone;
}

}  // namespace

Command pin_command() {
  return {.name = "pin",
          .summary = "exempt checkpoints from retention",
          .description =
              "Neither keep nor a save that deletes will remove them; rm still does. All "
              "that are named or none. With --json, the list of the checkpoints.",
          .arguments = {kStoreArgument, {.name = "CKPT", .help = kCkptHelp, .repeats = true}},
          .options = {},
          .examples = "cairn pin runs/a best:min:loss",
          .run = [](const Invocation& invocation, Output& output) {
            return set_pinned(invocation, output, true);
          }};
}

Command unpin_command() {
  return {.name = "unpin",
          .summary = "end the exemption",
          .description = "All that are named or none. With --json, the list of the checkpoints.",
          .arguments = {kStoreArgument, {.name = "CKPT", .help = kCkptHelp, .repeats = true}},
          .options = {},
          .examples = "cairn unpin runs/a epoch-3",
          .run = [](const Invocation& invocation, Output& output) {
            return set_pinned(invocation, output, false);
          }};
}

}  // namespace cairn::cli
