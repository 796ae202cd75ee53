#include "regfeatd/fit/oracle.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

namespace regfeatd::fit {
namespace {

using Real = long double;
using Matrix = Eigen::Matrix<Real, Eigen::Dynamic, 3>;
using Matrix3 = Eigen::Matrix<Real, 3, 3>;
using Vector = Eigen::Matrix<Real, Eigen::Dynamic, 1>;
using Vector3 = Eigen::Matrix<Real, 3, 1>;

constexpr Real kNull = std::numeric_limits<Real>::quiet_NaN();
constexpr Real kTiny = 1e-10L;

/// Everything that the definitions need of one window.
struct Fit {
  Real n = 0;
  Real x_end = 0;
  Real mean_x = 0, std_x = 0;  ///< population
  Vector3 c;                   ///< c0, c1, c2 on raw x
  Matrix3 covariance;          ///< (X'X)^-1 on raw x
  Vector e;
  Real y_end = 0;
  Real rss = 0, tss = 0;

  [[nodiscard]] Real at(Real x) const { return (c(2) * x + c(1)) * x + c(0); }
  [[nodiscard]] Real leverage(Real x) const {
    const Vector3 v(1, x, x * x);
    return v.dot(covariance * v);
  }
  [[nodiscard]] Real sigma() const { return n > 3 ? std::sqrt(rss / (n - 3)) : kNull; }
};

/// Least squares by QR on (x - centre)/scale, then the change of basis to raw x.
Fit fit_window(const Vector& x, const Vector& y) {
  const Real centre = (x(0) + x(x.size() - 1)) / 2;
  const Real scale = (x(x.size() - 1) - x(0)) / 2;
  Matrix basis(x.size(), 3);
  basis.col(0).setOnes();
  basis.col(1) = (x.array() - centre) / scale;
  basis.col(2) = basis.col(1).array().square();

  // y less its middle value: QR then works on the window's spread, not on its level.
  const Real level = y(y.size() / 2);
  const Vector d = y.array() - level;
  const Eigen::HouseholderQR<Matrix> qr(basis);
  const Vector3 u = qr.solve(d);
  const Matrix3 r = qr.matrixQR().topRows<3>().triangularView<Eigen::Upper>();
  const Matrix3 r_inverse = r.triangularView<Eigen::Upper>().solve(Matrix3::Identity());

  Matrix3 to_raw;  // coefficients in (x - centre)/scale -> coefficients in x
  const Real k = centre / scale;
  to_raw << 1, -k, k * k, 0, 1 / scale, -2 * k / scale, 0, 0, 1 / (scale * scale);

  Fit f;
  f.n = static_cast<Real>(x.size());
  f.x_end = x(x.size() - 1);
  f.mean_x = x.mean();
  f.std_x = std::sqrt((x.array() - f.mean_x).square().sum() / f.n);
  f.c = to_raw * u;
  f.c(0) += level;
  const Matrix3 half = to_raw * r_inverse;
  f.covariance = half * half.transpose();
  f.e = d - basis * u;
  f.y_end = y(y.size() - 1);
  f.rss = x.size() == 3 ? 0 : f.e.squaredNorm();  // three points lie on their parabola
  const bool constant = (d.array() == 0).all();
  f.tss = constant ? 0 : (d.array() - d.mean()).square().sum();
  return f;
}

Real student_p(Real t, Real degrees) {
  if (!std::isfinite(t)) return kNull;
  return 2 * boost::math::cdf(boost::math::complement(boost::math::students_t(static_cast<double>(degrees)),
                                                      static_cast<double>(std::abs(t))));
}

Real coefficients_metric(const Fit& f, std::string_view name) {
  const Real s = f.std_x + kTiny, m = f.mean_x;
  const Real a2 = f.c(2) * s * s;
  const Real a1 = (f.c(1) + 2 * f.c(2) * m) * s;
  const Real b = f.at(m);
  const Real r2 = 1 - f.rss / (f.tss + kTiny);
  const Real mean = f.e.mean();
  const Real std = f.n > 3 ? std::sqrt((f.e.array() - mean).square().mean()) : 0;
  const Real prediction = f.at(f.x_end);
  const Real vertex = -a1 / (2 * a2 + kTiny);
  if (name == "a2") return a2;
  if (name == "a1") return a1;
  if (name == "b") return b;
  if (name == "r2") return r2;
  if (name == "rmse") return std::sqrt(f.rss / f.n);
  if (name == "residual_mean") return mean;
  if (name == "residual_std") return std;
  if (name == "prediction") return prediction;
  if (name == "pred_interval_lower") return prediction - 1.96L * std;
  if (name == "pred_interval_upper") return prediction + 1.96L * std;
  if (name == "vertex_x") return vertex;
  if (name == "vertex_y") return a2 * vertex * vertex + a1 * vertex + b;
  if (name == "curvature") return std::abs(a2);
  if (name == "fit_quality") return std::clamp<Real>(r2, 0, 1);
  assert(name == "extrapolation_error");
  return std::abs(std / (std::abs(prediction) + kTiny));
}

Real terms_metric(const Fit& f, std::string_view name) {
  if (name == "quadratic_term") return f.c(2) * f.x_end * f.x_end;
  if (name == "linear_term") return f.c(1) * f.x_end;
  if (name == "constant_term") return f.c(0);
  if (name == "prediction") return f.at(f.x_end);
  if (name == "residual") return f.y_end - f.at(f.x_end);
  if (name == "r2") return 1 - f.rss / (f.tss + kTiny);
  assert(name == "rmse");
  return std::sqrt(f.rss / f.n);
}

Real legacy_metric(const Fit& f, std::string_view name) {
  if (name == "a_coef") return f.c(2);
  if (name == "b_coef") return f.c(1);
  if (name == "c_coef") return f.c(0);
  if (name == "a_term") return f.c(2) * f.x_end * f.x_end;
  if (name == "b_term") return f.c(1) * f.x_end;
  if (name == "r2") return f.tss == 0 ? 0 : 1 - f.rss / f.tss;
  if (name == "rmse") return std::sqrt(f.rss / f.n);
  if (name == "yhat_end") return f.at(f.x_end);
  assert(name == "resid_end");
  return f.y_end - f.at(f.x_end);
}

Real half_interval(const Fit& f, Real x) {
  if (f.n < 4) return kNull;
  const boost::math::students_t distribution(static_cast<double>(f.n - 3));
  return static_cast<Real>(boost::math::quantile(distribution, 0.975)) * f.sigma() * std::sqrt(1 + f.leverage(x));
}

Real durbin_watson(const Fit& f) {
  const auto pairs = f.e.size() - 1;
  return f.rss > 0 ? (f.e.tail(pairs) - f.e.head(pairs)).squaredNorm() / f.rss : kNull;
}

Real inference_metric(const Fit& f, std::string_view name) {
  const auto se = [&](int i) { return f.sigma() * std::sqrt(f.covariance(i, i)); };
  if (name == "coef2") return f.c(2);
  if (name == "coef1") return f.c(1);
  if (name == "coef0") return f.c(0);
  if (name == "se_coef2") return se(2);
  if (name == "se_coef1") return se(1);
  if (name == "se_coef0") return se(0);
  if (name == "t_coef2") return f.c(2) / se(2);
  if (name == "t_coef1") return f.c(1) / se(1);
  if (name == "p_coef2") return student_p(f.c(2) / se(2), f.n - 3);
  if (name == "p_coef1") return student_p(f.c(1) / se(1), f.n - 3);
  if (name == "sigma") return f.sigma();
  if (name == "r2_adj") return f.n > 3 && f.tss > 0 ? 1 - (f.rss / (f.n - 3)) / (f.tss / (f.n - 1)) : kNull;
  if (name == "f_stat") return f.n > 3 && f.rss > 0 ? ((f.tss - f.rss) / 2) / (f.rss / (f.n - 3)) : kNull;
  if (name == "slope_end") return f.c(1) + 2 * f.c(2) * f.x_end;
  if (name == "pi_lower") return f.at(f.x_end) - half_interval(f, f.x_end);
  if (name == "pi_upper") return f.at(f.x_end) + half_interval(f, f.x_end);
  if (name == "forecast") return f.at(f.x_end + 1);
  if (name == "forecast_lower") return f.at(f.x_end + 1) - half_interval(f, f.x_end + 1);
  if (name == "forecast_upper") return f.at(f.x_end + 1) + half_interval(f, f.x_end + 1);
  if (name == "forecast_error") return f.n > 3 ? f.e(f.e.size() - 1) / (1 - f.leverage(f.x_end)) : kNull;
  if (name == "durbin_watson") return durbin_watson(f);
  assert(name == "n_obs");
  return f.n;
}

Real stored_metric(const Fit& f, std::string_view name) {
  if (name == "rss") return f.rss;
  if (name == "tss") return f.tss;
  if (name == "residual") return f.y_end - f.at(f.x_end);
  if (name == "step_squares") return (f.e.tail(f.e.size() - 1) - f.e.head(f.e.size() - 1)).squaredNorm();
  if (name == "p_coef2" || name == "p_coef1") return f.rss > 0 ? inference_metric(f, name) : kNull;
  if (name == "n_obs") return f.n;
  if (name == "t_quantile") {
    return f.n > 3
               ? static_cast<Real>(boost::math::quantile(boost::math::students_t(static_cast<double>(f.n - 3)), 0.975))
               : kNull;
  }
  return coefficients_metric(f, name);
}

Real metric_value(const Fit& f, Metric m) {
  switch (info(m).family) {
    case Family::coefficients:
      return coefficients_metric(f, info(m).name);
    case Family::terms:
      return terms_metric(f, info(m).name);
    case Family::legacy_terms:
      return legacy_metric(f, info(m).name);
    case Family::inference:
      return inference_metric(f, info(m).name);
    case Family::stored:
      return stored_metric(f, info(m).name);
  }
  return kNull;
}

/// The first row of the window that ends on row `end`; before the series where a window by rows reaches beyond it.
std::int64_t first_row(const Window& w, const Series& series, std::int64_t end) {
  if (w.kind == Window::Kind::rows) return end - w.rows + 1;
  std::int64_t start = end;
  const Real t_end = static_cast<Real>(series.order[static_cast<std::size_t>(end)]);
  while (start > 0 &&
         static_cast<Real>(series.order[static_cast<std::size_t>(start - 1)]) > t_end - static_cast<Real>(w.range))
    --start;
  return start;
}

/// The rows of the window by range that ends on row `end`, of which there may be none; NULL where one holds a bad
/// value.
Real rows_of_range(const Window& w, const Series& series, std::int64_t end) {
  if (end < 0) return 0;
  const std::int64_t start = first_row(w, series, end);
  for (std::int64_t i = start; i <= end; ++i)
    if (!std::isfinite(series.values[static_cast<std::size_t>(i)])) return kNull;
  return static_cast<Real>(end - start + 1);
}

/// The fit of the window that ends on row `end`; nothing where the window is incomplete or holds a bad value.
std::optional<Fit> fit_ending_at(const Window& w, const Series& series, std::int64_t end) {
  if (end < 0) return std::nullopt;
  const std::int64_t start = first_row(w, series, end);
  const std::int64_t least = w.kind == Window::Kind::range ? std::max(w.min_rows, kMinWindowRows) : w.rows;
  if (start < 0 || end - start + 1 < least) return std::nullopt;
  const auto first = static_cast<std::size_t>(start);
  const auto last = static_cast<std::size_t>(end);
  const std::size_t n = last - first + 1;
  Vector x(n), y(n);
  for (std::size_t j = 0; j < n; ++j) {
    const double v = series.values[first + j];
    if (!std::isfinite(v)) return std::nullopt;
    const auto i = static_cast<Eigen::Index>(j);
    y(i) = v;
    x(i) = w.x == XAxis::row
               ? static_cast<Real>(j)
               : static_cast<Real>(series.order[first + j] - series.order[last]) / static_cast<Real>(w.x_unit);
  }
  return fit_window(x, y);
}

}  // namespace

void oracle_row(const Plan& plan, const Series& series, std::size_t row, std::span<double> out) {
  assert(out.size() == plan.column_count());
  for (std::size_t w = 0; w < plan.windows.size(); ++w) {
    std::optional<std::int64_t> known_offset;
    std::optional<Fit> fit;
    for (std::size_t m = 0; m < plan.metrics.size(); ++m) {
      const std::int64_t offset = plan.offset({w, plan.metrics[m]});
      double& value = out[w * plan.metrics.size() + m];
      if (plan.windows[w].kind == Window::Kind::range && counts_rows(plan.metrics[m])) {
        value = static_cast<double>(rows_of_range(plan.windows[w], series, static_cast<std::int64_t>(row) - offset));
        continue;
      }
      if (known_offset != offset) {
        fit = fit_ending_at(plan.windows[w], series, static_cast<std::int64_t>(row) - offset);
        known_offset = offset;
      }
      value = static_cast<double>(fit ? metric_value(*fit, plan.metrics[m]) : kNull);
      if (!std::isfinite(value)) value = std::numeric_limits<double>::quiet_NaN();
    }
  }
}

}  // namespace regfeatd::fit
