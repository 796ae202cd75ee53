#include "window_list.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>

#include "fit_table.hpp"
#include "regfeatd/base/quantity.hpp"
#include "usage_error.hpp"

namespace regfeatd::cli {
namespace {

/// A hundred years: longer than any series, and times minus a range stay far from overflow.
constexpr OrderValue kMaxDuration = OrderValue{36'525} * kMicrosPerDay;
constexpr OrderValue kMaxDistance = 1'000'000'000'000'000'000;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// Reads one item of --windows.
class WindowReader {
 public:
  WindowReader(std::string_view item, OrderKind order) : item_(item), order_(order) {}

  [[nodiscard]] fit::Window read();

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UsageError("--windows " + in_quotes(item_) + ": " + what);
  }
  void read_size(std::string_view size, bool is_range);
  void read_option(std::string_view option);
  void read_x(std::string_view value);
  void check() const;
  [[nodiscard]] std::int64_t integer(std::string_view what, std::string_view text, std::int64_t least,
                                     std::int64_t most) const;
  [[nodiscard]] OrderValue distance(std::string_view what, std::string_view text) const;

  std::string_view item_;
  OrderKind order_;
  fit::Window window_;
  bool has_min_rows_ = false, has_unit_ = false;
};

fit::Window WindowReader::read() {
  std::vector<std::string_view> parts = split(item_, ':');
  std::string_view size = parts.front();
  parts.erase(parts.begin());
  if (const std::size_t equals = size.find('='); equals != std::string_view::npos) {
    window_.label = size.substr(0, equals);
    if (window_.label.empty()) fail("the label before '=' is empty");
    size.remove_prefix(equals + 1);
  }
  const auto range = std::find(parts.begin(), parts.end(), "range");
  read_size(size, range != parts.end());
  if (range != parts.end()) parts.erase(range);
  for (const std::string_view option : parts) read_option(option);
  check();
  return window_;
}

void WindowReader::read_size(std::string_view size, bool is_range) {
  const bool is_number = parse_sequence(size).has_value();
  if (is_number && !is_range) {
    window_.rows = integer("the number of rows", size, fit::kMinWindowRows, fit::kMaxWindowRows);
  } else {
    if (!is_number && !parse_duration(size))
      fail(in_quotes(size) + " is neither a number of rows nor a duration such as 5d or 90min");
    window_.kind = fit::Window::Kind::range;
    window_.range = distance("the range", size);
  }
  if (window_.label.empty()) window_.label = (is_number && !is_range ? "w" : "l") + std::string(size);
}

void WindowReader::read_option(std::string_view option) {
  const std::size_t equals = option.find('=');
  const std::string_view name = option.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : option.substr(equals + 1);
  if (name == "min_rows") {
    window_.min_rows = integer(name, value, 1, fit::kMaxWindowRows);
    has_min_rows_ = true;
  } else if (name == "offset") {
    window_.offset = integer(name, value, 0, fit::kMaxWindowRows);
  } else if (name == "x") {
    read_x(value);
  } else if (name == "unit") {
    window_.x_unit = static_cast<double>(distance(name, value));
    has_unit_ = true;
  } else {
    fail("there is no option " + in_quotes(option) +
         "; range, min_rows=N, offset=N, x=row|time and unit=DURATION are known");
  }
}

void WindowReader::read_x(std::string_view value) {
  const bool is_order = value == "time" || (value == "sequence" && order_ == OrderKind::sequence);
  if (!is_order && value != "row") fail("x=" + std::string(value) + " is neither x=row nor x=time");
  window_.x = is_order ? fit::XAxis::time : fit::XAxis::row;
}

void WindowReader::check() const {
  const bool by_time = window_.x == fit::XAxis::time;
  if (has_min_rows_ && window_.kind == fit::Window::Kind::rows)
    fail("min_rows goes with a range only: a window by rows always has all its rows");
  if (has_unit_ && !by_time) fail("unit goes with x=time only");
  if (by_time && !has_unit_ && order_ == OrderKind::time)
    fail("x=time needs unit=DURATION, what 1 on the x axis means");
}

std::int64_t WindowReader::integer(std::string_view what, std::string_view text, std::int64_t least,
                                   std::int64_t most) const {
  const auto value = parse_sequence(text);
  if (!value || *value < least || *value > most) {
    fail(std::string(what) + " must be from " + format_count(least) + " to " + format_count(most) + ", not " +
         in_quotes(text));
  }
  return *value;
}

/// A distance on the order axis: a duration for times, a number for sequences.
OrderValue WindowReader::distance(std::string_view what, std::string_view text) const {
  if (order_ == OrderKind::sequence) {
    const auto value = parse_sequence(text);
    if (!value || *value < 1 || *value > kMaxDistance) {
      fail(std::string(what) + " must be a whole number above 0 because the rows are ordered by a sequence, not " +
           in_quotes(text));
    }
    return *value;
  }
  const auto value = parse_duration(text);
  if (!value || value->count() < 1 || value->count() > kMaxDuration) {
    fail(std::string(what) + " must be a duration such as 5d or 90min, a hundred years at most, not " +
         in_quotes(text));
  }
  return value->count();
}

std::vector<fit::Metric> parse_metric(std::string_view name) {
  if (const auto family = fit::family_from_name(name)) return fit::metrics_of(*family);
  const fit::MetricLookup lookup = fit::find_metric(name);
  if (lookup.metric) return {*lookup.metric};
  if (lookup.matches.empty()) {
    throw UsageError("--metrics: there is no metric or family " + in_quotes(name) + "; `regfeatd metrics` lists them");
  }
  std::string candidates;
  for (const fit::Metric m : lookup.matches) candidates += (candidates.empty() ? "" : ", ") + qualified_name(m);
  throw UsageError("--metrics: several families have a metric " + in_quotes(name) + "; say which: " + candidates);
}

}  // namespace

std::vector<fit::Window> parse_windows(std::string_view list, OrderKind order) {
  std::vector<fit::Window> windows;
  for (const std::string_view item : split(list, ',')) {
    windows.push_back(WindowReader(item, order).read());
    const std::string& label = windows.back().label;
    const auto same = [&](const fit::Window& w) { return w.label == label; };
    if (std::count_if(windows.begin(), windows.end(), same) > 1) {
      throw UsageError("--windows: two windows are labelled " + in_quotes(label) +
                       "; give one another label, such as short=15");
    }
  }
  return windows;
}

std::vector<fit::Metric> parse_metrics(std::string_view list) {
  std::vector<fit::Metric> metrics;
  for (const std::string_view item : split(list, ',')) {
    for (const fit::Metric metric : parse_metric(item)) {
      if (std::find(metrics.begin(), metrics.end(), metric) != metrics.end()) {
        throw UsageError("--metrics: " + qualified_name(metric) + " is listed twice");
      }
      metrics.push_back(metric);
    }
  }
  return metrics;
}

std::string qualified_name(fit::Metric metric) {
  const fit::MetricInfo& info = fit::info(metric);
  return std::string(fit::to_string(info.family)) + "." + std::string(info.name);
}

}  // namespace regfeatd::cli
