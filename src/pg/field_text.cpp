#include "regfeatd/pg/field_text.hpp"

#include <cstdint>
#include <cstdio>

#include "regfeatd/base/order.hpp"

namespace regfeatd::pg {
namespace {

std::int64_t big_endian(std::span<const std::byte> bytes) {
  std::uint64_t number = !bytes.empty() && std::to_integer<std::uint8_t>(bytes[0]) >= 0x80 ? ~std::uint64_t{0} : 0;
  for (const std::byte b : bytes) number = number << 8 | std::to_integer<std::uint8_t>(b);
  return static_cast<std::int64_t>(number);
}

std::string hex(std::span<const std::byte> bytes, const char* dashes_before = "") {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const char* d = dashes_before; *d != 0; ++d) {
      if (i == static_cast<std::size_t>(*d)) out += '-';
    }
    char text[4];
    std::snprintf(text, sizeof text, "%02x", std::to_integer<unsigned>(bytes[i]));
    out += text;
  }
  return out;
}

/// numeric_send: counts of base-10000 digits and weight, sign, display scale, digits.
std::string numeric_text(std::span<const std::byte> field) {
  const auto word = [&](std::size_t i) { return static_cast<int>(big_endian(field.subspan(2 * i, 2))); };
  if (field.size() < 8) return hex(field);
  const int count = word(0), weight = word(1), sign = word(2) & 0xffff, scale = word(3);
  if (sign != 0 && sign != 0x4000) return sign == 0xc000 ? "NaN" : sign == 0xd000 ? "Infinity" : "-Infinity";
  std::string whole, fraction;
  for (int place = std::max(weight, 0); place >= 0 || static_cast<int>(fraction.size()) < scale; --place) {
    const int i = weight - place;
    const int digit = i >= 0 && i < count ? word(4 + static_cast<std::size_t>(i)) : 0;
    char text[8];
    std::snprintf(text, sizeof text, "%04d", digit);
    (place >= 0 ? whole : fraction) += text;
  }
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size() - 1));
  fraction.resize(static_cast<std::size_t>(scale));
  return (sign == 0x4000 ? "-" : "") + whole + (fraction.empty() ? "" : "." + fraction);
}

}  // namespace

std::string field_text(std::span<const std::byte> field, const std::string& type_name) {
  const std::string type = type_name.substr(0, type_name.find('('));
  if (type == "smallint" || type == "integer" || type == "bigint") return std::to_string(big_endian(field));
  if (type == "oid") return std::to_string(static_cast<std::uint32_t>(big_endian(field)));
  if (type == "numeric") return numeric_text(field);
  if (type == "boolean") return field.size() == 1 && field[0] != std::byte{0} ? "true" : "false";
  if (type == "date") return format_time(big_endian(field) * kMicrosPerDay).substr(0, 10);
  if (type.starts_with("timestamp")) return format_time(big_endian(field));
  if (type == "uuid") return hex(field, "\4\6\10\12");  // octal: before bytes 4, 6, 8 and 10
  if (type == "text" || type.starts_with("character") || type == "name")
    return {reinterpret_cast<const char*>(field.data()), field.size()};
  return "\\x" + hex(field);
}

}  // namespace regfeatd::pg
