#include "commands.h"

#include <vector>

namespace cairn::cli {

std::span<const Command> all_commands() {
  static const std::vector<Command> commands = {
      import_command(),  export_command(),  ls_command(),       show_command(),
      diff_command(),    cat_command(),     rm_command(),       keep_command(),
      pin_command(),     unpin_command(),   verify_command(),   scrub_command(),
      repair_command(),  salvage_command(), cp_command(),       backup_command(),
      compact_command(), stat_command(),    selftest_command(), completion_command(),
      man_command(),
  };
  return commands;
}

}  // namespace cairn::cli
