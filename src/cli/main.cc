// cairn: parse, call, print.
#include "commands.h"
#include "text.h"

#include <cairn/error.h>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace cairn::cli {
namespace {

constexpr std::string_view kCheckpointHelp =
    R"(A checkpoint (CKPT) is named by its id or its name; by the words
  latest            the newest
  best:min:KEY      the one with the smallest number under a metadata key
  best:max:KEY      the one with the largest
or, where a number is the id of one and the name of another, by id:N or name:X.
)";

constexpr std::string_view kExitCodeHelp =
    R"(Data goes to stdout, notes go to stderr. An error is one line on stderr, also with
--json, and leaves stdout empty. Exit codes:
  0 done   1 error   2 usage   3 damage found   4 no such checkpoint   5 store busy
)";

constexpr std::string_view kExamples =
    R"(Examples:
  cairn import runs/a model.safetensors --name epoch-1 --meta loss=0.25
  cairn ls runs/a
  cairn export runs/a best:min:loss best.safetensors
  cairn keep runs/a --recent 3 --best-min loss:1
  cairn verify runs/a
)";

// What people may type who know another tool.
constexpr std::pair<std::string_view, std::string_view> kSynonyms[] = {
    {"list", "ls"},        {"dir", "ls"},      {"delete", "rm"},  {"remove", "rm"},
    {"del", "rm"},         {"forget", "keep"}, {"prune", "keep"}, {"gc", "keep"},
    {"check", "verify"},   {"fsck", "repair"}, {"info", "show"},  {"inspect", "show"},
    {"save", "import"},    {"add", "import"},  {"put", "import"}, {"load", "export"},
    {"get", "export"},     {"copy", "cp"},     {"sync", "cp"},    {"compare", "diff"},
    {"vacuum", "compact"}, {"du", "stat"},     {"df", "stat"},    {"status", "stat"},
};

std::string overview() {
  std::string page =
      "cairn: crash-safe, transactional checkpoint store for training jobs\n\n"
      "Usage: cairn COMMAND STORE ... [OPTIONS]\n\nCommands:\n";
  for (const Command& command : all_commands()) {
    page += fmt::format("  {:<8} {}\n", command.name, command.summary);
  }
  page += "\nOptions of every command:\n";
  for (const Option& option : common_options()) {
    const std::string left = fmt::format("{} {}", option.name, option.value);
    page += fmt::format("  {:<19} {}\n", left, option.help);
  }
  page += fmt::format("  {:<19} {}\n", "--version", "Print the version (without a command).");
  page += fmt::format("\n{}\n{}\n{}\ncairn COMMAND --help says more about each command.\n",
                      kCheckpointHelp, kExitCodeHelp, kExamples);
  return page;
}

const Command* find_command(std::string_view name) {
  for (const Command& command : all_commands()) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

[[noreturn]] void fail_unknown_command(std::string_view name) {
  std::string_view meant;
  for (const auto& [synonym, command] : kSynonyms) {
    if (synonym == name) meant = command;
  }
  if (meant.empty()) {
    std::vector<std::string_view> names;
    for (const Command& command : all_commands()) names.push_back(command.name);
    meant = nearest(name, names);
  }
  throw UsageError(
      "unknown command " + quote(name) +
      (meant.empty() ? "; cairn --help lists them" : "; did you mean " + quote(meant) + "?"));
}

ExitCode show_help(std::span<const std::string> words, Output& output) {
  if (words.empty()) {
    output.write(overview());
    return kDone;
  }
  const Command* command = find_command(words[0]);
  if (command == nullptr) fail_unknown_command(words[0]);
  output.write(help_page(*command));
  return kDone;
}

// Options of every command may also stand before it; they are moved behind it.
ExitCode dispatch(std::vector<std::string> words, Output& output) {
  std::size_t at = 0;
  while (at < words.size() && words[at].starts_with('-')) {
    if (words[at] == "--help" || words[at] == "-h") return show_help({}, output);
    if (words[at] == "--version" || words[at] == "-V") {
      output.line("cairn " CAIRN_VERSION);
      return kDone;
    }
    at += words[at] == "--wait" ? 2 : 1;
  }
  if (at >= words.size()) {
    throw UsageError(words.empty() ? "a command is missing; cairn --help lists them"
                                   : "a command is missing after " + quote(words.back()));
  }
  const std::string name = words[at];
  words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
  if (name == "help") return show_help(words, output);
  const Command* command = find_command(name);
  if (command == nullptr) fail_unknown_command(name);
  const Invocation invocation(*command, words);
  if (invocation.wants_help()) return show_help({&name, 1}, output);
  output.set_quiet(invocation.has("--quiet"));
  return command->run(invocation, output);
}

ExitCode exit_code_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kBusy:
      return kStoreBusy;
    case ErrorCode::kDamaged:
    case ErrorCode::kTruncated:
      return kDamageFound;
    default:
      return kFailed;
  }
}

int run_tool(std::vector<std::string> words) {
  Output output;
  try {
    const ExitCode code = dispatch(std::move(words), output);
    output.flush();
    return code;
  } catch (const OutputFailed& failure) {
    if (failure.system_errno != EPIPE) {
      print_error(std::string("cannot write to standard output (") +
                  std::strerror(failure.system_errno) + ")");
    }
    return kFailed;
  } catch (const Failure& failure) {
    print_error(failure.what());
    return failure.code();
  } catch (const Error& error) {
    print_error(error.what());
    return exit_code_of(error);
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return kFailed;
  } catch (const std::exception& error) {
    print_error(error.what());
    return kFailed;
  }
}

}  // namespace
}  // namespace cairn::cli

int main(int argc, char** argv) {
  cairn::cli::prepare_standard_streams();
  return cairn::cli::run_tool(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
