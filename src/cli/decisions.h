// How commands report what they deleted and why.
#pragma once

#include "json.h"
#include "output.h"

#include <cairn/retention.h>

#include <span>

namespace cairn::cli {

/// A checkpoint, with the rule that decided.
Json decision_json(const RetentionDecision& decision);
Json decisions_json(std::span<const RetentionDecision> decisions);

/// Prints a plan that was carried out, or with `dry_run` would be.
void print_plan_json(const RetentionPlan& plan, bool dry_run, Output& output);
void print_plan_text(const RetentionPlan& plan, bool dry_run, Output& output);

}  // namespace cairn::cli
