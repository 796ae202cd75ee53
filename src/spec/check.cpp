// The rules that tie the parts of a feature set together: inputs, columns, tables.

#include <algorithm>
#include <map>
#include <set>

#include "regfeatd/fit/compact.hpp"
#include "spec/draft.hpp"
#include "spec/name_template.hpp"

namespace regfeatd::spec {
namespace {

/// PostgreSQL: MaxTupleAttributeNumber, less a few columns for keys; and what one heap tuple of an 8 KiB page
/// holds.
constexpr std::size_t kMaxTableColumns = 1600;
constexpr std::size_t kMaxTupleBytes = 8160;

std::string path_of_target(std::size_t t) { return "targets[" + std::to_string(t) + "]"; }

std::vector<std::string> input_names(const FeatureSet& fs) {
  std::vector<std::string> names;
  for (const Input& input : fs.inputs) names.push_back(input.name);
  return names;
}

void check_target_inputs(const Draft& draft, Findings& findings) {
  const std::vector<std::string> names = input_names(draft.fs);
  std::set<std::string> used;
  bool all_known = draft.targets_are_whole;
  for (std::size_t t = 0; t < draft.fs.targets.size(); ++t) {
    all_known = all_known && !draft.fs.targets[t].inputs.empty();
    for (const std::string& name : draft.fs.targets[t].inputs) {
      used.insert(name);
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      all_known = false;
      if (!draft.inputs_are_whole) continue;
      std::string advice = did_you_mean(name, names);
      if (advice.empty()) advice = "; the inputs are " + quoted_list(names);
      findings.add(draft.targets[t].inputs, at(path_of_target(t), "there is no input " + quote(name) + advice));
    }
  }
  if (!all_known) return;  // a misspelt name would make its input look unused
  for (const Input& input : draft.fs.inputs) {
    if (used.contains(input.name)) continue;
    findings.add(input.mark.line,
                 "inputs: no target uses " + quote(input.name) + "; name it in a target or leave it out");
  }
}

void check_input_tables(const Draft& draft, Findings& findings) {
  if (!draft.source_is_whole) return;
  std::vector<std::string> tables;
  for (const SourceTable& table : draft.fs.source.tables) tables.push_back(table.table);
  for (std::size_t i = 0; i < draft.fs.inputs.size(); ++i) {
    const Input& input = draft.fs.inputs[i];
    if (input.table.empty() || std::find(tables.begin(), tables.end(), input.table) != tables.end()) continue;
    const std::string advice = tables.empty() ? "; the source is a query, so leave table out"
                                              : "; the source's tables are " + quoted_list(tables);
    findings.add(draft.input_table_lines[i],
                 at(under("inputs", input.name), "the source has no table " + quote(input.table) + advice));
  }
}

void check_key_columns(const Draft& draft, Findings& findings) {
  std::set<std::string> order_columns{draft.fs.source.query_order_column};
  for (const SourceTable& table : draft.fs.source.tables) order_columns.insert(table.order_column);
  for (const Target& target : draft.fs.targets) order_columns.insert(target.order_column);
  for (std::size_t k = 0; k < draft.fs.key.size(); ++k) {
    if (!order_columns.contains(draft.fs.key[k])) continue;
    findings.add(draft.key_lines[k],
                 "key: " + quote(draft.fs.key[k]) + " is the column that orders the rows; it cannot be a key too");
  }
}

/// Where a column name comes from, for messages.
struct Origin {
  std::size_t target;
  std::string what;
};

std::string origin_of(const FeatureSet& fs, const Target& target, std::size_t index) {
  const fit::Plan plan = fs.plan();
  const fit::Column column = plan.column(index % plan.column_count());
  const fit::MetricInfo& info = fit::info(column.metric);
  return "metric " + std::string(fit::to_string(info.family)) + "." + std::string(info.name) + " of input " +
         quote(target.inputs[index / plan.column_count()]) + ", window " + quote(plan.windows[column.window].label);
}

/// The tables that several targets may share, with all their columns.
class ColumnCheck {
 public:
  ColumnCheck(const Draft& draft, Findings& findings) : draft_(draft), findings_(findings) {}

  void run() {
    for (std::size_t t = 0; t < draft_.fs.targets.size(); ++t) {
      const Target& target = draft_.fs.targets[t];
      if (target.table.empty()) continue;
      const auto [first, is_new] = first_of_table_.emplace(target.table, t);
      if (is_new) {
        add_fixed(t);
      } else {
        check_agreement(first->second, t);
      }
      add_features(t);
    }
    for (const auto& [table, first] : first_of_table_) check_width(table, first);
  }

 private:
  struct Table {
    std::map<std::string, Origin> columns;
    std::size_t bytes = 0;
  };

  void report(std::size_t t, int line, const std::string& message) {
    findings_.add(line, at(path_of_target(t), message));
  }

  void add_fixed(std::size_t t) {
    const Target& target = draft_.fs.targets[t];
    Table& table = tables_[target.table];
    if (!target.order_column.empty()) table.columns.emplace(target.order_column, Origin{t, "the order column"});
    for (const std::string& key : draft_.fs.key) table.columns.emplace(key, Origin{t, "a key column"});
    table.bytes = 8 * table.columns.size();
  }

