#include "commands.h"
#include "json.h"
#include "reference.h"
#include "session.h"
#include "text.h"

#include <cairn/safetensors.h>

#include <fmt/format.h>

namespace cairn::cli {
namespace {

ExitCode run(const Invocation& invocation, Output& output) {
  const std::string& file = invocation.argument("OUT.safetensors");
  const std::string recoverable = invocation.value("--recoverable").value_or("");
  const Store store = open_for_reading(invocation, output);
  const CheckpointInfo info = find_checkpoint(store.checkpoints(), invocation.argument("CKPT"));
  const Checkpoint checkpoint = expecting_checkpoints([&] { return store.open(info.id); });
  write_safetensors(checkpoint, file, {.recoverable = recoverable});

  std::uint64_t bytes = 0;
  const auto tensors = recoverable.empty() ? checkpoint.tensors() : checkpoint.tensors(recoverable);
  for (const TensorInfo& tensor : tensors) bytes += tensor.bytes;
  if (invocation.has("--json")) {
    Json object;
    object["id"] = json_of(info.id);
    object["name"] = info.name;
    object["file"] = file;
    object["tensors"] = json_of(std::uint64_t{tensors.size()});
    object["bytes"] = json_of(bytes);
    output.line(to_text(object));
  } else {
    output.line(fmt::format("wrote {}: {}, {}, of checkpoint {} ({})", printable(file),
                            count_of(tensors.size(), "tensor"), human_bytes(bytes), info.id,
                            printable(info.name)));
  }
  return kDone;
}

}  // namespace

Command export_command() {
  return {.name = "export",
          .summary = "write a checkpoint's tensors as a safetensors file",
          .description =
              "Every tensor is verified on its way. The file appears under its name complete and "
              "flushed, or not at all.\n\n"
              "With one recoverable, or one named, tensors have their own names; with several they "
              "are called recoverable/key.",
          .arguments = {kStoreArgument,
                        {.name = "CKPT", .help = kCkptHelp},
                        {.name = "OUT.safetensors", .help = "The file to write or replace."}},
          .options = {{.name = "--recoverable",
                       .value = "NAME",
                       .help = "Only the tensors of this recoverable."},
                      kAssumeNoWriter},
          .examples =
              "cairn export runs/a latest model.safetensors\n"
              "cairn export runs/a best:min:loss best.safetensors --recoverable model",
          .run = run};
}

}  // namespace cairn::cli
