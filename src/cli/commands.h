// All commands, each in a file of its own.
#pragma once

#include "command.h"

#include <span>

namespace cairn::cli {

Command import_command();
Command export_command();
Command ls_command();
Command show_command();
Command diff_command();
Command cat_command();
Command rm_command();
Command keep_command();
Command pin_command();
Command unpin_command();
Command verify_command();
Command scrub_command();
Command repair_command();
Command salvage_command();
Command stat_command();
Command completion_command();
Command man_command();
Command cp_command();
Command compact_command();
Command backup_command();
Command selftest_command();

/// In the order of the help page.
std::span<const Command> all_commands();

}  // namespace cairn::cli
