#include "commands.h"
#include "decisions.h"
#include "json.h"
#include "meta_option.h"
#include "meter.h"
#include "session.h"
#include "text.h"
#include "yaml_value.h"

#include <cairn/import.h>
#include <cairn/retention.h>
#include <cairn/safetensors.h>
#include <cairn/speechbrain.h>
#include <cairn/torch_file.h>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

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

/// What a save deletes, and by which rule.
class Deletions {
 public:
  Deletions(const Invocation& invocation, std::string name)
      : replaces_(invocation.has("--replace") && !name.empty()),
        name_(std::move(name)),
        keep_(invocation.number("--keep", 1, std::numeric_limits<int>::max())) {}

  /// Of the checkpoints before the save.
  void look_for_replaced(std::span<const CheckpointInfo> checkpoints) {
    for (const CheckpointInfo& info : checkpoints) {
      if (replaces_ && info.name == name_) decisions_.push_back({info, "replaced under its name"});
    }
  }

  /// Of those after it. Returns their ids.
  std::vector<std::uint64_t> look_beyond_newest(std::span<const CheckpointInfo> checkpoints) {
    std::vector<std::uint64_t> ids;
    if (!keep_) return ids;
    const RetentionPlan plan =
        plan_retention(checkpoints, {.num_to_keep = static_cast<int>(*keep_)});
    for (const RetentionDecision& decision : plan.deleted) {
      ids.push_back(decision.checkpoint.id);
      decisions_.push_back({decision.checkpoint, fmt::format("not among the newest {}", *keep_)});
    }
    return ids;
  }

  RetentionCallback callback() {
    if (!keep_) return {};
    return [this](std::span<const CheckpointInfo> all) { return look_beyond_newest(all); };
  }

  std::span<const RetentionDecision> decisions() const { return decisions_; }

  void print(bool dry_run, Output& output) const {
    for (const RetentionDecision& one : decisions_) {
      output.line(fmt::format("{} {} ({}): {}", dry_run ? "would delete" : "deleted",
                              one.checkpoint.id, printable(one.checkpoint.name), one.rule));
    }
  }

 private:
  bool replaces_;
  std::string name_;
  std::optional<std::int64_t> keep_;
  std::vector<RetentionDecision> decisions_;
};

