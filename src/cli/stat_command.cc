#include "commands.h"
#include "json.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {
namespace {

// Logical bytes for each stored byte: 2 says that half was saved.
double dedup_ratio(const StoreStats& stats) {
  if (stats.stored_bytes == 0) return 1;
  return static_cast<double>(stats.logical_bytes) / static_cast<double>(stats.stored_bytes);
}

// What the chunks that are stored take of their plain bytes.
double compression_ratio(const ChunkStats& chunks) {
  if (chunks.plain_bytes == 0) return 1;
  return static_cast<double>(chunks.stored_bytes) / static_cast<double>(chunks.plain_bytes);
}

void print_json(const StoreStats& stats, const ChunkStats& chunks, Output& output) {
  Json object = new_document();
  object["uuid"] = stats.uuid;
  object["format_version"] = json_of(stats.format_version);
  object["sequence"] = json_of(stats.sequence);
  object["checkpoints"] = json_of(stats.checkpoints);
  object["chunks"] = json_of(stats.chunks);
  object["logical_bytes"] = json_of(stats.logical_bytes);
  object["stored_bytes"] = json_of(stats.stored_bytes);
  object["free_bytes"] = json_of(stats.free_bytes);
  object["reusable_bytes"] = json_of(stats.reusable_bytes);
  object["held_back_bytes"] = json_of(stats.held_back_bytes);
  object["oldest_reader_pid"] =
      stats.oldest_reader_pid ? json_of(*stats.oldest_reader_pid) : Json();
  object["pack_bytes"] = json_of(stats.pack_bytes);
  object["allocated_bytes"] = json_of(stats.allocated_bytes);
  object["catalog_bytes"] = json_of(stats.catalog_bytes);
  object["chunk_bytes"] = json_of(stats.chunk_bytes);
  object["dedup_ratio"] = dedup_ratio(stats);
  object["compression"] = stats.compressed ? "zstd" : "none";
  object["compressed_chunks"] = json_of(chunks.compressed_chunks);
  object["compression_ratio"] = compression_ratio(chunks);
  output.line(to_text(object));
}

void print_text(const StoreStats& stats, const ChunkStats& chunks, Output& output) {
  const auto row = [&](std::string_view what, std::string_view value) {
    output.line(fmt::format("{:<14} {}", what, value));
  };
  row("checkpoints", std::to_string(stats.checkpoints));
  row("chunks", fmt::format("{}, cut at {}", stats.chunks, human_bytes(stats.chunk_bytes)));
  row("logical", human_bytes(stats.logical_bytes));
  row("stored", fmt::format("{} (logical / stored: {:.2f})", human_bytes(stats.stored_bytes),
                            dedup_ratio(stats)));
  if (stats.compressed) {
    row("compression",
        fmt::format("{} of {} chunks; all take {:.2f} of their {}", chunks.compressed_chunks,
                    chunks.chunks, compression_ratio(chunks), human_bytes(chunks.plain_bytes)));
  }
  row("free", fmt::format("{}, of which the next commit may use {}", human_bytes(stats.free_bytes),
                          human_bytes(stats.reusable_bytes)));
  row("pack", fmt::format("{}, on disk {}", human_bytes(stats.pack_bytes),
                          human_bytes(stats.allocated_bytes)));
  row("catalog", human_bytes(stats.catalog_bytes));
  if (stats.oldest_reader_pid) {
    row("oldest reader", fmt::format("process {}, holds back {}", *stats.oldest_reader_pid,
                                     human_bytes(stats.held_back_bytes)));
  }
  row("commit", std::to_string(stats.sequence));
  row("format", fmt::format("version {}, store {}", stats.format_version, printable(stats.uuid)));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const Store store = open_for_reading(invocation, output);
  const StoreStats stats = store.stat();
  // Without compression the rows of all chunks need not be read.
  const ChunkStats chunks = stats.compressed ? store.chunk_stats() : ChunkStats();
  const auto print = invocation.has("--json") ? print_json : print_text;
  print(stats, chunks, output);
  return kDone;
}

}  // namespace

Command stat_command() {
  return {.name = "stat",
          .summary = "show what the store holds and what it occupies",
          .description =
              "Logical bytes are those of all tensors of all checkpoints; stored bytes "
              "what they take after deduplication and compression, indexes included.",
          .arguments = {kStoreArgument},
          .options = {kAssumeNoWriter},
          .examples =
              "cairn stat runs/a\n"
              "cairn stat runs/a --json | jq .free_bytes",
          .run = run};
}

}  // namespace cairn::cli
