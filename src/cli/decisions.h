// How rm and keep report what they deleted and why.
#pragma once

#include "output.h"

#include <cairn/retention.h>

namespace cairn::cli {

/// Prints a plan that was carried out, or with `dry_run` would be.
void print_plan_json(const RetentionPlan& plan, bool dry_run, Output& output);
void print_plan_text(const RetentionPlan& plan, bool dry_run, Output& output);

}  // namespace cairn::cli
