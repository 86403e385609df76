// Tries the file system on which the user means to keep a store: what Cairn asks of it, a process
// that is killed while it saves, and how fast it is.
#include "commands.h"
#include "interrupt.h"
#include "json.h"
#include "meter.h"
#include "reference.h"
#include "session.h"
#include "text.h"

#include <cairn/disk_check.h>
#include <cairn/store.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <poll.h>
#include <random>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace cairn::cli {
namespace {

constexpr std::uint64_t kDefaultBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kQuickBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kMinBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 40;
constexpr int kKills = 12;
constexpr int kQuickKills = 3;
constexpr int kTensors = 8;
constexpr std::size_t kTensorBytes = std::size_t{96} << 10;
constexpr std::size_t kKept = 3;
constexpr int kMaxDelayMs = 40;
constexpr int kPatienceMs = 60'000;
/// A flush that takes longer makes every save wait noticeably.
constexpr std::int64_t kSlowFlushNs = 50'000'000;
/// Of the pack, and two of the catalog.
constexpr int kFlushesOfASave = 3;

// ---- the kill loop ------------------------------------------------------------------------------

std::vector<std::byte> bytes_of(std::uint64_t step, int tensor) {
  std::vector<std::byte> bytes(kTensorBytes);
  std::mt19937_64 random(step * kTensors + static_cast<std::uint64_t>(tensor));
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(&bytes[i], &word, sizeof word);
  }
  return bytes;
}

std::string key_of(int tensor) {
  return fmt::format("tensor-{}", tensor);
}

// Saves one step after the other, and says so after each, until it is killed.
[[noreturn]] void save_until_killed(const std::filesystem::path& directory,
                                    const StoreOptions& options, std::uint64_t step, int acks) {
  try {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_DFL);
    Store store(directory, options);
    for (;; ++step) {
      RecoverableState model{.name = "model"};
      for (int i = 0; i < kTensors; ++i) {
        auto bytes = std::make_shared<const std::vector<std::byte>>(bytes_of(step, i));
        model.tensors.push_back({.key = key_of(i),
                                 .dtype = DType::kU8,
                                 .shape = {static_cast<std::int64_t>(kTensorBytes)},
                                 .data = bytes->data(),
                                 .owner = bytes});
      }
      store.save({model}, {.name = std::to_string(step),
                           .retention = [](std::span<const CheckpointInfo> infos) {
                             return ids_of(infos.subspan(std::min(infos.size(), kKept)));
                           }});
      if (::write(acks, &step, sizeof step) != sizeof step) break;
    }
  } catch (const std::exception& error) {
    print_error(std::string("selftest: saving failed: ") + error.what());
  }
  ::_exit(kFailed);
}

/// The reading end of the child's words.
class Acks {
 public:
  explicit Acks(int descriptor) : descriptor_(descriptor) {}
  Acks(const Acks&) = delete;
  Acks& operator=(const Acks&) = delete;
  ~Acks() { ::close(descriptor_); }

  /// The next step that was acknowledged; nothing when none comes in time, or none will.
  std::optional<std::uint64_t> next(int timeout_ms) {
    pollfd waiting{.fd = descriptor_, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, timeout_ms);
    Interrupts::check();
    std::uint64_t step = 0;
    if (ready <= 0 || ::read(descriptor_, &step, sizeof step) != sizeof step) return std::nullopt;
    return step;
  }

 private:
  int descriptor_;
};

/// A process that saves; killed at the latest when this goes.
class Saver {
 public:
  Saver(const std::filesystem::path& directory, const StoreOptions& options, std::uint64_t step) {
    int ends[2] = {-1, -1};
    if (::pipe(ends) != 0) throw Failure(kFailed, "selftest: cannot make a pipe");
    acks_ = std::make_unique<Acks>(ends[0]);
    child_ = ::fork();
    if (child_ == 0) {
      ::close(ends[0]);
      save_until_killed(directory, options, step, ends[1]);
    }
    ::close(ends[1]);
    if (child_ < 0) throw Failure(kFailed, "selftest: cannot start a process");
  }
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;
  ~Saver() { kill(); }

