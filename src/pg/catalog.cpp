#include "regfeatd/pg/catalog.hpp"

#include <charconv>
#include <limits>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::pg {
namespace {

constexpr OrderValue kLowest = std::numeric_limits<OrderValue>::min();
constexpr OrderValue kHighest = std::numeric_limits<OrderValue>::max();

std::vector<ColumnInfo> read_columns(pqxx::transaction_base& tx, std::uint32_t oid) {
  std::vector<ColumnInfo> columns;
  for (
      const auto& row : tx.exec_params(
          "SELECT attname, base.oid::bigint, format_type(base.oid, base.modifier), attnotnull, "
          "       atthasdef OR attidentity <> '' OR attgenerated <> '', "
          "       NOT EXISTS (SELECT FROM pg_collation c WHERE c.oid = attcollation AND NOT c.collisdeterministic), "
          "       has_column_privilege(attrelid, attnum, 'SELECT') "
          "  FROM pg_attribute "
          // A domain is sent, compared and stored as the type below it.
          "  CROSS JOIN LATERAL (WITH RECURSIVE below AS (SELECT atttypid AS oid, atttypmod AS modifier, 0 AS depth UNION ALL "
          "      SELECT t.typbasetype, t.typtypmod, b.depth + 1 FROM below b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd') "
          "    SELECT oid, modifier FROM below ORDER BY depth DESC LIMIT 1) base "
          " WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
          oid)) {
    columns.push_back({row[0].as<std::string>(), type_from_oid(row[1].as<std::uint32_t>()), row[2].as<std::string>(),
                       row[5].as<bool>() && equal_means_same_bytes(row[2].as<std::string>()), row[3].as<bool>(),
                       row[4].as<bool>(), row[6].as<bool>()});
  }
  return columns;
}

std::vector<UniqueKey> read_unique_keys(pqxx::transaction_base& tx, std::uint32_t oid) {
  std::vector<UniqueKey> keys;
  for (const auto& row : tx.exec_params(
           "SELECT c.relname, i.indisprimary, a.attname, i.indexrelid::bigint "
           "  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
           "  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) "
           "  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0 "
           " WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indisvalid AND k.place <= i.indnkeyatts "
           " ORDER BY i.indexrelid, k.place",
           oid)) {
    const auto name = row[0].as<std::string>();
    if (keys.empty() || keys.back().name != name) keys.push_back({name, {}, row[1].as<bool>()});
    keys.back().columns.push_back(row[2].is_null() ? std::string("(expression)") : row[2].as<std::string>());
  }
  return keys;
}

/// One bound value of a pg_get_expr text: `'2024-07-01 00:00:00'`, `100`, `MINVALUE`, `MAXVALUE`.
OrderValue parse_bound(std::string_view text, const std::string& whole) {
  const auto unreadable = [&] {
    return Fault(FaultClass::configuration,
                 "cannot read the partition bounds `" + whole + "`: expected a range on one time or integer column");
  };
  if (text == "MINVALUE") return kLowest;
  if (text == "MAXVALUE") return kHighest;
  if (text.size() >= 2 && text.front() == '\'' && text.back() == '\'') text = text.substr(1, text.size() - 2);
  if (text == "-infinity") return kLowest;
  if (text == "infinity") return kHighest;
  OrderValue number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return number;
  if (const auto time = parse_time(text)) return *time;
  throw unreadable();
}

/// `FOR VALUES FROM (x) TO (y)`.
OrderRange parse_bounds(const std::string& text) {
  const auto part = [&](std::string_view after) -> std::string_view {
    const std::size_t at = text.find(after);
    if (at == std::string::npos) return {};
    const std::size_t from = at + after.size();
    const std::size_t to = text.find(')', from);
    return std::string_view(text).substr(from, to - from);
  };
  return {parse_bound(part("FROM ("), text), parse_bound(part("TO ("), text)};
}

}  // namespace

bool equal_means_same_bytes(const std::string& type_name) {
  const std::string base = type_name.substr(0, type_name.find_first_of("(["));
  for (const char* type : {"real", "double precision", "interval", "time with time zone", "jsonb", "citext", "numrange",
                           "nummultirange", "record"}) {
    if (base == type) return false;
  }
  if (type_name.ends_with("[]")) return base != "numeric" && base != "bpchar";
  // Blanks at the end count for nothing; a length pads all values of the column alike.
  return type_name != "bpchar" && type_name != "character";
}

ColumnType type_from_oid(std::uint32_t oid) noexcept {
  switch (oid) {  // pg_type.dat: these oids are fixed
    case 1114:
      return ColumnType::timestamp;
    case 1184:
      return ColumnType::timestamptz;
    case 1082:
      return ColumnType::date;
    case 21:
      return ColumnType::int2;
    case 23:
      return ColumnType::int4;
    case 20:
      return ColumnType::int8;
    case 700:
      return ColumnType::float4;
    case 701:
      return ColumnType::float8;
    case 1700:
      return ColumnType::numeric;
    case 25:
    case 1043:
    case 1042:
      return ColumnType::text;
    default:
      return ColumnType::other;
  }
}

