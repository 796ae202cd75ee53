#include "exact_oracle.hpp"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <boost/multiprecision/cpp_dec_float.hpp>
#include <boost/multiprecision/cpp_int.hpp>
#include <cassert>
#include <cmath>
#include <limits>
#include <map>

namespace regfeatd::fit::test {
namespace {

namespace mp = boost::multiprecision;
using Real = mp::number<mp::cpp_dec_float<100>, mp::et_off>;
using Integer = mp::number<mp::cpp_int_backend<1024, 1024, mp::signed_magnitude, mp::unchecked, void>, mp::et_off>;

double to_double(const Real& v) { return v.convert_to<double>(); }
Real square(const Real& v) { return v * v; }

/// Values as integers times 2^exponent.
struct Scaled {
  std::vector<Integer> values;
  int exponent;
};

Scaled scale_to_integers(std::span<const double> y) {
  int lowest = std::numeric_limits<int>::max();
  for (const double v : y)
    if (v != 0) lowest = std::min(lowest, std::ilogb(v) - 52);
  if (lowest == std::numeric_limits<int>::max()) lowest = 0;
  Scaled s{{}, lowest};
  for (const double v : y) {
    int e = 0;
    const auto mantissa = static_cast<std::int64_t>(std::ldexp(std::frexp(v, &e), 53));
    Integer i = mantissa;
    if (mantissa != 0) i <<= static_cast<unsigned>(e - 53 - lowest);
    s.values.push_back(i);
  }
  return s;
}

/// The sums that decide everything, d being the value less the newest.
struct Sums {
  Integer d = 0, p1d = 0, p2d = 0, dd = 0, steps = 0;
};

Sums exact_sums(const std::vector<Integer>& y) {
  Sums s;
  const auto n = static_cast<std::int64_t>(y.size());
  Integer before = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    const Integer d = y[static_cast<std::size_t>(j)] - y.back();
    const std::int64_t p1 = 2 * j - (n - 1);
    const std::int64_t p2 = 3 * p1 * p1 - (n * n - 1);
    s.d += d;
    s.p1d += d * p1;
    s.p2d += d * p2;
    s.dd += d * d;
    if (j > 0) s.steps += (d - before) * (d - before);
    before = d;
  }
  return s;
}

/// Exact quantities of the fit, at 100 digits.
struct Quantities {
  Real n, n1, n2, g0, g1, g2, anchor, rss, tss, steps, first, spread, level;
};

Quantities quantities_of(std::span<const double> y) {
  const Scaled scaled = scale_to_integers(y);
  const Sums sums = exact_sums(scaled.values);
  const Real unit = mp::ldexp(Real(1), scaled.exponent);
  Quantities q;
  q.n = Real(y.size());
  q.n1 = q.n * (square(q.n) - 1) / 3;
  q.n2 = 4 * q.n * (square(q.n) - 1) * (square(q.n) - 4) / 5;
  q.g0 = Real(sums.d) * unit / q.n;
  q.g1 = Real(sums.p1d) * unit / q.n1;
  q.g2 = Real(sums.p2d) * unit / q.n2;
  q.anchor = Real(y.back());
  const Real dd = Real(sums.dd) * square(unit);
  q.tss = dd - q.n * square(q.g0);
  if (q.tss < Real("1e-80") * dd) q.tss = 0;
  q.rss = q.tss - q.n1 * square(q.g1) - q.n2 * square(q.g2);
  if (q.rss < Real("1e-80") * q.tss || y.size() == 3) q.rss = 0;
  // sum (e_j - e_{j-1})^2: the parabola's own steps are 2 g1 + 12 g2 (P1 - 1); see kernel_block.inl for the
  // sums.
  const Real first = Real(y.front()) - q.anchor;
  const Real cross = 2 * q.g1 * (-first) + 12 * q.g2 * (q.n * first - 2 * q.n * q.g0);
  q.steps = Real(sums.steps) * square(unit) - 2 * cross + 4 * (q.n - 1) * square(q.g1) +
            48 * q.n * (q.n - 1) * (q.n - 2) * square(q.g2);
  q.spread = 0;
  q.level = 0;
  for (const double v : y) {
    q.spread = std::max(q.spread, Real(mp::abs(Real(v) - q.anchor)));
    q.level = std::max(q.level, Real(std::abs(v)));
  }
  return q;
}

class Collector {
 public:
  explicit Collector(std::vector<ExactMetric>& out) : out_(out) {}
  void add(const Real& value, const Real& scale) { out_.push_back({false, to_double(value), to_double(scale)}); }
  void add_if(bool exists, const Real& value, const Real& scale) {
    out_.push_back({!exists, exists ? to_double(value) : 0, exists ? to_double(scale) : 0});
  }
  void add_null() { out_.push_back({true, 0, 0}); }

