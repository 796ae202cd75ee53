#pragma once

#include <cstdint>
#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/names.hpp"

namespace regfeatd::pg {

/// The types that the program tells apart; the rest is `other`.
enum class ColumnType { timestamp, timestamptz, date, int2, int4, int8, float4, float8, numeric, text, other };

[[nodiscard]] constexpr bool is_time(ColumnType t) noexcept {
  return t == ColumnType::timestamp || t == ColumnType::timestamptz || t == ColumnType::date;
}
[[nodiscard]] constexpr bool is_integer(ColumnType t) noexcept {
  return t == ColumnType::int2 || t == ColumnType::int4 || t == ColumnType::int8;
}
[[nodiscard]] constexpr bool is_number(ColumnType t) noexcept {
  return is_integer(t) || t == ColumnType::float4 || t == ColumnType::float8 || t == ColumnType::numeric;
}

[[nodiscard]] ColumnType type_from_oid(std::uint32_t oid) noexcept;
/// Whether equal values of a type, named as psql does, have equal bytes in the send format; numeric passes, as its scale
/// can be brought to one form.
[[nodiscard]] bool equal_means_same_bytes(const std::string& type_name);

struct ColumnInfo {
  std::string name;
  ColumnType type = ColumnType::other;
  std::string type_name;  ///< as psql shows it, with its modifier; of a domain the type below it, as `type`
  bool bytewise = true;   ///< equal values have equal bytes, numeric aside (1.0 and 1.00)
  bool not_null = false;
  bool has_default = false;  ///< also identity and generated columns
  bool can_select = true;    ///< the current role may read it
};

struct UniqueKey {
  std::string name;
  std::vector<std::string> columns;
  bool primary = false;
};

/// A table, partitioned table or view as the catalogue describes it, and what the current role may do with it.
struct TableInfo {
  std::uint32_t oid = 0;
  TableName name;   ///< with its schema
  char kind = 'r';  ///< pg_class.relkind: r table, p partitioned, v view, m materialised view, f foreign
  std::vector<ColumnInfo> columns;
  std::vector<UniqueKey> unique_keys;
  std::vector<std::string> partition_columns;  ///< kind p only
  char partition_strategy = 0;                 ///< r range, l list, h hash
  bool owned = false;                          ///< the current role may act as the owner
  bool can_select = false, can_insert = false, can_delete = false, can_truncate = false;

  [[nodiscard]] const ColumnInfo* column(const std::string& column_name) const noexcept;
  [[nodiscard]] bool partitioned() const noexcept { return kind == 'p'; }
};

/// nullopt when there is no such table (or no such schema).
[[nodiscard]] std::optional<TableInfo> find_table(pqxx::transaction_base& tx, const TableName& name);

/// A child of a table partitioned by range on one column.
struct ChildInfo {
  std::uint32_t oid = 0;
  TableName name;
  char kind = 'r';
  bool is_default = false;
  OrderRange bounds;   ///< MINVALUE and MAXVALUE become the least and greatest OrderValue
  bool owned = false;  ///< the current role may act as the owner
};

/// The children of `parent` whose bounds meet `range`, and a default partition if there is one. Needs the session's
/// time zone to be UTC. Throws Fault (configuration) for bounds that cannot be read.
[[nodiscard]] std::vector<ChildInfo> children_meeting(pqxx::transaction_base& tx, std::uint32_t parent,
                                                      OrderRange range);

/// Whether a table has a whole (not partial) index whose first columns are `any_order`, in whichever order, then `then`.
[[nodiscard]] bool has_index(pqxx::transaction_base& tx, std::uint32_t table, const std::vector<std::string>& any_order,
                             const std::string& then);

/// Does a schema exist, and may the current role create tables in it?
struct SchemaInfo {
  bool exists = false;
  bool can_create = false;
};
[[nodiscard]] SchemaInfo find_schema(pqxx::transaction_base& tx, const std::string& schema);

/// A one-dimensional text[] literal holding `items`, for parameters.
[[nodiscard]] std::string array_literal(const std::vector<std::string>& items);

}  // namespace regfeatd::pg
