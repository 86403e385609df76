#include "commands.h"
#include "json.h"
#include "reference.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {
namespace {

Json tensor_json(const Checkpoint& checkpoint, const TensorInfo& tensor, bool with_chunks) {
  Json object;
  object["name"] = std::string(tensor.key);
  object["dtype"] = std::string(to_string(tensor.dtype));
  Json shape = Json::array();
  for (const std::int64_t dimension : tensor.shape) shape.push_back(json_of(dimension));
  object["shape"] = std::move(shape);
  object["bytes"] = json_of(tensor.bytes);
  if (!with_chunks) return object;
  const auto position = checkpoint.find_tensor(tensor.recoverable, tensor.key);
  Json chunks = Json::array();
  for (const ChunkInfo& chunk : checkpoint.chunks(position.value())) {
    chunks.push_back({{"digest", chunk.digest},
                      {"plain_bytes", json_of(chunk.plain_bytes)},
                      {"stored_bytes", json_of(chunk.stored_bytes)},
                      {"pack_offset", json_of(chunk.pack_offset)}});
  }
  object["chunks"] = std::move(chunks);
  return object;
}

// The object piece by piece: a checkpoint may have a million tensors.
void print_json(const Checkpoint& checkpoint, bool with_chunks, Output& output) {
  std::string head = to_text(json_of(checkpoint.info()));
  head.pop_back();
  output.write(head + R"(,"recoverables":[)");
  std::string separator;
  for (const std::string& recoverable : checkpoint.info().recoverables) {
    output.write(separator + R"({"name":)" + to_text(json_of(std::string_view(recoverable))) +
                 R"(,"values":)" + to_text(json_of(checkpoint.values(recoverable))) +
                 R"(,"tensors":[)");
    separator.clear();
    for (const TensorInfo& tensor : checkpoint.tensors(recoverable)) {
      output.write(separator + to_text(tensor_json(checkpoint, tensor, with_chunks)));
      separator = ",\n ";
    }
    output.write("]}");
    separator = ",\n";
  }
  output.line("]}");
}

void print_map(const MetaValue::Map& map, Output& output) {
  for (const auto& [key, value] : map) {
    output.line(fmt::format("  {} = {}", printable(key), value_text(value)));
  }
}

void print_text(const Checkpoint& checkpoint, bool with_chunks, Output& output) {
  const CheckpointInfo& info = checkpoint.info();
  output.line(output.styled(fmt::format("checkpoint {} ({})", info.id, printable(info.name)),
                            Style::kHeading));
  output.line("  saved " + utc_time(info.created_unix_ns) + " by commit " +
              std::to_string(info.sequence));
  output.line(
      fmt::format("  {}, {}", count_of(info.tensors, "tensor"), human_bytes(info.logical_bytes)));
  if (info.pinned) output.line("  pinned: retention leaves it alone");
  if (info.damaged) output.line("  " + output.styled("known to be damaged", Style::kBad));
  output.line("");
  output.line(output.styled("metadata", Style::kHeading));
  print_map(info.meta.map(), output);
  for (const std::string& recoverable : info.recoverables) {
    output.line("");
    output.line(output.styled("recoverable " + printable(recoverable), Style::kHeading));
    print_map(checkpoint.values(recoverable), output);
    const auto tensors = checkpoint.tensors(recoverable);
    if (tensors.empty()) continue;
    std::vector<Table::Column> columns = {
        {"  TENSOR"}, {"DTYPE"}, {"SHAPE"}, {"SIZE", Table::Align::kRight}};
    if (with_chunks) columns.push_back({"CHUNKS"});
    Table table(std::move(columns));
    for (const TensorInfo& tensor : tensors) {
      std::vector<std::string> cells = {"  " + printable(tensor.key),
                                        std::string(to_string(tensor.dtype)),
                                        shape_text(tensor.shape), human_bytes(tensor.bytes)};
      if (with_chunks) {
        std::string digests;
        const auto position = checkpoint.find_tensor(tensor.recoverable, tensor.key);
        for (const ChunkInfo& chunk : checkpoint.chunks(position.value())) {
          digests += (digests.empty() ? "" : " ") + chunk.digest;
        }
        cells.push_back(std::move(digests));
      }
      table.add(std::move(cells));
    }
    table.print(output);
  }
}

ExitCode run(const Invocation& invocation, Output& output) {
  const Store store = open_for_reading(invocation, output);
  const CheckpointInfo info = find_checkpoint(store.checkpoints(), invocation.argument("CKPT"));
  const Checkpoint checkpoint = expecting_checkpoints([&] { return store.open(info.id); });
  const auto print = invocation.has("--json") ? print_json : print_text;
  print(checkpoint, invocation.has("--chunks"), output);
  return kDone;
}

}  // namespace

Command show_command() {
  return {.name = "show",
          .summary = "show what a checkpoint holds",
          .description =
              "Its metadata, and for each recoverable its values and its tensors. Reads "
              "the index only, no tensor.",
          .arguments = {kStoreArgument, {.name = "CKPT", .help = kCkptHelp}},
          .options = {{.name = "--chunks", .help = "Also the digests of each tensor's chunks."},
                      kAssumeNoWriter},
          .examples =
              "cairn show runs/a latest\n"
              "cairn show runs/a epoch-3 --json | jq '.recoverables[].tensors[].name'",
          .run = run};
}

}  // namespace cairn::cli
