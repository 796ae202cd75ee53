#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "csv_reader.hpp"
#include "regfeatd/base/order.hpp"

namespace regfeatd::cli {

/// Which columns of the input mean what; indices into the header.
struct TableLayout {
  std::string file;                 ///< for messages
  std::vector<std::string> header;  ///< column names
  std::size_t order_column = 0;
  OrderKind order_kind = OrderKind::time;
  std::vector<std::size_t> key_columns;
  std::vector<std::size_t> value_columns;
  std::vector<std::string> input_names;  ///< of the value columns, for the names of output columns
  std::string value_hint;                ///< appended to the message about a value that is not a number

  /// Time and key columns: they are passed through.
  [[nodiscard]] std::size_t passed_columns() const noexcept { return 1 + key_columns.size(); }
};

/// A block of the input, read: one element per row in every vector. Reused from block to block.
struct TableRows {
  std::vector<OrderValue> order;
  std::vector<std::vector<double>> values;  ///< by value column; NaN is NULL
  std::vector<std::uint32_t> key;           ///< index into `keys`
  std::vector<std::int64_t> line;
  std::vector<std::string_view> passed;  ///< passed_columns() a row, time first, as they stand in the block
  std::vector<std::string>
      keys;           ///< the different keys, by first appearance; the text identifies, `describe_key` shows it
  std::string error;  ///< `file:line: ...` of the first row that is bad; the rows before it are good

  [[nodiscard]] std::size_t size() const noexcept { return order.size(); }
};

/// Reads the rows of `block` up to the first bad one. `rows` borrows the bytes of `block`.
void read_rows(const CsvBlock& block, const TableLayout& layout, TableRows& rows);

/// NULL: nothing, NULL, NaN or an infinity, which give NaN. nullopt for what is no number or out of a
/// double's range.
[[nodiscard]] std::optional<double> parse_value(std::string_view text) noexcept;
[[nodiscard]] std::optional<OrderValue> parse_sequence(std::string_view text) noexcept;

/// `player_id=7, season=2020-21`: a key, for messages. Empty without key columns.
[[nodiscard]] std::string describe_key(const TableLayout& layout, const std::string& identity);

/// Text of the user, for messages: in double quotes, control characters replaced, cut when long.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace regfeatd::cli
