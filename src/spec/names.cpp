// The names that a feature set's templates stand for.

#include "regfeatd/fit/compact.hpp"
#include "regfeatd/spec/feature_set.hpp"
#include "spec/findings.hpp"
#include "spec/name_template.hpp"

namespace regfeatd::spec {
namespace {

std::string expand_table(const std::string& text, const std::string& series) {
  std::string name = NameTemplate(text, table_placeholders()).expand([&](const auto&) { return series; });
  if (const std::string fault = table_name_fault(name); !fault.empty()) {
    throw SpecError({"the table name " + quote(name) + " " + fault});
  }
  return name;
}

std::vector<std::string> expand_columns(const fit::Plan& plan, const Target& target) {
  std::vector<std::string> names;
  names.reserve(target.inputs.size() * plan.column_count());
  for (std::size_t i = 0; i < target.inputs.size(); ++i) {
    const std::string& input = target.inputs[i];
    const NameTemplate column(target.columns.empty() ? target.column : target.columns[i], column_placeholders());
    for (std::size_t c = 0; c < plan.column_count(); ++c) {
      const fit::Column which = plan.column(c);
      names.push_back(column.expand([&](const NameTemplate::Part& part) -> std::string {
        if (part.text == "metric") return std::string(fit::info(which.metric).name);
        return part.text == "input" ? input : plan.windows[which.window].label;
      }));
      if (const std::string fault = name_fault(names.back()); !fault.empty()) {
        throw SpecError({"the column name " + quote(names.back()) + " " + fault});
      }
    }
  }
  return names;
}

}  // namespace

std::string source_table(const FeatureSet& fs, std::size_t i, const std::string& series) {
  return expand_table(fs.source.tables.at(i).table, series);
}

std::string target_table(const Target& target, const std::string& series) { return expand_table(target.table, series); }

std::string written_table(const FeatureSet& fs, const Target& target, const std::string& series) {
  return expand_table(written_template(fs, target), series);
}

std::string target_partition(const FeatureSet& fs, const Target& target, const std::string& series, OrderRange range) {
  const TableName table = split_table(written_table(fs, target, series));
  const std::string child = PartitionNamer(fs, target).child(table.table, series, range);
  if (const std::string fault = name_fault(child); !fault.empty()) {
    throw SpecError({"the partition name " + quote(child) + " " + fault});
  }
  return table.schema.empty() ? child : table.schema + "." + child;
}

std::vector<std::string> target_columns(const FeatureSet& fs, const Target& target) {
  return expand_columns(fs.plan(), target);
}

std::vector<std::string> written_columns(const FeatureSet& fs, const Target& target) {
  return expand_columns(written_plan(fs, target), target);
}

Storage storage_of(const FeatureSet& fs, const Target& target) noexcept { return target.storage.value_or(fs.storage); }

Statistics statistics_of(const FeatureSet& fs, const Target& target) noexcept {
  return target.statistics.value_or(fs.statistics);
}

fit::Plan written_plan(const FeatureSet& fs, const Target& target) {
  return is_compact(storage_of(fs, target)) ? fit::compact_plan(fs.plan()) : fs.plan();
}

const Input& FeatureSet::input(const std::string& input_name) const {
  for (const Input& i : inputs) {
    if (i.name == input_name) return i;
  }
  throw SpecError({"feature set " + quote(name) + " has no input " + quote(input_name)});
}

}  // namespace regfeatd::spec
