#include "commands.h"
#include "damage_text.h"
#include "json.h"
#include "meter.h"
#include "reference.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

#include <set>

namespace cairn::cli {
namespace {

VerifyReport verify(const Invocation& invocation, Output& output) {
  const Store store = open_for_reading(invocation, output);
  const std::vector<std::string> words = invocation.arguments("CKPT");
  Meter meter(output, "checking");
  if (words.empty()) return store.verify({}, meter.callback());
  const auto ids = ids_of(find_checkpoints(store.checkpoints(), words));
  return expecting_checkpoints([&] { return store.verify(ids, meter.callback()); });
}

// A store that does not open is damage too, and reported in the same form.
VerifyReport verify_or_explain(const Invocation& invocation, Output& output) {
  try {
    return verify(invocation, output);
  } catch (const Error& error) {
    const bool is_damage =
        error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated;
    if (!is_damage || !invocation.has("--json")) throw;
    print_error(error.what());
    VerifyReport report{.ok = false};
    report.damaged.push_back(
        {.what = "store", .message = error.what(), .pack_offset = error.offset().value_or(0)});
    return report;
  }
}

void print_text(const VerifyReport& report, Output& output) {
  print_damage(report.damaged, output);
  const std::string checked =
      fmt::format("checked {}, {}, {}", count_of(report.checkpoints, "checkpoint"),
                  count_of(report.chunks, "chunk"), human_bytes(report.bytes));
  if (report.ok) {
    output.line(checked + ": " + output.styled("no damage", Style::kGood));
    return;
  }
  std::set<std::uint64_t> touched;
  for (const Damage& damage : report.damaged) {
    for (const DamagedTensor& one : damage.touches) touched.insert(one.checkpoint_id);
  }
  output.line(
      checked + ": " +
      output.styled(fmt::format("{}, {} touched", count_of(report.damaged.size(), "damaged place"),
                                count_of(touched.size(), "checkpoint")),
                    Style::kBad));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const VerifyReport report = verify_or_explain(invocation, output);
  for (const std::string& note : report.notes) output.note("note: " + note);
  if (invocation.has("--json")) {
    Json object = new_document();
    object["ok"] = report.ok;
    object["checkpoints"] = json_of(report.checkpoints);
    object["chunks"] = json_of(report.chunks);
    object["bytes"] = json_of(report.bytes);
    object["damaged"] = json_of(std::span<const Damage>(report.damaged));
    object["notes"] = report.notes;
    output.line(to_text(object));
  } else {
    print_text(report, output);
  }
  return report.ok ? kDone : kDamageFound;
}

}  // namespace

Command verify_command() {
  return {
      .name = "verify",
      .summary = "read and check everything",
      .description =
          "Lists damaged chunks and every checkpoint that they touch; changes nothing. Exit code "
          "3 when there is damage.",
      .arguments = {kStoreArgument,
                    {.name = "CKPT",
                     .help = "Only these checkpoints. An id, a name, latest, best:min:KEY, ...",
                     .optional = true,
                     .repeats = true}},
      .options = {kAssumeNoWriter},
      .examples =
          "cairn verify runs/a\n"
          "cairn verify runs/a latest --json",
      .run = run};
}

}  // namespace cairn::cli
