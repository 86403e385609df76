#include "commands.h"
#include "interrupt.h"
#include "json.h"
#include "meter.h"
#include "reference.h"
#include "session.h"
#include "text.h"

#include <cairn/numpy.h>
#include <cairn/safetensors.h>

#include <fmt/format.h>

#include <filesystem>

namespace cairn::cli {
namespace {

constexpr std::int64_t kMaxShardMib = std::int64_t{1} << 40;

ExitCode run(const Invocation& invocation, Output& output) {
  const std::string& file = invocation.argument("OUT");
  const bool as_npz = std::filesystem::path(file).extension() == ".npz";
  const auto shard_mib = invocation.number("--shard-mib", 1, kMaxShardMib);
  if (as_npz && shard_mib) throw UsageError("--shard-mib: a .npz file has no shards");
  const std::string recoverable = invocation.value("--recoverable").value_or("");
  const Store store = open_for_reading(invocation, output);
  const CheckpointInfo info = find_checkpoint(store.checkpoints(), invocation.argument("CKPT"));
  const Checkpoint checkpoint = expecting_checkpoints([&] { return store.open(info.id); });
  std::vector<std::filesystem::path> files{file};
  {
    const Interrupts interrupts;
    Meter meter(output, "writing");
    const SafetensorsExportOptions options{.recoverable = recoverable,
                                           .progress = meter.interruptible()};
    if (as_npz) {
      write_npz(checkpoint, file, {.recoverable = recoverable, .progress = meter.interruptible()});
    } else if (shard_mib) {
      files = write_sharded_safetensors(checkpoint, file,
                                        static_cast<std::uint64_t>(*shard_mib) << 20, options);
    } else {
      write_safetensors(checkpoint, file, options);
    }
  }

  std::uint64_t bytes = 0;
  const auto tensors = recoverable.empty() ? checkpoint.tensors() : checkpoint.tensors(recoverable);
  for (const TensorInfo& tensor : tensors) bytes += tensor.bytes;
  if (invocation.has("--json")) {
    Json object = new_document();
    object["id"] = json_of(info.id);
    object["name"] = info.name;
    object["file"] = files.front().native();
    object["shards"] = json_of(std::uint64_t{files.size() - 1});
    object["tensors"] = json_of(std::uint64_t{tensors.size()});
    object["bytes"] = json_of(bytes);
    output.line(to_text(object));
  } else {
    const std::string shards =
        files.size() == 1 ? "" : " and " + count_of(files.size() - 1, "shard");
    output.line(fmt::format(
        "wrote {}{}: {}, {}, of checkpoint {} ({})", printable(files.front().native()), shards,
        count_of(tensors.size(), "tensor"), human_bytes(bytes), info.id, printable(info.name)));
  }
  return kDone;
}

}  // namespace

Command export_command() {
  return {
      .name = "export",
      .summary = "write a checkpoint's tensors as a safetensors or .npz file",
      .description =
          "Every tensor is verified on its way. The file appears under its name complete and "
          "flushed, or not at all.\n\n"
          "With one recoverable, or one named, tensors have their own names; with several they "
          "are called recoverable/key.\n\n"
          "A name that ends in .npz gets a file of NumPy; what it has no dtype for is written as "
          "raw elements, bf16 as V2: array.view(ml_dtypes.bfloat16).",
      .arguments = {kStoreArgument,
                    {.name = "CKPT", .help = kCkptHelp},
                    {.name = "OUT", .help = "The file to write or replace: safetensors, or .npz."}},
      .options = {{.name = "--recoverable",
                   .value = "NAME",
                   .help = "Only the tensors of this recoverable."},
                  {.name = "--shard-mib",
                   .value = "N",
                   .help = "In shards of at most N MiB of tensors, with their index: for "
                           "OUT.safetensors OUT-00001-of-00003.safetensors and so on, and "
                           "OUT.safetensors.index.json."},
                  kAssumeNoWriter},
      .examples =
          "cairn export runs/a latest model.safetensors\n"
          "cairn export runs/a best:min:loss best.safetensors --recoverable model\n"
          "cairn export runs/a latest model.safetensors --shard-mib 5000\n"
          "cairn export runs/a latest model.npz",
      .run = run};
}

}  // namespace cairn::cli
