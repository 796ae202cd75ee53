// The part of a specification that decides its output, as canonical text.

#include <algorithm>
#include <cstdio>

#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::spec {
namespace {

/// A text that cannot be confused with what stands around it, on one line.
std::string literal(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += buffer;
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// `[a,b]`; sorted when the order of the parts decides nothing.
std::string list(std::vector<std::string> parts, bool sorted) {
  if (sorted) std::sort(parts.begin(), parts.end());
  std::string out = "[";
  for (const std::string& part : parts) out += (out.size() > 1 ? "," : "") + part;
  return out + "]";
}

std::string source_identity(const Source& source) {
  std::vector<std::string> tables;
  for (const SourceTable& t : source.tables) tables.push_back(literal(t.table) + "/" + literal(t.order_column));
  return list(tables, false) + literal(source.query) + "/" + literal(source.query_order_column);
}

std::string window_identity(const fit::Window& w) {
  std::string out = literal(w.label);
  out += w.kind == fit::Window::Kind::rows
             ? " rows=" + std::to_string(w.rows)
             : " range=" + std::to_string(w.range) + " min_rows=" + std::to_string(w.min_rows);
  if (w.offset) out += " offset=" + std::to_string(*w.offset);
  if (w.x == fit::XAxis::time) {
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, " x=time/%.17g", w.x_unit);
    out += buffer;
  }
  return out;
}

const char* storage_word(Storage s) {
  switch (s) {
    case Storage::double_precision:
      return " double";
    case Storage::real:
      return " real";
    case Storage::compact:
      return " compact";
    case Storage::compact_real:
      return " compact real";
  }
  return "";
}

std::string target_identity(const FeatureSet& fs, const Target& t) {
  std::vector<std::string> inputs;
  for (std::size_t i = 0; i < t.inputs.size(); ++i) {
    inputs.push_back(literal(t.inputs[i]) + (t.columns.empty() ? "" : " column=" + literal(t.columns[i])));
  }
  return list(inputs, true) + " table=" + literal(t.table) + " order=" + literal(t.order_column) +
         " column=" + literal(t.column) + " partition=" + literal(t.partition) + storage_word(storage_of(fs, t));
}

template <class Items, class Text>
std::string list_of(const Items& items, bool sorted, Text text) {
  std::vector<std::string> parts;
  for (const auto& item : items) parts.push_back(text(item));
  return list(std::move(parts), sorted);
}

}  // namespace

std::string output_identity(const FeatureSet& fs) {
  std::string out = fs.order == OrderKind::time ? "v1 order=time" : "v1 order=sequence";
  out += " source=" + source_identity(fs.source);
  out += " key=" + list_of(fs.key, false, literal);
  out += " inputs=" + list_of(fs.inputs, true, [](const Input& i) {
           return literal(i.name) + "=" + literal(i.column) + "@" + literal(i.table);
         });
  out += " windows=" + list_of(fs.windows, true, window_identity);
  out += " metrics=" + list_of(fs.metrics, true, [](fit::Metric m) {
           return std::string(fit::to_string(fit::info(m).family)) + "." + std::string(fit::info(m).name);
         });
  out += fs.lookback == Lookback::rows ? " lookback=rows" : " lookback=none";
  out += " targets=" + list_of(fs.targets, true, [&](const Target& t) { return target_identity(fs, t); });
  return out;
}

std::string calendar_identity(const FeatureSet& fs) {
  const Calendar& c = fs.calendar;
  if (c.cadence == 0) return {};
  const auto pair = [](std::int64_t a, std::int64_t b) { return std::to_string(a) + ".." + std::to_string(b); };
  return "v1 cadence=" + std::to_string(c.cadence) + " zone=" + literal(c.zone) + " weekly=" +
         list_of(c.weekly, true, [&](const Calendar::Weekly& w) { return pair(w.from_minute, w.until_minute); }) +
         " closed=" + list_of(c.closed, true, [&](const OrderRange& r) { return pair(r.lower, r.upper); });
}

}  // namespace regfeatd::spec
