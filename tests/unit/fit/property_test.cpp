// RapidCheck: whatever the series, the windows, the blocks and the instruction set.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "fit/block_window.hpp"
#include "support.hpp"

namespace regfeatd::fit::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

enum class Kind { walk, noise, smooth, constant, outliers, wild };

std::vector<double> values_of(Kind kind, std::size_t rows, Random& random) {
  std::normal_distribution<double> normal;
  std::vector<double> y = walk(rows, 1.15, 1e-4, 5, random);
  for (std::size_t i = 0; i < rows; ++i) {
    const double x = static_cast<double>(i);
    switch (kind) {
      case Kind::walk:
        break;
      case Kind::noise:
        y[i] = 1e-3 * normal(random);
        break;
      case Kind::smooth:
        y[i] = std::sin(x / 50) + 1e-7 * normal(random);
        break;
      case Kind::constant:
        y[i] = 42.5;
        break;
      case Kind::outliers:
        if (random() % 30 == 0) y[i] = 1e8;
        break;
      case Kind::wild:
        y[i] = std::ldexp(normal(random), static_cast<int>(random() % 2000) - 1000);
        break;
    }
  }
  return y;
}

OwnedSeries any_series() {
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const auto kind =
      *rc::gen::element(Kind::walk, Kind::noise, Kind::smooth, Kind::constant, Kind::outliers, Kind::wild);
  const auto rows = *rc::gen::inRange<std::size_t>(1, 900);
  const auto nulls = *rc::gen::element(0, 0, 1, 5, 60);
  Random random(seed);
  auto y = values_of(kind, rows, random);
  for (int k = 0; k < nulls; ++k)
    y[random() % rows] = random() % 2 == 0 ? kNaN : std::numeric_limits<double>::infinity();
  OwnedSeries s = seed % 2 == 0 ? minutes(std::move(y)) : irregular(std::move(y), random);
  s.first_row_number = *rc::gen::inRange<std::int64_t>(-1000, 1'000'000);
  return s;
}

Window any_window() {
  Window w = *rc::gen::element(0, 1) == 0
                 ? row_window(*rc::gen::element<std::int64_t>(3, 4, 5, 8, 15, 33, 90, kBlockMethodRows,
                                                              kBlockMethodRows + 3, 260))
                 : range_window(*rc::gen::inRange<std::int64_t>(1, 300) * 60 * kMicrosPerSecond,
                                *rc::gen::inRange<std::int64_t>(1, 9));
  if (*rc::gen::element(0, 1, 2) == 0) w.offset = *rc::gen::inRange<std::int64_t>(0, 40);
  if (*rc::gen::element(0, 1, 2) == 0) {
    w.x = XAxis::time;
    w.x_unit = *rc::gen::element(1.0, 60e6, 86400e6);
  }
  return w;
}

Plan any_plan() {
  std::vector<Window> windows;
  const int count = *rc::gen::inRange(1, 4);
  for (int i = 0; i < count; ++i) windows.push_back(any_window());
  Plan plan = plan_of(std::move(windows));
  if (*rc::gen::element(0, 1) == 0) {  // some of the metrics, in any order
    plan.metrics.resize(*rc::gen::inRange<std::size_t>(1, plan.metrics.size()));
    std::reverse(plan.metrics.begin(), plan.metrics.end());
  }
  return plan;
}

RC_GTEST_PROP(Property, InstructionSetsAgreeBitForBit, ()) {
  const OwnedSeries series = any_series();
  const Plan plan = any_plan();
  const auto kernels = available_kernels();
  const auto fit_with = [&](const Kernel* kernel) {
    const ForcedKernel forced(kernel);
    return fit_all(plan, series);
  };
  const auto expected = fit_with(kernels.front());
  for (std::size_t k = 1; k < kernels.size(); ++k) {
    const auto difference = first_difference(plan, expected, fit_with(kernels[k]), series.size());
    if (difference) RC_FAIL(std::string(kernels[k]->name) + ": " + *difference);
  }
}

