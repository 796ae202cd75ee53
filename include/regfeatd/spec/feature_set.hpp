#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/fit/metric.hpp"
#include "regfeatd/fit/window.hpp"

namespace regfeatd::spec {

/// Where a part of a document stands, for messages: `file:line`.
struct Mark {
  std::string file;
  int line = 0;  ///< from 1; 0: unknown
};

/// One table of a source. `{series}` in `table` is replaced by the series.
struct SourceTable {
  std::string table;         ///< template, `schema.table`
  std::string order_column;  ///< `time:` or `sequence:` in the document
  Mark mark;
};

struct Source {
  std::vector<SourceTable> tables;  ///< inner join on the order columns and the keys; empty when `query` is given
  std::string query;                ///< a SELECT with :series, :start, :end; empty when `tables` is given
  std::string query_order_column;   ///< the order column of `query`
  Mark mark;
};

/// One numeric source column to which the fits are applied.
struct Input {
  std::string name;  ///< the {input} of column names
  std::string column;
  std::string
      table;  ///< which source table (template as in SourceTable::table) holds it; empty: the only one that does
  Mark mark;
};

/// How features are kept. `compact`: as the numbers from which a view derives them (fit/compact.hpp).
enum class Storage { double_precision, real, compact, compact_real };
[[nodiscard]] constexpr bool is_real(Storage s) noexcept { return s == Storage::real || s == Storage::compact_real; }
[[nodiscard]] constexpr bool is_compact(Storage s) noexcept {
  return s == Storage::compact || s == Storage::compact_real;
}
enum class Lookback { rows, none };
enum class OnBadKey { quarantine, fail };
enum class ClaimOrder { oldest_first, newest_first };
/// How a partition's rows replace what its target held before. `automatic`: chosen from the catalogue.
enum class Publish { automatic, create, truncate, swap, remove };
/// Which columns of a loaded partition get planner statistics: the order column and the keys, or all.
enum class Statistics { order, all };

struct Target {
  std::vector<std::string> inputs;  ///< names of inputs; their columns stand side by side
  std::string table;                ///< template, {series}
  std::string order_column;         ///< name of the order column in the target
  std::string column;               ///< template, {metric} {input} {window}
  std::vector<std::string>
      columns;  ///< where several targets of the document write one table: the template of each input
  std::string
      partition;  ///< template of the child's name, {table} {series} {start:FORMAT} {end:FORMAT}; empty: not partitioned
  std::optional<Storage> storage;  ///< absent: the feature set's; see `storage_of`
  Publish publish = Publish::automatic;
  std::optional<Statistics> statistics;  ///< absent: the feature set's; see `statistics_of`
  Mark mark;
};

enum class PartitionUnit { hour, day, week, month, year, step };

struct Partitioning {
  PartitionUnit by = PartitionUnit::month;
  std::int64_t step = 0;  ///< by step: positions per partition
  OrderRange range;       ///< half-open; lower and upper lie on unit boundaries (or at from + k * step)
  Mark mark;
};

/// When rows are expected, for regfeat.completeness: one in every cell of `cadence`, counted from the start of each
/// partition, but for cells that begin while the source is legitimately closed.
struct Calendar {
  OrderValue cadence = 0;  ///< microseconds, or positions; 0: nothing is known
  std::string zone = "UTC";
  struct Weekly {
    int from_minute = 0,
        until_minute = 0;  ///< of the week, Monday 00:00 local time being 0; `until` may lie before `from`
  };
  std::vector<Weekly> weekly;
  std::vector<OrderRange> closed;  ///< local times, as if they were UTC
};

/// One named specification, as read and checked by itself (not against a database).
struct FeatureSet {
  std::string name;
  std::vector<std::string> series;  ///< in the order given, without duplicates; empty when series_query is given
  std::string series_query;         ///< a SELECT of one text column
  OrderKind order = OrderKind::time;
  Partitioning partitioning;
  Source source;
  std::vector<std::string> key;  ///< columns that tell entities apart; windows never cross them
  std::vector<Input> inputs;
  std::vector<fit::Window> windows;
  std::vector<fit::Metric> metrics;
  Lookback lookback = Lookback::rows;
  std::vector<Target> targets;
  Storage storage = Storage::double_precision;
  Statistics statistics = Statistics::order;
  OnBadKey on_bad_key = OnBadKey::quarantine;
  std::vector<std::string> depends_on;
  Calendar calendar;
  ClaimOrder claim_order = ClaimOrder::oldest_first;
  int priority = 0;

