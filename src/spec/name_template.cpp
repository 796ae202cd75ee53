#include "spec/name_template.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "spec/findings.hpp"

namespace regfeatd::spec {
namespace {

constexpr std::string_view kConversions = "YmdHMVGj%";

std::string check_format(std::string_view format) {
  if (format.empty()) return "is empty";
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    ++i;
    if (i == format.size()) return "ends in a single %";
    if (kConversions.find(format[i]) == std::string_view::npos) {
      return "has an unknown conversion " + quote(format.substr(i - 1, 2)) + "; there are %Y %m %d %H %M %V %G %j %%";
    }
  }
  return {};
}

bool takes_format(std::string_view placeholder) { return placeholder == "start" || placeholder == "end"; }

std::string braced(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? " and " : ", ";
    out += "{" + names[i] + "}";
  }
  return out;
}

/// Splits at the first colon and reports what is wrong with the placeholder.
NameTemplate::Part make_placeholder(std::string_view inside, const std::vector<std::string>& known,
                                    std::vector<std::string>& faults) {
  const std::size_t colon = inside.find(':');
  NameTemplate::Part part{true, std::string(inside.substr(0, colon)), {}};
  if (std::find(known.begin(), known.end(), part.text) == known.end()) {
    faults.push_back("unknown placeholder " + quote("{" + part.text + "}") + "; here there is " + braced(known));
  } else if (colon != std::string_view::npos) {
    part.format = std::string(inside.substr(colon + 1));
    if (!takes_format(part.text)) {
      faults.push_back("placeholder " + quote("{" + part.text + "}") + " takes no format");
    } else if (const std::string fault = check_format(part.format); !fault.empty()) {
      faults.push_back("the format of " + quote("{" + part.text + "}") + " " + fault);
    }
  }
  return part;
}

/// What `{start}` means without a format: enough to tell the unit's partitions apart.
std::string_view default_format(PartitionUnit unit) {
  switch (unit) {
    case PartitionUnit::hour:
      return "%Y_%m_%d_%H";
    case PartitionUnit::day:
      return "%Y_%m_%d";
    case PartitionUnit::week:
      return "%G_w%V";
    case PartitionUnit::month:
      return "%Y_%m";
    case PartitionUnit::year:
      return "%Y";
    case PartitionUnit::step:
      break;
  }
  return "%Y_%m_%d";
}

/// Days since 2000-01-01, a Saturday.
OrderValue day_number(OrderValue t) { return t / kMicrosPerDay - (t % kMicrosPerDay < 0 ? 1 : 0); }

OrderValue first_day_of_year(int year) {
  CivilTime c;
  c.year = year;
  return day_number(from_civil(c));
}

struct IsoWeek {
  int year;
  long week;
};

/// ISO 8601: weeks start on Monday; a week belongs to the year that holds its Thursday.
IsoWeek iso_week(OrderValue t) {
  const OrderValue day = day_number(t);
  const OrderValue from_monday = ((day + 5) % 7 + 7) % 7;
  const OrderValue thursday = day + 3 - from_monday;
  const int year = to_civil(thursday * kMicrosPerDay).year;
  return {year, static_cast<long>((thursday - first_day_of_year(year)) / 7 + 1)};
}

std::string padded(int width, long value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%0*ld", width, value);
  return buffer;
}

std::string convert(char conversion, OrderValue t) {
  const CivilTime c = to_civil(t);
  switch (conversion) {
    case 'Y':
      return padded(4, c.year);
    case 'm':
      return padded(2, static_cast<long>(c.month));
    case 'd':
      return padded(2, static_cast<long>(c.day));
    case 'H':
      return padded(2, static_cast<long>(c.hour));
    case 'M':
      return padded(2, static_cast<long>(c.minute));
    case 'G':
      return padded(4, iso_week(t).year);
    case 'V':
      return padded(2, iso_week(t).week);
    case 'j':
      return padded(3, static_cast<long>(day_number(t) - first_day_of_year(c.year) + 1));
    default:
      return std::string(1, conversion);
  }
}

}  // namespace

