#include "fit/student.hpp"

#include <cassert>
#include <cmath>

namespace regfeatd::fit {
namespace {

constexpr double kRelativeError = 1e-16;
constexpr std::size_t kMaxTerms = 4096;  // a pair each; some 300 suffice for 100,000 degrees of freedom
constexpr std::size_t kTermsPerCheck = 4;
constexpr int kMaxNewtonSteps = 100;
constexpr double kInversePi = 0.318309886183790671537767526745028724;

/// Gamma((v+1)/2) / (Gamma(v/2) sqrt(pi)) from its value for v = 1 or 2 and the ratio (v+1)/v of successive
/// ones.
double density_constant(int degrees) noexcept {
  long double value = degrees % 2 == 1 ? static_cast<long double>(kInversePi) : 0.5L;
  for (int v = degrees % 2 == 1 ? 1 : 2; v < degrees; v += 2)
    value *= static_cast<long double>(v + 1) / static_cast<long double>(v);
  return static_cast<double>(value);
}

}  // namespace

BetaFraction::BetaFraction(double a, double b) : first_(-(a + b) / (a + 1.0)), a_(a), b_(b) {}

/// Adds the coefficients of terms up to `count`, without their factor x (DLMF 8.17.22).
void BetaFraction::extend(std::size_t count) const {
  for (std::size_t i = terms_.size() + 1; i <= count; ++i) {
    const auto m = static_cast<double>(i);
    terms_.push_back({m * (b_ - m) / ((a_ - 1.0 + 2.0 * m) * (a_ + 2.0 * m)),
                      -(a_ + m) * (a_ + b_ + m) / ((a_ + 2.0 * m) * (a_ + 1.0 + 2.0 * m))});
  }
}

double BetaFraction::value(double x) const {
  // Convergents p/q by their forward recurrence: hardly a division, so that the processor overlaps one p
  // value with the next.
  double p_before = 1, p = 1, q_before = 1, q = 1.0 + first_ * x;
  const auto step = [&](double coefficient) {
    const double p_next = p + coefficient * p_before;
    const double q_next = q + coefficient * q_before;
    p_before = p;
    q_before = q;
    p = p_next;
    q = q_next;
  };
  for (std::size_t m = 0; m < kMaxTerms; m += kTermsPerCheck) {
    if (terms_.size() < m + kTermsPerCheck) extend(m + kTermsPerCheck);
    for (std::size_t i = m; i < m + kTermsPerCheck; ++i) {
      step(terms_[i].even * x);
      step(terms_[i].odd * x);
    }
    const double cross = p * q_before;
    if (std::abs(cross - p_before * q) <= kRelativeError * std::abs(cross)) break;
    const double scale = 1.0 / q;  // both stay near 1 whatever the number of terms
    p *= scale;
    q *= scale;
    p_before *= scale;
    q_before *= scale;
  }
  return p / q;
}

StudentT::StudentT(int degrees)
    : degrees_(degrees),
      density_at_0_(density_constant(degrees)),
      tail_(degrees / 2.0, 0.5),
      centre_(0.5, degrees / 2.0),
      quantile_975_(0) {
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

double StudentT::two_sided_p(double t) const {
  // P = I_x(v/2, 1/2) with x = v/(v + t^2); 1/B(v/2, 1/2) is density_at_0_.
  const double v = degrees_;
  const double a = v / 2;
  const double squared = t * t;
  if (!(squared <= 1e300)) return 0.0;
  const double x = v / (v + squared);
  const double rest = squared / (v + squared);
  const double density = density_at_0_ * power_half_degrees(x) * std::sqrt(rest);
  if (x < (a + 1) / (a + 2.5)) return density / a * tail_.value(x);
  return 1.0 - 2.0 * density * centre_.value(rest);
}

double StudentT::find_quantile_975() const {
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
