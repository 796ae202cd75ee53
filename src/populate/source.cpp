#include "regfeatd/populate/source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/pg/copy.hpp"
#include "regfeatd/pg/field_text.hpp"
#include "regfeatd/populate/input_store.hpp"
#include "source_sql.hpp"

namespace regfeatd::populate {
namespace {

using pg::ColumnType;

bool order_type_fits(OrderKind kind, ColumnType type) {
  return kind == OrderKind::time ? pg::is_time(type) : pg::is_integer(type);
}

std::string expected_order_type(OrderKind kind) {
  return kind == OrderKind::time ? "timestamp, timestamptz or date" : "smallint, integer or bigint";
}

void check_order_column(const spec::FeatureSet& fs, const std::string& where, const std::string& name,
                        const pg::ColumnInfo* column, std::vector<std::string>& findings) {
  if (column == nullptr) {
    findings.push_back(fmt::format("source {}: no column \"{}\" (the order column)", where, name));
  } else if (!order_type_fits(fs.order, column->type)) {
    findings.push_back(fmt::format("source {}: order column \"{}\" is {}; expected {}", where, name, column->type_name,
                                   expected_order_type(fs.order)));
  }
}

/// Puts the series into the query as a literal; the other placeholders stay.
std::string fill_series(const std::string& query, const std::string& series) {
  std::string out;
  for (const spec::QueryPiece& piece : spec::split_query(query)) {
    out += !piece.is_placeholder ? piece.text : piece.text == "series" ? pg::quote_literal(series) : ':' + piece.text;
  }
  return out;
}

/// The collation is that of the expression: no row is read.
bool has_deterministic_collation(pqxx::transaction_base& tx, const ResolvedSource& source, const std::string& column) {
  const std::string value =
      fmt::format("(SELECT q.{} FROM ({}) q LIMIT 0)", pg::quote_identifier(column), select_source_query_text(source));
  const auto type = tx.exec1("SELECT typcollation <> 0 FROM pg_type WHERE oid = pg_typeof(" + value + ")");
  if (!type[0].as<bool>()) return true;
  return tx
      .exec("SELECT FROM pg_collation WHERE NOT collisdeterministic AND oid = to_regcollation(pg_collation_for(" +
            value + "))")
      .empty();
}

/// What the server has against a statement, in a subtransaction of its own; its rows go to `result`. nullopt: nothing.
/// Throws Fault where the moment was bad and not the statement.
std::optional<std::string> refusal(pqxx::transaction_base& tx, const std::string& statement,
                                   pqxx::result* result = nullptr) {
  try {
    pqxx::subtransaction trial(static_cast<pqxx::dbtransaction&>(tx), "trial");
    const pqxx::result got = trial.exec(statement);
    trial.commit();
    if (result != nullptr) *result = got;
    return std::nullopt;
  } catch (const pqxx::sql_error&) {
    const Fault fault = pg::to_fault(std::current_exception());
    if (fault.fault_class() == FaultClass::transient || fault.fault_class() == FaultClass::fatal) throw fault;
    return fault.what();
  }
}

void resolve_query(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::string& series,
                   ResolvedSource& out, std::vector<std::string>& findings) {
  out.query = fill_series(fs.source.query, series);
  out.input_numeric.assign(fs.inputs.size(), false);
  out.query_order_column = fs.source.query_order_column;
  out.query_order_type = fs.order == OrderKind::time ? ColumnType::timestamptz : ColumnType::int8;
  pqxx::result described;
  if (const auto said = refusal(tx, "SELECT q.* FROM (" + select_source_query_text(out) + ") q LIMIT 0", &described)) {
    findings.push_back("source query: " + *said);
    return;
  }
  const auto find = [&](const std::string& name) -> std::optional<std::pair<ColumnType, std::string>> {
    for (pqxx::row_size_type c = 0; c < described.columns(); ++c) {
      if (name != described.column_name(c)) continue;
      const std::uint32_t type = described.column_type(c);
      return std::pair{pg::type_from_oid(type),
                       tx.exec_params1("SELECT format_type($1::bigint::oid, NULL)", type)[0].as<std::string>()};
    }
    return std::nullopt;
  };
  if (const auto order = find(out.query_order_column)) {
    out.query_order_type = order->first;
    const pg::ColumnInfo column{out.query_order_column, order->first, order->second};
    check_order_column(fs, "query", out.query_order_column, &column, findings);
  } else {
    check_order_column(fs, "query", out.query_order_column, nullptr, findings);
  }
  for (const std::string& key : fs.key) {
    const auto found = find(key);
    if (!found) {
      findings.push_back(fmt::format("source query: no key column \"{}\"", key));
    } else if (!pg::equal_means_same_bytes(found->second)) {
      findings.push_back(
          fmt::format("source query: key column \"{}\" is {}, where equal values may differ in their bytes; cast it",
                      key, found->second));
    } else if (!has_deterministic_collation(tx, out, key)) {
      findings.push_back(fmt::format(
          "source query: key column \"{}\" has a collation that is not deterministic, where equal values may "
          "differ in their bytes; give it another, such as COLLATE \"C\"",
          key));
    }
    out.key_types.push_back(found ? found->second : "text");
  }
  for (const spec::Input& input : fs.inputs) {
    const auto found = find(input.column);
    if (!found) {
      findings.push_back(fmt::format("source query: no column \"{}\" (input {})", input.column, input.name));
    } else if (!pg::is_number(found->first)) {
      findings.push_back(fmt::format("source query: column \"{}\" (input {}) is {}; expected a number", input.column,
                                     input.name, found->second));
    }
  }
}

/// Of a table of which the current role may read some columns.
void check_readable(const pg::TableInfo& table, const pg::ColumnInfo& column, std::vector<std::string>& findings) {
  if (!table.can_select || column.can_select) return;  // the former is a finding already
  const std::string finding =
      fmt::format("source {}: no SELECT privilege on column \"{}\"", table.name.text(), column.name);
  if (std::find(findings.begin(), findings.end(), finding) == findings.end()) findings.push_back(finding);
}

/// The server's own opinion of the query that partitions are read with: whether it joins these types, whether the role may run
/// it, views included. Nothing is read.
void try_reading(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const ResolvedSource& source,
                 std::vector<std::string>& findings) {
  const OrderRange range = spec::partition_holding(fs, fs.partitioning.range.lower);
  const auto said = refusal(tx, "EXPLAIN " + select_rows(fs, source, range, std::nullopt));
  if (!said) return;
  if (source.tables.size() == 1) {
    findings.push_back(fmt::format("source {}: it cannot be read: {}", source.tables[0].name.text(), *said));
    return;
  }
  std::string tables;
  for (const auto& table : source.tables) tables += (tables.empty() ? "" : ", ") + table.name.text();
  findings.push_back(fmt::format(
      "source {}: the join cannot be read: {}; key and order columns need types that compare with those of the "
      "first table: change them, or take a query source that casts them",
      tables, *said));
}

void resolve_input(const spec::FeatureSet& fs, const spec::Input& input, const std::string& series,
                   const std::vector<std::optional<pg::TableInfo>>& tables, ResolvedSource& out,
                   std::vector<std::string>& findings) {
  std::vector<std::size_t> holders;
  bool all_known = true;
  for (std::size_t t = 0; t < tables.size(); ++t) {
    if (!input.table.empty() && input.table != fs.source.tables[t].table) continue;
    if (!tables[t]) {
      all_known = false;
    } else if (tables[t]->column(input.column) != nullptr) {
      holders.push_back(t);
    }
  }
  out.input_table.push_back(holders.empty() ? 0 : holders.front());
  out.input_numeric.push_back(false);
  if (holders.empty()) {
    if (!all_known) return;  // the missing table is a finding already
    std::string places;
    for (std::size_t t = 0; t < tables.size(); ++t) places += (t == 0 ? "" : ", ") + spec::source_table(fs, t, series);
    findings.push_back(fmt::format("source {}: no column \"{}\" (input {})", places, input.column, input.name));
    return;
  }
  if (holders.size() > 1) {
    findings.push_back(fmt::format("input {}: column \"{}\" is in {} and {}; say which with `table:`", input.name,
                                   input.column, tables[holders[0]]->name.text(), tables[holders[1]]->name.text()));
    return;
  }
  const pg::ColumnInfo& column = *tables[holders.front()]->column(input.column);
  check_readable(*tables[holders.front()], column, findings);
  out.input_numeric.back() = column.type == ColumnType::numeric;
  if (!pg::is_number(column.type)) {
    findings.push_back(fmt::format("source {}: column \"{}\" (input {}) is {}; expected a number",
                                   tables[holders.front()]->name.text(), input.column, input.name, column.type_name));
  }
}

void resolve_tables(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::string& series,
                    ResolvedSource& out, std::vector<std::string>& findings) {
  const std::size_t before = findings.size();
  std::vector<std::optional<pg::TableInfo>> tables;
  out.key_index = !fs.key.empty();
  for (std::size_t t = 0; t < fs.source.tables.size(); ++t) {
    const std::string name = spec::source_table(fs, t, series);
    tables.push_back(pg::find_table(tx, pg::TableName::parse(name)));
    auto& resolved = out.tables.emplace_back();
    resolved.order_column = fs.source.tables[t].order_column;
    if (!tables.back()) {
      findings.push_back(fmt::format("source {}: no such table (or no USAGE on its schema)", name));
      continue;
    }
    const pg::TableInfo& table = *tables.back();
    resolved.name = table.name;
    if (!table.can_select) findings.push_back(fmt::format("source {}: no SELECT privilege", name));
    const pg::ColumnInfo* order = table.column(resolved.order_column);
    check_order_column(fs, name, resolved.order_column, order, findings);
    if (order != nullptr) {
      resolved.order_type = order->type;
      check_readable(table, *order, findings);
    }
    for (const std::string& key : fs.key) {
      const pg::ColumnInfo* column = table.column(key);
      if (column == nullptr) {
        findings.push_back(fmt::format("source {}: no key column \"{}\"", name, key));
      } else if (!column->bytewise) {
        findings.push_back(fmt::format(
            "source {}: key column \"{}\" is {} (or has a collation that is not deterministic), where equal values may differ in "
            "their bytes; take a query source that casts it",
            name, key, column->type_name));
      }
      if (column != nullptr) check_readable(table, *column, findings);
      if (t == 0) out.key_types.push_back(column == nullptr ? "text" : column->type_name);
    }
    out.key_index = out.key_index && pg::has_index(tx, table.oid, fs.key, resolved.order_column);
  }
  for (const spec::Input& input : fs.inputs) resolve_input(fs, input, series, tables, out, findings);
  if (findings.size() == before) try_reading(tx, fs, out, findings);
}

/// The key of the row that `copy` stands on, as COPY IN wants it. false: there is NULL in it.
bool take_key(const pg::CopyOut& copy, std::size_t keys, std::vector<std::byte>& key) {
  key.clear();
  bool whole = true;
  for (std::size_t k = 0; k < keys; ++k) {
    const auto field = copy.field(static_cast<int>(1 + k));
    const std::uint32_t length =
        __builtin_bswap32(field ? static_cast<std::uint32_t>(field->size()) : ~std::uint32_t{0});
    const auto* l = reinterpret_cast<const std::byte*>(&length);
    key.insert(key.end(), l, l + 4);
    if (field) key.insert(key.end(), field->begin(), field->end());
    whole = whole && field;
  }
  return whole;
}

/// Takes the rows of one partition as the COPY brings them, key after key.
class RowReader {
 public:
  /// `store`: of `rows`, where they may be put on disk; else null.
  RowReader(const spec::FeatureSet& fs, const ResolvedSource& source, OrderRange range, InputRows& rows,
            InputStore* store = nullptr)
      : fs_(fs), source_(source), range_(range), rows_(rows), store_(store), plan_(fs.plan()) {}

