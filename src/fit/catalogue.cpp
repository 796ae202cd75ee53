#include <array>
#include <cassert>

#include "regfeatd/fit/metric.hpp"

namespace regfeatd::fit {
namespace {

constexpr std::string_view kIncomplete = "window incomplete or holding a NULL, NaN or infinite input";
constexpr std::string_view kFour = "as always, and where n < 4";
constexpr std::string_view kFourRss = "as always, and where n < 4 or RSS = 0";
constexpr std::string_view kFourTss = "as always, and where n < 4 or TSS = 0";
constexpr std::string_view kRss = "as always, and where RSS = 0 (so always for n = 3)";
constexpr std::string_view kVertex = "as always, and where 2 a2 + 1e-10 is exactly 0";

constexpr std::string_view kCount =
    "rows in the window; of a window by range also where they are fewer than min_rows or 3, down to 0";
constexpr std::string_view kCountNull =
    "window by rows incomplete, or a NULL, NaN or infinite input in the window, of either kind";

constexpr auto kNever = NullRule::never;
constexpr auto kNeedsFour = NullRule::needs_four;
constexpr auto kValue = NullRule::value_dependent;

constexpr auto kCoefficients = Family::coefficients;
constexpr auto kTerms = Family::terms;
constexpr auto kLegacy = Family::legacy_terms;
constexpr auto kInference = Family::inference;
constexpr auto kStored = Family::stored;

// The order is that of the families' columns in tables that exist already (coefficients, terms,
// legacy_terms); code that computes a family (src/fit/kernel_derive.inl) knows it by position,
// tests/unit/fit/catalogue_test.cpp holds it.
constexpr std::array kCatalogue{
    MetricInfo{kCoefficients, "a2", "c2 s^2, with z = (x-m)/s, m the mean of x, s its population std plus 1e-10",
               "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "a1", "(c1 + 2 c2 m) s", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "b", "c0 + c1 m + c2 m^2", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "r2", "1 - RSS/(TSS + 1e-10)", "1", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "rmse", "sqrt(RSS/n)", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "residual_mean", "sum e_j / n (zero up to rounding)", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "residual_std", "population standard deviation of e", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "prediction", "yhat(x_end)", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "pred_interval_lower", "prediction - 1.96 residual_std", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "pred_interval_upper", "prediction + 1.96 residual_std", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "vertex_x", "-a1/(2 a2 + 1e-10), in z", "1", kVertex, kValue, 3},
    MetricInfo{kCoefficients, "vertex_y", "a2 vertex_x^2 + a1 vertex_x + b", "input", kVertex, kValue, 3},
    MetricInfo{kCoefficients, "curvature", "abs(a2)", "input", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "fit_quality", "r2 clamped to [0, 1]", "1", kIncomplete, kNever, 3},
    MetricInfo{kCoefficients, "extrapolation_error", "abs(residual_std/(abs(prediction) + 1e-10))", "1", kIncomplete,
               kNever, 3},

    MetricInfo{kTerms, "quadratic_term", "c2 x_end^2", "input", kIncomplete, kNever, 3},
    MetricInfo{kTerms, "linear_term", "c1 x_end", "input", kIncomplete, kNever, 3},
    MetricInfo{kTerms, "constant_term", "c0", "input", kIncomplete, kNever, 3},
    MetricInfo{kTerms, "prediction", "yhat(x_end) = quadratic_term + linear_term + constant_term", "input", kIncomplete,
               kNever, 3},
    MetricInfo{kTerms, "residual", "y_{n-1} - prediction", "input", kIncomplete, kNever, 3},
    MetricInfo{kTerms, "r2", "1 - RSS/(TSS + 1e-10)", "1", kIncomplete, kNever, 3},
    MetricInfo{kTerms, "rmse", "sqrt(RSS/n)", "input", kIncomplete, kNever, 3},

    MetricInfo{kLegacy, "a_coef", "c2", "input/x^2", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "b_coef", "c1", "input/x", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "c_coef", "c0", "input", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "a_term", "c2 x_end^2", "input", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "b_term", "c1 x_end", "input", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "r2", "1 - RSS/TSS; 0 where TSS = 0", "1", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "rmse", "sqrt(RSS/n)", "input", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "yhat_end", "yhat(x_end)", "input", kIncomplete, kNever, 3},
    MetricInfo{kLegacy, "resid_end", "y_{n-1} - yhat_end", "input", kIncomplete, kNever, 3},

    MetricInfo{kInference, "coef2", "c2", "input/x^2", kIncomplete, kNever, 3},
    MetricInfo{kInference, "coef1", "c1", "input/x", kIncomplete, kNever, 3},
    MetricInfo{kInference, "coef0", "c0", "input", kIncomplete, kNever, 3},
    MetricInfo{kInference, "se_coef2",
               "s_e sqrt(((X'X)^-1)_22) = s_e sqrt(180/(n(n^2-1)(n^2-4))), s_e = sqrt(RSS/(n-3))", "input/x^2", kFour,
               kNeedsFour, 4},
    MetricInfo{kInference, "se_coef1", "s_e sqrt(((X'X)^-1)_11)", "input/x", kFour, kNeedsFour, 4},
    MetricInfo{kInference, "se_coef0", "s_e sqrt(((X'X)^-1)_00) = s_e sqrt(h_end)", "input", kFour, kNeedsFour, 4},
    MetricInfo{kInference, "t_coef2", "coef2/se_coef2", "1", kFourRss, kValue, 4},
    MetricInfo{kInference, "t_coef1", "coef1/se_coef1", "1", kFourRss, kValue, 4},
    MetricInfo{kInference, "p_coef2", "two-sided p value of t_coef2, Student t with n-3 degrees of freedom", "1",
               kFourRss, kValue, 4},
    MetricInfo{kInference, "p_coef1", "two-sided p value of t_coef1, Student t with n-3 degrees of freedom", "1",
               kFourRss, kValue, 4},
    MetricInfo{kInference, "sigma", "s_e = sqrt(RSS/(n-3))", "input", kFour, kNeedsFour, 4},
    MetricInfo{kInference, "r2_adj", "1 - (RSS/(n-3))/(TSS/(n-1))", "1", kFourTss, kValue, 4},
    MetricInfo{kInference, "f_stat", "((TSS-RSS)/2)/(RSS/(n-3))", "1", kFourRss, kValue, 4},
    MetricInfo{kInference, "slope_end", "c1 + 2 c2 x_end", "input/x", kIncomplete, kNever, 3},
    MetricInfo{kInference, "pi_lower", "yhat(x_end) - t s_e sqrt(1 + h_end), t = t(0.975, n-3)", "input", kFour,
               kNeedsFour, 4},
    MetricInfo{kInference, "pi_upper", "yhat(x_end) + t s_e sqrt(1 + h_end)", "input", kFour, kNeedsFour, 4},
    MetricInfo{kInference, "forecast", "yhat(x_end + 1): one row ahead, or one x_unit ahead with x: time", "input",
               kIncomplete, kNever, 3},
    MetricInfo{kInference, "forecast_lower", "forecast - t s_e sqrt(1 + h_next)", "input", kFour, kNeedsFour, 4},
    MetricInfo{kInference, "forecast_upper", "forecast + t s_e sqrt(1 + h_next)", "input", kFour, kNeedsFour, 4},
    MetricInfo{kInference, "forecast_error", "e_{n-1}/(1 - h_end)", "input", kFour, kNeedsFour, 4},
    MetricInfo{kInference, "durbin_watson", "sum (e_j - e_{j-1})^2 / RSS", "1", kRss, kValue, 3},
    MetricInfo{kInference, "n_obs", kCount, "rows", kCountNull, kNever, 3},

    MetricInfo{kStored, "a2", "as in coefficients", "input", kIncomplete, kNever, 3},
    MetricInfo{kStored, "a1", "as in coefficients", "input", kIncomplete, kNever, 3},
    MetricInfo{kStored, "b", "as in coefficients", "input", kIncomplete, kNever, 3},
    MetricInfo{kStored, "rss", "sum e_j^2", "input^2", kIncomplete, kNever, 3},
    MetricInfo{kStored, "tss", "sum (y_j - ybar)^2", "input^2", kIncomplete, kNever, 3},
    MetricInfo{kStored, "residual", "e_{n-1}", "input", kIncomplete, kNever, 3},
    MetricInfo{kStored, "step_squares", "sum (e_j - e_{j-1})^2", "input^2", kIncomplete, kNever, 3},
    MetricInfo{kStored, "p_coef2", "as in inference", "1", kFourRss, kValue, 4},
    MetricInfo{kStored, "p_coef1", "as in inference", "1", kFourRss, kValue, 4},
    MetricInfo{kStored, "n_obs", kCount, "rows", kCountNull, kNever, 3},
    MetricInfo{kStored, "t_quantile", "t(0.975, n-3)", "1", kFour, kNeedsFour, 4},
};

constexpr std::size_t kPublicMetrics = 53;
static_assert(kCatalogue[kPublicMetrics - 1].family == kInference && kCatalogue[kPublicMetrics].family == kStored);

constexpr std::array<std::string_view, 5> kFamilyNames{"coefficients", "terms", "legacy_terms", "inference", "stored"};
constexpr std::size_t kPublicFamilies = 4;

}  // namespace

std::span<const MetricInfo> catalogue() noexcept { return std::span(kCatalogue).first(kPublicMetrics); }

bool exists(Metric m) noexcept { return static_cast<std::size_t>(m) < kCatalogue.size(); }

const MetricInfo& info(Metric m) noexcept {
  const auto i = static_cast<std::size_t>(m);
  assert(i < kCatalogue.size());
  return kCatalogue[i];
}

std::string_view to_string(Family f) noexcept { return kFamilyNames[static_cast<std::size_t>(f)]; }

std::optional<Family> family_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kPublicFamilies; ++i)
    if (kFamilyNames[i] == name) return static_cast<Family>(i);
  return std::nullopt;
}

std::vector<Metric> metrics_of(Family f) {
  std::vector<Metric> result;
  for (std::size_t i = 0; i < kCatalogue.size(); ++i)
    if (kCatalogue[i].family == f) result.push_back(static_cast<Metric>(i));
  return result;
}

MetricLookup find_metric(std::string_view name) {
  std::optional<Family> family;
  if (const auto dot = name.find('.'); dot != std::string_view::npos) {
    family = family_from_name(name.substr(0, dot));
    if (!family) return {};
    name.remove_prefix(dot + 1);
  }
  MetricLookup result;
  for (std::size_t i = 0; i < kPublicMetrics; ++i)
    if (kCatalogue[i].name == name && (!family || kCatalogue[i].family == *family))
      result.matches.push_back(static_cast<Metric>(i));
  if (result.matches.size() == 1) result.metric = result.matches.front();
  return result;
}

bool counts_rows(Metric m) noexcept { return info(m).name == "n_obs"; }

std::int64_t default_offset(Family f) noexcept { return f == Family::legacy_terms ? 1 : 0; }

}  // namespace regfeatd::fit
