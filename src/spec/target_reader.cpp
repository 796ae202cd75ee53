// Reads the key `targets` of a feature set.

#include "spec/draft.hpp"
#include "spec/name_template.hpp"

namespace regfeatd::spec {
namespace {

void read_target_inputs(const MapReader& map, Target& target, Draft::TargetLines& lines, Findings& findings) {
  const auto one = map.find("input"), several = map.find("inputs");
  if (map.has("input") == map.has("inputs")) {
    map.report(map.has("input") ? "has both input and inputs; give one" : "needs input: NAME or inputs: [NAME, ...]");
  }
  if (several) {
    lines.inputs = several->line();
    for (const NamedLine& n : read_names(*several, findings)) target.inputs.push_back(n.name);
  } else if (one) {
    lines.inputs = one->line();
    if (std::string name = read_name(*one, findings); !name.empty()) target.inputs.push_back(std::move(name));
  }
}

void read_target_options(const MapReader& map, Target& target, Draft::TargetLines& lines, Findings& findings) {
  if (const auto f = map.find("storage")) {
    lines.storage = f->line();
    target.storage = read_storage(*f, findings);
  }
  if (const auto f = map.find("publish")) {
    const Words<Publish> words{{"auto", Publish::automatic},
                               {"create", Publish::create},
                               {"truncate", Publish::truncate},
                               {"swap", Publish::swap},
                               {"delete", Publish::remove}};
    target.publish = read_enum(*f, words, findings).value_or(Publish::automatic);
  }
  if (const auto f = map.find("statistics")) target.statistics = read_statistics(*f, findings);
}

void read_target(const Field& field, Draft& draft, Findings& findings) {
  const MapReader map(
      field,
      {"input", "inputs", "table", "time", "sequence", "column", "partition", "storage", "publish", "statistics"},
      findings);
  if (!map.is_mapping()) return;
  Target target;
  target.mark = findings.mark(field.line());
  const int line = field.line();
  Draft::TargetLines lines{line, line, line, line, line};
  read_target_inputs(map, target, lines, findings);
  if (const auto f = map.require("table")) {
    target.table = read_template(*f, table_placeholders(), findings);
    lines.table = f->line();
  }
  target.order_column = read_order_column(map, draft, findings);
  if (const auto f = map.require("column")) {
    target.column = read_template(*f, column_placeholders(), findings);
    lines.column = f->line();
  }
  if (const auto f = map.find("partition")) {
    target.partition = read_template(*f, partition_placeholders(), findings);
    lines.partition = f->line();
  }
  read_target_options(map, target, lines, findings);
  draft.fs.targets.push_back(std::move(target));
  draft.targets.push_back(lines);
}

}  // namespace

void read_targets(const Field& field, Draft& draft, Findings& findings) {
  const std::vector<Field> items = read_list(field, findings);
  for (const Field& item : items) read_target(item, draft, findings);
  draft.targets_are_whole = !items.empty() && draft.fs.targets.size() == items.size();
}

}  // namespace regfeatd::spec
