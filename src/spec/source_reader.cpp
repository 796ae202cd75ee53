// Reads the keys `source`, `inputs` and `partition` of a feature set.

#include <algorithm>
#include <charconv>
#include <limits>

#include "spec/draft.hpp"
#include "spec/name_template.hpp"
#include "spec/partitions.hpp"
#include "spec/query.hpp"

namespace regfeatd::spec {
namespace {

void read_source_table(const Field& field, Draft& draft, Findings& findings) {
  const MapReader map(field, {"table", "time", "sequence"}, findings);
  if (!map.is_mapping()) {
    draft.source_is_whole = false;
    return;
  }
  SourceTable table;
  table.mark = findings.mark(field.line());
  if (const auto f = map.require("table")) table.table = read_template(*f, table_placeholders(), findings);
  table.order_column = read_order_column(map, draft, findings);
  if (table.table.empty() || table.order_column.empty()) draft.source_is_whole = false;
  const auto& known = draft.fs.source.tables;
  if (!table.table.empty() &&
      std::any_of(known.begin(), known.end(), [&](const auto& t) { return t.table == table.table; })) {
    findings.add(field.line(), at(field.path, "table " + quote(table.table) + " is listed already"));
  }
  draft.fs.source.tables.push_back(std::move(table));
}

void read_joined_tables(const MapReader& map, Draft& draft, Findings& findings) {
  if (const auto tables = map.find("tables")) {
    for (const Field& table : read_list(*tables, findings)) read_source_table(table, draft, findings);
  }
  // Behind the tables: what they order by is the better witness when the two differ.
  if (const auto join = map.find("join")) {
    const auto kind =
        read_enum<OrderKind>(*join, {{"time", OrderKind::time}, {"sequence", OrderKind::sequence}}, findings);
    if (kind) draft.votes.push_back({*kind, join->line(), join->path});
  }
  if (draft.fs.source.tables.empty()) draft.source_is_whole = false;
}

void read_query(const MapReader& map, Draft& draft, Findings& findings) {
  for (const std::string key : {"join", "tables"}) {
    if (const auto f = map.find(key))
      findings.add(f->line(), at(f->path, "stands beside a query; give one or the other"));
  }
  draft.fs.source.query_order_column = read_order_column(map, draft, findings);
  const auto field = map.find("query");
  const auto query = field ? read_text(*field, findings) : std::nullopt;
  if (!query) {
    draft.source_is_whole = false;
    return;
  }
  draft.fs.source.query = *query;
  check_query(*query, {"series", "start", "end"}, {"start", "end"}, field->line(), field->path, findings);
}

/// `from` or `to` as a position of the set's order.
std::optional<OrderValue> read_position(const Field& field, OrderKind order, Findings& findings) {
  if (order == OrderKind::sequence) {
    return read_integer(field, {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()},
                        findings);
  }
  const auto text = read_text(field, findings);
  if (!text) return std::nullopt;
  const auto time = parse_time(*text);
  if (!time) {
    findings.add(
        field.line(),
        at(field.path, "must be a date or a time in UTC, such as 2024-07-01 or 2024-07-01T06:00, not " + quote(*text)));
  }
  return time;
}

/// `by`: a calendar unit for times, a whole number for sequences.
bool read_unit(const Field& field, Draft& draft, Findings& findings) {
  Partitioning& p = draft.fs.partitioning;
  static const Words<PartitionUnit> kUnits{{"hour", PartitionUnit::hour},
                                           {"day", PartitionUnit::day},
                                           {"week", PartitionUnit::week},
                                           {"month", PartitionUnit::month},
                                           {"year", PartitionUnit::year}};
  if (draft.fs.order == OrderKind::time) {
    const auto unit = read_enum(field, kUnits, findings);
    if (unit) p.by = *unit;
    return unit.has_value();
  }
  p.by = PartitionUnit::step;
  const auto step = read_integer(field, {1, std::numeric_limits<std::int64_t>::max()}, findings);
  if (step) p.step = *step;
  return step.has_value();
}

std::string unit_name(PartitionUnit unit) {
  switch (unit) {
    case PartitionUnit::hour:
      return "an hour";
    case PartitionUnit::day:
      return "a day";
    case PartitionUnit::week:
      return "a week (Monday)";
    case PartitionUnit::month:
      return "a month";
    case PartitionUnit::year:
      return "a year";
    case PartitionUnit::step:
      break;
  }
  return "a step";
}

void check_boundary(const Field& field, OrderValue v, const Draft& draft, Findings& findings) {
  const Partitioning& p = draft.fs.partitioning;
  const OrderRange cell = partition_at(p, v);
  if (cell.lower == v) return;
  const std::string around =
      format_order(draft.fs.order, cell.lower) + " and " + format_order(draft.fs.order, cell.upper);
  if (p.by == PartitionUnit::step) {
    findings.add(field.line(), at(field.path, "must lie a whole number of steps of " + std::to_string(p.step) +
                                                  " above from; the nearest are " + around));
  } else {
    findings.add(field.line(),
                 at(field.path, "must be the start of " + unit_name(p.by) + " in UTC; the nearest are " + around));
  }
}

void check_range(const Field& from, const Field& to, Draft& draft, Findings& findings) {
  const Partitioning& p = draft.fs.partitioning;
  if (p.range.upper <= p.range.lower) {
    findings.add(to.line(),
                 at(to.path, "must lie after from; the range is half-open, " + quote(to.node->text) + " is not in it"));
    draft.fs.partitioning.range = {};
    return;
  }
  if (p.by != PartitionUnit::step) check_boundary(from, p.range.lower, draft, findings);
  check_boundary(to, p.range.upper, draft, findings);
  if (enumerate(p, kMaxPartitionsPerSeries + 1).size() > kMaxPartitionsPerSeries) {
    findings.add(from.line(), "partition: makes more than " + std::to_string(kMaxPartitionsPerSeries) +
                                  " partitions of each series; take a larger unit or a shorter range");
    draft.fs.partitioning.range = {};
  }
}

}  // namespace

std::string read_order_column(const MapReader& map, Draft& draft, Findings& findings) {
  const auto time = map.find("time"), sequence = map.find("sequence");
  if (time && sequence) {
    map.report("has both time and sequence; give the one by which rows are ordered");
    return {};
  }
  if (!time && !sequence) {
    if (!map.has("time") && !map.has("sequence"))
      map.report("needs time: COLUMN or sequence: COLUMN, by which rows are ordered");
    return {};
  }
  const Field& field = time ? *time : *sequence;
  draft.votes.push_back({time ? OrderKind::time : OrderKind::sequence, field.line(), field.path});
  return read_name(field, findings);
}

void read_source(const Field& field, Draft& draft, Findings& findings) {
  const MapReader map(field, {"join", "tables", "query", "time", "sequence"}, findings);
  draft.fs.source.mark = findings.mark(field.line());
  if (!map.is_mapping()) {
    draft.source_is_whole = false;
    return;
  }
  if (map.has("query")) {
    read_query(map, draft, findings);
    return;
  }
  for (const std::string key : {"time", "sequence"}) {
    if (const auto f = map.find(key)) findings.add(f->line(), at(f->path, "belongs to each of the tables, not here"));
  }
  if (!map.has("tables")) map.report("needs tables: [...] or query: \"SELECT ...\"");
  read_joined_tables(map, draft, findings);
}

void read_inputs(const Field& field, Draft& draft, Findings& findings) {
  const auto entries = read_entries(field, findings);
  draft.inputs_are_whole = !entries.empty();
  for (const NamedField& entry : entries) {
    Input input;
    input.name = entry.name;
    input.mark = findings.mark(entry.line);
    int table_line = entry.line;
    if (const std::string fault = name_fault(input.name); !fault.empty()) {
      findings.add(entry.line, at(field.path, "the name " + quote(input.name) + " " + fault));
    }
    const MapReader map(entry.field, {"column", "table"}, findings);
    if (map.is_mapping()) {
      if (const auto f = map.require("column")) input.column = read_name(*f, findings);
      if (const auto f = map.find("table")) {
        input.table = read_template(*f, table_placeholders(), findings);
        table_line = f->line();
      }
    }
    draft.input_table_lines.push_back(table_line);
    draft.fs.inputs.push_back(std::move(input));
  }
}

void read_partition(const Field& field, Draft& draft, Findings& findings) {
  const MapReader map(field, {"by", "from", "to"}, findings);
  draft.fs.partitioning.mark = findings.mark(field.line());
  if (!map.is_mapping()) return;
  const auto by = map.require("by"), from = map.require("from"), to = map.require("to");
  const bool unit_is_known = by && read_unit(*by, draft, findings);
  const auto lower = from ? read_position(*from, draft.fs.order, findings) : std::nullopt;
  const auto upper = to ? read_position(*to, draft.fs.order, findings) : std::nullopt;
  if (!unit_is_known || !lower || !upper) return;
  draft.fs.partitioning.range = {*lower, *upper};
  check_range(*from, *to, draft, findings);
}

}  // namespace regfeatd::spec
