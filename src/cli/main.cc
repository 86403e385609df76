// cairn: parse, call, print.
#include "commands.h"
#include "help.h"
#include "interrupt.h"
#include "json.h"
#include "text.h"

#include <cairn/error.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace cairn::cli {
namespace {

// What people may type who know another tool.
constexpr std::pair<std::string_view, std::string_view> kSynonyms[] = {
    {"list", "ls"},        {"dir", "ls"},          {"delete", "rm"},     {"remove", "rm"},
    {"del", "rm"},         {"forget", "keep"},     {"prune", "keep"},    {"gc", "keep"},
    {"check", "verify"},   {"fsck", "repair"},     {"info", "show"},     {"inspect", "show"},
    {"save", "import"},    {"add", "import"},      {"put", "import"},    {"load", "export"},
    {"get", "export"},     {"copy", "cp"},         {"sync", "cp"},       {"compare", "diff"},
    {"vacuum", "compact"}, {"du", "stat"},         {"df", "stat"},       {"status", "stat"},
    {"test", "selftest"},  {"doctor", "selftest"}, {"mirror", "backup"}, {"restore", "salvage"},
};

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
  if (words.empty() || words[0] == "help") {
    output.write(overview());
    return kDone;
  }
  const Command* command = find_command(words[0]);
  if (command == nullptr) fail_unknown_command(words[0]);
  output.write(help_page(*command));
  return kDone;
}

void print_version(std::span<const std::string> words, Output& output) {
  if (std::find(words.begin(), words.end(), "--json") == words.end()) {
    output.line("cairn " CAIRN_VERSION);
    return;
  }
  Json object = new_document();
  object["version"] = CAIRN_VERSION;
  output.line(to_text(object));
}

void require_common_option(std::string_view word) {
  const std::string_view name = word.substr(0, word.find('='));
  std::vector<std::string_view> names = {"-q", "--version"};
  for (const Option& option : common_options()) names.push_back(option.name);
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  const std::string_view meant = nearest(name, names);
  throw UsageError("unknown option " + quote(name) + " before the command" +
                   (meant.empty() ? "" : fmt::format("; did you mean {}?", meant)));
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), with);
    at += with.size();
  }
}

// The library names its options as in C++: "open with `assume_no_writer`", "or set replace:".
std::string in_words_of_the_tool(std::string message) {
  for (const Command& command : all_commands()) {
    for (const Option& option : options_of(command)) {
      std::string name(option.name.substr(2));
      std::replace(name.begin(), name.end(), '-', '_');
      replace_all(message, "`" + name + "`", option.name);
      replace_all(message, " set " + name + ":", fmt::format(" give {}:", option.name));
    }
  }
  return message;
}

// Options of every command may also stand before it; they are moved behind it.
ExitCode dispatch(std::vector<std::string> words, Output& output) {
  std::size_t at = 0;
  while (at < words.size() && words[at].starts_with('-')) {
    if (words[at] == "--help" || words[at] == "-h") return show_help({}, output);
    if (words[at] == "--version" || words[at] == "-V") {
      print_version(words, output);
      return kDone;
    }
    require_common_option(words[at]);
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
  output.set_json(invocation.has("--json"));
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
  } catch (const Interrupted& interrupted) {
    end_by(interrupted.signal);
  } catch (const Failure& failure) {
    print_error(failure.what());
    return failure.code();
  } catch (const Error& error) {
    print_error(in_words_of_the_tool(error.what()));
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
