#include "fit_series.hpp"

#include <algorithm>
#include <cstring>

#include <xxhash.h>

namespace regfeatd::cli {

SeriesTracker::SeriesTracker(const TableLayout& layout, const fit::Plan& plan, Options options)
    : layout_(layout),
      options_(options),
      plan_rows_(plan.lookback_rows()),
      plan_offset_(plan.lookback_offset()),
      plan_range_(plan.lookback_range()) {}

void SeriesTracker::place(const TableRows& rows, FitJob& job) {
  job.error.clear();
  job.pieces.clear();
  parts_.assign(rows.keys.size(), Part{});
  const std::size_t row_count = admit(rows, job);
  if (job.error.empty()) job.error = rows.error;
  lay_out(job);
  fill(rows, row_count, job);
  keep_newest(job);
  if (!options_.interleaved) forget_finished(rows, row_count);
}

bool SeriesTracker::placed(OrderValue order) const noexcept {
  if (options_.to && order >= *options_.to) return false;
  return !(options_.cold_start && options_.from && order < *options_.from);
}

bool SeriesTracker::written(OrderValue order) const noexcept {
  return (!options_.from || order >= *options_.from) && (!options_.to || order < *options_.to);
}

/// Checks rows one after another and counts them by part; returns how many are good.
std::size_t SeriesTracker::admit(const TableRows& rows, FitJob& job) {
  for (std::size_t r = 0; r < rows.size(); ++r) {
    Part& part = parts_[rows.key[r]];
    if (part.series == nullptr || (r > 0 && rows.key[r] < rows.key[r - 1])) job.error = admit_key(rows, r);
    if (job.error.empty()) job.error = admit_order(rows, r);
    if (!job.error.empty()) return r;
    const OrderValue order = rows.order[r];
    part.series->last = order;
    if (written(order)) {
      ++part.inside;
    } else if (placed(order)) {
      ++part.before;
    }
  }
  return rows.size();
}

/// The key of a row is a new one in this block, or comes back to one. Returns an error or nothing.
std::string SeriesTracker::admit_key(const TableRows& rows, std::size_t row) {
  Part& part = parts_[rows.key[row]];
  const std::string& identity = rows.keys[rows.key[row]];
  bool comes_back = part.series != nullptr;
  if (!comes_back && !layout_.key_columns.empty() && !options_.interleaved) {
    const XXH128_hash_t hash = XXH3_128bits(identity.data(), identity.size());
    const bool is_new = seen_.insert({hash.low64, hash.high64}).second;
    const bool goes_on = row == 0 && series_.contains(identity);
    comes_back = !is_new && !goes_on;
  }
  if (comes_back && !options_.interleaved) {
    return where(rows, row) + "rows of " + key_phrase(rows, row) +
           " come again after rows of another key: sort by key then time, or give --interleaved";
  }
  if (part.series == nullptr) {
    part.series = &series_[identity];
    part.series->values.resize(layout_.value_columns.size());
    part.lookback = lookback_rows(*part.series);
  }
  return {};
}

std::string SeriesTracker::admit_order(const TableRows& rows, std::size_t row) {
  const std::optional<OrderValue> last = parts_[rows.key[row]].series->last;
  const OrderValue order = rows.order[row];
  if (!last || order > *last) return {};
  const std::string name = in_quotes(layout_.header[layout_.order_column]);
  const std::string in_key = layout_.key_columns.empty() ? "" : " of " + key_phrase(rows, row);
  const std::string text = format_order(layout_.order_kind, order);
  if (order == *last) return where(rows, row) + "column " + name + ": " + text + " stands on two rows" + in_key;
  return where(rows, row) + "column " + name + ": " + text + " comes after " + format_order(layout_.order_kind, *last) +
         in_key + ": the rows of a series must ascend";
}

std::string SeriesTracker::where(const TableRows& rows, std::size_t row) const {
  return layout_.file + ":" + std::to_string(rows.line[row]) + ": ";
}

std::string SeriesTracker::key_phrase(const TableRows& rows, std::size_t row) const {
  return "key " + describe_key(layout_, rows.keys[rows.key[row]]);
}

/// Gives every part its place in the job's arrays and in its output.
void SeriesTracker::lay_out(FitJob& job) {
  std::size_t size = 0;
  std::size_t out_rows = 0;
  for (Part& part : parts_) {
    if (part.series == nullptr) continue;
    part.begin = size;
    part.next = size + part.lookback;
    part.next_out = out_rows;
    if (part.inside > 0) {
      job.pieces.push_back({.begin = size,
                            .lookback = part.lookback + part.before,
                            .count = part.inside,
                            .first_row_number = part.series->rows_placed - static_cast<std::int64_t>(part.lookback),
                            .out_row = out_rows});
    }
    size += part.lookback + part.before + part.inside;
    out_rows += part.inside;
  }
  job.order.resize(size);
  job.values.resize(layout_.value_columns.size());
  for (auto& column : job.values) column.resize(size);
}

void SeriesTracker::fill(const TableRows& rows, std::size_t row_count, FitJob& job) {
  for (const Part& part : parts_) {
    if (part.series == nullptr) continue;
    const auto to = static_cast<std::ptrdiff_t>(part.begin);
    const auto count = static_cast<std::ptrdiff_t>(part.lookback);
    std::copy(part.series->order.end() - count, part.series->order.end(), job.order.begin() + to);
    for (std::size_t v = 0; v < job.values.size(); ++v) {
      const auto& from = part.series->values[v];
      std::copy(from.end() - count, from.end(), job.values[v].begin() + to);
    }
  }
  job.out_row.assign(row_count, FitJob::kNotWritten);
  for (std::size_t r = 0; r < row_count; ++r) {
    if (!placed(rows.order[r])) continue;
    Part& part = parts_[rows.key[r]];
    if (written(rows.order[r])) job.out_row[r] = static_cast<std::uint32_t>(part.next_out++);
    const std::size_t at = part.next++;
    job.order[at] = rows.order[r];
    for (std::size_t v = 0; v < job.values.size(); ++v) job.values[v][at] = rows.values[v][r];
  }
}

/// Adds the block's rows to what each series remembers, and drops what no window reaches any more.
void SeriesTracker::keep_newest(const FitJob& job) {
  constexpr std::size_t kSlackRows = 64;
  for (const Part& part : parts_) {
    if (part.series == nullptr) continue;
    Series& series = *part.series;
    const auto from = static_cast<std::ptrdiff_t>(part.begin + part.lookback);
    const auto to = static_cast<std::ptrdiff_t>(part.next);
    series.order.insert(series.order.end(), job.order.begin() + from, job.order.begin() + to);
    series.rows_placed += to - from;
    for (std::size_t v = 0; v < job.values.size(); ++v) {
      series.values[v].insert(series.values[v].end(), job.values[v].begin() + from, job.values[v].begin() + to);
    }
    const std::size_t keep = lookback_rows(series);
    if (series.order.size() <= 2 * keep + kSlackRows) continue;
    const auto excess = static_cast<std::ptrdiff_t>(series.order.size() - keep);
    series.order.erase(series.order.begin(), series.order.begin() + excess);
    for (auto& column : series.values) column.erase(column.begin(), column.begin() + excess);
  }
}

void SeriesTracker::forget_finished(const TableRows& rows, std::size_t row_count) {
  if (row_count == 0) return;
  const std::string& last = rows.keys[rows.key[row_count - 1]];
  std::erase_if(series_, [&](const auto& entry) { return entry.first != last; });
}

/// How many of a series' newest rows the windows of the rows to come may reach.
std::size_t SeriesTracker::lookback_rows(const Series& series) const noexcept {
  const std::vector<OrderValue>& order = series.order;
  std::size_t rows = std::min(order.size(), static_cast<std::size_t>(plan_rows_));
  if (plan_range_ <= 0) return rows;
  const auto offset = static_cast<std::size_t>(plan_offset_);
  if (order.size() <= offset) return order.size();
  // The next row's window ends on a row later than this one, which therefore bounds what it reaches.
  const OrderValue end = order[order.size() - 1 - offset];
  if (end < std::numeric_limits<OrderValue>::min() + plan_range_) return order.size();
  const auto first = std::upper_bound(order.begin(), order.end(), end - plan_range_);
  return std::max(rows, static_cast<std::size_t>(order.end() - first));
}

}  // namespace regfeatd::cli
