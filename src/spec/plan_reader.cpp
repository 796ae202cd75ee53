// Reads the keys `windows` and `metrics` of a feature set.

#include <algorithm>
#include <map>

#include "spec/draft.hpp"
#include "spec/name_template.hpp"

namespace regfeatd::spec {
namespace {

using std::chrono::microseconds;

constexpr Bounds<std::int64_t> kRowBounds{fit::kMinWindowRows, fit::kMaxWindowRows};
constexpr Bounds<std::int64_t> kMinRowsBounds{1, fit::kMaxWindowRows};
/// A hundred years: longer than any series, and times minus a range stay far from overflow.
constexpr Bounds<microseconds> kRangeBounds{microseconds{1}, std::chrono::days{36'525}};
constexpr Bounds<std::int64_t> kSequenceRangeBounds{1, 1'000'000'000'000'000'000};

/// A distance on the order axis: a duration for times, a whole number for sequences.
std::optional<OrderValue> read_distance(const Field& field, OrderKind order, Findings& findings) {
  if (order == OrderKind::sequence) return read_integer(field, kSequenceRangeBounds, findings);
  const auto duration = read_duration(field, kRangeBounds, findings);
  return duration ? std::optional<OrderValue>{duration->count()} : std::nullopt;
}

void read_extent(const MapReader& map, OrderKind order, fit::Window& window, Findings& findings) {
  if (map.has("rows") == map.has("range")) {
    map.report(map.has("rows") ? "has both rows and range; give one" : "needs rows: N or range: DISTANCE");
    return;
  }
  if (map.has("rows")) {
    if (const auto f = map.find("min_rows"))
      findings.add(f->line(), at(f->path, "goes with range only; a window by rows always has all its rows"));
    if (const auto f = map.find("rows"))
      window.rows = read_integer(*f, kRowBounds, findings).value_or(fit::kMinWindowRows);
    return;
  }
  window.kind = fit::Window::Kind::range;
  if (const auto f = map.find("min_rows"))
    window.min_rows = read_integer(*f, kMinRowsBounds, findings).value_or(fit::kMinWindowRows);
  if (const auto f = map.find("range")) window.range = read_distance(*f, order, findings).value_or(1);
}

void read_axis(const MapReader& map, OrderKind order, fit::Window& window, Findings& findings) {
  if (const auto f = map.find("x")) {
    Words<fit::XAxis> words{{"row", fit::XAxis::row}, {"time", fit::XAxis::time}};
    if (order == OrderKind::sequence) words.emplace_back("sequence", fit::XAxis::time);
    const auto axis = read_enum(*f, words, findings);
    if (!axis) return;
    window.x = *axis;
    if (window.x == fit::XAxis::time && order == OrderKind::time && !map.has("unit")) {
      map.report("needs unit: DURATION with x: time, what 1 on the x axis means");
    }
  }
  if (const auto f = map.find("unit")) {
    if (map.has("x") && window.x == fit::XAxis::row) findings.add(f->line(), at(f->path, "has no meaning with x: row"));
    if (!map.has("x")) findings.add(f->line(), at(f->path, "goes with x: time only"));
    if (const auto unit = read_distance(*f, order, findings)) window.x_unit = static_cast<double>(*unit);
  }
}

/// What cannot be read keeps a harmless value: the label is still good for the checks of column names.
void read_window(const Field& field, OrderKind order, fit::Window& window, Findings& findings) {
  if (field.node->kind == YamlNode::Kind::scalar) {
    window.rows = read_integer(field, kRowBounds, findings).value_or(fit::kMinWindowRows);
    return;
  }
  const MapReader map(field, {"rows", "range", "min_rows", "offset", "x", "unit"}, findings);
  if (!map.is_mapping()) return;
  read_extent(map, order, window, findings);
  if (const auto f = map.find("offset")) window.offset = read_integer(*f, {0, fit::kMaxWindowRows}, findings);
  read_axis(map, order, window, findings);
}

std::string qualified(fit::Metric metric) {
  const fit::MetricInfo& info = fit::info(metric);
  return std::string(fit::to_string(info.family)) + "." + std::string(info.name);
}

std::vector<std::string> all_metric_names() {
  std::vector<std::string> names;
  for (const fit::MetricInfo& info : fit::catalogue()) {
    names.emplace_back(info.name);
    names.push_back(std::string(fit::to_string(info.family)) + "." + std::string(info.name));
    names.emplace_back(fit::to_string(info.family));
  }
  return names;
}

/// The metrics that one item names: a family's, or one.
std::vector<fit::Metric> resolve(const Field& field, Findings& findings) {
  const auto name = read_text(field, findings);
  if (!name) return {};
  if (const auto family = fit::family_from_name(*name)) return fit::metrics_of(*family);
  const fit::MetricLookup lookup = fit::find_metric(*name);
  if (lookup.metric) return {*lookup.metric};
  if (lookup.matches.empty()) {
    const std::string advice = did_you_mean(*name, all_metric_names());
    findings.add(field.line(), at(field.path, "there is no metric or family " + quote(*name) +
                                                  (advice.empty() ? "; `regfeatd metrics` lists them" : advice)));
    return {};
  }
  std::vector<std::string> candidates;
  for (const fit::Metric m : lookup.matches) candidates.push_back(qualified(m));
  findings.add(field.line(), at(field.path, "several families have a metric " + quote(*name) +
                                                "; say which: " + quoted_list(candidates)));
  return {};
}

}  // namespace

void read_windows(const Field& field, Draft& draft, Findings& findings) {
  for (const NamedField& entry : read_entries(field, findings)) {
    fit::Window window;
    window.label = entry.name;
    if (const std::string fault = name_fault(window.label); !fault.empty()) {
      findings.add(entry.line, at(field.path, "the label " + quote(window.label) + " " + fault));
      continue;
    }
    read_window(entry.field, draft.fs.order, window, findings);
    draft.fs.windows.push_back(std::move(window));
  }
}

void read_metrics(const Field& field, Draft& draft, Findings& findings) {
  const std::vector<Field> items =
      field.node->kind == YamlNode::Kind::scalar ? std::vector{field} : read_list(field, findings);
  std::map<fit::Metric, int> lines;
  for (const Field& item : items) {
    for (const fit::Metric metric : resolve(item, findings)) {
      const auto [first, is_new] = lines.emplace(metric, item.line());
      if (is_new) {
        draft.fs.metrics.push_back(metric);
      } else {
        findings.add(item.line(), at(item.path, "metric " + quote(qualified(metric)) + " is listed on line " +
                                                    std::to_string(first->second) + " already"));
      }
    }
  }
}

}  // namespace regfeatd::spec
