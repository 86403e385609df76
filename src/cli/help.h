// The help pages that are not one command's, and the words that all of them share.
#pragma once

#include "command.h"

#include <string>
#include <string_view>

namespace cairn::cli {

/// What a CKPT may be.
std::string_view checkpoint_help();
std::string_view exit_code_help();

/// The page of `cairn --help`.
std::string overview();

/// The page of `cairn COMMAND --help`.
std::string help_page(const Command& command);

/// "cairn rm STORE CKPT...".
std::string command_usage(const Command& command);
/// "--name N".
std::string option_usage(const Option& option);

}  // namespace cairn::cli
