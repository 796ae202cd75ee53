#include "regfeatd/fit/fitter.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <thread>

#include "fit/block_window.hpp"
#include "regfeatd/fit/oracle.hpp"
#include "support.hpp"

namespace regfeatd::fit::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Windows around every change of method and code path: three points, odd and even, direct and by blocks, by
/// range, by time.
Plan mixed_plan() {
  Plan plan = plan_of({});
  for (const std::int64_t rows : {std::int64_t{3}, std::int64_t{4}, std::int64_t{5}, std::int64_t{17}, std::int64_t{90},
                                  kBlockMethodRows - 1, kBlockMethodRows, kBlockMethodRows + 1, std::int64_t{300}})
    plan.windows.push_back(row_window(rows));
  plan.windows.push_back(row_window(20));
  plan.windows.back().offset = 7;
  plan.windows.push_back(row_window(150));
  plan.windows.back().offset = 2;
  plan.windows.push_back(range_window(40 * 60 * kMicrosPerSecond, 4));
  plan.windows.push_back(range_window(300 * 60 * kMicrosPerSecond, 10));
  plan.windows.back().x = XAxis::time;
  plan.windows.back().x_unit = 60e6;
  plan.windows.push_back(row_window(25));
  plan.windows.back().x = XAxis::time;
  plan.windows.back().x_unit = 3600e6;
  plan.windows.back().offset = 1;
  return plan;
}

double value(const Plan& plan, const ColumnBlock& out, const std::string& metric, std::size_t row,
             std::size_t window = 0) {
  return out.column(column_of(plan, window, metric))[row];
}

// metrics.md, "Certified reference".
TEST(Fitter, AgreesWithNistPontius) {
  constexpr std::array<double, 40> kY{.11019,  .21956,  .32949,  .43899,  .54803,  .65694,  .76562,  .87487,
                                      .98292,  1.09146, 1.20001, 1.30822, 1.41599, 1.52399, 1.63194, 1.73947,
                                      1.84646, 1.95392, 2.06128, 2.16844, .11052,  .22018,  .32939,  .43886,
                                      .54798,  .65739,  .76596,  .87474,  .98300,  1.09150, 1.20004, 1.30818,
                                      1.41613, 1.52408, 1.63159, 1.73965, 1.84696, 1.95445, 2.06177, 2.16829};
  std::vector<double> y(20);
  for (std::size_t i = 0; i < 20; ++i) y[i] = (kY[i] + kY[i + 20]) / 2;
  Plan plan = plan_of({row_window(20)});
  plan.windows[0].offset = 0;
  const auto out = fit_all(plan, minutes(y));
  EXPECT_NEAR(value(plan, out, "coef0", 19), 0.1104113214285714285714, 1e-15);
  EXPECT_NEAR(value(plan, out, "coef1", 19), 0.1096666372180451127820, 1e-15);
  EXPECT_NEAR(value(plan, out, "coef2", 19), -7.111842105263157894737E-5, 1e-16);
  const double rmse = value(plan, out, "terms.rmse", 19);
  // The averaged data have their own rounding, 1e-16 of 2, which RSS/TSS = 4e-8 magnifies.
  EXPECT_NEAR(20 * rmse * rmse / 3.177338439849624060150E-7, 1.0, 1e-11);
}

TEST(Fitter, GivesExactZerosForConstants) {
  for (const double level : {0.1, 1.15, -3.3, 1e9 + 0.123, 1e-12}) {
    Plan plan = plan_of({row_window(3), row_window(15), row_window(90), row_window(400)});
    for (Window& w : plan.windows) w.offset = 0;
    const auto out = fit_all(plan, minutes(std::vector<double>(900, level)));
    for (std::size_t w = 0; w < plan.windows.size(); ++w) {
      for (const char* zero :
           {"a2", "a1", "residual_mean", "residual_std", "coefficients.rmse", "quadratic_term", "linear_term",
            "residual", "coef2", "coef1", "slope_end", "legacy_terms.r2", "curvature", "vertex_x"})
        EXPECT_EQ(std::bit_cast<std::uint64_t>(value(plan, out, zero, 850, w)), 0U) << zero << " of " << level;
      for (const char* same : {"b", "terms.prediction", "constant_term", "yhat_end", "forecast", "vertex_y"})
        EXPECT_EQ(value(plan, out, same, 850, w), level) << same;
      EXPECT_EQ(value(plan, out, "terms.r2", 850, w), 1.0);
      for (const char* null : {"t_coef2", "p_coef1", "f_stat", "durbin_watson", "r2_adj"})
        EXPECT_TRUE(std::isnan(value(plan, out, null, 850, w))) << null;
    }
  }
}