 private:
  std::vector<ExactMetric>& out_;
};

/// What several families share.
struct Shared {
  Real c0, c1, c2, x_end, prediction, r2, r2_plain, rmse;
};

Shared shared_of(const Quantities& q) {
  Shared s;
  const Real n = q.n;
  s.x_end = n - 1;
  s.c2 = 12 * q.g2;
  s.c1 = 2 * q.g1 - 12 * (n - 1) * q.g2;
  s.c0 = q.anchor + q.g0 - (n - 1) * q.g1 + 2 * (n - 1) * (n - 2) * q.g2;
  s.prediction = q.anchor + q.g0 + (n - 1) * q.g1 + 2 * (n - 1) * (n - 2) * q.g2;
  s.r2 = 1 - q.rss / (q.tss + Real(1e-10));
  s.r2_plain = q.tss == 0 ? Real(0) : 1 - q.rss / q.tss;
  s.rmse = sqrt(q.rss / n);
  return s;
}

void add_coefficients(const Quantities& q, const Shared& f, Collector& out) {
  const Real s = sqrt((square(q.n) - 1) / 12) + Real(1e-10);
  const Real m = (q.n - 1) / 2;
  const Real a2 = f.c2 * s * s;
  const Real a1 = (f.c1 + 2 * f.c2 * m) * s;
  const Real b = f.c0 + f.c1 * m + f.c2 * m * m;
  const Real denominator = 2 * a2 + Real(1e-10);
  const bool has_vertex = denominator != 0;
  const Real vx = has_vertex ? Real(-a1 / denominator) : Real(0);
  const Real vx_scale = has_vertex ? Real((q.spread + 2 * abs(vx) * q.spread) / abs(denominator)) : Real(0);
  const Real vy = a2 * vx * vx + a1 * vx + b;
  const Real vy_scale = q.spread * (vx * vx + abs(vx)) + q.level + abs(2 * a2 * vx + a1) * vx_scale;
  const Real error = f.rmse / (abs(f.prediction) + Real(1e-10));
  out.add(a2, q.spread);
  out.add(a1, q.spread);
  out.add(b, q.level);
  out.add(f.r2, 1);
  out.add(f.rmse, f.rmse);
  out.add(0, q.spread);
  out.add(f.rmse, f.rmse);
  out.add(f.prediction, q.level);
  out.add(f.prediction - Real(1.96) * f.rmse, q.level);
  out.add(f.prediction + Real(1.96) * f.rmse, q.level);
  out.add_if(has_vertex, vx, vx_scale);
  out.add_if(has_vertex, vy, vy_scale);
  out.add(abs(a2), q.spread);
  out.add(std::clamp<Real>(f.r2, 0, 1), 1);
  out.add(error, error * (1 + q.level / (abs(f.prediction) + Real(1e-10))));
}

void add_terms(const Quantities& q, const Shared& f, Collector& out) {
  out.add(f.c2 * square(f.x_end), q.spread);
  out.add(f.c1 * f.x_end, q.spread);
  out.add(f.c0, q.level);
  out.add(f.prediction, q.level);
  out.add(q.anchor - f.prediction, q.spread);
  out.add(f.r2, 1);
  out.add(f.rmse, f.rmse);
}

void add_legacy_terms(const Quantities& q, const Shared& f, Collector& out) {
  out.add(f.c2, q.spread / square(q.n));
  out.add(f.c1, q.spread / q.n);
  out.add(f.c0, q.level);
  out.add(f.c2 * square(f.x_end), q.spread);
  out.add(f.c1 * f.x_end, q.spread);
  out.add(f.r2_plain, 1);
  out.add(f.rmse, f.rmse);
  out.add(f.prediction, q.level);
  out.add(q.anchor - f.prediction, q.spread);
}

/// t and p of a coefficient whose own scale is `scale`.
struct Significance {
  Real t, t_scale;
  double p, p_scale;
};

Significance significance(const Real& c, const Real& se, const Real& scale, int df) {
  Significance s;
  s.t = c / se;
  s.t_scale = scale / se + abs(s.t);
  const boost::math::students_t_distribution<long double> distribution(df);
  const auto t = std::abs(static_cast<long double>(to_double(s.t)));
  // Boost 1.74 answers 1/2 for t^2 below the epsilon; the distribution is straight there.
  s.p = t < 1e-5L ? static_cast<double>(1 - 2 * t * boost::math::pdf(distribution, 0.0L))
                  : static_cast<double>(2 * boost::math::cdf(boost::math::complement(distribution, t)));
  s.p_scale = 1 + 2 * static_cast<double>(boost::math::pdf(distribution, t)) * to_double(s.t_scale);
  return s;
}

double quantile_975(int df) {
  static std::map<int, double> known;
  const auto found = known.find(df);
  if (found != known.end()) return found->second;
  return known[df] =
             static_cast<double>(boost::math::quantile(boost::math::students_t_distribution<long double>(df), 0.975L));
}

void add_inference(const Quantities& q, const Shared& f, Collector& out) {
  const Real n = q.n;
  const int df = static_cast<int>(to_double(n)) - 3;
  const bool four = df > 0;
  const bool has_rss = four && q.rss > 0;
  const Real sigma = four ? Real(sqrt(q.rss / df)) : Real(0);
  const Real h_end = 3 * (3 * n * n - 3 * n + 2) / (n * (n + 1) * (n + 2));
  const Real h_next = 3 * (3 * n * n + 3 * n + 2) / (n * (n - 1) * (n - 2));
  const Real se2 = sigma * sqrt(180 / (n * (n * n - 1) * (n * n - 4)));
  const Real se1 = sigma * sqrt(4 / q.n1 + 144 * square(n - 1) / q.n2);
  const Real se0 = sigma * sqrt(h_end);
  const Real scale2 = q.spread / square(n), scale1 = q.spread / n;
  const Significance s2 = has_rss ? significance(f.c2, se2, scale2, df) : Significance{};
  const Significance s1 = has_rss ? significance(f.c1, se1, scale1, df) : Significance{};
  const Real t = four ? Real(quantile_975(df)) : Real(0);
  const Real end_half = t * sigma * sqrt(1 + h_end), next_half = t * sigma * sqrt(1 + h_next);
  const Real forecast = q.anchor + q.g0 + (n + 1) * q.g1 + 2 * (n + 1) * (n + 2) * q.g2;
  const Real ssr = q.tss - q.rss;
  const Real mean_square = four ? Real(q.rss / df) : Real(0);

  out.add(f.c2, scale2);
  out.add(f.c1, scale1);
  out.add(f.c0, q.level);
  out.add_if(four, se2, se2);
  out.add_if(four, se1, se1);
  out.add_if(four, se0, se0);
  out.add_if(has_rss, s2.t, s2.t_scale);
  out.add_if(has_rss, s1.t, s1.t_scale);
  out.add_if(has_rss, Real(s2.p), Real(s2.p_scale));
  out.add_if(has_rss, Real(s1.p), Real(s1.p_scale));
  out.add_if(four, sigma, sigma);
  out.add_if(four && q.tss > 0, four && q.tss > 0 ? Real(1 - mean_square / (q.tss / (n - 1))) : Real(0), 3);
  out.add_if(has_rss, has_rss ? Real(ssr / 2 / mean_square) : Real(0), has_rss ? Real(q.tss / mean_square) : Real(0));
  out.add(f.c1 + 2 * f.c2 * f.x_end, scale1);
  out.add_if(four, f.prediction - end_half, q.level + end_half);
  out.add_if(four, f.prediction + end_half, q.level + end_half);
  out.add(forecast, q.level + q.spread);
  out.add_if(four, forecast - next_half, q.level + q.spread + next_half);
  out.add_if(four, forecast + next_half, q.level + q.spread + next_half);
  out.add_if(four, four ? Real((q.anchor - f.prediction) / (1 - h_end)) : Real(0),
             four ? Real(q.spread / (1 - h_end)) : Real(0));
  out.add_if(q.rss > 0, q.rss > 0 ? Real(q.steps / q.rss) : Real(0), 4);
  out.add(n, 1);
}

}  // namespace

ExactFit exact_fit(std::span<const double> y) {
  const Quantities q = quantities_of(y);
  const Shared shared = shared_of(q);
  ExactFit fit;
  Collector out(fit.metrics);
  add_coefficients(q, shared, out);
  add_terms(q, shared, out);
  add_legacy_terms(q, shared, out);
  add_inference(q, shared, out);
  assert(fit.metrics.size() == catalogue().size());
  fit.rss = to_double(q.rss);
  fit.tss = to_double(q.tss);
  fit.ratio = q.rss > 0 ? to_double(q.tss / q.rss) : std::numeric_limits<double>::infinity();
  fit.spread = to_double(q.spread);
  return fit;
}

}  // namespace regfeatd::fit::test
