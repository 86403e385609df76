#include "commands.h"
#include "meter.h"
#include "reference.h"
#include "session.h"
#include "tensor_stream.h"
#include "text.h"

#include <cairn/numpy.h>

#include <unistd.h>

namespace cairn::cli {
namespace {

// "recoverable/key"; names of recoverables hold no slash.
std::size_t find_tensor(const Checkpoint& checkpoint, const std::string& name) {
  const std::size_t slash = name.find('/');
  if (slash == std::string::npos) {
    throw UsageError("a tensor is named recoverable/key, not " + quote(name) +
                     "; cairn show lists them");
  }
  const auto found = checkpoint.find_tensor(std::string_view(name).substr(0, slash),
                                            std::string_view(name).substr(slash + 1));
  if (found) return *found;
  std::vector<std::string> names;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    names.push_back(std::string(tensor.recoverable) + "/" + std::string(tensor.key));
  }
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const std::string_view meant = nearest(name, candidates);
  throw Failure(
      kFailed,
      "checkpoint " + quote(checkpoint.info().name) + " has no tensor " + quote(name) +
          (meant.empty() ? "; cairn show lists them" : "; did you mean " + quote(meant) + "?"));
}

ExitCode run(const Invocation& invocation, Output& output) {
  if (::isatty(STDOUT_FILENO) != 0) {
    throw UsageError("cat writes bytes; send them to a file or another program");
  }
  const Store store = open_for_reading(invocation, output);
  const CheckpointInfo info = find_checkpoint(store.checkpoints(), invocation.argument("CKPT"));
  const Checkpoint checkpoint = expecting_checkpoints([&] { return store.open(info.id); });
  const std::size_t tensor = find_tensor(checkpoint, invocation.argument("TENSOR"));
  if (invocation.has("--npy")) output.write(npy_header(checkpoint.tensors()[tensor]));
  Meter meter(output, "writing");
  Progress progress{.total_bytes = checkpoint.tensors()[tensor].bytes};
  for_each_piece(checkpoint, tensor, [&](std::uint64_t, std::span<const std::byte> bytes) {
    output.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    progress.done_bytes += bytes.size();
    meter.show(progress);
  });
  return kDone;
}

}  // namespace

Command cat_command() {
  return {.name = "cat",
          .summary = "write the bytes of one tensor to standard output",
          .description =
              "Row-major, little-endian, verified piece by piece: when damage is met, the output "
              "ends before it, and the exit code is 3.",
          .arguments = {kStoreArgument,
                        {.name = "CKPT", .help = kCkptHelp},
                        {.name = "TENSOR", .help = "recoverable/key."}},
          .options = {{.name = "--npy", .help = "As a NumPy .npy file."}, kAssumeNoWriter},
          .examples =
              "cairn cat runs/a latest model/weight > weight.bin\n"
              "cairn cat runs/a latest model/weight --npy > weight.npy",
          .run = run,
          .has_json = false};
}

}  // namespace cairn::cli
