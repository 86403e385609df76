// A command as data: what it takes, how it is explained, what it runs. The parser, the help pages
// and whatever else is made from it (completion, a manual page) follow the same tables.
//
// Words are taken as they are: a checkpoint may be called "[1,2]" or "ls", and nothing splits it.
#pragma once

#include "failure.h"
#include "output.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

/// "--name N", "--name=N", or without a value a flag.
struct Option {
  std::string_view name;
  std::string_view value = {};  ///< What stands for the value in the help; empty: a flag.
  std::string_view help;
  bool repeats = false;  ///< May be given several times.
};

/// A word that is told by its place.
struct Argument {
  std::string_view name;
  std::string_view help;
  bool optional = false;
  bool repeats = false;  ///< Takes all remaining words; only the last argument may.
};

class Invocation;

struct Command {
  std::string_view name;
  std::string_view summary;      ///< One line, without a full stop.
  std::string_view description;  ///< Sentences; an empty line makes a paragraph.
  std::vector<Argument> arguments;
  std::vector<Option> options;
  std::string_view examples;  ///< Lines as they are typed.
  ExitCode (*run)(const Invocation& invocation, Output& output);
  bool has_json = true;   ///< Prints JSON with --json.
  bool has_store = true;  ///< Opens one.
};

/// What the user asked for, checked against the command's tables.
class Invocation {
 public:
  /// Errors: UsageError.
  Invocation(const Command& command, std::span<const std::string> words);

  bool wants_help() const { return has("--help"); }
  bool has(std::string_view option) const { return options_.contains(option); }
  /// The option's only value, or nothing. Errors: UsageError when it is empty.
  std::optional<std::string> value(std::string_view option) const;
  /// All values of an option that repeats.
  std::vector<std::string> values(std::string_view option) const;
  /// The option's value as a whole number in a range. Errors: UsageError.
  std::optional<std::int64_t> number(std::string_view option, std::int64_t min,
                                     std::int64_t max) const;

  /// The option's value as a number of bytes: "65536", "64K", "1.5 GiB". Errors: UsageError.
  std::optional<std::uint64_t> bytes(std::string_view option, std::uint64_t min,
                                     std::uint64_t max) const;

  /// The argument's only word; for an optional one only where `has_argument` says so.
  const std::string& argument(std::string_view name) const;
  bool has_argument(std::string_view name) const { return arguments_.contains(name); }
  std::vector<std::string> arguments(std::string_view name) const;

 private:
  const Command& command_;
  std::map<std::string_view, std::vector<std::string>> options_;
  std::map<std::string_view, std::vector<std::string>> arguments_;
};

/// The command's own options, then those that all commands share, where they mean something.
std::vector<Option> options_of(const Command& command);

/// Options that all commands share.
std::span<const Option> common_options();

/// A whole number in a range, for the option or word that `what` names. Errors: UsageError.
std::int64_t parse_number(std::string_view text, std::string_view what, std::int64_t min,
                          std::int64_t max);

}  // namespace cairn::cli
