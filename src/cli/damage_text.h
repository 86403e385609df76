// How verify and repair report damage to people.
#pragma once

#include "output.h"

#include <cairn/store.h>

#include <span>

namespace cairn::cli {

/// Each damaged place, and below it the tensors that it touches.
void print_damage(std::span<const Damage> damaged, Output& output);

}  // namespace cairn::cli
