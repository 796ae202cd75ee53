#include <gtest/gtest.h>

#include <set>
#include <string>

#include "regfeatd/fit/metric.hpp"

namespace regfeatd::fit {
namespace {

std::string names(Family f) {
  std::string result;
  for (const Metric m : metrics_of(f)) result += std::string(info(m).name) + " ";
  return result;
}

// The order is that of columns in existing tables, and the kernels rely on it.
TEST(Catalogue, HoldsTheFamiliesInTheirOrder) {
  EXPECT_EQ(names(Family::coefficients),
            "a2 a1 b r2 rmse residual_mean residual_std prediction pred_interval_lower pred_interval_upper "
            "vertex_x vertex_y "
            "curvature fit_quality extrapolation_error ");
  EXPECT_EQ(names(Family::terms), "quadratic_term linear_term constant_term prediction residual r2 rmse ");
  EXPECT_EQ(names(Family::legacy_terms), "a_coef b_coef c_coef a_term b_term r2 rmse yhat_end resid_end ");
  EXPECT_EQ(names(Family::inference),
            "coef2 coef1 coef0 se_coef2 se_coef1 se_coef0 t_coef2 t_coef1 p_coef2 p_coef1 sigma r2_adj "
            "f_stat slope_end "
            "pi_lower pi_upper forecast forecast_lower forecast_upper forecast_error durbin_watson n_obs ");
}

TEST(Catalogue, DescribesEveryMetric) {
  std::set<std::string> seen;
  for (const MetricInfo& m : catalogue()) {
    EXPECT_FALSE(m.formula.empty()) << m.name;
    EXPECT_FALSE(m.unit.empty()) << m.name;
    EXPECT_FALSE(m.when_null.empty()) << m.name;
    EXPECT_TRUE(m.min_rows == 3 || m.min_rows == 4) << m.name;
    EXPECT_EQ(m.null_rule == NullRule::needs_four, m.min_rows == 4 && m.null_rule != NullRule::value_dependent)
        << m.name;
    EXPECT_TRUE(seen.insert(std::string(to_string(m.family)) + "." + std::string(m.name)).second) << m.name;
  }
  EXPECT_EQ(seen.size(), 53U);
}

TEST(Catalogue, FindsMetricsByName) {
  const auto sigma = find_metric("sigma");
  ASSERT_TRUE(sigma.metric);
  EXPECT_EQ(info(*sigma.metric).family, Family::inference);
  const auto r2 = find_metric("r2");
  EXPECT_FALSE(r2.metric);
  EXPECT_EQ(r2.matches.size(), 3U);
  const auto qualified = find_metric("legacy_terms.r2");
  ASSERT_TRUE(qualified.metric);
  EXPECT_EQ(info(*qualified.metric).family, Family::legacy_terms);
  for (const char* unknown : {"", ".", "r3", "terms.sigma", "nothing.r2", "terms."}) {
    EXPECT_FALSE(find_metric(unknown).metric) << unknown;
    EXPECT_TRUE(find_metric(unknown).matches.empty()) << unknown;
  }
}

TEST(Catalogue, NamesFamilies) {
  for (const Family f : {Family::coefficients, Family::terms, Family::legacy_terms, Family::inference})
    EXPECT_EQ(family_from_name(to_string(f)), f);
  EXPECT_FALSE(family_from_name("term"));
  EXPECT_EQ(default_offset(Family::legacy_terms), 1);
  EXPECT_EQ(default_offset(Family::terms), 0);
}

}  // namespace
}  // namespace regfeatd::fit
