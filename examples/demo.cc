// The demo: trains a model once undisturbed and once under kill -9, and compares every bit.
//
//   1. `train` runs to its end; its losses, parameters and store are the reference.
//   2. `train` runs again in another store. A supervisor sends SIGKILL at random moments: while it
//      starts or recovers, between two saves, and inside a save, which `train` shows by writing
//      "saving" before and "saved" after it. After each kill the store must verify; then `train` is
//      started again.
//      With --troubled besides: every fourth time a second job fights for the store, every fifth
//      time files may not grow as far as the pack does, as on a full disk, and a reader is stopped
//      (SIGSTOP) while all that it holds open is freed.
//   3. Losses of every step ever run, parameters, and the newest checkpoints must be the same bits.
//   4. The store lists itself, tells what it takes, and verifies.
//   5. One byte of the newest checkpoint is flipped. Verification and recovery must name the
//   damaged
//      tensor, recovery must take the checkpoint before, and the end must be the same once more.
//
// Fails (exit 1) with a message as soon as one of these does not hold.
#include "demo/child.h"
#include "demo/train_run.h"

#include <cairn/checkpoint.h>
#include <cairn/store.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace fs = std::filesystem;
using demo::Child;
using demo::Clock;
using demo::Event;
using demo::TrainRun;
using Seconds = std::chrono::duration<double>;

namespace {

struct Options {
  fs::path programs;   // The build's bin directory.
  fs::path directory;  // Where the two runs put their files.
  std::vector<std::string> text = {"README.md", "docs", "format"};
  std::int64_t text_bytes = 24'600;
  std::int64_t epochs = 3;
  std::int64_t save_every = 4;
  int kills = 14;
  std::uint32_t seed = 0;
  bool troubled = false;
};

[[noreturn]] void fail(const std::string& message) {
  throw std::runtime_error(message);
}
void require(bool holds, const std::string& message) {
  if (!holds) fail(message);
}

// ---- progress ----------------------------------------------------------------------------------

const bool terminal = ::isatty(STDOUT_FILENO) != 0;

// A line that the next one replaces on a terminal, and that is not shown elsewhere.
void show(std::string_view text) {
  if (terminal) std::cout << "\r\033[K   " << text << std::flush;
}
void print(std::string_view text) {
  std::cout << (terminal ? "\r\033[K" : "") << "   " << text << std::endl;
}
void heading(std::string_view text) {
  std::cout << "\n" << text << std::endl;
}

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

// ---- one run of `train` ------------------------------------------------------------------------

// The files of one of the two jobs.
struct Job {
  fs::path store;
  fs::path losses;
  fs::path parameters;
};

std::vector<std::string> train_command(const Options& options, const Job& job) {
  std::vector<std::string> words = {options.programs / "examples" / "train",
                                    "--store",
                                    job.store,
                                    "--losses",
                                    job.losses,
                                    "--parameters",
                                    job.parameters,
                                    "--text-bytes",
                                    std::to_string(options.text_bytes),
                                    "--epochs",
                                    std::to_string(options.epochs),
                                    "--save-every",
                                    std::to_string(options.save_every),
                                    "--text"};
  words.insert(words.end(), options.text.begin(), options.text.end());
  return words;
}

// What the undisturbed run shows about the others.
struct Pace {
  std::int64_t steps = 0;
  Seconds start{0};     // From the start of the process to its first line.
  Seconds save{0};      // A save, median.
  Seconds interval{0};  // From the end of a save to the beginning of the next, median.
};

Seconds median(std::vector<Seconds> values) {
  require(!values.empty(), "the run was too short: it saved nothing");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Runs `train` to its end and shows what it writes, but not every save. Returns its lines in
// `lines`.
Pace run_to_end(const Options& options, const Job& job, std::vector<std::string>* lines = nullptr) {
  TrainRun run(train_command(options, job));
  Pace pace;
  std::vector<Seconds> saves, intervals;
  std::optional<Clock::time_point> saving, saved;
  for (;;) {
    const Event event = run.next();
    if (event.kind == Event::Kind::kEnd) break;
    if (pace.start == Seconds(0)) pace.start = event.at - run.started_at();
    if (event.kind == Event::Kind::kSaving) {
      show(event.line);
      if (saved) intervals.push_back(event.at - *saved);
      saving = event.at;
    } else if (event.kind == Event::Kind::kSaved) {
      saves.push_back(event.at - *saving);
      saved = event.at;
      pace.steps = event.step;
    }
    if (event.kind == Event::Kind::kSaving) continue;
    if (event.line.find("saved step-") == std::string::npos) print(event.line);
    if (lines != nullptr) lines->push_back(event.line);
  }
  const int status = run.wait();
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "train failed:\n" + run.output());
  pace.save = median(std::move(saves));
  pace.interval = intervals.empty() ? pace.save : median(std::move(intervals));
  return pace;
}

// ---- the tool ----------------------------------------------------------------------------------

// Runs `cairn` and returns its exit code and output. Errors: it was ended by a signal.
std::pair<int, std::string> cairn_tool(const Options& options, std::vector<std::string> words) {
  words.insert(words.begin(), options.programs / "cairn");
  Child tool(words);
  std::string output;
  for (;;) {
    const auto bytes = tool.read(Clock::now() + std::chrono::minutes(1));
    require(bytes.has_value(), "cairn " + words[1] + " hangs");
    if (bytes->empty()) break;
    output += *bytes;
  }
  const int status = tool.wait();
  require(WIFEXITED(status), "cairn " + words[1] + " was ended by a signal:\n" + output);
  return {WEXITSTATUS(status), output};
}

// Shows a command as a user would type it, and what it prints.
std::pair<int, std::string> show_tool(const Options& options, std::vector<std::string> words) {
  std::cout << "   $ cairn";
  for (const auto& word : words) std::cout << " " << word;
  std::cout << "\n";
  auto [code, output] = cairn_tool(options, std::move(words));
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) print(line);
  return {code, output};
}

