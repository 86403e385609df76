#include "damage_text.h"

#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {

void print_damage(std::span<const Damage> damaged, Output& output) {
  for (const Damage& damage : damaged) {
    output.line(output.styled("damaged " + printable(damage.what), Style::kBad) +
                fmt::format(" at byte {} of the pack, {}: {}", damage.pack_offset,
                            human_bytes(damage.bytes), printable(damage.message)));
    for (const DamagedTensor& one : damage.touches) {
      const std::string what = one.tensor.empty() ? "the whole checkpoint" : printable(one.tensor);
      output.line(fmt::format("  touches checkpoint {} ({}): {}", one.checkpoint_id,
                              printable(one.checkpoint_name), what));
    }
  }
}

}  // namespace cairn::cli