  Acks& acks() { return *acks_; }
  /// True when it was still at work.
  bool kill() {
    if (child_ <= 0) return true;
    ::kill(child_, SIGKILL);
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    child_ = -1;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

 private:
  pid_t child_ = -1;
  std::unique_ptr<Acks> acks_;
};

struct KillReport {
  int kills = 0;
  std::uint64_t saves = 0;  // acknowledged
  std::string wrong{};      // what was found after a kill; empty: all is well
};

/// What is wrong with a store whose last acknowledged save was `acknowledged`, or "".
std::string problem_of(const Store& store, std::uint64_t acknowledged, std::uint64_t& newest) {
  const VerifyReport report = store.verify();
  if (!report.ok) return report.damaged.front().message;
  const std::vector<CheckpointInfo> infos = store.checkpoints();
  const auto step_of = [](const CheckpointInfo& info) {
    return static_cast<std::uint64_t>(parse_number(info.name, "step", 0, std::int64_t{1} << 60));
  };
  newest = infos.empty() ? 0 : step_of(infos.front());
  // The save in flight may have got through.
  if (newest != acknowledged && newest != acknowledged + 1) {
    return fmt::format("save {} was acknowledged, but the newest is {}", acknowledged, newest);
  }
  for (const CheckpointInfo& info : infos) {
    const Checkpoint checkpoint = store.open(info.id);
    for (int i = 0; i < kTensors; ++i) {
      const auto tensor = checkpoint.find_tensor("model", key_of(i));
      if (!tensor || checkpoint.read(*tensor) != bytes_of(step_of(info), i)) {
        return fmt::format("save {} does not hold what was saved", info.name);
      }
    }
  }
  return {};
}

KillReport run_kill_loop(const DiskCheck& disk, int kills, const StoreOptions& options) {
  const auto directory = disk.scratch() / "store";
  KillReport report;
  std::mt19937 random(std::random_device{}());
  std::uint64_t last = 0;
  for (; report.kills < kills && report.wrong.empty(); ++report.kills) {
    Saver saver(directory, options, last + 1);
    const auto take = [&](int timeout_ms) {
      const auto step = saver.acks().next(timeout_ms);
      if (step) {
        last = *step;
        ++report.saves;
      }
      return step.has_value();
    };
    const bool saves = take(kPatienceMs);
    if (saves) {
      const auto end = std::chrono::steady_clock::now() +
                       std::chrono::milliseconds(static_cast<int>(random() % kMaxDelayMs));
      while (std::chrono::steady_clock::now() < end) take(1);
    }
    if (!saver.kill() || !saves) {
      throw Failure(kFailed, "selftest: the process that saves did not get on");
    }
    while (take(0)) {
    }
    const Store store(directory, options);  // recovers
    report.wrong = problem_of(store, last, last);
  }
  return report;
}

// ---- the verdict --------------------------------------------------------------------------------

struct Result {
  std::vector<DiskFinding> findings{};
  std::optional<KillReport> kills{};
  DiskFloors floors{};