// ---- trouble -----------------------------------------------------------------------------------

constexpr int kRivalEvery = 4;   // Kills.
constexpr int kFullEvery = 5;    // Kills.
constexpr int kReaderHolds = 8;  // Kills; the job keeps fewer checkpoints.

// The command, where no file may become longer than half of the pack. A write behind that is an
// error instead of a signal.
std::vector<std::string> on_full_disk(const std::vector<std::string>& command, const Job& job) {
  constexpr std::uintmax_t kUlimitBlock = 512;
  std::vector<std::string> words = {
      "/bin/sh", "-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "sh",
      std::to_string(fs::file_size(job.store / "pack") / 2 / kUlimitBlock)};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

bool says(const std::string& output, std::string_view what) {
  return output.find(what) != std::string::npos;
}
constexpr std::string_view kSaysFull = "File too large";
constexpr std::string_view kSaysBusy = "is open for writing by";

using Contents = std::vector<std::vector<std::byte>>;

Contents contents(const cairn::Checkpoint& checkpoint) {
  Contents all;
  for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) all.push_back(checkpoint.read(i));
  return all;
}

// A process of its own: opens the newest checkpoint, is stopped, and must find it unchanged when it
// goes on.
int read_stop_read(const fs::path& directory) {
  const cairn::Store store(directory, {.read_only = true});
  const cairn::Checkpoint checkpoint = store.open(store.checkpoints().at(0).id);
  const Contents before = contents(checkpoint);
  std::cout << "read" << std::endl;
  std::raise(SIGSTOP);
  return contents(checkpoint) == before ? 0 : 1;
}

struct Trouble {
  int busy = 0;
  int full = 0;
  int readers = 0;
};

// Has readers stopped over kReaderHolds kills each.
class StoppedReader {
 public:
  void kill_comes(const Options& options, const Job& job, Trouble& trouble) {
    if (reader_ && --left_ == 0) {
      reader_->kill(SIGCONT);
      const int status = reader_->wait();
      require(WIFEXITED(status) && WEXITSTATUS(status) == 0,
              "a reader that was stopped does not find its checkpoint as it was");
      ++trouble.readers;
      reader_.reset();
    }
    if (reader_) return;
    left_ = kReaderHolds;
    reader_.emplace(std::vector<std::string>{options.programs / "examples" / "demo",
                                             "--read-stop-read", job.store});
    const auto said = reader_->read(Clock::now() + std::chrono::minutes(1));
    require(said == "read\n", "a reader could not read: " + said.value_or("it says nothing"));
  }

