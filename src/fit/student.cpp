#include "fit/student.hpp"

#include <cassert>
#include <cmath>

namespace regfeatd::fit {
namespace {

constexpr double kRelativeError = 1e-16;
constexpr int kMaxTerms = 20'000;
constexpr int kMaxNewtonSteps = 100;
constexpr double kInversePi = 0.318309886183790671537767526745028724;

/// The continued fraction of the incomplete beta function, I_x(a,b) = x^a (1-x)^b / (a B(a,b)) times this, by the modified
/// Lentz method (Numerical Recipes in C, 2nd ed., section 6.4; DLMF 8.17.22). Converges fast for x < (a+1)/(a+b+2).
double beta_fraction(double a, double b, double x) noexcept {
  double c = 1.0;
  double d = 1.0 / (1.0 - (a + b) * x / (a + 1.0));
  double value = d;
  for (int i = 1; i <= kMaxTerms; ++i) {
    const double m = i;
    const double even = m * (b - m) * x / ((a - 1.0 + 2.0 * m) * (a + 2.0 * m));
    d = 1.0 / (1.0 + even * d);
    c = 1.0 + even / c;
    value *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 1.0 + 2.0 * m));
    d = 1.0 / (1.0 + odd * d);
    c = 1.0 + odd / c;
    const double factor = d * c;
    value *= factor;
    if (std::abs(factor - 1.0) <= kRelativeError) break;
  }
  return value;
}

/// Gamma((v+1)/2) / (Gamma(v/2) sqrt(pi)) from its value for v = 1 or 2 and the ratio (v+1)/v of successive ones.
double density_constant(int degrees) noexcept {
  long double value = degrees % 2 == 1 ? static_cast<long double>(kInversePi) : 0.5L;
  for (int v = degrees % 2 == 1 ? 1 : 2; v < degrees; v += 2)
    value *= static_cast<long double>(v + 1) / static_cast<long double>(v);
  return static_cast<double>(value);
}

}  // namespace

StudentT::StudentT(int degrees)
    : degrees_(degrees), density_at_0_(density_constant(degrees)), quantile_975_(0) {
  assert(degrees >= 1);
  quantile_975_ = find_quantile_975();
}

/// x^(degrees/2)
double StudentT::power_half_degrees(double x) const noexcept {
  double result = degrees_ % 2 == 1 ? std::sqrt(x) : 1.0;
  for (int k = degrees_ / 2; k > 0; k /= 2) {
    if (k % 2 == 1) result *= x;
    x *= x;
  }
  return result;
}

double StudentT::two_sided_p(double t) const noexcept {
  // P = I_x(v/2, 1/2) with x = v/(v + t^2); 1/B(v/2, 1/2) is density_at_0_.
  const double v = degrees_;
  const double a = v / 2;
  const double squared = t * t;
  if (!(squared <= 1e300)) return 0.0;
  const double x = v / (v + squared);
  const double rest = squared / (v + squared);
  const double density = density_at_0_ * power_half_degrees(x) * std::sqrt(rest);
  if (x < (a + 1) / (a + 2.5)) return density / a * beta_fraction(a, 0.5, x);
  return 1.0 - 2.0 * density * beta_fraction(0.5, a, rest);
}

double StudentT::find_quantile_975() const noexcept {
  // P falls and is convex, so that Newton's method from below the root rises to it without ever passing it.
  const double v = degrees_;
  double t = 1.9;
  for (int i = 0; i < kMaxNewtonSteps; ++i) {
    const double x = v / (v + t * t);
    const double density = 2.0 * density_at_0_ / std::sqrt(v) * power_half_degrees(x) * std::sqrt(x);
    const double step = (two_sided_p(t) - 0.05) / density;
    if (!(step > t * kRelativeError)) break;
    t += step;
  }
  return t;
}

}  // namespace regfeatd::fit
