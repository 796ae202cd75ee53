#pragma once

namespace regfeatd::fit {

/// Student's t distribution with a whole number of degrees of freedom. Written here rather than taken from Boost.Math
/// (which the oracle and the tests use) because the same partition must give the same bits on every host: only
/// + - * / and sqrt are used, all of them exactly rounded, where a library's pow and lgamma differ in the last bit
/// between versions of libm and between processors.
class StudentT {
 public:
  /// degrees >= 1. Takes time proportional to `degrees`, about a nanosecond each.
  explicit StudentT(int degrees);

  /// P(|T| >= |t|). t is finite. Relative error below 1e-13 for up to 1000 degrees of freedom, 1e-10 for 100,000.
  [[nodiscard]] double two_sided_p(double t) const noexcept;
  /// The t with two_sided_p(t) = 0.05: the 0.975 quantile.
  [[nodiscard]] double quantile_975() const noexcept { return quantile_975_; }

 private:
  [[nodiscard]] double find_quantile_975() const noexcept;
  [[nodiscard]] double power_half_degrees(double x) const noexcept;

  int degrees_;
  double density_at_0_;  ///< Gamma((v+1)/2) / (Gamma(v/2) sqrt(pi)), the density at 0 times sqrt(v)
  double quantile_975_;
};

}  // namespace regfeatd::fit
