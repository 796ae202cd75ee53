#pragma once

#include <cstddef>
#include <vector>

namespace regfeatd::fit {

/// The continued fraction of the incomplete beta function: I_x(a,b) = x^a (1-x)^b / (a B(a,b)) times its
/// value. Converges fast for x < (a+1)/(a+b+2). Not thread-safe: keeps the coefficients it has needed.
class BetaFraction {
 public:
  BetaFraction(double a, double b);
  [[nodiscard]] double value(double x) const;

 private:
  struct Term {
    double even, odd;
  };
  void extend(std::size_t count) const;

  double first_, a_, b_;
  mutable std::vector<Term> terms_;
};

/// Student's t distribution with a whole number of degrees of freedom. Written here rather than taken from
/// Boost.Math (which the oracle and the tests use) because the same partition must give the same bits on
/// every host: only
/// + - * / and sqrt are used, all of them exactly rounded, where a library's pow and lgamma differ in the
/// last bit between versions of libm and between processors. Not thread-safe.
class StudentT {
 public:
  /// degrees >= 1. Takes time proportional to `degrees`, about a nanosecond each.
  explicit StudentT(int degrees);

  /// P(|T| >= |t|). t is finite. Relative error below 1e-13 for up to 1000 degrees of freedom, 1e-10 for
  /// 100,000.
  [[nodiscard]] double two_sided_p(double t) const;
  /// The t with two_sided_p(t) = 0.05: the 0.975 quantile.
  [[nodiscard]] double quantile_975() const noexcept { return quantile_975_; }

 private:
  [[nodiscard]] double find_quantile_975() const;
  [[nodiscard]] double power_half_degrees(double x) const noexcept;

  int degrees_;
  double density_at_0_;  ///< Gamma((v+1)/2) / (Gamma(v/2) sqrt(pi)), the density at 0 times sqrt(v)
  BetaFraction tail_, centre_;
  double quantile_975_;
};

}  // namespace regfeatd::fit