TEST(Fitter, FindsAPerfectParabola) {
  std::vector<double> y(1000);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = 0.25 * static_cast<double>(i * i) - 3 * static_cast<double>(i) + 7;
  Plan plan = plan_of({row_window(3), row_window(16), row_window(500)});
  for (Window& w : plan.windows) w.offset = 0;
  const auto out = fit_all(plan, minutes(y));
  for (std::size_t w = 0; w < 3; ++w) {
    const double n = static_cast<double>(plan.windows[w].rows);
    EXPECT_NEAR(value(plan, out, "coef2", 999, w), 0.25, 1e-13);
    EXPECT_NEAR(value(plan, out, "slope_end", 999, w) / (0.5 * 999 - 3), 1.0, 1e-13);
    EXPECT_NEAR(value(plan, out, "forecast", 999, w), 0.25 * 1000 * 1000 - 3 * 1000 + 7, 1e-8);
    EXPECT_LE(value(plan, out, "terms.rmse", 999, w), 1e-13 * n * 1000);
    EXPECT_EQ(value(plan, out, "terms.r2", 999, w), 1.0);
  }
}

// An offset that is exact in binary moves the level and nothing else, bit for bit.
TEST(Fitter, IsIndifferentToALargeOffset) {
  Random random(3);
  std::vector<double> y(1000), shifted(1000);
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = static_cast<double>(static_cast<std::int64_t>(random() % 4096)) / 1024;
    shifted[i] = y[i] + 1e9;
  }
  Plan plan = plan_of({row_window(3), row_window(30), row_window(91), row_window(200)});
  plan.metrics.clear();
  for (const char* name :
       {"a2", "a1", "residual_std", "coefficients.rmse", "coefficients.r2", "curvature", "residual", "a_coef", "b_coef",
        "se_coef2", "t_coef1", "sigma", "slope_end", "durbin_watson", "f_stat", "forecast_error"})
    plan.metrics.push_back(*find_metric(name).metric);
  EXPECT_FALSE(first_difference(plan, fit_all(plan, minutes(y)), fit_all(plan, minutes(shifted)), y.size()));
}

TEST(Fitter, LeavesNoTraceOfAnOutlier) {
  Random random(4);
  const auto clean = irregular(walk(3000, 1.15, 1e-4, 5, random), random);
  const Plan plan = mixed_plan();
  const auto expected = fit_all(plan, clean);
  for (const double outlier : {1e8, -1e300, 1e308, kNaN, kInfinity, -kInfinity, 5e-324}) {
    OwnedSeries dirty = clean;
    constexpr std::size_t kAt = 1500;
    dirty.values[kAt] = outlier;
    const auto out = fit_all(plan, dirty);
    for (std::size_t c = 0; c < plan.column_count(); ++c) {
      const Column column = plan.column(c);
      const Window& w = plan.windows[column.window];
      const auto offset = static_cast<std::size_t>(plan.offset(column));
      for (std::size_t r = 0; r < clean.size(); ++r) {
        const bool ends_before = r < kAt + offset;
        bool starts_after = false;
        if (!ends_before) {
          const std::size_t end = r - offset;
          starts_after = w.kind == Window::Kind::rows ? end >= kAt + static_cast<std::size_t>(w.rows)
                                                      : clean.order[end] - clean.order[kAt] >= w.range;
        }
        if (ends_before || starts_after) {
          ASSERT_EQ(std::bit_cast<std::uint64_t>(out.column(c)[r]), std::bit_cast<std::uint64_t>(expected.column(c)[r]))
              << outlier << " row " << r << " " << info(column.metric).name << " " << w.label;
        } else if (!std::isfinite(outlier)) {
          ASSERT_TRUE(std::isnan(out.column(c)[r])) << outlier << " row " << r << " " << info(column.metric).name;
        }
      }
    }
  }
}

TEST(Fitter, DoesNotLookAhead) {
  Random random(5);
  const auto series = irregular(walk(2500, 1.15, 1e-4, 5, random), random);
  const Plan plan = mixed_plan();
  const auto expected = fit_all(plan, series);
  Fitter fitter(plan, series.size());
  ColumnBlock out(plan.column_count(), series.size());
  for (int cut = 0; cut < 1000 / kDivisor; ++cut) {
    const std::size_t rows = 1 + random() % series.size();
    const Series head{std::span(series.order).first(rows), std::span(series.values).first(rows), 0};
    const std::size_t first = rows - std::min<std::size_t>(rows, 1 + random() % 40);  // the rows next to the cut
    fitter.fit(head, first, rows - first, out, first);
    for (std::size_t c = 0; c < plan.column_count(); ++c)
      for (std::size_t r = first; r < rows; ++r)
        ASSERT_EQ(std::bit_cast<std::uint64_t>(out.column(c)[r]), std::bit_cast<std::uint64_t>(expected.column(c)[r]))
            << "cut at " << rows << ", row " << r << ", column " << c;
  }
}

