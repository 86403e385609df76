#include "command.h"

#include "help.h"
#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace cairn::cli {
namespace {

constexpr std::array<Option, 5> kCommonOptions{{
    {.name = "--json", .help = "Print JSON instead of text."},
    {.name = "--quiet", .help = "No notes and no progress on stderr, only errors."},
    {.name = "--wait",
     .value = "SECONDS",
     .help = "Wait so long for another writer instead of failing at once."},
    {.name = "--allow-network-fs",
     .help = "Use a store on a network file system, where locks and flushes may not hold."},
    {.name = "--help", .help = "Show this page."},
}};

bool applies(const Option& option, const Command& command) {
  if (option.name == "--json") return command.has_json;
  return command.has_store || (option.name != "--wait" && option.name != "--allow-network-fs");
}

[[noreturn]] void fail(const Command& command, const std::string& message) {
  throw UsageError(
      fmt::format("{}: {} (see cairn {} --help)", command.name, message, command.name));
}

[[noreturn]] void fail_unknown_option(const Command& command, std::string_view name) {
  const std::vector<Option> options = options_of(command);
  std::vector<std::string_view> names;
  for (const Option& option : options) names.push_back(option.name);
  const std::string_view meant = nearest(name, names);
  fail(command, "unknown option " + quote(name) +
                    (meant.empty() ? "" : fmt::format("; did you mean {}?", meant)));
}

}  // namespace

std::span<const Option> common_options() {
  return kCommonOptions;
}

std::vector<Option> options_of(const Command& command) {
  std::vector<Option> options = command.options;
  for (const Option& option : kCommonOptions) {
    if (applies(option, command)) options.push_back(option);
  }
  return options;
}

Invocation::Invocation(const Command& command, std::span<const std::string> words)
    : command_(command) {
  const std::vector<Option> options = options_of(command);
  std::vector<std::string> positional;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      positional.insert(positional.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                        words.end());
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      positional.push_back(word);
      continue;
    }
    const std::size_t equals = word.find('=');
    std::string_view name = std::string_view(word).substr(0, equals);
    if (name == "-h") name = "--help";
    if (name == "-q") name = "--quiet";
    const auto option = std::find_if(options.begin(), options.end(),
                                     [&](const Option& o) { return o.name == name; });
    if (option == options.end()) fail_unknown_option(command, name);
    std::vector<std::string>& values = options_[option->name];
    if (option->value.empty()) {
      if (equals != std::string::npos) fail(command, fmt::format("{} takes no value", name));
      continue;
    }
    if (!values.empty() && !option->repeats) fail(command, fmt::format("{} is given twice", name));
    if (equals != std::string::npos) {
      values.push_back(word.substr(equals + 1));
    } else if (i + 1 == words.size() || words[i + 1].starts_with("--")) {
      fail(command, fmt::format("{} needs a value: {}", name, option_usage(*option)));
    } else {
      values.push_back(words[++i]);
    }
  }
  if (wants_help()) return;

  std::size_t next = 0;
  for (const Argument& argument : command.arguments) {
    if (next == positional.size()) {
      if (argument.optional) continue;
      fail(command, fmt::format("{} is missing", argument.name));
    }
    const std::size_t end = argument.repeats ? positional.size() : next + 1;
    for (; next < end; ++next) {
      if (positional[next].empty()) fail(command, fmt::format("{} is empty", argument.name));
      arguments_[argument.name].push_back(positional[next]);
    }
  }
  if (next < positional.size()) {
    fail(command, "unexpected argument " + quote(positional[next]));
  }
}

std::optional<std::string> Invocation::value(std::string_view option) const {
  const auto it = options_.find(option);
  if (it == options_.end()) return std::nullopt;
  if (it->second.at(0).empty()) fail(command_, fmt::format("{} is empty", option));
  return it->second.at(0);
}

std::vector<std::string> Invocation::values(std::string_view option) const {
  const auto it = options_.find(option);
  return it == options_.end() ? std::vector<std::string>() : it->second;
}

std::optional<std::int64_t> Invocation::number(std::string_view option, std::int64_t min,
                                               std::int64_t max) const {
  const auto text = value(option);
  if (!text) return std::nullopt;
  return parse_number(*text, option, min, max);
}

std::optional<std::uint64_t> Invocation::bytes(std::string_view option, std::uint64_t min,
                                               std::uint64_t max) const {
  const auto text = value(option);
  if (!text) return std::nullopt;
  double number = 0;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), number);
  std::string_view unit(end, static_cast<std::size_t>(text->data() + text->size() - end));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  constexpr std::string_view kPrefixes = "KMGT";
  if (!unit.empty()) {
    const auto power = kPrefixes.find(unit[0] == 'k' ? 'K' : unit[0]);
    if (power != std::string_view::npos) {
      number = std::ldexp(number, 10 * static_cast<int>(power + 1));
      unit.remove_prefix(1);
      if (unit.starts_with('i')) unit.remove_prefix(1);
    }
    if (unit == "B") unit = {};
  }
  const bool good = problem == std::errc() && unit.empty() && number >= static_cast<double>(min) &&
                    number <= static_cast<double>(max);
  if (!good) {
    throw UsageError(fmt::format("{} must be a number of bytes from {} to {}, such as 64M, not {}",
                                 option, human_bytes(min), human_bytes(max), quote(*text)));
  }
  return static_cast<std::uint64_t>(number);
}

const std::string& Invocation::argument(std::string_view name) const {
  return arguments_.at(name).at(0);
}

std::vector<std::string> Invocation::arguments(std::string_view name) const {
  const auto it = arguments_.find(name);
  return it == arguments_.end() ? std::vector<std::string>() : it->second;
}

std::int64_t parse_number(std::string_view text, std::string_view what, std::int64_t min,
                          std::int64_t max) {
  std::int64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number < min || number > max) {
    throw UsageError(fmt::format("{} must be a whole number from {} to {}, not {}", what, min, max,
                                 quote(text)));
  }
  return number;
}

}  // namespace cairn::cli
