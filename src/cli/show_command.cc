#include "commands.h"
#include "json.h"
#include "meter.h"
#include "reference.h"
#include "session.h"
#include "tensor_stats.h"
#include "text.h"

#include <fmt/format.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cairn::cli {
namespace {

/// What is shown of each tensor besides its name and type.
struct Detail {
  bool chunks = false;
  bool stats = false;
  bool tensors_only = false;  // in text
  std::function<void(std::uint64_t bytes)> seen = {};
};

/// What a tensor's elements are like, or why they cannot be read.
struct Stats {
  std::optional<TensorStats> values = {};
  std::string damage = {};
};

Stats stats_of(const Checkpoint& checkpoint, const TensorInfo& tensor, const Detail& detail) {
  const auto position = checkpoint.find_tensor(tensor.recoverable, tensor.key);
  try {
    return {.values = tensor_stats(checkpoint, position.value(), detail.seen)};
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kTruncated) throw;
    return {.damage = error.what()};
  }
}

Json stats_json(const Stats& stats) {
  if (!stats.damage.empty()) return {{"damaged", stats.damage}};
  if (!stats.values) return nullptr;
  const TensorStats& values = *stats.values;
  return {{"min", values.finite_count > 0 ? json_of(values.min) : Json()},
          {"max", values.finite_count > 0 ? json_of(values.max) : Json()},
          {"mean", values.finite_count > 0 ? json_of(values.mean) : Json()},
          {"nan_count", json_of(values.nan_count)},
          {"infinity_count", json_of(values.infinity_count)}};
}