  void take(const pg::CopyOut& copy) {
    const OrderValue position = copy.int64(0);
    const bool whole = take_key(copy, fs_.key.size(), key_);
    if (first_ || key_ != current_) {
      if (store_ != nullptr && !first_ && store_->nearly_full()) {
        store_->spill(rows_.rows());
        rows_.segments.clear();
      }
      chunks_of_key_ = 0;
      first_ = false;
      skipping_ = false;
      current_ = key_;
      rows_.segments.push_back({rows_.rows(), rows_.rows(), rows_.rows()});
      if (!whole) set_aside(position, "its key has NULL in it");
    } else if (!skipping_ && position <= rows_.order.back()) {
      set_aside(position, "the source has more than one row at " + format_order(fs_.order, position) +
                              "; positions must be unique");
    }
    if (skipping_) {
      if (position >= range_.lower) ++rows_.bad_keys.back().rows;
    } else {
      append(copy, position);
      check_magnitudes(position);
    }
  }

 private:
  void append(const pg::CopyOut& copy, OrderValue position) {
    const std::size_t keys = fs_.key.size();
    if (store_ != nullptr) {
      if (store_->full()) cut();
      store_->make_room();
    }
    rows_.order.push_back(position);
    for (std::size_t i = 0; i < rows_.values.size(); ++i) {
      const int field = static_cast<int>(1 + keys + i);
      rows_.values[i].push_back(source_.input_numeric[i] ? copy.numeric(field) : copy.float64(field));
    }
    if (keys > 0) {
      rows_.key_bytes.insert(rows_.key_bytes.end(), key_.begin(), key_.end());
      rows_.key_ends.push_back(rows_.key_bytes.size());
    }
    Segment& segment = rows_.segments.back();
    segment.end = rows_.rows();
    if (position < range_.lower) segment.output = segment.end;
  }

