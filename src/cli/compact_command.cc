#include "commands.h"
#include "interrupt.h"
#include "json.h"
#include "meter.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {
namespace {

void print_json(const CompactReport& report, Output& output) {
  Json object = new_document();
  object["dry_run"] = false;
  object["pack_bytes_before"] = json_of(report.pack_bytes_before);
  object["pack_bytes"] = json_of(report.pack_bytes);
  object["allocated_bytes_before"] = json_of(report.allocated_bytes_before);
  object["allocated_bytes"] = json_of(report.allocated_bytes);
  object["can_punch"] = report.can_punch;
  object["compressed_chunks"] = json_of(report.compressed_chunks);
  object["oldest_reader_pid"] =
      report.oldest_reader_pid ? json_of(*report.oldest_reader_pid) : Json();
  output.line(to_text(object));
}

void print_text(const CompactReport& report, Output& output) {
  if (report.compressed_chunks > 0) {
    output.line("compressed " + count_of(report.compressed_chunks, "chunk"));
  }
  output.line(fmt::format("pack     {} (was {})", human_bytes(report.pack_bytes),
                          human_bytes(report.pack_bytes_before)));
  output.line(fmt::format("on disk  {} (was {})", human_bytes(report.allocated_bytes),
                          human_bytes(report.allocated_bytes_before)));
  if (!report.can_punch) output.note("note: this file system makes no holes; only the end was cut");
  if (report.oldest_reader_pid) {
    output.note(
        fmt::format("note: process {} reads an older state and holds some space back; "
                    "compact again when it is done",
                    *report.oldest_reader_pid));
  }
}

// What would be given back at most: how much of it lies at the end is told only by doing it.
void print_dry_run(const StoreStats& stats, bool as_json, Output& output) {
  const std::uint64_t free = stats.free_bytes - stats.held_back_bytes;
  if (as_json) {
    Json object = new_document();
    object["dry_run"] = true;
    object["free_bytes"] = json_of(free);
    object["held_back_bytes"] = json_of(stats.held_back_bytes);
    object["pack_bytes"] = json_of(stats.pack_bytes);
    object["allocated_bytes"] = json_of(stats.allocated_bytes);
    output.line(to_text(object));
    return;
  }
  output.line(fmt::format("would give back up to {} of {} on disk", human_bytes(free),
                          human_bytes(stats.allocated_bytes)));
  if (stats.oldest_reader_pid) {
    output.note(fmt::format("note: process {} holds back {}", *stats.oldest_reader_pid,
                            human_bytes(stats.held_back_bytes)));
  }
}

CompactReport compact(const Invocation& invocation, Output& output) {
  Store store = open_for_writing(invocation, output);
  const Interrupts interrupts;
  Meter meter(output, "compacting");
  return store.compact(
      {.compress = invocation.has("--compress"), .progress = meter.interruptible()});
}

ExitCode run(const Invocation& invocation, Output& output) {
  const bool as_json = invocation.has("--json");
  if (invocation.has("--dry-run")) {
    if (invocation.has("--compress")) {
      throw UsageError("compact: how much --compress gains is told only by doing it");
    }
    print_dry_run(open_for_reading(invocation, output).stat(), as_json, output);
    return kDone;
  }
  const CompactReport report = compact(invocation, output);
  (as_json ? print_json : print_text)(report, output);
  return kDone;
}

}  // namespace

Command compact_command() {
  return {.name = "compact",
          .summary = "give free space back to the file system",
          .description =
              "Cuts the pack behind what is live, and makes holes where space is free below. "
              "Nothing is moved, and nothing of it is ever needed: free space is used again by "
              "the next saves, faster than new space.\n\n"
              "With --compress, what is stored plain is first stored once more, compressed, where "
              "that gains a sixteenth: a part in each commit, so that room for a part is enough, "
              "and what is done stays done when it is ended. Later saves compress, too.",
          .arguments = {kStoreArgument},
          .options = {{.name = "--dry-run",
                       .help = "Say how much could be given back; change nothing."},
                      {.name = "--compress", .help = "First compress what is stored; lossless."},
                      kAssumeNoWriter},
          .examples =
              "cairn compact runs/a\n"
              "cairn compact runs/a --dry-run --json\n"
              "cairn compact runs/a --compress",
          .run = run};
}

}  // namespace cairn::cli