  void check_agreement(std::size_t first, std::size_t t) {
    const Target& a = draft_.fs.targets[first];
    const Target& b = draft_.fs.targets[t];
    const auto differ = [&](int line, const std::string& what) {
      report(t, line, "writes the same table as " + path_of_target(first) + " but differs in " + what);
    };
    const bool orders_known = !a.order_column.empty() && !b.order_column.empty();
    if (orders_known && a.order_column != b.order_column) differ(b.mark.line, "its order column");
    if (a.partition != b.partition) differ(draft_.targets[t].partition, "partition");
    if (a.publish != b.publish) differ(b.mark.line, "publish");
    if (a.storage != b.storage) differ(b.mark.line, "storage");
    if (statistics_of(draft_.fs, a) != statistics_of(draft_.fs, b)) differ(b.mark.line, "statistics");
    if (is_compact(storage_of(draft_.fs, a)) || is_compact(storage_of(draft_.fs, b))) {
      report(t, draft_.targets[t].table,
             "writes the same table as " + path_of_target(first) +
                 ", which storage: compact does not allow; give one target both inputs");
    }
  }

  void add_features(std::size_t t) {
    const Target& target = draft_.fs.targets[t];
    const Storage storage = storage_of(draft_.fs, target);
    const std::size_t count = target.inputs.size() * draft_.fs.plan().column_count();
    Table& table = tables_[target.table];
    const bool impossible =
        is_compact(storage) && fit::compact_obstacle(draft_.fs.plan());  // reported by check_storage
    const std::size_t written = impossible ? 0 : target.inputs.size() * written_plan(draft_.fs, target).column_count();
    table.bytes += written * (is_real(storage) ? 4 : 8);
    if (table.columns.size() + count > kMaxTableColumns) {
      report(t, draft_.targets[t].table,
             "table " + quote(target.table) + " would have " + std::to_string(table.columns.size() + count) +
                 " columns; PostgreSQL allows " + std::to_string(kMaxTableColumns));
      table.bytes = 0;  // said enough
      return;
    }
    if (target.column.empty() || count == 0) return;
    add_names(t, table);
  }

  void add_names(std::size_t t, Table& table) {
    const Target& target = draft_.fs.targets[t];
    const int line = draft_.targets[t].column;
    std::vector<std::string> names;
    try {
      names = target_columns(draft_.fs, target);
    } catch (const SpecError& e) {
      for (const std::string& finding : e.findings())
        findings_.add(line, at(under(path_of_target(t), "column"), finding));
      return;
    }
    std::size_t clashes = 0;
    std::string first_clash;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string what = origin_of(draft_.fs, target, i);
      const auto [other, is_new] = table.columns.emplace(names[i], Origin{t, what});
      if (is_new || ++clashes > 1) continue;
      const std::string where = other->second.target == t ? "" : " of " + path_of_target(other->second.target);
      first_clash =
          "column " + quote(names[i]) + " is made twice: by " + other->second.what + where + " and by " + what;
    }
    if (clashes == 0) return;
    const std::string more = clashes > 1 ? " (and " + std::to_string(clashes - 1) + " more)" : "";
    findings_.add(line, at(under(path_of_target(t), "column"), first_clash + more + missing_placeholders(target)));
  }

  /// The usual reason for a clash: a template that leaves out what varies.
  [[nodiscard]] std::string missing_placeholders(const Target& target) const {
    const NameTemplate column(target.column, column_placeholders());
    std::string missing;
    const auto want = [&](const char* name, bool varies) {
      if (varies && !column.uses(name)) missing += std::string(missing.empty() ? "" : ", ") + "{" + name + "}";
    };
    want("metric", draft_.fs.metrics.size() > 1);
    want("input", target.inputs.size() > 1);
    want("window", draft_.fs.windows.size() > 1);
    return missing.empty() ? "" : "; the template lacks " + missing;
  }

  void check_width(const std::string& name, std::size_t first) {
    const Table& table = tables_[name];
    if (table.bytes == 0) return;
    const std::size_t header = (23 + (table.columns.size() + 7) / 8 + 7) / 8 * 8;
    if (header + table.bytes <= kMaxTupleBytes) return;
    report(first, draft_.targets[first].table,
           "a row of table " + quote(name) + " would take " + std::to_string(header + table.bytes) +
               " bytes; PostgreSQL stores at most " + std::to_string(kMaxTupleBytes) +
               ", so spread the columns over several tables or use storage: real");
  }

  const Draft& draft_;
  Findings& findings_;
  std::map<std::string, std::size_t> first_of_table_;
  std::map<std::string, Table> tables_;
};

}  // namespace

void check_references(const Draft& draft, Findings& findings) {
  check_target_inputs(draft, findings);
  check_input_tables(draft, findings);
  check_key_columns(draft, findings);
}

void check_storage(const Draft& draft, Findings& findings) {
  const FeatureSet& fs = draft.fs;
  if (fs.windows.empty() || fs.metrics.empty()) return;
  const auto obstacle = fit::compact_obstacle(fs.plan());
  for (std::size_t t = 0; t < fs.targets.size(); ++t) {
    const Target& target = fs.targets[t];
    if (!is_compact(storage_of(fs, target))) continue;
    const int line = draft.targets[t].storage;
    if (obstacle) {
      findings.add(line, at(path_of_target(t), "storage: compact cannot be used: " + *obstacle));
      return;
    }
    if (target.column.empty() && target.columns.empty()) continue;
    try {
      std::set<std::string> names{target.order_column};
      names.insert(fs.key.begin(), fs.key.end());
      for (const std::string& name : written_columns(fs, target)) {
        if (names.insert(name).second) continue;
        findings.add(draft.targets[t].column,
                     at(under(path_of_target(t), "column"),
                        "storage: compact keeps several numbers of each window, and the template names two of them " +
                            quote(name) + "; it needs {metric}"));
        break;
      }
    } catch (const SpecError& e) {
      for (const std::string& finding : e.findings())
        findings.add(draft.targets[t].column, at(under(path_of_target(t), "column"), finding));
    }
  }
}

void check_columns(const Draft& draft, Findings& findings) { ColumnCheck(draft, findings).run(); }

}  // namespace regfeatd::spec
