#include "regfeatd/populate/target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "regfeatd/base/fault.hpp"
#include "source_sql.hpp"

namespace regfeatd::populate {
namespace {

using pg::quote_identifier;

std::optional<pg::FeatureType> feature_type(pg::ColumnType type) {
  switch (type) {
    case pg::ColumnType::float8:
      return pg::FeatureType::float8;
    case pg::ColumnType::float4:
      return pg::FeatureType::float4;
    case pg::ColumnType::numeric:
      return pg::FeatureType::numeric;
    default:
      return std::nullopt;
  }
}

std::string feature_sql_type(const spec::FeatureSet& fs, const spec::Target& target) {
  return spec::is_real(spec::storage_of(fs, target)) ? "real" : "double precision";
}

std::string join(const std::vector<std::string>& names, const char* separator = ", ") {
  std::string out;
  for (const std::string& n : names) out += (out.empty() ? "" : separator) + n;
  return out;
}

std::vector<std::string> quoted(const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (const std::string& n : names) out.push_back(quote_identifier(n));
  return out;
}

std::vector<std::string> missing_columns(const pg::TableInfo& table, const std::vector<std::string>& wanted) {
  std::vector<std::string> missing;
  for (const std::string& name : wanted) {
    if (table.column(name) == nullptr) missing.push_back('"' + name + '"');
  }
  return missing;
}

void check_order_column(const spec::FeatureSet& fs, const spec::Target& target, ResolvedTarget& out,
                        std::vector<std::string>& findings) {
  const pg::ColumnInfo* order = out.table.column(target.order_column);
  const std::string where = out.table.name.text();
  if (order == nullptr) {
    findings.push_back(fmt::format("target {}: no column \"{}\" (the order column)", where, target.order_column));
    return;
  }
  out.order_type = order->type;
  const bool time = order->type == pg::ColumnType::timestamp || order->type == pg::ColumnType::timestamptz;
  const bool sequence = order->type == pg::ColumnType::int8 || order->type == pg::ColumnType::int4;
  if (fs.order == OrderKind::time ? !time : !sequence) {
    findings.push_back(fmt::format("target {}: order column \"{}\" is {}; expected {}", where, target.order_column,
                                   order->type_name,
                                   fs.order == OrderKind::time ? "timestamp or timestamptz" : "integer or bigint"));
  }
  if (order->type == pg::ColumnType::int4) out.layout.order = pg::OrderType::int4;
}

void check_features(const spec::FeatureSet& fs, const spec::Target& target, ResolvedTarget& out, bool columns_will_come,
                    std::vector<std::string>& findings) {
  const std::string where = out.table.name.text();
  out.features = spec::written_columns(fs, target);
  const auto missing = missing_columns(out.table, out.features);
  if (!missing.empty() && !columns_will_come) {
    findings.push_back(fmt::format(
        "target {}: {} missing: {}", where,
        missing.size() == 1 ? "a feature column is" : std::to_string(missing.size()) + " feature columns are",
        join(missing)));
  }
  for (const std::string& name : out.features) {
    const pg::ColumnInfo* column = out.table.column(name);
    const auto type = column == nullptr ? pg::FeatureType::float8 : feature_type(column->type);
    if (!type) {
      findings.push_back(fmt::format("target {}: column \"{}\" is {}; expected double precision, real or numeric",
                                     where, name, column->type_name));
    }
    out.layout.features.push_back(type.value_or(pg::FeatureType::float8));
  }
}

/// Columns that we do not write must get a value from elsewhere; unique keys must hold for every series and key.
void check_rest(const spec::FeatureSet& fs, const spec::Target& target, const ResolvedTarget& out,
                std::vector<std::string>& findings) {
  const std::string where = out.table.name.text();
  std::set<std::string> written(out.features.begin(), out.features.end());
  written.insert(target.order_column);
  written.insert(fs.key.begin(), fs.key.end());
  for (const pg::ColumnInfo& c : out.table.columns) {
    if (c.not_null && !c.has_default && !written.contains(c.name)) {
      findings.push_back(fmt::format(
          "target {}: column \"{}\" is NOT NULL without a default, and no feature is written to it", where, c.name));
    }
    if (c.not_null && std::find(out.features.begin(), out.features.end(), c.name) != out.features.end()) {
      findings.push_back(fmt::format(
          "target {}: feature column \"{}\" is NOT NULL, but features are NULL where a window is incomplete", where,
          c.name));
    }
  }
  for (const pg::UniqueKey& unique : out.table.unique_keys) {
    std::vector<std::string> needed = fs.key;
    needed.push_back(target.order_column);
    for (const std::string& n : needed) {
      if (std::find(unique.columns.begin(), unique.columns.end(), n) != unique.columns.end()) continue;
      findings.push_back(fmt::format("target {}: unique key {} ({}) lacks column \"{}\": rows would collide", where,
                                     unique.name, join(unique.columns), n));
    }
  }
}

void check_privileges(const ResolvedTarget& out, std::vector<std::string>& findings) {
  const std::string where = out.table.name.text();
  if (!out.table.can_insert) findings.push_back(fmt::format("target {}: no INSERT privilege", where));
  if (out.table.kind == 'r' && !out.table.can_delete)  // of a partitioned one, by partition: `place`
    findings.push_back(fmt::format("target {}: no DELETE privilege, which replacing a partition's rows needs", where));
}

void check_partitioning(const spec::Target& target, const ResolvedTarget& out, std::vector<std::string>& findings) {
  const pg::TableInfo& t = out.table;
  const std::string where = t.name.text();
  if (t.kind != 'r' && t.kind != 'p') {
    findings.push_back(fmt::format("target {}: it is not a table", where));
    return;
  }
  if (!t.partitioned()) return;
  if (t.partition_strategy != 'r' || t.partition_columns != std::vector{target.order_column}) {
    findings.push_back(fmt::format("target {}: it is partitioned by {} ({}); expected RANGE (\"{}\")", where,
                                   t.partition_strategy == 'r'   ? "RANGE"
                                   : t.partition_strategy == 'l' ? "LIST"
                                                                 : "HASH",
                                   join(t.partition_columns), target.order_column));
  }
}

}  // namespace

std::vector<std::string> target_ddl(const spec::FeatureSet& fs, const spec::Target& target, const std::string& series,
                                    const std::vector<std::string>& key_types) {
  const pg::TableName name = pg::TableName::parse(spec::written_table(fs, target, series));
  const std::string order = quote_identifier(target.order_column);
  std::string columns = "  " + order + (fs.order == OrderKind::time ? " timestamptz NOT NULL" : " bigint NOT NULL");
  for (std::size_t k = 0; k < fs.key.size(); ++k)
    columns += fmt::format(",\n  {} {} NOT NULL", quote_identifier(fs.key[k]), key_types.at(k));
  const std::string type = feature_sql_type(fs, target);
  for (const std::string& c : spec::written_columns(fs, target))
    columns += fmt::format(",\n  {} {}", quote_identifier(c), type);
  // In a plain table a partition is a range of the order column, which is then deleted and counted by the primary key.
  std::vector<std::string> unique = quoted(fs.key);
  unique.insert(target.partition.empty() ? unique.begin() : unique.end(), order);
  std::string create =
      fmt::format("CREATE TABLE {} (\n{},\n  PRIMARY KEY ({})\n)", name.quoted(), columns, join(unique));
  if (!target.partition.empty()) create += " PARTITION BY RANGE (" + order + ')';
  return {create, fmt::format("COMMENT ON TABLE {} IS {}", name.quoted(),
                              pg::quote_literal("Features of feature set " + fs.name + ", written by regfeatd."))};
}

std::vector<std::string> missing_column_ddl(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                            const spec::Target& target, const std::string& series) {
  const auto table = pg::find_table(tx, pg::TableName::parse(spec::written_table(fs, target, series)));
  if (!table) return {};
  std::string additions;
  for (const std::string& name : spec::written_columns(fs, target)) {
    if (table->column(name) != nullptr) continue;
    additions += fmt::format("{}ADD COLUMN {} {}", additions.empty() ? "" : ", ", quote_identifier(name),
                             feature_sql_type(fs, target));
  }
  if (additions.empty() ||
      tx.exec_params("SELECT FROM regfeat.target WHERE target = $1::bigint::oid AND created", table->oid).empty())
    return {};
  return {fmt::format("ALTER TABLE {} {}", table->name.quoted(), additions)};
}

std::optional<ResolvedTarget> resolve_target(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                             const spec::Target& target, const std::string& series,
                                             std::vector<std::string>& findings, bool columns_will_come) {
  const pg::TableName name = pg::TableName::parse(spec::written_table(fs, target, series));
  const auto table = pg::find_table(tx, name);
  if (!table) {
    const pg::SchemaInfo schema = pg::find_schema(tx, name.schema);
    if (!schema.exists) {
      findings.push_back(fmt::format("target {}: schema \"{}\" does not exist", name.text(), name.schema));
    } else if (!schema.can_create) {
      findings.push_back(
          fmt::format("target {}: it does not exist, and there is no CREATE privilege on its schema", name.text()));
    }
    return std::nullopt;
  }
  ResolvedTarget out;
  out.table = *table;
  check_partitioning(target, out, findings);
  check_order_column(fs, target, out, findings);
  const auto missing_keys = missing_columns(*table, fs.key);
  if (!missing_keys.empty())
    findings.push_back(fmt::format("target {}: key columns are missing: {}", name.text(), join(missing_keys)));
  check_features(fs, target, out, columns_will_come, findings);
  check_rest(fs, target, out, findings);
  check_privileges(out, findings);
  out.order_column = quote_identifier(target.order_column);
  out.layout.key_fields = fs.key.size();
  std::vector<std::string> columns{target.order_column};
  columns.insert(columns.end(), fs.key.begin(), fs.key.end());
  out.statistics = spec::statistics_of(fs, target);
  out.filter_columns = join(quoted(columns));
  columns.insert(columns.end(), out.features.begin(), out.features.end());
  out.copy_columns = join(quoted(columns));
  return out;
}

void check_key_types(const spec::FeatureSet& fs, const ResolvedSource& source, const ResolvedTarget& target,
                     std::vector<std::string>& findings) {
  // Keys go through in binary form: the types have to be the same, but for the modifier of character types.
  const auto plain = [](const std::string& type) {
    const std::string base = type.substr(0, type.find('('));
    return base == "character varying" ? std::string("text") : base;
  };
  for (std::size_t k = 0; k < fs.key.size() && k < source.key_types.size(); ++k) {
    const pg::ColumnInfo* column = target.table.column(fs.key[k]);
    if (column == nullptr || plain(column->type_name) == plain(source.key_types[k])) continue;
    findings.push_back(fmt::format("target {}: key column \"{}\" is {}, but the source's is {}; make them the same",
                                   target.table.name.text(), fs.key[k], column->type_name, source.key_types[k]));
  }
}

std::int64_t count_rows(pqxx::transaction_base& tx, const ResolvedTarget& target, OrderRange range) {
  const std::string& order = target.order_column;
  return tx
      .exec1(fmt::format("SELECT count(*) FROM {} WHERE {} >= {} AND {} < {}", target.table.name.quoted(), order,
                         order_literal(target.order_type, range.lower), order,
                         order_literal(target.order_type, range.upper)))[0]
      .as<std::int64_t>();
}

}  // namespace regfeatd::populate
