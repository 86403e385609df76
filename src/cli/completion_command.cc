// Shell completion, made from the commands' tables.
#include "commands.h"
#include "text.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::cli {
namespace {

std::string option_names(const Command& command) {
  const std::vector<Option> options = options_of(command);
  std::vector<std::string_view> names;
  for (const Option& option : options) names.push_back(option.name);
  return fmt::format("{}", fmt::join(names, " "));
}

std::string command_names() {
  std::vector<std::string_view> names;
  for (const Command& command : all_commands()) names.push_back(command.name);
  return fmt::format("{}", fmt::join(names, " "));
}

// After the store, checkpoints are completed by asking `cairn ls`; everything else is a file name.
std::string bash_completion() {
  std::string script = fmt::format(R"(# bash completion of cairn; source it, or put it into
# ~/.local/share/bash-completion/completions/cairn
_cairn() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} options=""
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{} help --help --version" -- "$word"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
)",
                                   command_names());
  for (const Command& command : all_commands()) {
    script += fmt::format("    {}) options=\"{}\" ;;\n", command.name, option_names(command));
  }
  script += fmt::format(R"(    help) COMPREPLY=($(compgen -W "{}" -- "$word")); return ;;
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
    return
  fi
  local name
  if [[ $COMP_CWORD -gt 2 && -e ${{COMP_WORDS[2]}}/pack ]]; then
    # Not by compgen -W, which would run what a name holds in $(...).
    while IFS= read -r name; do
      [[ $name == "$word"* ]] && COMPREPLY+=("$name")
    done < <(echo latest; cairn ls --quiet --names -- "${{COMP_WORDS[2]}}" 2>/dev/null)
  fi
  while IFS= read -r name; do
    COMPREPLY+=("$name")
  done < <(compgen -f -- "$word")
}}
complete -o filenames -F _cairn cairn
)",
                        command_names());
  return script;
}

// In single quotes; a quote inside ends them, stands escaped, and begins them anew.
std::string single_quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// Brackets and colons have a meaning of their own in _arguments' specifications.
std::string zsh_text(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

// What stands for an argument in zsh.
std::string_view zsh_action(std::string_view argument) {
  constexpr std::pair<std::string_view, std::string_view> kActions[] = {
      {"STORE", "_files -/"},      {"SRC", "_files -/"},           {"DST", "_files -/"},
      {"DIR", "_files -/"},        {"CKPT", "_cairn_checkpoints"}, {"A", "_cairn_checkpoints"},
      {"B", "_cairn_checkpoints"}, {"SHELL", "(bash zsh fish)"},   {"TENSOR", ""}};
  for (const auto& [name, action] : kActions) {
    if (name == argument) return action;
  }
  return "_files";
}

std::string zsh_command(const Command& command) {
  std::string script = fmt::format("    {})\n      _arguments -s", command.name);
  for (const Option& option : options_of(command)) {
    const bool takes_value = !option.value.empty();
    std::string spec = fmt::format("{}{}{}[{}]", option.repeats ? "*" : "", option.name,
                                   takes_value ? "=" : "", zsh_text(option.help));
    if (takes_value) spec += fmt::format(":{}:", zsh_text(option.value));
    script += " \\\n        " + single_quoted(spec);
  }
  std::size_t position = 0;
  for (const Argument& argument : command.arguments) {
    const std::string place = argument.repeats ? "*" : std::to_string(++position);
    script +=
        " \\\n        " + single_quoted(fmt::format("{}:{}:{}", place, zsh_text(argument.name),
                                                    zsh_action(argument.name)));
  }
  return script + " ;;\n";
}

std::string zsh_completion() {
  std::string script = R"zsh(#compdef cairn
# zsh completion of cairn; put it as _cairn into a directory of $fpath.
_cairn_checkpoints() {
  local -a names
  names=(latest ${(f)"$(cairn ls --quiet --names -- ${words[2]} 2>/dev/null)"})
  compadd -a names
}
_cairn() {
  local -a commands
  commands=(
)zsh";
  for (const Command& command : all_commands()) {
    script += "    " +
              single_quoted(fmt::format("{}:{}", command.name, zsh_text(command.summary))) + "\n";
  }
  script += R"zsh(  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=${words[2]}
  shift words
  (( CURRENT-- ))
  case $command in
)zsh";
  for (const Command& command : all_commands()) script += zsh_command(command);
  return script + "  esac\n}\n_cairn \"$@\"\n";
}

std::string fish_completion() {
  std::string script =
      "# fish completion of cairn; put it as cairn.fish into ~/.config/fish/completions.\n"
      "function __cairn_checkpoints\n"
      "  set -l words (commandline -opc)\n"
      "  test (count $words) -ge 3; and cairn ls --quiet --names -- $words[3] 2>/dev/null\n"
      "  echo latest\n"
      "end\n";
  for (const Command& command : all_commands()) {
    script += fmt::format("complete -c cairn -n __fish_use_subcommand -f -a {} -d {}\n",
                          command.name, single_quoted(command.summary));
    const std::string condition =
        single_quoted(fmt::format("__fish_seen_subcommand_from {}", command.name));
    for (const Option& option : options_of(command)) {
      script +=
          fmt::format("complete -c cairn -n {} -l {} {}-d {}\n", condition, option.name.substr(2),
                      option.value.empty() ? "" : "-x ", single_quoted(option.help));
    }
    for (const Argument& argument : command.arguments) {
      if (argument.name != "CKPT") continue;
      script += fmt::format("complete -c cairn -n {} -a '(__cairn_checkpoints)'\n", condition);
    }
  }
  return script;
}

using Script = std::string (*)();
constexpr std::pair<std::string_view, Script> kShells[] = {
    {"bash", bash_completion}, {"zsh", zsh_completion}, {"fish", fish_completion}};

ExitCode run(const Invocation& invocation, Output& output) {
  const std::string& wanted = invocation.argument("SHELL");
  for (const auto& [shell, script] : kShells) {
    if (shell != wanted) continue;
    output.write(script());
    return kDone;
  }
  throw UsageError("completion is made for bash, zsh and fish, not for " + quote(wanted));
}

}  // namespace

Command completion_command() {
  return {.name = "completion",
          .summary = "print the completion script of a shell",
          .description =
              "Completes commands, options and, where a store stands, the names of its "
              "checkpoints.",
          .arguments = {{.name = "SHELL", .help = "bash, zsh or fish."}},
          .options = {},
          .examples =
              "source <(cairn completion bash)\n"
              "cairn completion fish > ~/.config/fish/completions/cairn.fish",
          .run = run,
          .has_json = false,
          .has_store = false};
}

}  // namespace cairn::cli
