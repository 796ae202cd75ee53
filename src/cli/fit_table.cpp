#include "fit_table.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>
#include <unordered_map>

namespace regfeatd::cli {
namespace {

constexpr double kNull = std::numeric_limits<double>::quiet_NaN();

/// A bad row: what is wrong with it, without file and line.
struct BadRow {
  std::string message;
};

std::string at_line(const TableLayout& layout, std::int64_t line) {
  return layout.file + ":" + std::to_string(line) + ": ";
}

/// Two keys are the same if and only if their identities are: each value preceded by its length.
void append_key_value(std::string& identity, std::string_view value) {
  identity += std::to_string(value.size());
  identity += ':';
  identity += value;
}

/// Reads one block; keeps what goes from one row to the next.
class RowReader {
 public:
  RowReader(const TableLayout& layout, TableRows& rows) : layout_(layout), rows_(rows) {}

  void add(const std::vector<Field>& fields, std::int64_t line);

 private:
  [[nodiscard]] OrderValue read_order(const Field& field);
  [[nodiscard]] double read_value(const Field& field, std::size_t column);
  [[nodiscard]] std::uint32_t read_key(const std::vector<Field>& fields);
  [[nodiscard]] bool same_key_as_last(const std::vector<Field>& fields) const noexcept;

  const TableLayout& layout_;
  TableRows& rows_;
  std::unordered_map<std::string, std::uint32_t> key_index_;
  std::vector<double> values_;
  std::string scratch_;
  std::string identity_;
};

OrderValue RowReader::read_order(const Field& field) {
  const std::string_view text = field_value(field, scratch_);
  const bool is_time = layout_.order_kind == OrderKind::time;
  if (const auto value = is_time ? parse_time(text) : parse_sequence(text)) return *value;
  throw BadRow{"column " + in_quotes(layout_.header[layout_.order_column]) + ": " + in_quotes(text) +
               (is_time ? " is not a time such as 2024-07-01T12:30:00Z" : " is not an integer")};
}

double RowReader::read_value(const Field& field, std::size_t column) {
  const std::string_view text = field_value(field, scratch_);
  if (const auto value = parse_value(text)) return *value;
  throw BadRow{"column " + in_quotes(layout_.header[column]) + ": " + in_quotes(text) + " is not a number" +
               layout_.value_hint};
}

bool RowReader::same_key_as_last(const std::vector<Field>& fields) const noexcept {
  if (rows_.size() == 0) return false;
  const std::string_view* const last = &rows_.passed[(rows_.size() - 1) * layout_.passed_columns() + 1];
  for (std::size_t k = 0; k < layout_.key_columns.size(); ++k) {
    if (fields[layout_.key_columns[k]].raw != last[k]) return false;
  }
  return true;
}

std::uint32_t RowReader::read_key(const std::vector<Field>& fields) {
  if (same_key_as_last(fields)) return rows_.key.back();
  identity_.clear();
  for (const std::size_t column : layout_.key_columns)
    append_key_value(identity_, field_value(fields[column], scratch_));
  const auto [at, is_new] = key_index_.try_emplace(identity_, static_cast<std::uint32_t>(rows_.keys.size()));
  if (is_new) rows_.keys.push_back(identity_);
  return at->second;
}

void RowReader::add(const std::vector<Field>& fields, std::int64_t line) {
  if (fields.size() != layout_.header.size()) {
    throw BadRow{std::to_string(fields.size()) + " fields where the header has " +
                 std::to_string(layout_.header.size())};
  }
  const OrderValue order = read_order(fields[layout_.order_column]);
  values_.clear();
  for (const std::size_t column : layout_.value_columns) values_.push_back(read_value(fields[column], column));
  const std::uint32_t key = read_key(fields);

  rows_.order.push_back(order);
  for (std::size_t v = 0; v < values_.size(); ++v) rows_.values[v].push_back(values_[v]);
  rows_.key.push_back(key);
  rows_.line.push_back(line);
  rows_.passed.push_back(fields[layout_.order_column].raw);
  for (const std::size_t column : layout_.key_columns) rows_.passed.push_back(fields[column].raw);
}

void clear(TableRows& rows, std::size_t value_columns) {
  rows.order.clear();
  rows.values.resize(value_columns);
  for (auto& column : rows.values) column.clear();
  rows.key.clear();
  rows.line.clear();
  rows.passed.clear();
  rows.keys.clear();
  rows.error.clear();
}

}  // namespace

void read_rows(const CsvBlock& block, const TableLayout& layout, TableRows& rows) {
  clear(rows, layout.value_columns.size());
  RowReader reader(layout, rows);
  RecordReader records(block.bytes, block.first_line);
  std::vector<Field> fields;
  fields.reserve(layout.header.size() + 1);
  try {
    while (records.next(fields)) reader.add(fields, records.line());
  } catch (const BadRow& bad) {
    rows.error = at_line(layout, records.line()) + bad.message;
  } catch (const CsvError& bad) {
    rows.error = at_line(layout, bad.line()) + bad.what();
  }
}

std::optional<double> parse_value(std::string_view text) noexcept {
  if (text.empty() || text == "NULL") return kNull;
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return std::isfinite(value) ? value : kNull;
}

std::optional<OrderValue> parse_sequence(std::string_view text) noexcept {
  OrderValue value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string describe_key(const TableLayout& layout, const std::string& identity) {
  std::string text;
  std::size_t pos = 0;
  for (const std::size_t column : layout.key_columns) {
    const std::size_t colon = identity.find(':', pos);
    const std::size_t size = std::stoul(identity.substr(pos, colon - pos));
    if (!text.empty()) text += ", ";
    text += layout.header[column] + "=" + in_quotes(identity.substr(colon + 1, size));
    pos = colon + 1 + size;
  }
  return text;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMaxShown = 60;
  std::size_t size = std::min(text.size(), kMaxShown);
  while (size < text.size() && size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80)
    --size;  // not inside a character
  std::string shown = "\"";
  for (const char c : text.substr(0, size)) shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return shown + (size < text.size() ? "...\"" : "\"");
}

}  // namespace regfeatd::cli
