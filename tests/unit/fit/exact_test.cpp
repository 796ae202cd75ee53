// Random windows of many kinds of data against exact arithmetic, every metric of every family. The worst
// errors are printed: docs/fit.md quotes them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "exact_oracle.hpp"
#include "support.hpp"

namespace regfeatd::fit::test {
namespace {

constexpr int kWindowsPerKind = 17'000 / kDivisor;  // six kinds and more: above 10^5 windows of every family
constexpr std::size_t kSeriesRows = 2000;
constexpr int kRowsPerWindow = 60;
constexpr int kWindowsPerSeries = 8;

constexpr double kTightTolerance = 1e-13;   // coefficients and fitted values, of their natural scale
constexpr double kTolerance = 1e-12;        // what else follows from them
constexpr double kRootTolerance = 0.5e-12;  // roots of RSS: 1e-12 of RSS itself
constexpr double kLargestRatio = 1e9;       // 1/(1-r2) up to which RSS has its digits

const std::set<std::string> kTight{
    "a2",     "a1",     "b",         "prediction", "quadratic_term", "linear_term", "constant_term",
    "a_coef", "b_coef", "c_coef",    "a_term",     "b_term",         "yhat_end",    "coef2",
    "coef1",  "coef0",  "slope_end", "forecast"};
const std::set<std::string> kRoots{"rmse", "residual_std", "sigma", "se_coef2", "se_coef1", "se_coef0"};
const std::set<std::string> kNeedRss{
    "t_coef2", "t_coef1", "p_coef2", "p_coef1", "f_stat", "durbin_watson", "extrapolation_error"};

using Worst = std::map<std::string, double>;

std::vector<Window> random_windows(Random& random, std::size_t longest) {
  std::uniform_real_distribution<double> log_rows(std::log(3.0), std::log(static_cast<double>(longest) + 0.99));
  std::vector<Window> result;
  for (int i = 0; i < kWindowsPerSeries; ++i) {
    result.push_back(row_window(static_cast<std::int64_t>(std::exp(log_rows(random)))));
    result.back().offset = 0;
  }
  return result;
}

/// Compares one metric; returns the error in units of its scale.
double check_metric(Metric m, const ExactFit& fit, const ExactMetric& exact, double computed) {
  const std::string name(info(m).name);
  const bool needs_rss = kRoots.contains(name) || kNeedRss.contains(name);
  if (needs_rss && fit.ratio > kLargestRatio) {
    // Beyond double precision: what is left of RSS is the rounding of the fit, and no more than that.
    if (name == "rmse") {
      EXPECT_LE(computed, fit.spread * 1e-4) << name;
    }
    return 0;
  }
  EXPECT_EQ(std::isnan(computed), exact.is_null) << name;
  if (exact.is_null || std::isnan(computed)) return 0;
  const double error = std::abs(computed - exact.value);
  if (error == 0) return 0;
  const double relative = error / exact.scale;
  const double tolerance = kTight.contains(name)   ? kTightTolerance
                           : kRoots.contains(name) ? kRootTolerance
                                                   : kTolerance;
  EXPECT_LE(relative, tolerance) << to_string(info(m).family) << "." << name << ": " << computed << ", exactly "
                                 << exact.value << ", scale " << exact.scale;
  return relative;
}

void check_window(const Plan& plan, std::size_t w, const OwnedSeries& series, std::size_t row, const ColumnBlock& out,
                  Worst& worst) {
  const auto n = static_cast<std::size_t>(plan.windows[w].rows);
  const ExactFit exact = exact_fit(std::span(series.values).subspan(row + 1 - n, n));
  SCOPED_TRACE("n = " + std::to_string(n) + ", row " + std::to_string(row) + ", 1/(1-r2) " +
               std::to_string(exact.ratio));
  for (std::size_t m = 0; m < plan.metrics.size(); ++m) {
    const double error =
        check_metric(plan.metrics[m], exact, exact.metrics[m], out.column(w * plan.metrics.size() + m)[row]);
    double& most = worst[std::string(info(plan.metrics[m]).name)];
    most = std::max(most, error);
  }
}

void report(const char* kind, const Worst& worst) {
  std::printf("worst errors, %s:", kind);
  for (const auto& [name, error] : worst) std::printf(" %s %.1e", name.c_str(), error);
  std::printf("\n");
}

void check_kind(const char* kind, std::uint64_t seed, const std::function<OwnedSeries(Random&)>& make) {
  Random random(seed);
  Worst worst;
  for (int windows = 0; windows < kWindowsPerKind && !testing::Test::HasFailure();) {
    OwnedSeries series = make(random);
    series.first_row_number = static_cast<std::int64_t>(random() % 1'000'000);
    const Plan plan = plan_of(random_windows(random, std::min<std::size_t>(1000, series.size() / 2)));
    const ColumnBlock out = fit_all(plan, series);
    for (std::size_t w = 0; w < plan.windows.size(); ++w) {
      const auto n = static_cast<std::size_t>(plan.windows[w].rows);
      std::uniform_int_distribution<std::size_t> rows(n - 1, series.size() - 1);
      for (int k = 0; k < kRowsPerWindow; ++k, ++windows) check_window(plan, w, series, rows(random), out, worst);
    }
  }
  report(kind, worst);
}

TEST(Exact, Prices) {
  check_kind("prices", 1, [](Random& r) { return minutes(walk(kSeriesRows, 1.15, 1e-4, 5, r)); });
}

TEST(Exact, RealPrices) {
  std::vector<std::vector<double>> all;
  for (const char* name :
       {"fx_m1/eurusd_201810", "fx_m1/usdjpy_201811", "crypto_m1/btcusd_201812", "crypto_m1/neousd_201810"})
    if (auto closes = real_closes(name); !closes.empty()) all.push_back(std::move(closes));
  if (all.empty()) GTEST_SKIP() << "SKIPPED: no real series (REGFEATD_DATA_DIR)";
  check_kind("real prices", 2, [&](Random& r) {
    const auto& closes = all[r() % all.size()];
    const auto first = static_cast<std::ptrdiff_t>(r() % (closes.size() - kSeriesRows));
    return minutes({closes.begin() + first, closes.begin() + first + static_cast<std::ptrdiff_t>(kSeriesRows)});
  });
}

TEST(Exact, Returns) {
  check_kind("returns", 3, [](Random& r) {
    std::normal_distribution<double> normal(0, 1e-3);
    std::vector<double> y(kSeriesRows);
    for (double& v : y) v = normal(r);
    return minutes(std::move(y));
  });
}

TEST(Exact, WalkOnALargeOffset) {
  check_kind("walk at 1e9", 4, [](Random& r) { return minutes(walk(kSeriesRows, 1e9, 1e-3, 9, r)); });
}

TEST(Exact, SmoothData) {
  check_kind("smooth", 5, [](Random& r) {
    std::uniform_real_distribution<double> level(-6, 0.0), uniform(-1, 1);
    const double noise = std::pow(10.0, level(r));
    const double a = uniform(r), b = uniform(r), c = uniform(r), period = 300 * (2 + uniform(r));
    const bool wave = r() % 2 == 0;
    std::vector<double> y(kSeriesRows);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double x = static_cast<double>(i) / static_cast<double>(kSeriesRows);
      y[i] = (wave ? std::sin(static_cast<double>(i) / period) : (a * x + b) * x + c) + noise * uniform(r);
    }
    return minutes(std::move(y));
  });
}

TEST(Exact, ConstantAndAlmostConstant) {
  check_kind("almost constant", 6, [](Random& r) {
    const double level = std::ldexp(1 + static_cast<double>(r() % 1000) / 1000, static_cast<int>(r() % 40) - 20);
    std::vector<double> y(kSeriesRows, level);
    const auto changes = r() % 40;
    for (std::uint64_t k = 0; k < changes; ++k) {
      double& v = y[r() % y.size()];
      v = std::nextafter(v, r() % 2 == 0 ? 1e300 : -1e300);
    }
    return minutes(std::move(y));
  });
}

TEST(Exact, OutlierPassingThrough) {
  check_kind("outlier of 1e8", 7, [](Random& r) {
    auto y = walk(kSeriesRows, 1.15, 1e-4, 5, r);
    for (int k = 0; k < 3; ++k) y[r() % y.size()] = 1e8;
    return minutes(std::move(y));
  });
}

}  // namespace
}  // namespace regfeatd::fit::test
