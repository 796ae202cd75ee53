#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <new>
#include <stdexcept>

#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::fit {

std::optional<std::size_t> check_order(std::span<const OrderValue> order) noexcept {
  for (std::size_t i = 1; i < order.size(); ++i)
    if (order[i] <= order[i - 1]) return i;
  return std::nullopt;
}

std::int64_t Plan::offset(const Column& c) const noexcept {
  return windows[c.window].offset.value_or(default_offset(info(c.metric).family));
}

std::int64_t Plan::lookback_rows() const noexcept {
  std::int64_t result = 0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    if (windows[w].kind != Window::Kind::rows) continue;
    for (const Metric m : metrics) result = std::max(result, windows[w].rows - 1 + offset({w, m}));
  }
  return result;
}

OrderValue Plan::lookback_range() const noexcept {
  OrderValue result = 0;
  for (const Window& w : windows)
    if (w.kind == Window::Kind::range) result = std::max(result, w.range);
  return result;
}

std::int64_t Plan::lookback_offset() const noexcept {
  std::int64_t result = 0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    if (windows[w].kind != Window::Kind::range) continue;
    for (const Metric m : metrics) result = std::max(result, offset({w, m}));
  }
  return result;
}

void ColumnBlock::Free::operator()(double* p) const noexcept { ::operator delete[](p, std::align_val_t{64}); }

namespace {

constexpr std::size_t kDoublesPerLine = 8;  // 64-byte cache lines

// Columns a multiple of 4 KiB apart would fall into the same cache sets, and a fit writes all columns of a
// window at once: an odd number of cache lines spreads them.
std::size_t spread_stride(std::size_t rows) {
  const std::size_t lines = std::max<std::size_t>((rows + kDoublesPerLine - 1) / kDoublesPerLine, 1);
  return (lines | 1) * kDoublesPerLine;
}

}  // namespace

ColumnBlock::ColumnBlock(std::size_t columns, std::size_t max_rows)
    : columns_(columns), max_rows_(max_rows), stride_(spread_stride(max_rows)) {
  const std::size_t size = std::max<std::size_t>(columns_ * stride_, 1);
  data_.reset(static_cast<double*>(::operator new[](size * sizeof(double), std::align_val_t{64})));
  std::fill_n(data_.get(), size, std::numeric_limits<double>::quiet_NaN());
}

namespace {

constexpr std::int64_t kBad = -1;

/// For rows [first, first + count): the number of rows in the window of each, `kBad` where it holds a NULL, NaN or
/// infinity, 0 where it is one by rows and reaches beyond the first row.
std::vector<std::int64_t> window_rows(const Window& w, std::int64_t offset, const Series& series, std::size_t first,
                                      std::size_t count, const std::vector<std::int64_t>& bad_before) {
  std::vector<std::int64_t> result(count, 0);
  for (std::size_t r = 0; r < count; ++r) {
    const auto end = static_cast<std::int64_t>(first + r) - offset;
    if (end < 0) continue;
    const auto last = static_cast<std::size_t>(end);
    std::int64_t start = end - w.rows + 1;
    if (w.kind == Window::Kind::range) {
      // t > t_end - range, said without overflow: order[j] + range > order[last] by unsigned differences.
      const auto in_range = [&](OrderValue t) {
        return static_cast<std::uint64_t>(series.order[last]) - static_cast<std::uint64_t>(t) <
               static_cast<std::uint64_t>(w.range);
      };
      const auto begin = series.order.begin();
      start = std::partition_point(begin, begin + end, [&](OrderValue t) { return !in_range(t); }) - begin;
    }
    if (start < 0) continue;
    result[r] = bad_before[last + 1] == bad_before[static_cast<std::size_t>(start)] ? end - start + 1 : kBad;
  }
  return result;
}

/// How many rows a window must have for a metric not to be NULL.
std::int64_t needed_rows(const Window& w, Metric m) {
  if (w.kind == Window::Kind::rows) return info(m).min_rows;
  return counts_rows(m) ? 0 : std::max(info(m).min_rows, w.min_rows);
}

}  // namespace

std::vector<std::int64_t> predict_nulls(const Plan& plan, const Series& series, std::size_t first, std::size_t count) {
  std::vector<std::int64_t> bad_before(series.values.size() + 1, 0);
  for (std::size_t i = 0; i < series.values.size(); ++i)
    bad_before[i + 1] = bad_before[i] + (std::isfinite(series.values[i]) ? 0 : 1);

  std::vector<std::int64_t> result(plan.column_count(), 0);
  for (std::size_t w = 0; w < plan.windows.size(); ++w) {
    std::optional<std::int64_t> known_offset;
    std::vector<std::int64_t> rows;
    std::map<std::int64_t, std::int64_t> nulls;  // by the rows that a metric needs: many metrics, few different needs
    for (std::size_t m = 0; m < plan.metrics.size(); ++m) {
      const Column column{w, plan.metrics[m]};
      const std::int64_t offset = plan.offset(column);
      if (known_offset != offset) {
        rows = window_rows(plan.windows[w], offset, series, first, count, bad_before);
        known_offset = offset;
        nulls.clear();
      }
      const std::int64_t needed = needed_rows(plan.windows[w], column.metric);
      const auto [known, is_new] = nulls.try_emplace(needed);
      if (is_new) known->second = std::count_if(rows.begin(), rows.end(), [&](std::int64_t n) { return n < needed; });
      result[w * plan.metrics.size() + m] = known->second;
    }
  }
  return result;
}

}  // namespace regfeatd::fit