  [[nodiscard]] fit::Plan plan() const { return {windows, metrics}; }
  [[nodiscard]] const Input& input(const std::string& input_name) const;
};

/// Everything that is wrong with a document, each finding as `file:line: what and what to do`.
class SpecError : public std::exception {
 public:
  explicit SpecError(std::vector<std::string> findings);
  [[nodiscard]] const std::vector<std::string>& findings() const noexcept { return findings_; }
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }  ///< all findings, one a line

 private:
  std::vector<std::string> findings_;
  std::string text_;
};

/// Reads a feature-set specification. `file` only names the document in messages. Unknown keys, wrong types, values out
/// of range, unknown placeholders, names over 63 bytes: all findings at once in a SpecError.
[[nodiscard]] FeatureSet parse_feature_set(const std::string& text, const std::string& file);

/// Reads the file and parses it. Throws SpecError, also when the file cannot be read.
struct FeatureSetDocument {
  FeatureSet feature_set;
  std::string text;  ///< verbatim, as stored in the database
};
[[nodiscard]] FeatureSetDocument read_feature_set(const std::string& path);

/// What of a specification decides the values, names and places of its output rows, in one canonical line of text:
/// equal texts, equal output. Leaves out series, range, publish, statistics, priority, claim order and the like.
[[nodiscard]] std::string output_identity(const FeatureSet& fs);

/// The calendar in canonical form: equal texts, equal counts in regfeat.completeness. Empty: there is none.
[[nodiscard]] std::string calendar_identity(const FeatureSet& fs);

/// The partitions of one series, ascending, covering partitioning.range.
[[nodiscard]] std::vector<OrderRange> enumerate_partitions(const FeatureSet& fs);
/// The unit's partition that holds `v`.
[[nodiscard]] OrderRange partition_holding(const FeatureSet& fs, OrderValue v);

/// A query cut at its placeholders, in order. Quoted text, dollar quotes, comments and casts (`::type`) are literal.
/// The last piece may end in a comment: whoever embeds the query puts a line break behind it.
struct QueryPiece {
  bool is_placeholder = false;
  std::string text;  ///< SQL, or the placeholder's name without its colon: `series`, `start`, `end`
  friend bool operator==(const QueryPiece&, const QueryPiece&) = default;
};
[[nodiscard]] std::vector<QueryPiece> split_query(const std::string& query);

// -- names made from templates; throw SpecError for a name that is empty or longer than 63 bytes (PostgreSQL would cut it)

/// Source table i of a series: `schema.table` or `table`.
[[nodiscard]] std::string source_table(const FeatureSet& fs, std::size_t i, const std::string& series);
/// The name that a target gives: the table that readers use, or with compact storage the view.
[[nodiscard]] std::string target_table(const Target& target, const std::string& series);
/// The table that is written and partitioned: `target_table`, or with compact storage that name and `_compact`.
[[nodiscard]] std::string written_table(const FeatureSet& fs, const Target& target, const std::string& series);
/// The child of a partitioned target, {table} being the written table. `schema.table`: the schema is the target table's.
[[nodiscard]] std::string target_partition(const FeatureSet& fs, const Target& target, const std::string& series,
                                           OrderRange range);
/// The feature columns of a target that readers see: for each of its inputs, the plan's columns in order.
[[nodiscard]] std::vector<std::string> target_columns(const FeatureSet& fs, const Target& target);
/// The columns that are written: the same, or with compact storage those of `written_plan`.
[[nodiscard]] std::vector<std::string> written_columns(const FeatureSet& fs, const Target& target);

[[nodiscard]] Storage storage_of(const FeatureSet& fs, const Target& target) noexcept;
[[nodiscard]] Statistics statistics_of(const FeatureSet& fs, const Target& target) noexcept;
/// What is computed for a target: `fs.plan()`, or with compact storage what is kept of it.
[[nodiscard]] fit::Plan written_plan(const FeatureSet& fs, const Target& target);

}  // namespace regfeatd::spec
