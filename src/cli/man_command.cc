// The manual page, made from the commands' tables.
#include "commands.h"
#include "help.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace cairn::cli {
namespace {

// For roff: no line may begin as a request does, and "-" would become a hyphen.
std::string roff(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const bool begins_line = escaped.empty() || escaped.back() == '\n';
    if (begins_line && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

// Paragraphs stand behind empty lines.
std::string roff_paragraphs(std::string_view text) {
  std::string page;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find("\n\n"), text.size());
    page += ".PP\n" + roff(text.substr(0, end)) + "\n";
    text.remove_prefix(std::min(end + 2, text.size()));
  }
  return page;
}

std::string as_it_stands(std::string_view text) {
  return fmt::format(".PP\n.nf\n.RS\n{}\n.RE\n.fi\n", roff(text));
}

std::string roff_options(std::span<const Option> options) {
  std::string page;
  for (const Option& option : options) {
    page += fmt::format(".TP\n.B {}\n{}\n", roff(option_usage(option)), roff(option.help));
  }
  return page;
}

std::string manual_page() {
  std::string page =
      ".TH CAIRN 1 \"\" \"cairn " CAIRN_VERSION
      "\" \"User Commands\"\n"
      ".SH NAME\n"
      "cairn \\- crash\\-safe, transactional checkpoint store for training jobs\n"
      ".SH SYNOPSIS\n"
      ".B cairn\n"
      "COMMAND STORE ... [OPTIONS]\n"
      ".SH DESCRIPTION\n"
      "Works on the stores in which training jobs save their checkpoints. Commands that read never "
      "take the writer's lock, so a store may be looked at while its job runs.\n"
      ".SH CHECKPOINTS\n" +
      as_it_stands(checkpoint_help()) + ".SH COMMANDS\n";
  for (const Command& command : all_commands()) {
    page += fmt::format(".SS \"{}\"\n{}.\n{}{}{}", roff(command_usage(command)),
                        roff(command.summary), roff_paragraphs(command.description),
                        roff_options(command.options), as_it_stands(command.examples));
  }
  return page + ".SH OPTIONS OF EVERY COMMAND\n" + roff_options(common_options()) +
         ".SH EXIT STATUS\n" + as_it_stands(exit_code_help());
}

ExitCode run(const Invocation&, Output& output) {
  output.write(manual_page());
  return kDone;
}

}  // namespace

Command man_command() {
  return {.name = "man",
          .summary = "print the manual page, in roff",
          .description = "Made from the same tables as --help.",
          .arguments = {},
          .options = {},
          .examples =
              "cairn man | man -l -\n"
              "cairn man > /usr/local/share/man/man1/cairn.1",
          .run = run,
          .has_json = false,
          .has_store = false};
}

}  // namespace cairn::cli