  bool lacks_required() const {
    return std::any_of(findings.begin(), findings.end(),
                       [](const DiskFinding& finding) { return finding.required && !finding.ok; });
  }
  bool lost_something() const { return kills && !kills->wrong.empty(); }
};

std::vector<std::string> advice_of(const Result& result) {
  std::vector<std::string> advice;
  if (result.lost_something()) {
    advice.push_back("a killed process lost or damaged a save: keep no store here, and report it");
  }
  for (const DiskFinding& finding : result.findings) {
    if (finding.ok) continue;
    advice.push_back(fmt::format("{}: {}{}", finding.need, finding.detail,
                                 finding.required ? "; keep no store here" : ""));
  }
  if (result.floors.flush_ns > kSlowFlushNs) {
    advice.push_back(fmt::format(
        "flushes are slow: a save takes at least {:.0f} ms whatever its size, so save less often "
        "or asynchronously",
        static_cast<double>(kFlushesOfASave * result.floors.flush_ns) * 1e-6));
  }
  return advice;
}

std::string_view verdict_of(const Result& result, const std::vector<std::string>& advice) {
  if (result.lacks_required() || result.lost_something()) return "unfit";
  return advice.empty() ? "good" : "usable";
}

void print_json(const Result& result, Output& output) {
  const auto advice = advice_of(result);
  Json object = new_document();
  object["verdict"] = verdict_of(result, advice);
  object["advice"] = advice;
  object["findings"] = Json::array();
  for (const DiskFinding& finding : result.findings) {
    Json one;
    one["need"] = finding.need;
    one["ok"] = finding.ok;
    one["required"] = finding.required;
    one["detail"] = json_of(std::string_view(finding.detail));
    object["findings"].push_back(std::move(one));
  }
  object["kill_loop"] = Json();
  if (result.kills) {
    object["kill_loop"] = {{"ok", result.kills->wrong.empty()},
                           {"kills", result.kills->kills},
                           {"saves", json_of(result.kills->saves)},
                           {"wrong", json_of(std::string_view(result.kills->wrong))}};
  }
  const DiskFloors& floors = result.floors;
  object["floors"] = {{"flush_ns", json_of(floors.flush_ns)},
                      {"buffered_write_bytes_per_second", json_of(floors.buffered_write)},
                      {"direct_write_bytes_per_second",
                       floors.direct_write ? json_of(*floors.direct_write) : Json()},
                      {"read_bytes_per_second", json_of(floors.read)}};
  output.line(to_text(object));
}

void print_text(const Result& result, Output& output) {
  for (const DiskFinding& finding : result.findings) {
    const std::string mark = finding.ok         ? output.styled("ok     ", Style::kGood)
                             : finding.required ? output.styled("FAILED ", Style::kBad)
                                                : "without";
    output.line(fmt::format("{}  {:<17} {}", mark, finding.need, printable(finding.detail)));
  }
  if (result.kills) {
    const bool ok = result.kills->wrong.empty();
    output.line(fmt::format(
        "{}  {:<17} {}, {} acknowledged: {}",
        ok ? output.styled("ok     ", Style::kGood) : output.styled("FAILED ", Style::kBad),
        "kill loop", count_of(static_cast<std::uint64_t>(result.kills->kills), "kill"),
        count_of(result.kills->saves, "save"),
        ok ? "all there, all intact" : printable(result.kills->wrong)));
  }
  const DiskFloors& floors = result.floors;
  output.line("");
  output.line(
      fmt::format("flush           {:.2f} ms", static_cast<double>(floors.flush_ns) * 1e-6));
  output.line(fmt::format("buffered write  {}/s", human_bytes(floors.buffered_write)));
  output.line("direct write    " + (floors.direct_write ? human_bytes(*floors.direct_write) + "/s"
                                                        : std::string("not possible")));
  output.line(fmt::format("read            {}/s", human_bytes(floors.read)));
  output.line("");
  const auto advice = advice_of(result);
  const std::string_view verdict = verdict_of(result, advice);
  output.line("verdict: " +
              output.styled(verdict, verdict == "unfit" ? Style::kBad : Style::kGood));
  for (const std::string& line : advice) output.line("  " + printable(line));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const bool quick = invocation.has("--quick");
  const std::uint64_t bytes = invocation.bytes("--size", kMinBytes, kMaxBytes)
                                  .value_or(quick ? kQuickBytes : kDefaultBytes);
  const bool allows_network = invocation.has("--allow-network-fs");
  const Interrupts interrupts;
  Result result;
  {
    Meter meter(output, "measuring");
    const DiskCheck disk(invocation.argument("DIR"),
                         {.bytes = bytes, .progress = meter.interruptible()});
    result.findings = disk.findings();
    for (DiskFinding& finding : result.findings) {
      if (finding.need == "file system" && allows_network) finding.required = false;
    }
    Interrupts::check();
    if (!result.lacks_required()) {
      output.show_status("saving, killing, verifying");
      result.kills = run_kill_loop(disk, quick ? kQuickKills : kKills,
                                   {.allow_network_file_system = allows_network});
    }
    result.floors = disk.floors();
  }
  (invocation.has("--json") ? print_json : print_text)(result, output);
  if (result.lost_something()) return kDamageFound;
  return result.lacks_required() ? kFailed : kDone;
}

}  // namespace

Command selftest_command() {
  return {
      .name = "selftest",
      .summary = "try a file system out before a store goes there",
      .description =
          "Checks in DIR what Cairn asks of a file system: locks, flushes, renames, direct I/O, "
          "preallocation, holes. Kills a process that saves, several times, and looks whether "
          "every acknowledged save is there. Measures how fast a save can be at best. Ends with a "
          "verdict: good, usable (with what to expect), or unfit.\n\n"
          "Needs the space of --size and about 20 MiB, takes seconds, and leaves nothing behind, "
          "also when it is interrupted. A kill of a process is no loss of power: whether a disk "
          "lies about a flush is not shown, only flushes that are too fast to be true. Exit code "
          "1 when DIR is unfit, 3 when a save was lost or damaged.",
      .arguments = {{.name = "DIR", .help = "A directory on that file system."}},
      .options = {{.name = "--quick", .help = "Less of everything: 16 MiB and three kills."},
                  {.name = "--size",
                   .value = "BYTES",
                   .help = "Measure with so much instead of 256M; small sizes fit into caches."}},
      .examples =
          "cairn selftest /mnt/scratch\n"
          "cairn selftest . --quick --json",
      .run = run};
}

}  // namespace cairn::cli