 private:
  std::optional<Child> reader_;
  int left_ = 0;
};

// ---- killing -----------------------------------------------------------------------------------

enum class Moment { kStarting, kTraining, kSaving };

std::string_view to_string(Moment moment) {
  switch (moment) {
    case Moment::kStarting:
      return "while it started";
    case Moment::kTraining:
      return "between saves";
    case Moment::kSaving:
      return "inside a save";
  }
  return "";
}

struct KillCounts {
  std::map<Moment, int> at = {};
  int total() const {
    int sum = 0;
    for (const auto& [moment, count] : at) sum += count;
    return sum;
  }
};

// Waits until `moment` comes at `step` or later, then for a random part of how long it lasts.
// False when the run ended before.
bool wait_for(TrainRun& run, Moment moment, std::int64_t step, const Pace& pace,
              std::mt19937& random) {
  Seconds length = pace.start * 1.1;  // Recovery comes a little later.
  auto begin = run.started_at();
  if (moment != Moment::kStarting) {
    length = moment == Moment::kSaving ? pace.save : pace.interval + pace.save;
    const auto wanted = moment == Moment::kSaving ? Event::Kind::kSaving : Event::Kind::kSaved;
    for (;;) {
      const Event event = run.next();
      if (event.kind == Event::Kind::kEnd) return false;
      if (event.kind == Event::Kind::kSaving) show(event.line);
      if (event.kind == wanted && event.step >= step) {
        begin = event.at;
        break;
      }
    }
  }
  const Seconds delay = length * std::uniform_real_distribution<>(0.0, 1.0)(random);
  std::this_thread::sleep_until(begin + std::chrono::duration_cast<Clock::duration>(delay));
  return true;
}

// Which kinds of moments to kill at: three of seven aim at a save, three at the time between two,
// one at a start.
std::vector<Moment> plan_kills(int count, std::mt19937& random) {
  std::vector<Moment> plan;
  for (int i = 0; i < count; ++i) {
    plan.push_back(i % 7 == 3   ? Moment::kStarting
                   : i % 2 == 0 ? Moment::kSaving
                                : Moment::kTraining);
  }
  std::shuffle(plan.begin(), plan.end(), random);
  return plan;
}

// Starts `train` again and again and kills it; the last start runs to the end.
KillCounts run_killed(const Options& options, const Job& job, const Pace& pace, Trouble& trouble) {
  StoppedReader reader;
  std::mt19937 random(options.seed);
  const auto plan = plan_kills(options.kills, random);
  KillCounts counts;
  bool any_saved = false;
  int kills_before = 0;
  // More kills than planned when none of them came inside a save.
  for (int starts = 0; counts.total() < options.kills || counts.at[Moment::kSaving] == 0;
       ++starts) {
    require(starts < 3 * options.kills, "train cannot be killed often enough, or in its saves");
    // Spread over the first nine tenths of the steps, so that none comes too late.
    const auto number = counts.total();
    const auto share = (number + std::uniform_real_distribution<>()(random)) / options.kills;
    const auto step =
        static_cast<std::int64_t>(0.9 * std::min(share, 1.0) * static_cast<double>(pace.steps));

    const bool is_troubled = options.troubled && any_saved;
    const bool is_full = is_troubled && starts % kFullEvery == 0;
    if (is_troubled && number > kills_before) reader.kill_comes(options, job, trouble);
    kills_before = number;
    const auto command = train_command(options, job);
    std::optional<TrainRun> rival;
    if (is_troubled && starts % kRivalEvery == 0) rival.emplace(command);
    TrainRun run(is_full ? on_full_disk(command, job) : command);
    const Moment wanted =
        number < options.kills ? plan[static_cast<std::size_t>(number)] : Moment::kSaving;
    if (wait_for(run, wanted, step, pace, random)) run.kill();
    const int status = run.wait();
    while (run.next().kind != Event::Kind::kEnd) {  // What it wrote tells where it was.
    }
    const bool met_rival = rival && says(run.output(), kSaysBusy);
    const bool met_full = is_full && says(run.output(), kSaysFull);
    if (rival) {
      rival->kill();
      rival->wait();
      while (rival->next().kind != Event::Kind::kEnd) {
      }
      if (met_rival || says(rival->output(), kSaysBusy)) ++trouble.busy;
    }
    if (met_full) ++trouble.full;
    require(WIFSIGNALED(status) || status == 0 || met_rival || met_full,
            "train failed:\n" + run.output());
    if (!WIFSIGNALED(status)) continue;  // It ended by itself just before.

    const Moment moment = run.in_save()     ? Moment::kSaving
                          : run.recovered() ? Moment::kTraining
                                            : Moment::kStarting;
    ++counts.at[moment];
    any_saved = any_saved || run.committed();
    std::ostringstream line;
    line << "kill " << std::setw(2) << counts.total() << " " << std::left << std::setw(16)
         << to_string(moment);
    if (any_saved) {  // Before, there may be half a store.
      const auto [code, output] = cairn_tool(options, {"verify", job.store});
      require(code == 0, "the store does not verify after a kill " +
                             std::string(to_string(moment)) + ":\n" + output);
      line << "  the store verifies;";
    }
    line << "  last heard: " << (run.last_line().empty() ? "nothing" : run.last_line());
    print(line.str());
  }
  run_to_end(options, job);
  return counts;
}