TEST(Fitter, GivesTheSameBitsInEveryThread) {
  Random random(6);
  const auto series = irregular(walk(6000, 110.5, 1e-2, 3, random), random);
  const Plan plan = mixed_plan();
  const auto expected = fit_all(plan, series);
  for (const std::size_t threads : {2U, 3U, 7U}) {
    ColumnBlock out(plan.column_count(), series.size());
    std::vector<std::jthread> running;
    const std::size_t share = (series.size() + threads - 1) / threads;
    for (std::size_t t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        Fitter fitter(plan, share);
        const std::size_t first = t * share;
        fitter.fit(series.view(), first, std::min(share, series.size() - first), out, first);
      });
    }
    running.clear();
    const auto difference = first_difference(plan, expected, out, series.size());
    EXPECT_FALSE(difference) << *difference;
  }
}

TEST(Fitter, HasOneBitPatternForNull) {
  auto series = minutes(std::vector<double>(300, 1.0));
  for (std::size_t i = 0; i < 300; ++i) series.values[i] = i % 50 == 0 ? -kNaN : i % 3 == 0 ? 1e308 : -1e308;
  const Plan plan = mixed_plan();
  const auto out = fit_all(plan, series);
  for (std::size_t c = 0; c < plan.column_count(); ++c)
    for (const double v : out.column(c)) {
      if (std::isnan(v)) {
        ASSERT_EQ(std::bit_cast<std::uint64_t>(v), 0x7ff8000000000000U);
      } else {
        ASSERT_TRUE(std::isfinite(v)) << info(plan.column(c).metric).name;
      }
    }
}

