// The SQL of compact storage's views. That it gives the right numbers is tests/pg/compact_pgtest.cpp.
#include "regfeatd/populate/compact_view.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "regfeatd/fit/compact.hpp"

namespace regfeatd::populate {
namespace {

using fit::Part;

fit::Window rows_window(std::int64_t rows) {
  fit::Window w;
  w.label = "w";
  w.rows = rows;
  return w;
}

fit::Window range_window() {
  fit::Window w;
  w.label = "w";
  w.kind = fit::Window::Kind::range;
  w.range = 1000;
  return w;
}

/// Column names for the parts that `metric` is said to need, and for no other.
std::vector<std::string> needed_columns(const fit::Window& window, fit::Metric metric) {
  const auto stored = fit::metrics_of(fit::Family::stored);
  std::vector<std::string> names(stored.size());
  for (const Part p : fit::parts_of(window, metric))
    names[static_cast<std::size_t>(p)] = fit::info(stored[static_cast<std::size_t>(p)]).name;
  return names;
}

std::string expression(const char* metric, const fit::Window& window) {
  const fit::Metric m = *fit::find_metric(metric).metric;
  return compact_expression(window, m, needed_columns(window, m));
}

/// An operator without its operand is what a column that is not kept leaves behind.
bool has_gap(const std::string& sql) {
  for (const char* gap : {"( +", "( -", "( *", "( /", "+ )", "* )", "/ )", "- )", "(, ", "()", "+ *", "* *", "/ *",
                          "* /", "  ", "abs()", "(-/", "(- /"}) {
    if (sql.find(gap) != std::string::npos) return true;
  }
  return sql.empty() || sql.front() == ' ' || sql.back() == ' ';
}

TEST(CompactExpression, EveryMetricIsMadeOfWhatIsKeptForIt) {
  for (std::size_t i = 0; i < fit::catalogue().size(); ++i) {
    const auto metric = static_cast<fit::Metric>(i);
    for (const fit::Window& window : {rows_window(3), rows_window(4), rows_window(90), range_window()}) {
      const std::string sql = compact_expression(window, metric, needed_columns(window, metric));
      EXPECT_FALSE(has_gap(sql)) << fit::info(metric).name << ": " << sql;
      EXPECT_EQ(std::count(sql.begin(), sql.end(), '('), std::count(sql.begin(), sql.end(), ')')) << sql;
      EXPECT_EQ(sql.find("nan"), std::string::npos) << fit::info(metric).name << ": " << sql;
      EXPECT_EQ(sql.find("inf"), std::string::npos) << fit::info(metric).name << ": " << sql;
    }
  }
}

TEST(CompactExpression, SomeOfThemInFull) {
  EXPECT_EQ(expression("coefficients.r2", rows_window(15)), R"((1 - "rss"::float8 / ("tss"::float8 + 1e-10)))");
  EXPECT_EQ(expression("coefficients.rmse", rows_window(15)), R"(sqrt("rss"::float8 / '15'::float8))");
  EXPECT_EQ(expression("coefficients.curvature", rows_window(15)), R"(abs("a2"::float8))");
  EXPECT_EQ(expression("coefficients.vertex_x", rows_window(15)),
            R"((-"a1"::float8 / nullif(2 * "a2"::float8 + 1e-10, 0)))");
  EXPECT_EQ(expression("legacy_terms.r2", rows_window(15)),
            R"(CASE WHEN "tss"::float8 = 0 THEN 0 ELSE 1 - "rss"::float8 / nullif("tss"::float8, 0) END)");
  EXPECT_EQ(expression("n_obs", rows_window(15)), R"((("rss"::float8 * 0 + 1) * '15'::float8))");
  EXPECT_EQ(expression("n_obs", range_window()), R"("n_obs"::float8)");
}

TEST(CompactExpression, NullWhereAWindowHasTooFewRows) {
  EXPECT_EQ(expression("sigma", rows_window(3)), "NULL::float8");
  EXPECT_EQ(expression("p_coef2", rows_window(3)), "NULL::float8");
  EXPECT_NE(expression("durbin_watson", rows_window(3)), "NULL::float8");
  EXPECT_TRUE(expression("sigma", range_window()).starts_with(R"(CASE WHEN "n_obs"::float8 >= 4 THEN )"));
  EXPECT_TRUE(expression("forecast", range_window()).starts_with(R"(CASE WHEN "n_obs"::float8 >= 3 THEN )"));
}

TEST(CompactExpression, NamesAreQuoted) {
  auto columns = needed_columns(rows_window(15), *fit::find_metric("coefficients.rmse").metric);
  columns[static_cast<std::size_t>(Part::rss)] = "odd \"name\"";
  EXPECT_EQ(compact_expression(rows_window(15), *fit::find_metric("coefficients.rmse").metric, columns),
            R"(sqrt("odd ""name"""::float8 / '15'::float8))");
}

}  // namespace
}  // namespace regfeatd::populate
