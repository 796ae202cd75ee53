#include "fit_setup.hpp"

#include <algorithm>
#include <map>

#include "csv_writer.hpp"
#include "usage_error.hpp"
#include "window_list.hpp"

namespace regfeatd::cli {
namespace {

using FeatureSet = std::optional<spec::FeatureSet>;

std::vector<std::string> header_names(const std::vector<Field>& header) {
  std::vector<std::string> names;
  std::string scratch;
  for (const Field& field : header) names.emplace_back(field_value(field, scratch));
  return names;
}

/// `what`: who asks for the column, for messages.
std::size_t column_index(const TableLayout& layout, const std::string& name, const std::string& what) {
  const auto at = std::find(layout.header.begin(), layout.header.end(), name);
  if (at == layout.header.end()) {
    std::string columns;
    for (const std::string& column : layout.header) columns += (columns.empty() ? "" : ", ") + column;
    throw UsageError(what + ": " + layout.file + " has no column " + in_quotes(name) + "; it has " + columns);
  }
  if (std::find(at + 1, layout.header.end(), name) != layout.header.end()) {
    throw UsageError(what + ": " + layout.file + " has several columns " + in_quotes(name));
  }
  return static_cast<std::size_t>(at - layout.header.begin());
}

/// The first of the specification's order columns that the input has; empty without one.
std::string spec_order_column(const FeatureSet& fs, const std::vector<std::string>& header) {
  if (!fs) return {};
  std::vector<std::string> candidates{fs->source.query_order_column};
  for (const spec::SourceTable& table : fs->source.tables) candidates.push_back(table.order_column);
  for (const spec::Target& target : fs->targets) candidates.push_back(target.order_column);
  for (const std::string& name : candidates) {
    if (!name.empty() && std::find(header.begin(), header.end(), name) != header.end()) return name;
  }
  return {};
}

void choose_order(const FitOptions& options, const FeatureSet& fs, const std::vector<Field>& first_row,
                  TableLayout& layout) {
  if (!options.time.empty()) {
    layout.order_column = column_index(layout, options.time, "--time");
    layout.order_kind = OrderKind::time;
    return;
  }
  if (!options.sequence.empty()) {
    layout.order_column = column_index(layout, options.sequence, "--sequence");
    layout.order_kind = OrderKind::sequence;
    return;
  }
  if (fs) {
    const std::string name = spec_order_column(fs, layout.header);
    layout.order_column = name.empty() ? 0 : column_index(layout, name, "--spec");
    layout.order_kind = fs->order;
    return;
  }
  std::string scratch;
  const bool is_integer = !first_row.empty() && parse_sequence(field_value(first_row.front(), scratch)).has_value();
  layout.order_kind = is_integer ? OrderKind::sequence : OrderKind::time;
}

void choose_keys(const FitOptions& options, const FeatureSet& fs, TableLayout& layout) {
  const bool from_spec = options.keys.empty() && fs;
  for (const std::string& name : from_spec ? fs->key : options.keys) {
    const std::size_t column = column_index(layout, name, from_spec ? "--spec" : "--keys");
    const bool twice =
        std::find(layout.key_columns.begin(), layout.key_columns.end(), column) != layout.key_columns.end();
    if (twice || column == layout.order_column) {
      throw UsageError("--keys: column " + in_quotes(name) +
                       (twice ? " is listed twice" : " is the one that orders the rows"));
    }
    layout.key_columns.push_back(column);
  }
}

void choose_values(const FitOptions& options, const FeatureSet& fs, TableLayout& layout) {
  const auto add = [&](std::size_t column, const std::string& input_name) {
    layout.value_columns.push_back(column);
    layout.input_names.push_back(input_name);
  };
  if (!options.values.empty()) {
    for (const std::string& name : options.values) add(column_index(layout, name, "--values"), name);
  } else if (fs) {
    for (const spec::Input& input : fs->inputs) add(column_index(layout, input.column, "--spec"), input.name);
  } else {
    layout.value_hint = " (--values names the columns to fit)";
    for (std::size_t c = 0; c < layout.header.size(); ++c) {
      const bool is_key =
          std::find(layout.key_columns.begin(), layout.key_columns.end(), c) != layout.key_columns.end();
      if (!is_key && c != layout.order_column) add(c, layout.header[c]);
    }
  }
  if (layout.value_columns.empty()) throw UsageError(layout.file + " has no column to fit besides time and keys");
}

fit::Plan make_plan(const FitOptions& options, const FeatureSet& fs, OrderKind order) {
  fit::Plan plan;
  plan.windows = options.windows.empty() && fs ? fs->windows : parse_windows(options.windows, order);
  if (!options.metrics.empty() || !fs) {
    plan.metrics = parse_metrics(options.metrics.empty() ? "terms" : options.metrics);
  } else {
    plan.metrics = fs->metrics;
  }
  for (fit::Window& window : plan.windows) {
    if (!window.offset) window.offset = options.offset;
  }
  return plan;
}

std::optional<OrderValue> position(const std::string& option, const std::string& text, OrderKind order) {
  if (text.empty()) return std::nullopt;
  if (const auto value = order == OrderKind::time ? parse_time(text) : parse_sequence(text)) return value;
  throw UsageError(
      option + ": " + in_quotes(text) +
      (order == OrderKind::time ? " is not a time such as 2024-07-01 or 2024-07-01T12:30:00Z" : " is not an integer"));
}

SeriesTracker::Options make_tracking(const FitOptions& options, const FeatureSet& fs, OrderKind order) {
  SeriesTracker::Options tracking;
  tracking.interleaved = options.interleaved;
  tracking.from = position("--from", options.from, order);
  tracking.to = position("--to", options.to, order);
  tracking.cold_start =
      options.lookback.empty() ? fs && fs->lookback == spec::Lookback::none : options.lookback == "none";
  return tracking;
}

}  // namespace

void check_options(const FitOptions& options) {
  if (options.windows.empty() && options.spec.empty())
    throw UsageError("--windows (such as 15,30,60) or --spec must be given");
  if (!options.time.empty() && !options.sequence.empty())
    throw UsageError("--time and --sequence cannot both be given");
  if (!options.metrics.empty()) (void)parse_metrics(options.metrics);
}

FitSetup set_up_fit(const FitOptions& options, const FeatureSet& feature_set, const std::string& file,
                    const std::vector<Field>& header, const std::vector<Field>& first_row) {
  FitSetup setup;
  setup.layout.file = file;
  setup.layout.header = header_names(header);
  choose_order(options, feature_set, first_row, setup.layout);
  choose_keys(options, feature_set, setup.layout);
  choose_values(options, feature_set, setup.layout);
  setup.plan = make_plan(options, feature_set, setup.layout.order_kind);
  setup.tracking = make_tracking(options, feature_set, setup.layout.order_kind);
  return setup;
}

std::string output_header(const FitSetup& setup, const std::vector<Field>& header) {
  std::map<std::string, std::string> owners;  // name -> what gives it
  const auto claim = [&](const std::string& name, const std::string& owner) {
    const auto [at, is_new] = owners.emplace(name, owner);
    if (!is_new) {
      throw UsageError("two output columns would be called " + in_quotes(name) + ": " + at->second + " and " + owner);
    }
  };
  const TableLayout& layout = setup.layout;
  std::string line(header[layout.order_column].raw);
  claim(layout.header[layout.order_column], "the input's own");
  for (const std::size_t key : layout.key_columns) {
    line += ',';
    line += header[key].raw;
    claim(layout.header[key], "the input's own");
  }
  for (const std::string& input : layout.input_names) {
    for (std::size_t c = 0; c < setup.plan.column_count(); ++c) {
      const fit::Column column = setup.plan.column(c);
      const std::string& window = setup.plan.windows[column.window].label;
      const std::string name = std::string(fit::info(column.metric).name) + "_" + input + "_" + window;
      claim(name, qualified_name(column.metric) + " of " + input + " in window " + window);
      line += ',';
      append_field(line, name);
    }
  }
  return line + "\n";
}

}  // namespace regfeatd::cli