const ColumnInfo* TableInfo::column(const std::string& column_name) const noexcept {
  for (const ColumnInfo& c : columns) {
    if (c.name == column_name) return &c;
  }
  return nullptr;
}

std::optional<TableInfo> find_table(pqxx::transaction_base& tx, const TableName& name) {
  // has_*_privilege on a schema the role cannot use would raise: to_regclass finds nothing there, and says so.
  const pqxx::result found = tx.exec_params(
      "SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, pg_has_role(c.relowner, 'USAGE'), "
      "       has_any_column_privilege(c.oid, 'SELECT'), has_table_privilege(c.oid, 'INSERT'), "
      "       has_table_privilege(c.oid, 'DELETE'), has_table_privilege(c.oid, 'TRUNCATE'), p.partstrat::text, "
      "       (SELECT string_agg(coalesce(a.attname, '(expression)'), E'\\n' ORDER BY k.place) "
      "          FROM unnest(p.partattrs::int2[]) WITH ORDINALITY k(attnum, place) "
      "          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND k.attnum > 0) "
      "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid "
      " WHERE c.oid = to_regclass($1)",
      name.quoted());
  if (found.empty()) return std::nullopt;
  const auto row = found[0];
  TableInfo t;
  t.oid = row[0].as<std::uint32_t>();
  t.name = {row[1].as<std::string>(), row[2].as<std::string>()};
  t.kind = row[3].as<std::string>()[0];
  t.owned = row[4].as<bool>();
  t.can_select = row[5].as<bool>();
  t.can_insert = row[6].as<bool>();
  t.can_delete = row[7].as<bool>();
  t.can_truncate = row[8].as<bool>();
  if (!row[9].is_null()) {
    t.partition_strategy = row[9].as<std::string>()[0];
    std::string names = row[10].as<std::string>();
    for (std::size_t at = 0; at <= names.size();) {
      const std::size_t end = std::min(names.find('\n', at), names.size());
      t.partition_columns.push_back(names.substr(at, end - at));
      at = end + 1;
    }
  }
  t.columns = read_columns(tx, t.oid);
  t.unique_keys = read_unique_keys(tx, t.oid);
  return t;
}

namespace {

/// nullopt: a child was dropped, or exchanged by another worker, while the catalogue was read. Its row is of the statement's
/// snapshot, its bound of now: NULL.
std::optional<std::vector<ChildInfo>> try_children_meeting(pqxx::transaction_base& tx, std::uint32_t parent,
                                                           OrderRange range) {
  std::vector<ChildInfo> children;
  for (const auto& row : tx.exec_params(
           "SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, pg_get_expr(c.relpartbound, c.oid), "
           "       coalesce(pg_has_role(c.relowner, 'USAGE'), false) "
           "  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
           "  JOIN pg_namespace n ON n.oid = c.relnamespace "
           " WHERE i.inhparent = $1::bigint::oid AND c.relpartbound IS NOT NULL",
           parent)) {
    if (row[4].is_null()) return std::nullopt;
    ChildInfo child{row[0].as<std::uint32_t>(),
                    {row[1].as<std::string>(), row[2].as<std::string>()},
                    row[3].as<std::string>()[0],
                    false,
                    {},
                    row[5].as<bool>()};
    const auto bound = row[4].as<std::string>();
    if (bound == "DEFAULT") {
      child.is_default = true;
      child.bounds = {kLowest, kHighest};
    } else {
      child.bounds = parse_bounds(bound);
    }
    if (child.is_default || (child.bounds.lower < range.upper && range.lower < child.bounds.upper))
      children.push_back(child);
  }
  return children;
}

}  // namespace

std::vector<ChildInfo> children_meeting(pqxx::transaction_base& tx, std::uint32_t parent, OrderRange range) {
  constexpr int kTries = 20;  // each looks with a snapshot of its own
  for (int i = 0; i < kTries; ++i) {
    if (auto children = try_children_meeting(tx, parent, range)) return std::move(*children);
  }
  throw Fault(FaultClass::transient, "the partitions of a target change faster than they can be looked at", "55006");
}

bool has_index(pqxx::transaction_base& tx, std::uint32_t table, const std::vector<std::string>& any_order,
               const std::string& then) {
  return !tx.exec_params(
                "SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam "
                "  CROSS JOIN LATERAL (SELECT array_agg(a.attname::text ORDER BY k.place) AS names "
                "                        FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) "
                "                        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) n "
                " WHERE i.indrelid = $1::bigint::oid AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' "
                "   AND i.indexprs IS NULL AND n.names[1:$3] @> $2::text[] AND n.names[$3 + 1] = $4 LIMIT 1",
                table, array_literal(any_order), any_order.size(), then)
              .empty();
}

SchemaInfo find_schema(pqxx::transaction_base& tx, const std::string& schema) {
  const pqxx::result found = tx.exec_params(
      schema.empty()
          ? "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = current_schema() AND $1 = ''"
          : "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1",
      schema);
  if (found.empty()) return {};
  return {true, found[0][0].as<bool>()};
}

std::string array_literal(const std::vector<std::string>& items) {
  std::string out = "{";
  for (const std::string& item : items) {
    if (out.size() > 1) out += ',';
    out += '"';
    for (const char c : item) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out += '}';
}

}  // namespace regfeatd::pg