NameTemplate::NameTemplate(std::string_view text, const std::vector<std::string>& known) {
  std::vector<std::string> faults;
  std::string literal;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c != '{' && c != '}') {
      literal += c;
      ++i;
    } else if (i + 1 < text.size() && text[i + 1] == c) {
      literal += c;
      i += 2;
    } else if (c == '}') {
      faults.push_back("a } has no { before it in " + quote(text) + "; a brace in a name is written }}");
      ++i;
    } else {
      const std::size_t end = text.find_first_of("{}", i + 1);
      if (end == std::string_view::npos || text[end] == '{') {
        faults.push_back("a { has no } after it in " + quote(text) + "; a brace in a name is written {{");
        break;
      }
      if (!literal.empty()) parts_.push_back({false, std::exchange(literal, {}), {}});
      parts_.push_back(make_placeholder(text.substr(i + 1, end - i - 1), known, faults));
      i = end + 1;
    }
  }
  if (!literal.empty()) parts_.push_back({false, std::move(literal), {}});
  if (!faults.empty()) throw SpecError(std::move(faults));
}

bool NameTemplate::uses(std::string_view placeholder) const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [&](const Part& p) { return p.is_placeholder && p.text == placeholder; });
}

std::string NameTemplate::expand(const std::function<std::string(const Part&)>& value) const {
  std::string out;
  for (const Part& part : parts_) out += part.is_placeholder ? value(part) : part.text;
  return out;
}

const std::vector<std::string>& table_placeholders() {
  static const std::vector<std::string> kNames{"series"};
  return kNames;
}

const std::vector<std::string>& column_placeholders() {
  static const std::vector<std::string> kNames{"metric", "input", "window"};
  return kNames;
}

const std::vector<std::string>& partition_placeholders() {
  static const std::vector<std::string> kNames{"table", "series", "start", "end"};
  return kNames;
}

std::string written_template(const FeatureSet& fs, const Target& target) {
  if (target.table.empty()) return {};
  return target.table + (is_compact(storage_of(fs, target)) ? "_compact" : "");
}

std::string format_start(std::string_view format, OrderValue t) {
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] == '%' && i + 1 < format.size()) {
      out += convert(format[++i], t);
    } else {
      out += format[i];
    }
  }
  return out;
}

TableName split_table(const std::string& name) {
  const std::size_t dot = name.find('.');
  if (dot == std::string::npos) return {{}, name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

std::string name_fault(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxNameBytes) {
    return "has " + std::to_string(name.size()) + " bytes; PostgreSQL cuts names after " +
           std::to_string(kMaxNameBytes) + ", so write a shorter one";
  }
  const bool control =
      std::any_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  return control ? "holds a control character" : "";
}

std::string table_name_fault(const std::string& name) {
  const TableName parts = split_table(name);
  if (name.find('.') != std::string::npos) {
    if (std::string fault = name_fault(parts.schema); !fault.empty()) return "(its schema) " + fault;
  }
  return name_fault(parts.table);
}

PartitionNamer::PartitionNamer(const FeatureSet& fs, const Target& target)
    : template_(target.partition, partition_placeholders()), order_(fs.order), unit_(fs.partitioning.by) {}

std::string PartitionNamer::child(const std::string& bare_table, const std::string& series, OrderRange range) const {
  return template_.expand([&](const NameTemplate::Part& part) -> std::string {
    if (part.text == "table") return bare_table;
    if (part.text == "series") return series;
    const OrderValue at = part.text == "start" ? range.lower : range.upper;
    if (order_ == OrderKind::sequence) return std::to_string(at);
    return format_start(part.format.empty() ? default_format(unit_) : std::string_view(part.format), at);
  });
}

}  // namespace regfeatd::spec
