#include "help.h"

#include "commands.h"
#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace cairn::cli {
namespace {

constexpr std::size_t kHelpColumns = 80;

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

std::string argument_usage(const Argument& argument) {
  const std::string word = fmt::format("{}{}", argument.name, argument.repeats ? "..." : "");
  return argument.optional ? "[" + word + "]" : word;
}

// Left the word, right what it means.
void append_entries(std::string& page,
                    const std::vector<std::pair<std::string, std::string>>& entries) {
  std::size_t widest = 0;
  for (const auto& [word, meaning] : entries) widest = std::max(widest, word.size());
  for (const auto& [word, meaning] : entries) {
    std::string left = word;
    for (const std::string& line : wrap(meaning, kHelpColumns - widest - 4)) {
      page += fmt::format("  {:<{}}  {}\n", left, widest, line);
      left.clear();
    }
  }
}

void append_paragraphs(std::string& page, std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find("\n\n"), text.size());
    std::string paragraph(text.substr(0, end));
    std::replace(paragraph.begin(), paragraph.end(), '\n', ' ');
    for (const std::string& line : wrap(paragraph, kHelpColumns)) page += line + "\n";
    page += "\n";
    text.remove_prefix(std::min(end + 2, text.size()));
  }
}

}  // namespace

std::string_view checkpoint_help() {
  return kCheckpointHelp;
}

std::string_view exit_code_help() {
  return kExitCodeHelp;
}

std::string command_usage(const Command& command) {
  std::string usage = fmt::format("cairn {}", command.name);
  for (const Argument& argument : command.arguments) usage += " " + argument_usage(argument);
  return usage;
}

std::string option_usage(const Option& option) {
  return option.value.empty() ? std::string(option.name)
                              : fmt::format("{} {}", option.name, option.value);
}

std::string overview() {
  std::string page =
      "cairn: crash-safe, transactional checkpoint store for training jobs\n\n"
      "Usage: cairn COMMAND STORE ... [OPTIONS]\n\nCommands:\n";
  for (const Command& command : all_commands()) {
    page += fmt::format("  {:<10} {}\n", command.name, command.summary);
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

std::string help_page(const Command& command) {
  std::string page = fmt::format("cairn {}: {}\n\nUsage: {} [OPTIONS]\n\n", command.name,
                                 command.summary, command_usage(command));
  append_paragraphs(page, command.description);

  std::vector<std::pair<std::string, std::string>> entries;
  for (const Argument& argument : command.arguments) {
    entries.emplace_back(argument.name, argument.help);
  }
  if (!entries.empty()) {
    page += "Arguments:\n";
    append_entries(page, entries);
    page += "\n";
  }
  entries.clear();
  for (const Option& option : options_of(command)) {
    entries.emplace_back(option_usage(option),
                         std::string(option.help) + (option.repeats ? " Repeatable." : ""));
  }
  page += "Options:\n";
  append_entries(page, entries);
  page += "\nExamples:\n";
  std::string_view examples = command.examples;
  while (!examples.empty()) {
    const std::size_t end = std::min(examples.find('\n'), examples.size());
    page += fmt::format("  {}\n", examples.substr(0, end));
    examples.remove_prefix(std::min(end + 1, examples.size()));
  }
  return page;
}

}  // namespace cairn::cli
