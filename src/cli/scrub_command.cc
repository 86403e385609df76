#include "commands.h"
#include "damage_text.h"
#include "json.h"
#include "meter.h"
#include "session.h"
#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ctime>
#include <optional>
#include <set>
#include <utility>

namespace cairn::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;

constexpr std::int64_t kDefaultRate = std::int64_t{16} << 20;
constexpr std::int64_t kMaxRate = std::int64_t{1} << 40;
constexpr std::uint64_t kStepBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kStepsPerSecond = 4;
constexpr std::chrono::seconds kRestBetweenPasses{60};

/// Waits as asked, and sees SIGINT and SIGTERM between steps only.
class Stopper {
 public:
  Stopper() {
    ::sigemptyset(&signals_);
    ::sigaddset(&signals_, SIGINT);
    ::sigaddset(&signals_, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  /// True when one of the signals has come.
  bool wait(Nanoseconds time) {
    const auto end = Clock::now() + time;
    while (!stopped_) {
      const auto left = std::max(Nanoseconds(end - Clock::now()), Nanoseconds(0));
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
      const timespec limit{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
      const int got = ::sigtimedwait(&signals_, nullptr, &limit);
      if (got > 0) stopped_ = true;
      if (got < 0 && errno == EAGAIN) break;
    }
    return stopped_;
  }
  bool stopped() const { return stopped_; }

 private:
  sigset_t signals_{};
  bool stopped_ = false;
};

struct Totals {
  std::uint64_t passes = 0;
  std::uint64_t chunks = 0;
  std::uint64_t bytes = 0;
  std::vector<Damage> damaged{};  // each place once
  std::set<std::uint64_t> marked{};
};

/// One pass as a reader: no job has to wait for it. Ends early when the user says so.
std::vector<Damage> run_pass(Store& store, std::optional<std::int64_t> rate, Stopper& stopper,
                             Totals& totals, Output& output) {
  Meter meter(output, "scrubbing");
  const std::uint64_t stored_bytes = store.stat().stored_bytes;
  std::uint64_t pass_bytes = 0;
  const std::uint64_t step_bytes =
      rate ? std::clamp<std::uint64_t>(static_cast<std::uint64_t>(*rate) / kStepsPerSecond, 1,
                                       kStepBytes)
           : kStepBytes;
  std::vector<Damage> found;
  for (bool done = false; !done;) {
    const auto begin = Clock::now();
    const ScrubReport step = store.scrub(step_bytes);
    done = step.pass_done;
    totals.passes += done ? 1 : 0;
    totals.chunks += step.chunks;
    totals.bytes += step.bytes;
    pass_bytes += step.bytes;
    meter.show({.done_bytes = pass_bytes, .total_bytes = stored_bytes});
    found.insert(found.end(), step.damaged.begin(), step.damaged.end());
    Nanoseconds rest{0};
    if (rate) {
      const Nanoseconds due(static_cast<std::int64_t>(static_cast<double>(step.bytes) * 1e9 /
                                                      static_cast<double>(*rate)));
      rest = std::max(due - Nanoseconds(Clock::now() - begin), rest);
    }
    if (stopper.wait(rest)) break;
  }
  return found;
}

/// Marks the checkpoints that damage touches, where no writer is at work: the writer's own scrub
/// and its loads do that themselves.
void mark(const Invocation& invocation, const std::vector<Damage>& found, Totals& totals,
          Output& output) {
  std::set<std::uint64_t> touched;
  for (const Damage& damage : found) {
    for (const DamagedTensor& one : damage.touches) touched.insert(one.checkpoint_id);
  }
  try {
    Store store = open_for_writing(invocation, output, false);
    std::vector<std::uint64_t> ids;
    for (const std::uint64_t id : touched) {
      const auto info = store.find(id);
      if (info && !info->damaged) ids.push_back(id);
    }
    if (ids.empty()) return;
    // Between the pass and the lock a save may have healed it.
    touched.clear();
    for (const Damage& damage : store.verify(ids).damaged) {
      for (const DamagedTensor& one : damage.touches) touched.insert(one.checkpoint_id);
    }
    std::erase_if(ids, [&](std::uint64_t id) { return !touched.contains(id); });
    store.set_damaged(ids, true);
    totals.marked.insert(ids.begin(), ids.end());
  } catch (const Error& error) {
    output.note(std::string("note: damage is reported, but not marked in the store: ") +
                printable(error.what()));
  }
}

std::optional<std::int64_t> rate_of(const Invocation& invocation) {
  const auto rate = invocation.number("--rate", 1, kMaxRate);
  if (rate || invocation.has("--once")) return rate;
  return kDefaultRate;
}

void print_json(const Totals& totals, Output& output) {
  Json object = new_document();
  object["ok"] = totals.damaged.empty();
  object["passes"] = json_of(totals.passes);
  object["chunks"] = json_of(totals.chunks);
  object["bytes"] = json_of(totals.bytes);
  object["damaged"] = json_of(std::span<const Damage>(totals.damaged));
  object["marked"] = Json::array();
  for (const std::uint64_t id : totals.marked) object["marked"].push_back(json_of(id));
  output.line(to_text(object));
}

void print_text(const Totals& totals, Output& output) {
  output.line(fmt::format("looked at {}, {}, in {}: ", count_of(totals.chunks, "chunk"),
                          human_bytes(totals.bytes), count_of(totals.passes, "whole pass")) +
              (totals.damaged.empty()
                   ? output.styled("no damage", Style::kGood)
                   : output.styled(count_of(totals.damaged.size(), "damaged place"), Style::kBad)));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const bool as_json = invocation.has("--json");
  const auto rate = rate_of(invocation);
  Stopper stopper;
  Totals totals;
  for (bool again = true; again;) {
    std::vector<Damage> found;
    {
      Store store = open_for_reading(invocation, output);
      found = run_pass(store, rate, stopper, totals, output);
    }
    std::vector<Damage> fresh;
    for (const Damage& damage : found) {
      const bool is_known =
          std::any_of(totals.damaged.begin(), totals.damaged.end(), [&](const Damage& known) {
            return known.what == damage.what && known.pack_offset == damage.pack_offset;
          });
      if (!is_known) fresh.push_back(damage);
    }
    totals.damaged.insert(totals.damaged.end(), fresh.begin(), fresh.end());
    if (!as_json) {
      print_damage(fresh, output);
      output.flush();
    }
    if (!found.empty()) mark(invocation, found, totals, output);
    again = !invocation.has("--once") && !stopper.stopped() && !stopper.wait(kRestBetweenPasses);
  }
  (as_json ? print_json : print_text)(totals, output);
  return totals.damaged.empty() ? kDone : kDamageFound;
}

}  // namespace

Command scrub_command() {
  return {
      .name = "scrub",
      .summary = "look at everything again and again, slowly, for rot",
      .description =
          "Reads what is stored from the disk, where the system allows it, and checks it, pass "
          "after pass, until it gets SIGINT or SIGTERM. A job that writes meanwhile is not held "
          "up. After each pass the checkpoints that damage touches are marked, so that recovery "
          "and retention know; while another process writes to the store, damage is only "
          "reported. Exit code 3 when there is damage.",
      .arguments = {kStoreArgument},
      .options = {{.name = "--rate",
                   .value = "BYTES",
                   .help =
                       "Bytes a second; without it 16777216, or with --once as fast as it goes."},
                  {.name = "--once", .help = "One pass, then end."},
                  kAssumeNoWriter},
      .examples =
          "cairn scrub runs/a --rate 10000000\n"
          "cairn scrub runs/a --once --json",
      .run = run};
}

}  // namespace cairn::cli
