#pragma once

#include <string>
#include <string_view>

namespace regfeatd::pg {

/// `"my col"`: a name as an SQL identifier, always quoted.
[[nodiscard]] std::string quote_identifier(std::string_view name);

/// `'it''s'`: a value as an SQL literal; E'' is used where it holds a backslash.
[[nodiscard]] std::string quote_literal(std::string_view value);

/// A table as named in a specification: `schema.table`, split at the first dot, or `table`.
struct TableName {
  std::string schema;  ///< empty: found through the search path
  std::string name;

  [[nodiscard]] static TableName parse(std::string_view text);
  [[nodiscard]] std::string quoted() const;  ///< for SQL
  [[nodiscard]] std::string text() const;    ///< for people
  friend bool operator==(const TableName&, const TableName&) = default;
};

}  // namespace regfeatd::pg