  /// Of the row that was just taken. Results that overflow would fail the partition, for the sake of one key.
  void check_magnitudes(OrderValue position) {
    for (std::size_t i = 0; i < rows_.values.size(); ++i) {
      const double v = rows_.values[i].back();
      if (!(std::abs(v) > fit::kMaxInput) || std::isinf(v)) continue;
      return set_aside(
          position,
          fmt::format("input {} (column \"{}\") is {} at {}: magnitudes above {} cannot be fitted; "
                      "correct the source, or make such values NULL",
                      fs_.inputs[i].name, fs_.inputs[i].column, v, format_order(fs_.order, position), fit::kMaxInput));
    }
  }

  /// Puts what is there on disk and goes on with the look-back that the next row of the key needs.
  void cut() {
    const Segment& segment = rows_.segments.back();
    const std::size_t end = segment.end;
    const auto before = static_cast<std::size_t>(std::max(plan_.lookback_rows(), plan_.lookback_offset()));
    std::size_t carry = end - std::min(before, end - segment.begin);
    if (plan_.lookback_range() > 0 && end > segment.begin) {
      const auto anchor =
          std::max(segment.begin,
                   end - std::min(end, static_cast<std::size_t>(std::max<std::int64_t>(plan_.lookback_offset(), 1))));
      const auto in_range = [&](std::size_t row) {
        return static_cast<std::uint64_t>(rows_.order[anchor]) - static_cast<std::uint64_t>(rows_.order[row]) <
               static_cast<std::uint64_t>(plan_.lookback_range());
      };
      for (std::size_t row = std::min(carry, anchor); row > segment.begin && in_range(row - 1); --row) carry = row - 1;
      carry = std::min(carry, anchor);
    }
    if (segment.begin == 0 && 2 * (end - carry) > end) {  // the next chunk would be full again at once
      throw Fault(
          FaultClass::partition,
          fmt::format(
              "the windows reach back over {} rows and more, which exceeds this worker's share of the memory budget: raise memory_budget, "
              "lower workers or shorten the windows",
              end - carry));
    }
    store_->spill(carry);
    ++chunks_of_key_;
  }