RC_GTEST_PROP(Property, CallsOfAnySizeAgreeBitForBit, ()) {
  const OwnedSeries series = any_series();
  const Plan plan = any_plan();
  const auto expected = fit_all(plan, series);
  const auto most = *rc::gen::inRange<std::size_t>(1, 400);
  Fitter fitter(plan, most);
  ColumnBlock out(plan.column_count(), series.size());
  for (std::size_t first = 0; first < series.size();) {
    const std::size_t count = std::min(series.size() - first, *rc::gen::inRange<std::size_t>(1, most + 1));
    fitter.fit(series.view(), first, count, out, first);
    first += count;
  }
  const auto difference = first_difference(plan, expected, out, series.size());
  if (difference) RC_FAIL(*difference);
}

// What a metric is does not depend on which others stand beside it.
RC_GTEST_PROP(Property, MetricsDoNotInfluenceEachOther, ()) {
  const OwnedSeries series = any_series();
  const Plan all = plan_of({any_window()});
  const auto expected = fit_all(all, series);
  const auto m = *rc::gen::inRange<std::size_t>(0, all.metrics.size());
  Plan one = all;
  one.metrics = {all.metrics[m]};
  const auto out = fit_all(one, series);
  for (std::size_t r = 0; r < series.size(); ++r)
    RC_ASSERT(std::bit_cast<std::uint64_t>(out.column(0)[r]) == std::bit_cast<std::uint64_t>(expected.column(m)[r]));
}

// A direct fit knows nothing but its window; a block fit knows the row number besides.
RC_GTEST_PROP(Property, OnlyTheWindowMatters, ()) {
  const OwnedSeries series = any_series();
  Window w = any_window();
  w.offset = 0;
  const Plan plan = plan_of({w});
  const auto expected = fit_all(plan, series);
  const auto skipped = *rc::gen::inRange<std::size_t>(0, series.size());
  const auto look_back =
      w.kind == Window::Kind::rows ? static_cast<std::size_t>(w.rows - 1) + 1 : skipped;  // legacy: none
  const std::size_t first = skipped > look_back ? skipped - look_back : 0;
  OwnedSeries tail{{series.order.begin() + static_cast<std::ptrdiff_t>(first), series.order.end()},
                   {series.values.begin() + static_cast<std::ptrdiff_t>(first), series.values.end()},
                   series.first_row_number + static_cast<std::int64_t>(first)};
  if (w.kind == Window::Kind::rows && (w.rows < kBlockMethodRows || w.x == XAxis::time)) tail.first_row_number += 17;
  Fitter fitter(plan, series.size());
  ColumnBlock out(plan.column_count(), series.size());
  fitter.fit(tail.view(), skipped - first, series.size() - skipped, out, skipped);
  for (std::size_t c = 0; c < plan.column_count(); ++c)
    for (std::size_t r = skipped; r < series.size(); ++r)
      RC_ASSERT(std::bit_cast<std::uint64_t>(out.column(c)[r]) == std::bit_cast<std::uint64_t>(expected.column(c)[r]));
}

RC_GTEST_PROP(Property, NullsAreAsPredicted, ()) {
  OwnedSeries series = any_series();
  const bool overflows = std::any_of(series.values.begin(), series.values.end(),
                                     [](double v) { return std::isfinite(v) && std::abs(v) > 1e100; });
  const Plan plan = any_plan();
  const auto first = *rc::gen::inRange<std::size_t>(0, series.size());
  const auto predicted = predict_nulls(plan, series.view(), first, series.size() - first);
  const auto out = fit_all(plan, series);
  for (std::size_t c = 0; c < plan.column_count(); ++c) {
    const auto rows = out.column(c).subspan(first);
    const auto nulls = std::count_if(rows.begin(), rows.end(), [](double v) { return std::isnan(v); });
    if (info(plan.column(c).metric).null_rule == NullRule::value_dependent || overflows) {
      RC_ASSERT(nulls >= predicted[c]);
    } else {
      RC_ASSERT(nulls == predicted[c]);
    }
  }
}

RC_GTEST_PROP(Property, PositionsThatDoNotAscendAreFound, ()) {
  auto order = *rc::gen::container<std::vector<OrderValue>>(rc::gen::inRange<OrderValue>(-20, 20));
  std::optional<std::size_t> expected;
  for (std::size_t i = 1; i < order.size() && !expected; ++i)
    if (order[i] <= order[i - 1]) expected = i;
  RC_ASSERT(check_order(order) == expected);
}

}  // namespace
}  // namespace regfeatd::fit::test
