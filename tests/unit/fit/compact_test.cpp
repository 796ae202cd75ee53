// What storage: compact keeps: enough for every metric, no more, and the numbers that the oracle gives.
#include "regfeatd/fit/compact.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "regfeatd/fit/oracle.hpp"

namespace regfeatd::fit {
namespace {

Window rows_window(std::int64_t rows) {
  Window w;
  w.label = "w" + std::to_string(rows);
  w.rows = rows;
  return w;
}

std::string stored_names(const Plan& plan) {
  std::string out;
  for (const Metric m : compact_plan(plan).metrics) out += std::string(info(m).name) + " ";
  return out;
}

TEST(Compact, KeepsWhatEachFamilyIsMadeOf) {
  const auto plan = [](Family f) { return Plan{{rows_window(15)}, metrics_of(f)}; };
  EXPECT_EQ(stored_names(plan(Family::coefficients)), "a2 a1 b rss tss ");
  EXPECT_EQ(stored_names(plan(Family::terms)), "a2 a1 b rss tss residual ");
  EXPECT_EQ(stored_names(plan(Family::legacy_terms)), "a2 a1 b rss tss residual ");
  EXPECT_EQ(stored_names(plan(Family::inference)), "a2 a1 b rss tss residual step_squares p_coef2 p_coef1 ");
  EXPECT_EQ(stored_names({{rows_window(15)}, {*find_metric("sigma").metric}}), "rss ");
  EXPECT_EQ(stored_names({{rows_window(15)}, {*find_metric("n_obs").metric}}), "rss ");
  Window range = rows_window(0);
  range.kind = Window::Kind::range;
  range.range = 100;
  EXPECT_EQ(stored_names({{range}, {*find_metric("sigma").metric, *find_metric("pi_lower").metric}}),
            "a2 a1 b rss n_obs t_quantile ");
}

TEST(Compact, SaysTheOffsetOfLegacyTerms) {
  EXPECT_EQ(compact_plan({{rows_window(15)}, metrics_of(Family::legacy_terms)}).windows[0].offset, 1);
  EXPECT_EQ(compact_plan({{rows_window(15)}, metrics_of(Family::terms)}).windows[0].offset, 0);
}

TEST(Compact, NamesWhatStandsInTheWay) {
  Plan mixed{{rows_window(15)}, metrics_of(Family::legacy_terms)};
  mixed.metrics.push_back(*find_metric("sigma").metric);
  ASSERT_TRUE(compact_obstacle(mixed));
  EXPECT_NE(compact_obstacle(mixed)->find("give window w15 an offset"), std::string::npos);
  mixed.windows[0].offset = 1;
  EXPECT_FALSE(compact_obstacle(mixed));
  mixed.windows[0].x = XAxis::time;
  EXPECT_NE(compact_obstacle(mixed)->find("x: time"), std::string::npos);
}

TEST(Compact, StoredNumbersEqualTheOracle) {
  std::vector<OrderValue> order;
  std::vector<double> values;
  for (int i = 0; i < 700; ++i) {
    order.push_back(i * 60);
    values.push_back(i == 300 ? std::nan("") : 100 + std::sin(i / 9.0) + (i * 7919 % 997) / 1e3);
  }
  Plan plan{{rows_window(3), rows_window(4), rows_window(90), rows_window(200)}, metrics_of(Family::stored)};
  Window range = rows_window(30);
  range.kind = Window::Kind::range;
  range.range = 20 * 60;
  plan.windows.push_back(range);
  Fitter fitter(plan, values.size());
  ColumnBlock block(plan.column_count(), values.size());
  const Series series{order, values, 0};
  fitter.fit(series, 0, values.size(), block);
  std::vector<double> expected(plan.column_count());
  for (std::size_t r = 0; r < values.size(); r += 3) {
    oracle_row(plan, series, r, expected);
    for (std::size_t c = 0; c < expected.size(); ++c) {
      const double actual = block.column(c)[r];
      ASSERT_EQ(std::isnan(actual), std::isnan(expected[c])) << info(plan.column(c).metric).name << " row " << r;
      if (std::isnan(actual)) continue;
      ASSERT_NEAR(actual, expected[c], 1e-10 * std::max(1.0, std::fabs(expected[c])))
          << info(plan.column(c).metric).name << " row " << r;
    }
  }
  const auto nulls = predict_nulls(plan, series, 0, values.size());
  for (std::size_t c = 0; c < nulls.size(); ++c) {
    const auto column = block.column(c).first(values.size());
    const auto actual = std::count_if(column.begin(), column.end(), [](double v) { return std::isnan(v); });
    EXPECT_EQ(actual, nulls[c]) << info(plan.column(c).metric).name;
  }
}

TEST(Compact, KeepsOutWhatPostgresqlCannotCarryOn) {
  const auto stored = [](double scale) {
    std::vector<OrderValue> order;
    std::vector<double> values;
    for (int i = 0; i < 15; ++i) {
      order.push_back(i);
      values.push_back(scale * (1 + i * 7 % 5));
    }
    const Plan plan{{rows_window(15)}, metrics_of(Family::stored)};
    Fitter fitter(plan, 15);
    ColumnBlock block(plan.column_count(), 15);
    fitter.fit({order, values, 0}, 14, 1, block);
    std::vector<double> out;
    for (std::size_t c = 0; c < plan.column_count(); ++c) out.push_back(block.column(c)[0]);
    return out;
  };
  for (const double v : {stored(1e70)[0], stored(1e70)[2], stored(1e70)[3], stored(1e70)[4]})
    EXPECT_TRUE(std::isnan(v));
  for (const double v : {stored(1e-70)[0], stored(1e-70)[2], stored(1e-70)[3], stored(1e-70)[4]}) EXPECT_EQ(v, 0);
  for (const double v : {stored(1e50)[2], stored(1e50)[3], stored(1e-50)[2], stored(1e-50)[3]})
    EXPECT_TRUE(std::isfinite(v) && v != 0);
}

}  // namespace
}  // namespace regfeatd::fit