  /// Drops what was taken of the key in hand, and what follows of it.
  void set_aside(OrderValue position, const std::string& reason) {
    const std::string key = describe_key(fs_, source_, current_);
    if (fs_.key.empty() || fs_.on_bad_key == spec::OnBadKey::fail) {
      throw Fault(FaultClass::partition, key.empty() ? reason : "key (" + key + "): " + reason);
    }
    const Segment segment = rows_.segments.back();
    rows_.segments.pop_back();
    rows_.bad_keys.push_back({key, reason, position, static_cast<std::int64_t>(segment.end - segment.output)});
    for (std::size_t back = 1; back <= chunks_of_key_; ++back)
      rows_.bad_keys.back().rows += store_->drop_last_segment(back);
    rows_.order.resize(segment.begin);
    for (auto& v : rows_.values) v.resize(segment.begin);
    rows_.key_ends.resize(segment.begin);
    rows_.key_bytes.resize(segment.begin == 0 ? 0 : rows_.key_ends.back());
    skipping_ = true;
  }

  const spec::FeatureSet& fs_;
  const ResolvedSource& source_;
  OrderRange range_;
  InputRows& rows_;
  InputStore* store_;
  const fit::Plan plan_;
  std::size_t chunks_of_key_ = 0;  ///< that were cut inside the key in hand
  std::vector<std::byte> key_, current_;
  bool first_ = true;
  bool skipping_ = false;
};

void check_budget(const InputRows& rows, std::size_t budget_bytes) {
  if (rows.bytes() <= budget_bytes) return;
  throw Fault(
      FaultClass::partition,
      fmt::format(
          "the partition's input exceeds this worker's share of the memory budget ({} of input rows read so far, {} allowed): "
          "raise memory_budget, lower workers or make partitions smaller",
          format_bytes(static_cast<double>(rows.bytes())), format_bytes(static_cast<double>(budget_bytes))));
}

}  // namespace

ResolvedSource resolve_source(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::string& series,
                              std::vector<std::string>& findings) {
  ResolvedSource out;
  if (fs.source.query.empty()) {
    resolve_tables(tx, fs, series, out, findings);
  } else {
    resolve_query(tx, fs, series, out, findings);
  }
  return out;
}

std::string describe_key(const spec::FeatureSet& fs, const ResolvedSource& source, std::span<const std::byte> key) {
  std::string out;
  for (std::size_t k = 0; k < fs.key.size(); ++k) {
    std::uint32_t length = 0;
    std::memcpy(&length, key.data(), 4);
    length = __builtin_bswap32(length);
    key = key.subspan(4);
    out += (k == 0 ? "" : ", ") + fs.key[k] + '=';
    if (length == ~std::uint32_t{0}) {
      out += "NULL";
      continue;
    }
    out += pg::field_text(key.first(length), source.key_types[k]);
    key = key.subspan(length);
  }
  return out;
}

void InputRows::clear(std::size_t inputs) {
  order.clear();
  values.resize(inputs);
  for (auto& v : values) v.clear();
  key_bytes.clear();
  key_ends.clear();
  segments.clear();
  bad_keys.clear();
}

std::size_t InputRows::output_rows() const noexcept {
  std::size_t n = 0;
  for (const Segment& s : segments) n += s.end - s.output;
  return n;
}

std::span<const std::byte> InputRows::key(std::size_t row) const noexcept {
  if (key_ends.empty()) return {};
  const std::size_t begin = row == 0 ? 0 : key_ends[row - 1];
  return std::span(key_bytes).subspan(begin, key_ends[row] - begin);
}

std::size_t InputRows::bytes() const noexcept {
  return order.capacity() * sizeof(OrderValue) * (1 + values.size()) + key_bytes.capacity() +
         key_ends.capacity() * sizeof(std::size_t);
}

namespace {

std::string source_query(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const ResolvedSource& source,
                         OrderRange range) {
  std::optional<OrderValue> lookback_start;
  if (fs.key.empty() && fs.lookback == spec::Lookback::rows) {
    const pqxx::row row = tx.exec1(select_lookback_start(fs, source, range));
    if (!row[0].is_null()) lookback_start = row[0].as<OrderValue>();
  }
  return select_rows(fs, source, range, lookback_start);
}

int source_fields(const spec::FeatureSet& fs) { return static_cast<int>(1 + fs.key.size() + fs.inputs.size()); }

}  // namespace

void read_source(pg::Session& session, pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                 const ResolvedSource& source, OrderRange range, std::size_t budget_bytes, InputRows& rows) {
  rows.clear(fs.inputs.size());
  pg::CopyOut copy(session, source_query(tx, fs, source, range), source_fields(fs));
  RowReader reader(fs, source, range, rows);
  for (std::size_t taken = 0; copy.next(); ++taken) {
    reader.take(copy);
    if ((taken & 0xfff) == 0) check_budget(rows, budget_bytes);
  }
  check_budget(rows, budget_bytes);
}

void read_source(pg::Session& session, pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                 const ResolvedSource& source, OrderRange range, InputStore& store) {
  pg::CopyOut copy(session, source_query(tx, fs, source, range), source_fields(fs));
  RowReader reader(fs, source, range, store.rows(), &store);
  while (copy.next()) reader.take(copy);
  store.finish();
}

std::int64_t estimate_rows(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const ResolvedSource& source,
                           OrderRange range) {
  // The first table alone: the planner's guess at a join's size is far worse than its guess at a range of one column.
  ResolvedSource first = source;
  spec::FeatureSet bare = fs;
  if (!first.tables.empty()) {
    first.tables.resize(1);
    bare.inputs.clear();
    bare.key.clear();
  }
  const pqxx::result plan = tx.exec("EXPLAIN " + select_source(bare, first, {range.lower, range.upper}));
  const auto line = plan[0][0].as<std::string>();
  const std::size_t at = line.find(" rows=");
  return at == std::string::npos ? 0 : std::stoll(line.substr(at + 6));
}

}  // namespace regfeatd::populate