// How many rows a range holds is known where no fit is: below min_rows, below 3, and before the series with an offset.
TEST(Fitter, RangesCountTheirRowsWhateverTheyAre) {
  Random random(17);
  OwnedSeries series = irregular(walk(311, 1.1, 1e-4, 5, random), random);
  series.values[120] = std::numeric_limits<double>::quiet_NaN();
  for (const std::int64_t min_rows : {1, 2, 3, 9, 100'000}) {
    for (const std::int64_t offset : {0, 1, 7}) {
      for (const XAxis x : {XAxis::row, XAxis::time}) {
        Window w = range_window(35 * 60 * kMicrosPerSecond, min_rows);
        w.offset = offset;
        w.x = x;
        w.x_unit = 60e6;
        const Plan plan{{w}, {*find_metric("n_obs").metric, *find_metric("coef0").metric}};
        const ColumnBlock out = fit_all(plan, series);
        std::set<std::int64_t> seen;
        std::vector<double> expected(plan.column_count());
        for (std::size_t r = 0; r < series.size(); ++r) {
          std::int64_t n = 0;
          bool bad = false;
          const auto end = static_cast<std::int64_t>(r) - offset;
          for (std::int64_t i = 0; i <= end; ++i) {
            const auto at = static_cast<std::size_t>(i);
            if (series.order[at] <= series.order[static_cast<std::size_t>(end)] - w.range) continue;
            ++n;
            bad = bad || std::isnan(series.values[at]);
          }
          const double counted = out.column(0)[r];
          ASSERT_EQ(std::isnan(counted), bad) << r;
          ASSERT_TRUE(bad || counted == static_cast<double>(n)) << r;
          ASSERT_EQ(std::isnan(out.column(1)[r]), bad || n < std::max<std::int64_t>(min_rows, 3)) << r;
          oracle_row(plan, series.view(), r, expected);
          ASSERT_EQ(std::isnan(expected[0]), bad) << r;
          ASSERT_TRUE(bad || expected[0] == counted) << r;
          seen.insert(n);
        }
        EXPECT_GT(seen.size(), 3u);
        EXPECT_EQ(seen.contains(0), offset > 0);
      }
    }
  }
}

// A window by range that holds n rows is the window of n rows.
TEST(Fitter, FitsRangesAsRows) {
  Random random(7);
  const auto series = minutes(walk(500, 1.15, 1e-4, 5, random));
  Plan rows = plan_of({row_window(15), row_window(100)});
  std::erase_if(rows.metrics, counts_rows);  // the first rows of a range are counted
  Plan ranges = rows;
  ranges.windows = {range_window(15 * 60 * kMicrosPerSecond, 15), range_window(100 * 60 * kMicrosPerSecond, 100)};
  const auto difference = first_difference(rows, fit_all(rows, series), fit_all(ranges, series), series.size());
  EXPECT_FALSE(difference) << *difference;
}

// Row number and time say the same where rows are evenly spaced.
TEST(Fitter, FitsEvenTimesAsRows) {
  Random random(8);
  const auto series = minutes(walk(400, 1.15, 1e-4, 5, random));
  const Plan rows = plan_of({row_window(30)});
  Plan times = rows;
  times.windows[0].x = XAxis::time;
  times.windows[0].x_unit = 60e6;
  const auto a = fit_all(rows, series), b = fit_all(times, series);
  for (const char* name : {"a2",
                           "a1",
                           "b",
                           "coefficients.r2",
                           "terms.prediction",
                           "residual",
                           "rmse",
                           "coef2",
                           "se_coef2",
                           "t_coef2",
                           "p_coef2",
                           "slope_end",
                           "pi_lower",
                           "forecast",
                           "forecast_upper",
                           "forecast_error",
                           "durbin_watson",
                           "vertex_y",
                           "f_stat",
                           "r2_adj"}) {
    if (!find_metric(name).metric) continue;
    for (std::size_t r = 29; r < 400; ++r) {
      const double x = value(rows, a, name, r), y = value(rows, b, name, r);
      ASSERT_NEAR(x, y, 1e-9 * std::max(1e-6, std::abs(x))) << name << " row " << r;
    }
  }
  EXPECT_EQ(value(times, b, "quadratic_term", 300), 0.0);
  EXPECT_EQ(value(times, b, "constant_term", 300), value(times, b, "terms.prediction", 300));
}

TEST(Fitter, AgreesWithTheOracle) {
  Random random(9);
  auto series = irregular(walk(1500, 1.15, 1e-4, 5, random), random);
  series.values[700] = kNaN;
  const Plan plan = mixed_plan();
  const auto out = fit_all(plan, series);
  std::vector<double> row(plan.column_count());
  for (std::size_t r = 0; r < series.size(); r += 7) {
    oracle_row(plan, series.view(), r, row);
    for (std::size_t c = 0; c < row.size(); ++c) {
      const Column column = plan.column(c);
      if (info(column.metric).null_rule == NullRule::value_dependent) continue;  // held by the exact tests
      const double computed = out.column(c)[r];
      ASSERT_EQ(std::isnan(computed), std::isnan(row[c])) << r << " " << info(column.metric).name;
      if (!std::isnan(row[c])) {
        ASSERT_NEAR(computed, row[c], 1e-11 * std::max(1.0, std::abs(row[c])))
            << r << " " << info(column.metric).name << " " << plan.windows[column.window].label;
      }
    }
  }
}

TEST(Fitter, RejectsPlansOutOfBounds) {
  const auto rejected = [](const Window& w) {
    try {
      Fitter fitter(plan_of({w}), 10);
      return std::string("accepted");
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
  };
  Window w = row_window(2);
  EXPECT_EQ(rejected(w), "window w2: rows must lie between 3 and 100000");
  w.rows = 100'001;
  EXPECT_NE(rejected(w), "accepted");
  w = row_window(10);
  w.offset = -1;
  EXPECT_NE(rejected(w), "accepted");
  w = range_window(0, 3);
  EXPECT_NE(rejected(w), "accepted");
  w = range_window(100, 0);
  EXPECT_NE(rejected(w), "accepted");
  w = range_window(100, 1);
  EXPECT_EQ(rejected(w), "accepted");
  w = row_window(10);
  w.x = XAxis::time;
  w.x_unit = 0;
  EXPECT_NE(rejected(w), "accepted");
  w.x_unit = kNaN;
  EXPECT_NE(rejected(w), "accepted");
  EXPECT_THROW(Fitter(Plan{}, 10), std::invalid_argument);
  EXPECT_THROW(Fitter(plan_of({row_window(5)}), 0), std::invalid_argument);
  Plan twice = plan_of({row_window(5)});
  twice.metrics.push_back(twice.metrics.front());
  EXPECT_THROW(Fitter(twice, 10), std::invalid_argument);
}

TEST(Fitter, FitsWindowsOfOneHundredThousandRows) {
  Random random(10);
  auto series = minutes(walk(100'300, 1e4, 1.0, 2, random));
  series.first_row_number = 123'456;
  Plan plan = plan_of({row_window(100'000)});
  plan.windows[0].offset = 0;
  Fitter fitter(plan, 400);
  ColumnBlock out(plan.column_count(), 400);
  fitter.fit(series.view(), 99'900, 400, out);
  std::vector<double> row(plan.column_count());
  EXPECT_TRUE(std::isnan(out.column(0)[98]));
  for (const std::size_t r : {std::size_t{99}, std::size_t{300}, std::size_t{399}}) {
    oracle_row(plan, series.view(), 99'900 + r, row);
    for (const char* name : {"a2", "a1", "b", "coefficients.r2", "terms.rmse", "residual", "constant_term", "forecast",
                             "pi_lower", "durbin_watson", "f_stat", "slope_end"})
      EXPECT_NEAR(value(plan, out, name, r) / row[column_of(plan, 0, name)], 1.0, 1e-10) << name;
  }
}

}  // namespace
}  // namespace regfeatd::fit::test