void print(const SaveResult& result, const Deletions& deletions, const Invocation& invocation,
           Output& output) {
  const CheckpointInfo& saved = result.saved;
  if (invocation.has("--json")) {
    Json object = document_of(saved);
    object["dry_run"] = false;
    object["new_bytes"] = json_of(result.new_bytes);
    object["new_stored_bytes"] = json_of(result.new_stored_bytes);
    object["new_chunks"] = json_of(result.new_chunks);
    object["deleted"] = decisions_json(deletions.decisions());
    output.line(to_text(object));
    return;
  }
  output.line(fmt::format("saved checkpoint {} ({}): {}, {}, of which {}", saved.id,
                          printable(saved.name), count_of(saved.tensors, "tensor"),
                          human_bytes(saved.logical_bytes), new_text(result)));
  deletions.print(false, output);
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

std::uint64_t bytes_of(const TensorInput& tensor) {
  std::uint64_t bits = bits_per_element(tensor.dtype);
  for (const std::int64_t dimension : tensor.shape) bits *= static_cast<std::uint64_t>(dimension);
  return bits / 8;
}

/// What would be saved and deleted. Opens for reading, if there is a store.
ExitCode dry_run(const Import& import, Deletions deletions, const Invocation& invocation,
                 Output& output) {
  std::vector<CheckpointInfo> checkpoints;
  try {
    checkpoints = open_for_reading(invocation, output).checkpoints();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;  // it would be made
  }
  if (!invocation.has("--replace")) {
    for (const CheckpointInfo& info : checkpoints) {
      if (info.name != import.name) continue;
      throw Failure(kFailed, fmt::format("a checkpoint named {} exists (id {}); choose another "
                                         "name, or give --replace",
                                         quote(info.name), info.id));
    }
  }
  deletions.look_for_replaced(checkpoints);
  for (const RetentionDecision& replaced : deletions.decisions()) {
    std::erase_if(checkpoints,
                  [&](const CheckpointInfo& info) { return info.id == replaced.checkpoint.id; });
  }
  CheckpointInfo coming{.name = import.name};
  for (const CheckpointInfo& info : checkpoints) {
    coming.id = std::max(coming.id, info.id + 1);
    coming.sequence = std::max(coming.sequence, info.sequence + 1);
  }
  checkpoints.insert(checkpoints.begin(), std::move(coming));
  deletions.look_beyond_newest(checkpoints);

  std::uint64_t tensors = 0;
  std::uint64_t bytes = 0;
  for (const RecoverableState& recoverable : import.state) {
    tensors += recoverable.tensors.size();
    for (const TensorInput& tensor : recoverable.tensors) bytes += bytes_of(tensor);
  }
  if (invocation.has("--json")) {
    Json object = new_document();
    object["dry_run"] = true;
    object["name"] = import.name;
    object["tensors"] = json_of(tensors);
    object["logical_bytes"] = json_of(bytes);
    object["deleted"] = decisions_json(deletions.decisions());
    output.line(to_text(object));
    return kDone;
  }
  output.line(fmt::format("would save {}: {}, {}",
                          import.name.empty() ? "a checkpoint" : printable(import.name),
                          count_of(tensors, "tensor"), human_bytes(bytes)));
  deletions.print(true, output);
  return kDone;
}

ExitCode run(const Invocation& invocation, Output& output) {
  const std::string& file = invocation.argument("FILE");
  const Metadata meta = parse_metadata(invocation.values("--meta"));
  const auto name = invocation.value("--name");
  invocation.number("--keep", 1, std::numeric_limits<int>::max());
  // Before the store is opened: what cannot be read, or cannot be saved, creates nothing.
  const std::string& directory = invocation.argument("STORE");
  Import import =
      blaming_the_import(directory, [&] { return read_import(file, invocation, output); });
  for (const auto& [key, value] : meta) import.meta.set(key, value);
  if (name) import.name = *name;
  SaveOptions options{
      .meta = import.meta, .name = import.name, .replace = invocation.has("--replace")};
  blaming_the_import(directory, [&] { Store::check(import.state, options); });
  Deletions deletions(invocation, import.name);
  if (invocation.has("--dry-run")) {
    return dry_run(import, std::move(deletions), invocation, output);
  }

  Store store = open_for_writing(invocation, output, true);
  if (store.open_report().created) {
    output.note("created the store " + store.directory().native());
  }
  // The writer's lock is held: what is found here is still so when it is done.
  deletions.look_for_replaced(store.checkpoints());
  options.retention = deletions.callback();
  const auto save = [&] {
    Meter meter(output, "saving");
    options.progress = meter.callback();
    return store.save(import.state, options);
  };
  const SaveResult result = blaming_the_import(directory, save);
  print(result, deletions, invocation, output);
  return kDone;
}

}  // namespace

Command import_command() {
  return {
      .name = "import",
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
                   .help = "Name of the checkpoint; made from the id unless given."},
                  {.name = "--as",
                   .value = "RECOVERABLE",
                   .help = "Recoverable that gets the tensors; model unless given."},
                  {.name = "--skip",
                   .value = "RECOVERABLE",
                   .help = "Leave this one of SpeechBrain out.",
                   .repeats = true},
                  {.name = "--meta",
                   .value = "KEY=VALUE",
                   .help = "Metadata of the checkpoint.",
                   .repeats = true},
                  {.name = "--keep",
                   .value = "N",
                   .help = "In the same commit, delete all but the newest N and those that are "
                           "pinned."},
                  {.name = "--replace", .help = "In the same commit, delete what has the name."},
                  {.name = "--dry-run",
                   .help = "Say what would be saved and deleted; change nothing."},
                  kAssumeNoWriter,
                  kCompress},
      .examples =
          "cairn import runs/a model.safetensors --name epoch-1 --meta loss=0.25\n"
          "cairn import runs/a model.safetensors --keep 3 --json\n"
          "cairn import runs/a checkpoint.pt --as job\n"
          "cairn import runs/a llama/model.safetensors.index.json\n"
          "cairn import runs/a save/CKPT+2026-01-31+12-00-00+00",
      .run = run};
}

}  // namespace cairn::cli