Json tensor_json(const Checkpoint& checkpoint, const TensorInfo& tensor, const Detail& detail,
                 bool& damaged) {
  Json object;
  object["name"] = std::string(tensor.key);
  object["dtype"] = std::string(to_string(tensor.dtype));
  Json shape = Json::array();
  for (const std::int64_t dimension : tensor.shape) shape.push_back(json_of(dimension));
  object["shape"] = std::move(shape);
  object["bytes"] = json_of(tensor.bytes);
  if (detail.stats) {
    const Stats stats = stats_of(checkpoint, tensor, detail);
    damaged |= !stats.damage.empty();
    object["stats"] = stats_json(stats);
  }
  if (!detail.chunks) return object;
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
ExitCode print_json(const Checkpoint& checkpoint, const Detail& detail, Output& output) {
  bool damaged = false;
  std::string head = to_text(document_of(checkpoint.info()));
  head.pop_back();
  output.write(head + R"(,"recoverables":[)");
  std::string separator;
  for (const std::string& recoverable : checkpoint.info().recoverables) {
    output.write(separator + R"({"name":)" + to_text(json_of(std::string_view(recoverable))) +
                 R"(,"values":)" + to_text(json_of(checkpoint.values(recoverable))) +
                 R"(,"tensors":[)");
    separator.clear();
    for (const TensorInfo& tensor : checkpoint.tensors(recoverable)) {
      output.write(separator + to_text(tensor_json(checkpoint, tensor, detail, damaged)));
      separator = ",\n ";
    }
    output.write("]}");
    separator = ",\n";
  }
  output.line("]}");
  return damaged ? kDamageFound : kDone;
}

void print_map(const MetaValue::Map& map, Output& output) {
  for (const auto& [key, value] : map) {
    output.line(fmt::format("  {} = {}", printable(key), value_text(value)));
  }
}

void add_stats(const Stats& stats, std::vector<std::string>& cells) {
  if (!stats.damage.empty()) {
    cells.insert(cells.end(), {"damaged", "", "", "", ""});
  } else if (!stats.values || stats.values->finite_count == 0) {
    const std::string nans = stats.values ? std::to_string(stats.values->nan_count) : "-";
    const std::string infs = stats.values ? std::to_string(stats.values->infinity_count) : "-";
    cells.insert(cells.end(), {"-", "-", "-", nans, infs});
  } else {
    const TensorStats& values = *stats.values;
    cells.insert(cells.end(),
                 {fmt::format("{:.4g}", values.min), fmt::format("{:.4g}", values.mean),
                  fmt::format("{:.4g}", values.max), std::to_string(values.nan_count),
                  std::to_string(values.infinity_count)});
  }
}

// True when one of them is damaged.
bool print_tensors(const Checkpoint& checkpoint, std::span<const TensorInfo> tensors,
                   const Detail& detail, Output& output) {
  if (tensors.empty()) return false;
  bool damaged = false;
  const auto name_of = [&](const TensorInfo& tensor) {
    return detail.tensors_only ? printable(tensor.recoverable) + "/" + printable(tensor.key)
                               : "  " + printable(tensor.key);
  };
  std::vector<Table::Column> columns = {{detail.tensors_only ? "TENSOR" : "  TENSOR"},
                                        {"DTYPE"},
                                        {"SHAPE"},
                                        {"SIZE", Table::Align::kRight}};
  if (detail.stats) {
    for (const std::string_view heading : {"MIN", "MEAN", "MAX", "NAN", "INF"}) {
      columns.push_back({heading, Table::Align::kRight});
    }
  }
  if (detail.chunks) columns.push_back({"CHUNKS"});
  Table table(std::move(columns));
  for (const TensorInfo& tensor : tensors) {
    std::vector<std::string> cells = {name_of(tensor), std::string(to_string(tensor.dtype)),
                                      shape_text(tensor.shape), human_bytes(tensor.bytes)};
    if (detail.stats) {
      const Stats stats = stats_of(checkpoint, tensor, detail);
      if (!stats.damage.empty()) output.note(stats.damage);
      damaged |= !stats.damage.empty();
      add_stats(stats, cells);
    }
    if (detail.chunks) {
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
  return damaged;
}

ExitCode print_text(const Checkpoint& checkpoint, const Detail& detail, Output& output) {
  if (detail.tensors_only) {
    return print_tensors(checkpoint, checkpoint.tensors(), detail, output) ? kDamageFound : kDone;
  }
  bool damaged = false;
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
    damaged |= print_tensors(checkpoint, checkpoint.tensors(recoverable), detail, output);
  }
  return damaged ? kDamageFound : kDone;
}

ExitCode run(const Invocation& invocation, Output& output) {
  const Store store = open_for_reading(invocation, output);
  const CheckpointInfo info = find_checkpoint(store.checkpoints(), invocation.argument("CKPT"));
  const Checkpoint checkpoint = expecting_checkpoints([&] { return store.open(info.id); });
  const auto print = invocation.has("--json") ? print_json : print_text;
  Meter meter(output, "reading");
  Progress progress{.total_bytes = info.logical_bytes};
  return print(checkpoint,
               {.chunks = invocation.has("--chunks"),
                .stats = invocation.has("--stats"),
                .tensors_only = invocation.has("--tensors"),
                .seen =
                    [&](std::uint64_t bytes) {
                      progress.done_bytes += bytes;
                      meter.show(progress);
                    }},
               output);
}

}  // namespace

Command show_command() {
  return {.name = "show",
          .summary = "show what a checkpoint holds",
          .description =
              "Its metadata, and for each recoverable its values and its tensors. Reads "
              "the index only, no tensor, unless --stats asks what is in them: the least, the mean "
              "and the largest of the finite elements, and how many are NaN or infinite. Then a "
              "damaged tensor is told, and the exit code is 3.",
          .arguments = {kStoreArgument, {.name = "CKPT", .help = kCkptHelp}},
          .options = {{.name = "--tensors",
                       .help = "Only the table of tensors, under the names that cat takes."},
                      {.name = "--stats",
                       .help = "Also what the elements are like; reads and verifies all."},
                      {.name = "--chunks", .help = "Also the digests of each tensor's chunks."},
                      kAssumeNoWriter},
          .examples =
              "cairn show runs/a latest\n"
              "cairn show runs/a latest --tensors --stats\n"
              "cairn show runs/a epoch-3 --json | jq '.recoverables[].tensors[].name'",
          .run = run};
}

}  // namespace cairn::cli
