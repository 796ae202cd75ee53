#include "source_sql.hpp"

#include <fmt/format.h>

namespace regfeatd::populate {
namespace {

using pg::ColumnType;
using pg::quote_identifier;

pg::ColumnType order_type(const ResolvedSource& source) {
  return source.tables.empty() ? source.query_order_type : source.tables.front().order_type;
}

std::string alias(std::size_t table) { return "t" + std::to_string(table + 1); }

std::string key_list(const spec::FeatureSet& fs, const std::string& qualifier = {}) {
  std::string out;
  for (std::size_t k = 0; k < fs.key.size(); ++k) out += fmt::format("{}{}k{}", k == 0 ? "" : ", ", qualifier, k + 1);
  return out;
}

std::string value_list(const spec::FeatureSet& fs) {
  std::string out;
  for (std::size_t i = 0; i < fs.inputs.size(); ++i) out += fmt::format(", v{}", i + 1);
  return out;
}

void add_condition(std::string& where, const std::string& condition) {
  where += (where.empty() ? " WHERE " : " AND ") + condition;
}

/// Infinite times lie in no partition, and are nobody's look-back either.
void add_bounds(std::string& where, const std::string& order, ColumnType type, OrderBounds bounds) {
  if (bounds.at_least) {
    add_condition(where, order + " >= " + order_literal(type, *bounds.at_least));
  } else if (pg::is_time(type)) {
    add_condition(where, order + " > '-infinity'");
  }
  if (bounds.below) add_condition(where, order + " < " + order_literal(type, *bounds.below));
}

std::string select_tables(const spec::FeatureSet& fs, const ResolvedSource& source, OrderBounds bounds) {
  std::string select = fmt::format("SELECT t1.{} AS o", quote_identifier(source.tables[0].order_column));
  for (std::size_t k = 0; k < fs.key.size(); ++k)
    select += fmt::format(", t1.{} AS k{}", quote_identifier(fs.key[k]), k + 1);
  for (std::size_t i = 0; i < fs.inputs.size(); ++i) {
    select += fmt::format(", {}.{}{} AS v{}", alias(source.input_table[i]), quote_identifier(fs.inputs[i].column),
                          source.input_numeric[i] ? "" : "::double precision", i + 1);
  }
  std::string from, where;
  for (std::size_t t = 0; t < source.tables.size(); ++t) {
    const auto& table = source.tables[t];
    const std::string order = alias(t) + '.' + quote_identifier(table.order_column);
    if (t == 0) {
      from = fmt::format(" FROM {} t1", table.name.quoted());
    } else {
      from += fmt::format(" JOIN {} {} ON {} = t1.{}", table.name.quoted(), alias(t), order,
                          quote_identifier(source.tables[0].order_column));
      for (const std::string& key : fs.key)
        from += fmt::format(" AND {}.{} = t1.{}", alias(t), quote_identifier(key), quote_identifier(key));
    }
    add_bounds(where, order, table.order_type, bounds);
  }
  return select + from + where;
}

/// Puts literals for :start and :end, by the rules by which the specification was checked.
std::string fill_query(const std::string& query, const std::string& start, const std::string& end) {
  std::string out;
  for (const spec::QueryPiece& piece : spec::split_query(query)) {
    out += !piece.is_placeholder ? piece.text : piece.text == "start" ? start : end;
  }
  return out + '\n';  // the query may end in a comment
}

std::string query_text(const ResolvedSource& source, OrderBounds bounds) {
  const bool time = pg::is_time(source.query_order_type);
  const std::string lowest = time ? "'-infinity'::timestamptz" : "(-9223372036854775808)::bigint";
  const std::string highest = time ? "'infinity'::timestamptz" : "9223372036854775807::bigint";
  const ColumnType literal_type = time ? ColumnType::timestamptz : ColumnType::int8;
  return fill_query(source.query, bounds.at_least ? order_literal(literal_type, *bounds.at_least) : lowest,
                    bounds.below ? order_literal(literal_type, *bounds.below) : highest);
}

std::string select_query(const spec::FeatureSet& fs, const ResolvedSource& source, OrderBounds bounds) {
  const std::string text = query_text(source, bounds);
  const std::string order = quote_identifier(source.query_order_column);
  std::string select = "SELECT q." + order + " AS o";
  for (std::size_t k = 0; k < fs.key.size(); ++k)
    select += fmt::format(", q.{} AS k{}", quote_identifier(fs.key[k]), k + 1);
  for (std::size_t i = 0; i < fs.inputs.size(); ++i) {
    select += fmt::format(", q.{}::double precision AS v{}", quote_identifier(fs.inputs[i].column), i + 1);
  }
  // The query's own use of :start and :end is for speed; these conditions make it exact.
  std::string where;
  add_bounds(where, "q." + order, source.query_order_type, bounds);
  return select + " FROM (" + text + ") q" + where;
}

/// A distance on the order column as SQL subtracts it.
std::string distance_literal(ColumnType type, OrderValue distance) {
  return pg::is_time(type) ? fmt::format("interval '{} microseconds'", distance) : fmt::format("{}::bigint", distance);
}

/// `o` as COPY shall send it: eight bytes.
std::string sent_order(ColumnType type) {
  if (type == ColumnType::date) return "o::timestamp";
  return pg::is_integer(type) ? "o::bigint" : "o";
}

/// The keys as COPY shall send them: rows belong together when these bytes are equal, so 1.0 and 1.00 have to look alike.
std::string sent_keys(const spec::FeatureSet& fs, const ResolvedSource& source) {
  std::string out;
  for (std::size_t k = 0; k < fs.key.size(); ++k) {
    const std::string name = 'k' + std::to_string(k + 1);
    out += (k == 0 ? "" : ", ") + (source.key_types[k].starts_with("numeric") ? "trim_scale(" + name + ')' : name);
  }
  return out;
}

/// `a.k1 = b.k1 AND ...`
std::string keys_equal(const spec::FeatureSet& fs, const char* a, const char* b) {
  std::string out;
  for (std::size_t k = 1; k <= fs.key.size(); ++k)
    out += fmt::format("{}{}.k{} = {}.k{}", k == 1 ? "" : " AND ", a, k, b, k);
  return out;
}

/// Rows before the range that the windows need, key by key through an index on keys and order: where they start, then
/// the rows. `keys` holds the keys of the range. OFFSET 0 keeps the planner from pulling the subqueries up: it would join all
/// earlier rows by hash and look for the start of look-back anew for each of them.
std::string select_lookback_by_index(const spec::FeatureSet& fs, const ResolvedSource& source, OrderRange range) {
  const fit::Plan plan = fs.plan();
  const ColumnType type = order_type(source);
  const std::string before = select_source(fs, source, {{}, range.lower});
  const auto last = [&](std::int64_t rows) {
    return fmt::format("(SELECT min(o) FROM (SELECT o FROM ({}) b WHERE {} ORDER BY o DESC LIMIT {}) n)", before,
                       keys_equal(fs, "b", "k"), rows);
  };
  std::string wanted = "b.o >= s.first";
  std::string starts = last(std::max(plan.lookback_rows(), plan.lookback_offset())) + " AS first";
  if (plan.lookback_range() > 0) {
    const std::string anchor =
        plan.lookback_offset() > 0 ? last(plan.lookback_offset()) : order_literal(type, range.lower);
    starts += fmt::format(", {} - {} AS after", anchor, distance_literal(type, plan.lookback_range()));
    wanted = "(b.o >= s.first OR b.o > s.after)";
    wanted += " AND b.o >= least(s.first, s.after)";  // one range of the index
  }
  return fmt::format(
      "SELECT b.o, {}{} FROM keys k CROSS JOIN LATERAL (SELECT {} OFFSET 0) s "
      "CROSS JOIN LATERAL (SELECT * FROM ({}) b WHERE {} AND {} OFFSET 0) b",
      key_list(fs, "b."), value_list(fs), starts, before, keys_equal(fs, "b", "k"), wanted);
}

/// The same rows where no such index is known: one pass over everything before the range. rank(), so that of two rows at one
/// position both are read, and the key is set aside.
std::string select_lookback_by_scan(const spec::FeatureSet& fs, const ResolvedSource& source, OrderRange range) {
  const fit::Plan plan = fs.plan();
  const ColumnType type = order_type(source);
  const std::string keys = key_list(fs);
  const std::string before = fmt::format(
      "SELECT *, rank() OVER (PARTITION BY {} ORDER BY o DESC) AS back FROM ({}) b WHERE ({}) IN (SELECT {} FROM keys)",
      keys, select_source(fs, source, {{}, range.lower}), keys, keys);
  std::string wanted = fmt::format("back <= {}", std::max(plan.lookback_rows(), plan.lookback_offset()));
  std::string from = before;
  if (plan.lookback_range() > 0) {
    const std::string distance = distance_literal(type, plan.lookback_range());
    if (plan.lookback_offset() > 0) {
      from = fmt::format("SELECT *, min(o) FILTER (WHERE back <= {}) OVER (PARTITION BY {}) AS anchor FROM ({}) a",
                         plan.lookback_offset(), keys, before);
      wanted += fmt::format(" OR o > anchor - {}", distance);
    } else {
      wanted += fmt::format(" OR o > {} - {}", order_literal(type, range.lower), distance);
    }
  }
  return fmt::format("SELECT o, {}{} FROM ({}) l WHERE {}", keys, value_list(fs), from, wanted);
}

}  // namespace

std::string select_source_query_text(const ResolvedSource& source) { return query_text(source, {}); }

std::string order_literal(ColumnType type, OrderValue v) {
  switch (type) {
    case ColumnType::timestamp:
      return "timestamp '" + format_time(v) + '\'';  // the +00 is ignored: UTC
    case ColumnType::timestamptz:
      return "timestamptz '" + format_time(v) + '\'';
    case ColumnType::date:
      return "timestamp '" + format_time(v) + '\'';
    default:
      return '(' + std::to_string(v) + ")::bigint";
  }
}

std::string select_source(const spec::FeatureSet& fs, const ResolvedSource& source, OrderBounds bounds) {
  return source.tables.empty() ? select_query(fs, source, bounds) : select_tables(fs, source, bounds);
}

std::string select_lookback_start(const spec::FeatureSet& fs, const ResolvedSource& source, OrderRange range) {
  const fit::Plan plan = fs.plan();
  const ColumnType type = order_type(source);
  const std::string before = select_source(fs, source, {{}, range.lower});
  const auto last = [&](std::int64_t rows) {
    return fmt::format("(SELECT min(o) FROM (SELECT o FROM ({}) b ORDER BY o DESC LIMIT {}) l)", before, rows);
  };
  std::string start = last(std::max(plan.lookback_rows(), plan.lookback_offset()));
  if (plan.lookback_range() > 0) {
    const std::string anchor =
        plan.lookback_offset() > 0 ? last(plan.lookback_offset()) : order_literal(type, range.lower);
    start = fmt::format("least({}, (SELECT min(o) FROM ({}) b WHERE o > {} - {}))", start, before, anchor,
                        distance_literal(type, plan.lookback_range()));
  }
  return type == ColumnType::timestamptz || type == ColumnType::timestamp || type == ColumnType::date
             ? fmt::format("SELECT (extract(epoch FROM ({})::timestamp - timestamp '2000-01-01') * 1000000)::bigint",
                           start)
             : fmt::format("SELECT ({})::bigint", start);
}

std::string select_rows(const spec::FeatureSet& fs, const ResolvedSource& source, OrderRange range,
                        std::optional<OrderValue> lookback_start) {
  const std::string order = sent_order(order_type(source));
  if (fs.key.empty()) {
    return fmt::format("SELECT {}{} FROM ({}) s ORDER BY o", order, value_list(fs),
                       select_source(fs, source, {lookback_start.value_or(range.lower), range.upper}));
  }
  const std::string keys = key_list(fs);
  std::string with =
      fmt::format("WITH here AS MATERIALIZED ({})", select_source(fs, source, {range.lower, range.upper}));
  std::string rows = fmt::format("SELECT o, {}{} FROM here", keys, value_list(fs));
  const fit::Plan plan = fs.plan();
  if (fs.lookback == spec::Lookback::rows &&
      (plan.lookback_rows() > 0 || plan.lookback_range() > 0 || plan.lookback_offset() > 0)) {
    with += fmt::format(", keys AS MATERIALIZED (SELECT DISTINCT {} FROM here)", keys);
    rows += " UNION ALL " + (source.key_index ? select_lookback_by_index(fs, source, range)
                                              : select_lookback_by_scan(fs, source, range));
  }
  return fmt::format("{} SELECT {}, {}{} FROM ({}) s ORDER BY {}, o", with, order, sent_keys(fs, source),
                     value_list(fs), rows, keys);
}

}  // namespace regfeatd::populate
