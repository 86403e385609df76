#include "commands.h"
#include "json.h"
#include "meta_option.h"
#include "session.h"
#include "text.h"

#include <cairn/retention.h>
#include <cairn/safetensors.h>
#include <cairn/torch_file.h>

#include <fmt/format.h>

#include <limits>

namespace cairn::cli {
namespace {

// What is wrong with FILE is no damage of the store.
template <typename Call>
auto blaming_the_file(const std::string& file, const Call& call) {
  try {
    return call();
  } catch (const Error& error) {
    if (error.path() != file) throw;
    throw Failure(kFailed, error.what());
  }
}

RetentionCallback keep_newest(int count) {
  return [count](std::span<const CheckpointInfo> checkpoints) {
    std::vector<std::uint64_t> ids;
    const RetentionPlan plan = plan_retention(checkpoints, {.num_to_keep = count});
    for (const RetentionDecision& decision : plan.deleted) ids.push_back(decision.checkpoint.id);
    return ids;
  };
}

void print(const SaveResult& result, const Invocation& invocation, Output& output) {
  const CheckpointInfo& saved = result.saved;
  if (invocation.has("--json")) {
    Json object = json_of(saved);
    object["new_bytes"] = json_of(result.new_bytes);
    object["new_chunks"] = json_of(result.new_chunks);
    Json deleted = Json::array();
    for (const std::uint64_t id : result.deleted) deleted.push_back(json_of(id));
    object["deleted"] = std::move(deleted);
    output.line(to_text(object));
    return;
  }
  output.line(fmt::format("saved checkpoint {} ({}): {}, {}, of which {} new", saved.id,
                          printable(saved.name), count_of(saved.tensors, "tensor"),
                          human_bytes(saved.logical_bytes), human_bytes(result.new_bytes)));
  if (!result.deleted.empty()) {
    output.line(fmt::format("deleted {}: {}", count_of(result.deleted.size(), "checkpoint"),
                            fmt::join(result.deleted, ", ")));
  }
}

// By what is in the file: names promise nothing.
RecoverableState read_file(const std::string& file, std::string recoverable) {
  return looks_like_torch_file(file) ? read_torch_file(file, std::move(recoverable))
                                     : read_safetensors(file, std::move(recoverable));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const std::string& file = invocation.argument("FILE");
  SaveOptions options{.meta = parse_metadata(invocation.values("--meta")),
                      .name = invocation.value("--name").value_or(""),
                      .replace = invocation.has("--replace")};
  if (const auto count = invocation.number("--keep", 1, std::numeric_limits<int>::max())) {
    options.retention = keep_newest(static_cast<int>(*count));
  }
  // Before the store is opened: a file that cannot be read creates nothing.
  const CheckpointState state = blaming_the_file(file, [&] {
    return CheckpointState{read_file(file, invocation.value("--as").value_or("model"))};
  });
  Store store = open_for_writing(invocation, output, true);
  if (store.open_report().created) {
    output.note("created the store " + store.directory().native());
  }
  print(blaming_the_file(file, [&] { return store.save(state, options); }), invocation, output);
  return kDone;
}

}  // namespace

Command import_command() {
  return {.name = "import",
          .summary = "save the tensors of a safetensors or .pt file as a checkpoint",
          .description =
              "Durable when it returns. Creates the store when the directory is absent or empty. "
              "Tensors that the store already holds cost no space.\n\n"
              "Of a .pt file of torch.save, in either of its formats, tensors get the path of keys "
              "that leads to them (optimizer.state.0.exp_avg), numbers and text become values. "
              "Nothing in it is run; a file that asks for more than plain state is refused.\n\n"
              "--meta parses VALUE as true or false, a whole number (3), a number (0.5, 1e-3, nan, "
              "inf), else as a string; in double quotes it is always a string: --meta 'tag=\"3\"'.",
          .arguments = {kStoreArgument,
                        {.name = "FILE", .help = "The safetensors or .pt file to read."}},
          .options = {{.name = "--name",
                       .value = "NAME",
                       .help = "Name of the checkpoint; without it one is made from the id."},
                      {.name = "--as",
                       .value = "RECOVERABLE",
                       .help = "Recoverable that gets the tensors; model unless given."},
                      {.name = "--meta",
                       .value = "KEY=VALUE",
                       .help = "Metadata of the checkpoint.",
                       .repeats = true},
                      {.name = "--keep",
                       .value = "N",
                       .help = "In the same commit, delete all but the newest N checkpoints and "
                               "those that are pinned."},
                      {.name = "--replace",
                       .help = "In the same commit, delete the checkpoint that has the name."}},
          .examples =
              "cairn import runs/a model.safetensors --name epoch-1 --meta loss=0.25\n"
              "cairn import runs/a model.safetensors --keep 3 --json\n"
              "cairn import runs/a checkpoint.pt --as job",
          .run = run};
}

}  // namespace cairn::cli