// ---- comparing ---------------------------------------------------------------------------------

struct Loss {
  std::int64_t step = 0;
  std::string bits = {};
};

std::vector<Loss> read_losses(const Job& job) {
  std::vector<Loss> losses;
  std::ifstream in(job.losses);
  for (std::string text; std::getline(in, text);) {
    std::istringstream line(text);
    Loss loss;
    double rounded = 0;
    require(static_cast<bool>(line >> loss.step >> loss.bits >> rounded),
            "a torn line among the losses: " + text);
    losses.push_back(loss);
  }
  return losses;
}

// Every step of `reference` occurs in `other`, and every line of it has the same bits.
// Returns how many steps were run more than once.
std::int64_t compare_losses(const Job& reference, const Job& other, std::int64_t steps) {
  std::map<std::int64_t, std::string> expected;
  for (const auto& [step, bits] : read_losses(reference)) {
    require(expected.emplace(step, bits).second, "the undisturbed run has a step twice");
  }
  require(std::ssize(expected) == steps, "the undisturbed run lacks losses");
  std::set<std::int64_t> seen;
  std::int64_t replayed = 0;
  for (const auto& [step, bits] : read_losses(other)) {
    const auto it = expected.find(step);
    require(it != expected.end() && it->second == bits,
            "the loss of step " + std::to_string(step) + " differs: bits " + bits);
    if (!seen.insert(step).second) ++replayed;
  }
  require(std::ssize(seen) == steps, "the killed run lacks losses");
  return replayed;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  require(in.good(), "cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

std::size_t compare_parameters(const Job& reference, const Job& other) {
  const std::string expected = read_file(reference.parameters);
  require(!expected.empty() && read_file(other.parameters) == expected, "the parameters differ");
  return expected.size();
}

// The newest checkpoints hold the same tensors and values, whatever the paths to them.
std::string compare_newest(const Job& reference, const Job& other) {
  const cairn::Store store_a(reference.store, {.read_only = true});
  const cairn::Store store_b(other.store, {.read_only = true});
  const cairn::Checkpoint a = store_a.open(store_a.checkpoints().at(0).id);
  const cairn::Checkpoint b = store_b.open(store_b.checkpoints().at(0).id);
  require(a.info().name == b.info().name, "the newest checkpoints have different names");
  require(a.info().recoverables == b.info().recoverables, "they hold different recoverables");
  for (const auto& recoverable : a.info().recoverables) {
    require(a.values(recoverable) == b.values(recoverable), "values of " + recoverable + " differ");
  }
  require(a.tensors().size() == b.tensors().size(), "they hold different tensors");
  for (std::size_t i = 0; i < a.tensors().size(); ++i) {
    const cairn::TensorInfo &x = a.tensors()[i], &y = b.tensors()[i];
    require(x.recoverable == y.recoverable && x.key == y.key && x.dtype == y.dtype &&
                std::equal(x.shape.begin(), x.shape.end(), y.shape.begin(), y.shape.end()) &&
                a.read(i) == b.read(i),
            "tensor " + std::string(x.recoverable) + "/" + std::string(x.key) + " differs");
  }
  return std::to_string(a.info().tensors) + " tensors, " + std::to_string(a.info().logical_bytes) +
         " bytes";
}

// ---- damage ------------------------------------------------------------------------------------

struct Flip {
  std::string checkpoint = {};  // The newest.
  std::string before = {};      // The checkpoint before it.
  std::string tensor = {};
};

// Flips one byte of a tensor in the pack, in a chunk that only the newest checkpoint holds.
Flip flip_one_byte(const Job& job, std::mt19937& random) {
  Flip flip;
  std::optional<cairn::ChunkInfo> victim;
  {
    const cairn::Store store(job.store, {.read_only = true});
    const auto checkpoints = store.checkpoints();
    require(checkpoints.size() >= 2, "the store holds fewer than two checkpoints");
    flip.checkpoint = checkpoints[0].name;
    flip.before = checkpoints[1].name;
    std::set<std::uint64_t> shared;
    for (std::size_t i = 1; i < checkpoints.size(); ++i) {
      const cairn::Checkpoint older = store.open(checkpoints[i].id);
      for (std::size_t tensor = 0; tensor < older.tensors().size(); ++tensor)
        for (const auto& chunk : older.chunks(tensor)) shared.insert(chunk.pack_offset);
    }
    const cairn::Checkpoint newest = store.open(checkpoints[0].id);
    // The largest of the model's; when the model did not change between the two, of any object's.
    std::pair<bool, std::uint64_t> best;
    for (std::size_t i = 0; i < newest.tensors().size(); ++i) {
      const cairn::TensorInfo& tensor = newest.tensors()[i];
      const std::pair rank(tensor.recoverable == "model", tensor.bytes);
      for (const auto& chunk : newest.chunks(i)) {
        if (rank <= best || shared.contains(chunk.pack_offset)) continue;
        best = rank;
        flip.tensor = std::string(tensor.recoverable) + "/" + std::string(tensor.key);
        victim = chunk;
      }
    }
  }
  require(victim.has_value(), "the newest checkpoint shares every chunk with another");
  const auto offset = static_cast<std::streamoff>(
      victim->pack_offset +
      std::uniform_int_distribution<std::uint64_t>(
          0, std::min(victim->stored_bytes, victim->plain_bytes) - 1)(random));
  std::fstream pack(job.store / "pack", std::ios::in | std::ios::out | std::ios::binary);
  pack.seekg(offset);
  const auto byte = static_cast<char>(pack.get() ^ 0x10);
  pack.seekp(offset);
  pack.put(byte).flush();
  require(pack.good(), "cannot change the pack");
  print("changed byte " + std::to_string(offset) + " of the pack: " + flip.checkpoint +
        ", tensor " + flip.tensor);
  return flip;
}

// ---- the whole ---------------------------------------------------------------------------------

// Both runs must learn the same text, whatever happens to the files meanwhile.
void copy_text(Options& options) {
  const fs::path copy = options.directory / "text";
  fs::create_directory(copy);
  for (const fs::path path : options.text) {
    if (!fs::exists(path)) continue;
    fs::copy(path, copy / path.filename(), fs::copy_options::recursive);
  }
  options.text = {copy};
}

void run_demo(Options options) {
  const Job reference{options.directory / "undisturbed", options.directory / "undisturbed.losses",
                      options.directory / "undisturbed.parameters"};
  const Job killed{options.directory / "killed", options.directory / "killed.losses",
                   options.directory / "killed.parameters"};
  copy_text(options);
  std::cout << "seed " << options.seed << " (--seed repeats the plan; the machine's timing varies)"
            << std::endl;

  heading("1. Training, undisturbed");
  const Pace pace = run_to_end(options, reference);
  print("a save takes " + fixed(pace.save.count() * 1e3, 1) + " ms (median), one every " +
        fixed((pace.interval + pace.save).count() * 1e3, 0) + " ms");

  heading("2. The same training, killed with SIGKILL at random moments");
  Trouble trouble;
  const KillCounts counts = run_killed(options, killed, pace, trouble);
  std::string summary = "killed " + std::to_string(counts.total()) + " times:";
  for (const auto& [moment, count] : counts.at) {
    summary += " " + std::to_string(count) + " " + std::string(to_string(moment)) + ",";
  }
  summary.back() = '.';
  print(summary);
  if (options.troubled) {
    print(std::to_string(trouble.busy) + " times a second job met the first, " +
          std::to_string(trouble.full) + " times the disk was full, " +
          std::to_string(trouble.readers) + " readers were stopped and found all as it was.");
  }

  heading("3. Both runs, compared");
  const auto replayed = compare_losses(reference, killed, pace.steps);
  print("losses: the same bits at each of " + std::to_string(pace.steps) + " steps, and at " +
        std::to_string(replayed) + " steps that ran again after a kill");
  print("parameters: the same " + std::to_string(compare_parameters(reference, killed)) + " bytes");
  print("newest checkpoints: the same " + compare_newest(reference, killed));

  heading("4. The store that was killed");
  require(show_tool(options, {"ls", killed.store}).first == 0, "cairn ls failed");
  require(show_tool(options, {"stat", killed.store}).first == 0, "cairn stat failed");
  print("(Each step changes almost every tensor, so these checkpoints share little but the text.)");
  require(show_tool(options, {"verify", killed.store}).first == 0, "cairn verify failed");

  heading("5. One byte of the newest checkpoint changes on the disk");
  std::mt19937 random(options.seed);
  const Flip flip = flip_one_byte(killed, random);
  const auto [code, report] = show_tool(options, {"verify", killed.store});
  require(code == 3, "cairn verify did not find the damage");
  require(report.find(flip.tensor) != std::string::npos, "cairn verify does not name the tensor");
  fs::remove(killed.parameters);
  std::vector<std::string> lines;
  run_to_end(options, killed, &lines);
  bool named = false, resumed = false;
  for (const auto& line : lines) {
    const auto has = [&line](std::string_view text) { return line.find(text) != line.npos; };
    named = named || (has("passing over") && has(flip.checkpoint) && has(flip.tensor));
    resumed = resumed || line == "resumed from " + flip.before;
  }
  require(named, "recovery does not name the damaged tensor");
  require(resumed, "recovery did not take the checkpoint before the damaged one");
  compare_losses(reference, killed, pace.steps);
  compare_parameters(reference, killed);
  print("and trained to the same parameters and losses again");
  require(show_tool(options, {"verify", killed.store}).first == 0,
          "the store is not whole after the damaged checkpoint was saved anew");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--read-stop-read") return read_stop_read(argv[2]);
  Options options;
  options.seed = std::random_device()();
  CLI::App app("Kills a training job again and again, and compares it with an undisturbed one.");
  app.add_option("--programs", options.programs, "The build's bin directory")->required();
  app.add_option("--directory", options.directory, "An empty directory for the runs")->required();
  app.add_option("--text", options.text, "Files to learn, or directories of .md files");
  app.add_option("--text-bytes", options.text_bytes)->capture_default_str();
  app.add_option("--epochs", options.epochs)->capture_default_str();
  app.add_option("--save-every", options.save_every, "Steps")->capture_default_str();
  app.add_option("--kills", options.kills)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed, "Of the moments of the kills");
  app.add_flag("--troubled", options.troubled,
               "Also with a second job, a full disk, and a reader that is stopped");
  CLI11_PARSE(app, argc, argv);
  const auto begin = Clock::now();
  try {
    run_demo(options);
  } catch (const std::exception& error) {
    std::cout << std::endl;
    std::cerr << "demo: FAILED: " << error.what() << std::endl;
    return 1;
  }
  std::cout << "\nAll of it holds (" << fixed(Seconds(Clock::now() - begin).count(), 0) << " s)."
            << std::endl;
}
