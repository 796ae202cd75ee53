#include "fit/time_fit.hpp"

#include <cmath>
#include <cstdint>

namespace regfeatd::fit {
namespace {

constexpr double kTiny = 1e-10;

}  // namespace

TimeFitter::Basis TimeFitter::make_basis(std::span<const OrderValue> order, double x_unit) {
  const std::size_t n = order.size();
  const auto count = static_cast<double>(n);
  p1_.resize(n);
  p2_.resize(n);
  double sum = 0;
  for (std::size_t j = 0; j < n; ++j) {
    // Unsigned: a difference of two positions may exceed their type.
    const auto age = static_cast<std::uint64_t>(order[n - 1]) - static_cast<std::uint64_t>(order[j]);
    p1_[j] = -static_cast<double>(age) / x_unit;
    sum += p1_[j];
  }
  Basis b{};
  const double mean = sum / count;
  double rest = 0;
  for (double& p : p1_) rest += p -= mean;
  rest /= count;
  double cubes = 0;
  for (double& p : p1_) {
    p -= rest;
    b.n1 += p * p;
    cubes += p * p * p;
  }
  b.beta = cubes / b.n1;
  b.gamma = b.n1 / count;
  double on_0 = 0, on_1 = 0;
  for (std::size_t j = 0; j < n; ++j) {
    p2_[j] = p1_[j] * (p1_[j] - b.beta) - b.gamma;
    on_0 += p2_[j];
    on_1 += p2_[j] * p1_[j];
  }
  on_0 /= count;
  on_1 /= b.n1;
  b.gamma += on_0;
  b.beta += on_1;
  for (std::size_t j = 0; j < n; ++j) {
    p2_[j] -= on_0 + on_1 * p1_[j];
    b.n2 += p2_[j] * p2_[j];
  }
  return b;
}

/// Adds to the coefficients what is left of them in the residuals, and recomputes those.
void TimeFitter::correct(SingleFit& f, const Basis& b) {
  const std::size_t n = d_.size();
  double s0 = 0, s1 = 0, s2 = 0;
  for (std::size_t j = 0; j < n; ++j) {
    s0 += e_[j];
    s1 += p1_[j] * e_[j];
    s2 += p2_[j] * e_[j];
  }
  f.g0 += s0 / static_cast<double>(n);
  f.g1 += s1 / b.n1;
  f.g2 += s2 / b.n2;
  for (std::size_t j = 0; j < n; ++j) e_[j] = ((d_[j] - f.g0) - f.g1 * p1_[j]) - f.g2 * p2_[j];
}

SingleFit TimeFitter::fit(std::span<const OrderValue> order, std::span<const double> y, double x_unit, Geometry& g) {
  const Basis b = make_basis(order, x_unit);
  const std::size_t n = y.size();
  SingleFit f{};
  f.anchor = y[n - 1];
  d_.resize(n);
  for (std::size_t j = 0; j < n; ++j) d_[j] = y[j] - f.anchor;
  e_ = d_;
  correct(f, b);
  correct(f, b);
  if (n > 3) {  // three points lie on their parabola
    for (std::size_t j = 0; j < n; ++j) {
      f.rss += e_[j] * e_[j];
      f.sum_e += e_[j];
    }
    for (std::size_t j = 1; j < n; ++j) f.sum_de2 += (e_[j] - e_[j - 1]) * (e_[j] - e_[j - 1]);
  }

  const auto p2_at = [&](double p1) { return p1 * (p1 - b.beta) - b.gamma; };
  g = Geometry{};
  g.n = static_cast<double>(n);
  g.n1 = b.n1;
  g.n2 = b.n2;
  g.lead1 = 1;
  g.lead2 = 1;
  g.x_end = 0;
  g.p1_zero = g.p1_end = p1_[n - 1];
  g.p2_zero = g.p2_end = p2_[n - 1];
  g.slope2_zero = g.slope2_end = 2 * g.p1_end - b.beta;
  g.p2_mean = p2_at(0);
  g.slope2_mean = -b.beta;
  g.p1_next = g.p1_end + 1;
  g.p2_next = p2_at(g.p1_next);
  g.s = std::sqrt(b.n1 / g.n) + kTiny;
  return f;
}

}  // namespace regfeatd::fit
