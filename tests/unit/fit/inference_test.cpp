#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "fit/geometry.hpp"
#include "support.hpp"

namespace regfeatd::fit::test {
namespace {

constexpr double kTolerance = 1e-10;

using Named = std::map<std::string, double>;

/// Our metrics of the inference family for the window that is the whole series.
Named computed(const OwnedSeries& series, XAxis x, double x_unit) {
  Plan plan;
  plan.windows = {row_window(static_cast<std::int64_t>(series.size()))};
  plan.windows[0].x = x;
  plan.windows[0].x_unit = x_unit;
  plan.metrics = metrics_of(Family::inference);
  const auto out = fit_all(plan, series);
  Named result;
  for (std::size_t c = 0; c < plan.column_count(); ++c)
    result[std::string(info(plan.metrics[c]).name)] = out.column(c)[series.size() - 1];
  return result;
}

/// Relative, but for coefficients and what is added to a level: there 1e-10 of the values' own spread at
/// least.
void expect_same(const Named& ours, const Named& theirs, const std::vector<double>& y, const std::string& what) {
  ASSERT_EQ(ours.size(), theirs.size()) << what;
  const auto [low, high] = std::minmax_element(y.begin(), y.end());
  for (const auto& [name, expected] : theirs) {
    ASSERT_TRUE(ours.contains(name)) << name;
    const bool is_level = name.starts_with("pi_") || name.starts_with("forecast") || name == "coef0";
    const double scale = is_level ? std::max(std::abs(expected), *high - *low) : std::abs(expected);
    EXPECT_NEAR(ours.at(name), expected, kTolerance * scale) << what << " " << name;
  }
}

struct StoredCase {
  const char* name;
  std::vector<double> y;
  Named metrics;
};

const std::vector<StoredCase>& stored_cases() {
  static const std::vector<StoredCase> result{
#include "stored_inference.inc"
  };
  return result;
}

TEST(Inference, AgreesWithStoredValuesOfStatsmodels) {
  ASSERT_EQ(stored_cases().size(), 4U);
  for (const StoredCase& c : stored_cases()) expect_same(computed(minutes(c.y), XAxis::row, 1), c.metrics, c.y, c.name);
}

bool has_statsmodels() {
  return std::filesystem::exists("/usr/bin/python3") &&
         std::system("/usr/bin/python3 -c 'import statsmodels.api' >/dev/null 2>&1") == 0;
}

/// A window to compare, with its abscissae as we define them.
struct Case {
  std::string what;
  OwnedSeries series;
  XAxis x;
  double x_unit;
};

std::vector<Case> random_cases() {
  Random random(20);
  std::vector<Case> result;
  for (const std::size_t n : {4U, 5U, 6U, 9U, 15U, 30U, 45U, 60U, 75U, 90U, 127U, 128U, 200U, 630U, 1000U}) {
    for (int k = 0; k < 3; ++k) {
      std::normal_distribution<double> normal(0, 1e-3);
      std::vector<double> y = walk(n, k == 1 ? 110.2 : 1.15, k == 1 ? 1e-2 : 1e-4, 6, random);
      if (k == 2)
        for (double& v : y) v = normal(random);
      const std::string what = "n = " + std::to_string(n) + " kind " + std::to_string(k);
      result.push_back({what, minutes(y), XAxis::row, 1});
      result.push_back({what + " by time", irregular(y, random), XAxis::time, 60e6});
    }
  }
  return result;
}

void write_case(std::FILE* to, const Case& c) {
  const std::size_t n = c.series.size();
  for (std::size_t j = 0; j < n; ++j) {
    const double x = c.x == XAxis::row ? static_cast<double>(j)
                                       : static_cast<double>(c.series.order[j] - c.series.order[n - 1]) / c.x_unit;
    std::fprintf(to, "%s%a", j == 0 ? "" : ",", x);
  }
  for (std::size_t j = 0; j < n; ++j) std::fprintf(to, "%s%a", j == 0 ? ";" : ",", c.series.values[j]);
  std::fprintf(to, "\n");
}

Named parse_metrics(const std::string& line) {
  Named result;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    result[word.substr(0, equals)] = std::stod(word.substr(equals + 1));
  }
  return result;
}

TEST(Inference, AgreesWithStatsmodels) {
  if (!has_statsmodels()) GTEST_SKIP() << "SKIPPED: no /usr/bin/python3 with statsmodels";
  const auto cases = random_cases();
  const std::string stem = testing::TempDir() + "regfeatd_inference_" + std::to_string(::getpid());
  const std::string in = stem + ".in", out = stem + ".out";
  std::FILE* file = std::fopen(in.c_str(), "w");
  ASSERT_NE(file, nullptr);
  for (const Case& c : cases) write_case(file, c);
  std::fclose(file);
  const std::string command =
      "/usr/bin/python3 '" SOURCE_DIR "/tests/unit/fit/statsmodels_reference.py' <'" + in + "' >'" + out + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::ifstream results(out);
  for (const Case& c : cases) {
    std::string line;
    ASSERT_TRUE(std::getline(results, line)) << c.what;
    expect_same(computed(c.series, c.x, c.x_unit), parse_metrics(line), c.series.values, c.what);
  }
  std::filesystem::remove(in);
  std::filesystem::remove(out);
}

// docs/metrics.md's table: leverages and quantiles, through the half widths of intervals.
TEST(Inference, HasTheLeveragesOfTheTable) {
  struct Row {
    int n;
    double h_end, h_next, t;
  };
  constexpr Row kTable[]{{15, .4647058824, .7934065934, 2.178812829667}, {30, .2633064516, .3438423645, 2.051830516480},
                         {45, .1832254086, .2188865398, 2.018081702818}, {60, .1404283448, .1604617183, 2.002465459291},
                         {75, .1138209159, .1266345798, 1.993463566662}, {90, .0956840261, .1045795029, 1.987608281589},
                         {630, .0141953940, .0143768025, 1.963754701176}};
  for (const Row& row : kTable) {
    const StudentT student(row.n - 3);
    const Geometry g = row_geometry(row.n, &student);
    EXPECT_NEAR(g.end_halfwidth, row.t * std::sqrt(1 + row.h_end), 1e-9) << row.n;
    EXPECT_NEAR(g.next_halfwidth, row.t * std::sqrt(1 + row.h_next), 1e-9) << row.n;
    EXPECT_NEAR(g.inv_press, 1 / (1 - row.h_end), 1e-9) << row.n;
    EXPECT_NEAR(g.se0 * g.se0, row.h_end, 1e-9) << row.n;
    const double n = row.n;
    EXPECT_NEAR(g.se2 / std::sqrt(180 / (n * (n * n - 1) * (n * n - 4))), 1.0, 1e-14) << row.n;
  }
}

}  // namespace
}  // namespace regfeatd::fit::test
