#include "commands.h"
#include "json.h"
#include "meta_option.h"
#include "session.h"
#include "text.h"
#include "yaml_value.h"

#include <cairn/import.h>
#include <cairn/retention.h>
#include <cairn/safetensors.h>
#include <cairn/speechbrain.h>
#include <cairn/torch_file.h>

#include <fmt/format.h>

#include <filesystem>
#include <limits>

namespace cairn::cli {
namespace {

bool lies_in(const std::filesystem::path& directory, const std::filesystem::path& path) {
  const auto inside =
      path.lexically_normal().lexically_relative((directory / "").lexically_normal().parent_path());
  return !inside.empty() && *inside.begin() != "..";
}

// What is wrong with what is imported is no damage of the store, though it has the same codes.
template <typename Call>
auto blaming_the_import(const std::filesystem::path& store, const Call& call) {
  try {
    return call();
  } catch (const Error& error) {
    if (error.path().empty() || lies_in(store, error.path())) throw;
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
    Json object = document_of(saved);
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

struct Import {
  CheckpointState state = {};
  Metadata meta = {};
  std::string name = {};
};

Import from_speechbrain(const std::filesystem::path& directory, const Invocation& invocation,
                        Output& output) {
  if (invocation.has("--as")) {
    throw UsageError("--as: a checkpoint of SpeechBrain names its recoverables itself");
  }
  const auto skipped = invocation.values("--skip");
  SpeechBrainCheckpoint read;
  try {
    read = read_speechbrain(directory, parse_yaml, {skipped.begin(), skipped.end()});
  } catch (const Error& error) {
    const std::filesystem::path file = error.path();
    if (file.extension() != ".ckpt") throw;
    throw Failure(kFailed, std::string(error.what()) + "; --skip " +
                               printable(file.stem().native()) + " leaves it out");
  }
  for (const std::string& name : read.ignored) {
    output.note("left out " + printable(name) + ", which is no part of a checkpoint");
  }
  // Of "." and "CKPT+1/", too, the name that the directory has.
  const auto whole = (std::filesystem::absolute(directory) / "").lexically_normal();
  return {std::move(read.state), std::move(read.meta), whole.parent_path().filename()};
}

Import read_import(const std::string& file, const Invocation& invocation, Output& output) {
  using Kind = ImportSource::Kind;
  const auto [kind, path] = recognize_import(file);
  if (kind == Kind::kSpeechBrain) return from_speechbrain(path, invocation, output);
  if (invocation.has("--skip")) {
    throw UsageError("--skip: only a checkpoint of SpeechBrain has recoverables to leave out");
  }
  std::string recoverable = invocation.value("--as").value_or("model");
  if (kind == Kind::kTorchFile) return {{read_torch_file(path, std::move(recoverable))}};
  if (kind == Kind::kShardedSafetensors) {
    return {{read_sharded_safetensors(path, std::move(recoverable))}};
  }
  return {{read_safetensors(path, std::move(recoverable))}};
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
  const std::string& directory = invocation.argument("STORE");
  Import import =
      blaming_the_import(directory, [&] { return read_import(file, invocation, output); });
  for (const auto& [key, value] : options.meta) import.meta.set(key, value);
  options.meta = std::move(import.meta);
  if (options.name.empty()) options.name = std::move(import.name);
  Store store = open_for_writing(invocation, output, true);
  if (store.open_report().created) {
    output.note("created the store " + store.directory().native());
  }
  print(blaming_the_import(directory, [&] { return store.save(import.state, options); }),
        invocation, output);
  return kDone;
}

}  // namespace

Command import_command() {
  return {.name = "import",
          .summary = "save what a safetensors or .pt file holds as a checkpoint",
          .description =
              "Durable when it returns. Creates the store when the directory is absent or empty. "
              "Tensors that the store already holds cost no space.\n\n"
              "Of a .pt file of torch.save, in either of its formats, tensors get the path of keys "
              "that leads to them (optimizer.state.0.exp_avg), numbers and text become values. "
              "Nothing in it is run; a file that asks for more than plain state is refused.\n\n"
              "FILE may also be the index of a safetensors file in shards, or the directory that "
              "holds it, or a checkpoint directory of SpeechBrain: every NAME.ckpt in it becomes "
              "the recoverable NAME, CKPT.yaml the metadata, and the directory's name that of the "
              "checkpoint.\n\n"
              "--meta parses VALUE as true or false, a whole number (3), a number (0.5, 1e-3, nan, "
              "inf), else as a string; in double quotes it is always a string: --meta 'tag=\"3\"'.",
          .arguments = {kStoreArgument, {.name = "FILE", .help = "The file or directory to read."}},
          .options = {{.name = "--name",
                       .value = "NAME",
                       .help = "Name of the checkpoint; without it one is made from the id."},
                      {.name = "--as",
                       .value = "RECOVERABLE",
                       .help = "Recoverable that gets the tensors; model unless given."},
                      {.name = "--skip",
                       .value = "RECOVERABLE",
                       .help = "Leave this one of a SpeechBrain checkpoint out.",
                       .repeats = true},
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
              "cairn import runs/a checkpoint.pt --as job\n"
              "cairn import runs/a llama/model.safetensors.index.json\n"
              "cairn import runs/a save/CKPT+2026-01-31+12-00-00+00",
          .run = run};
}

}  // namespace cairn::cli
