#pragma once

#include <string>
#include <vector>

#include "regfeatd/spec/feature_set.hpp"
#include "spec/yaml_reader.hpp"

namespace regfeatd::spec {

/// A feature set while it is read: what could not be read is left out or empty (findings have been noted),
/// and every rule that needs it is skipped. Lines are kept for the findings of later checks.
struct Draft {
  FeatureSet fs;

  struct TargetLines {
    int inputs = 0, table = 0, column = 0, partition = 0, storage = 0;
  };
  std::vector<TargetLines> targets;    ///< beside fs.targets
  std::vector<int> input_table_lines;  ///< beside fs.inputs
  std::vector<int> key_lines;          ///< beside fs.key
  bool source_is_whole = true;         ///< every table of the source could be read
  bool inputs_are_whole = true;        ///< every input has a name (its column may be missing)
  bool targets_are_whole = false;      ///< every target is there (parts of it may be missing)

  /// What said `time:` or `sequence:`, to hold the kinds against each other.
  struct OrderVote {
    OrderKind kind;
    int line;
    std::string path;
  };
  std::vector<OrderVote> votes;
};

/// Reads a name: a text that PostgreSQL takes as an identifier. Empty when it is none (finding noted).
[[nodiscard]] std::string read_name(const Field& field, Findings& findings);
/// Reads a template and checks its placeholders. Empty when it is wrong (finding noted).
[[nodiscard]] std::string read_template(const Field& field, const std::vector<std::string>& placeholders,
                                        Findings& findings);
/// Reads a list of different names.
struct NamedLine {
  std::string name;
  int line;
};
[[nodiscard]] std::vector<NamedLine> read_names(const Field& field, Findings& findings);
/// `time: COLUMN` or `sequence: COLUMN`, exactly one of them. Adds the vote.
[[nodiscard]] std::string read_order_column(const MapReader& map, Draft& draft, Findings& findings);

/// `storage:` of a feature set or of a target: double, real, compact or [compact, real].
[[nodiscard]] std::optional<Storage> read_storage(const Field& field, Findings& findings);

/// `statistics:` of a feature set or of a target: order or all.
[[nodiscard]] std::optional<Statistics> read_statistics(const Field& field, Findings& findings);

void read_source(const Field& field, Draft& draft, Findings& findings);
void read_inputs(const Field& field, Draft& draft, Findings& findings);
void read_partition(const Field& field, Draft& draft, Findings& findings);
void read_windows(const Field& field, Draft& draft, Findings& findings);
void read_metrics(const Field& field, Draft& draft, Findings& findings);
void read_targets(const Field& field, Draft& draft, Findings& findings);
void read_cadence(const Field& field, Draft& draft, Findings& findings);
void read_calendar(const Field& field, Draft& draft, Findings& findings);

/// The rules that tie the parts together: names that templates make, inputs and targets, tables and series.
void check_references(const Draft& draft, Findings& findings);
void check_storage(const Draft& draft, Findings& findings);
void check_columns(const Draft& draft, Findings& findings);
void check_tables(const Draft& draft, Findings& findings);
void check_partition_names(const Draft& draft, Findings& findings);

}  // namespace regfeatd::spec
