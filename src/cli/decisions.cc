#include "decisions.h"

#include "json.h"
#include "text.h"

#include <fmt/format.h>

namespace cairn::cli {
namespace {

void add_rows(std::span<const RetentionDecision> decisions, std::string_view verdict,
              Table& table) {
  for (const RetentionDecision& decision : decisions) {
    table.add({std::string(verdict), std::to_string(decision.checkpoint.id),
               printable(decision.checkpoint.name), printable(decision.rule)});
  }
}

}  // namespace

Json decision_json(const RetentionDecision& decision) {
  Json object = json_of(decision.checkpoint);
  object["rule"] = decision.rule;
  return object;
}

Json decisions_json(std::span<const RetentionDecision> decisions) {
  Json list = Json::array();
  for (const RetentionDecision& decision : decisions) list.push_back(decision_json(decision));
  return list;
}

void print_plan_json(const RetentionPlan& plan, bool dry_run, Output& output) {
  Json object = new_document();
  object["dry_run"] = dry_run;
  object["kept"] = decisions_json(plan.kept);
  object["deleted"] = decisions_json(plan.deleted);
  output.line(to_text(object));
}

void print_plan_text(const RetentionPlan& plan, bool dry_run, Output& output) {
  if (plan.kept.empty() && plan.deleted.empty()) {
    output.note("the store holds no checkpoints");
    return;
  }
  Table table({{""}, {"ID", Table::Align::kRight}, {"NAME"}, {"RULE"}});
  add_rows(plan.kept, dry_run ? "would keep" : "kept", table);
  add_rows(plan.deleted, dry_run ? "would delete" : "deleted", table);
  table.print(output);
}

}  // namespace cairn::cli
