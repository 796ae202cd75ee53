#include "fit/geometry.hpp"

#include <cmath>
#include <limits>

namespace regfeatd::fit {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kTiny = 1e-10;  // metrics.md: the population standard deviation of x plus 1e-10

}  // namespace

void complete_geometry(Geometry& g, const StudentT* student) {
  g.inv_n = 1 / g.n;
  g.inv_n1 = 1 / g.n1;
  g.inv_n2 = 1 / g.n2;
  g.n_minus_1 = g.n - 1;
  g.x_end_squared = g.x_end * g.x_end;
  g.s_squared = g.s * g.s;

  const auto leverage = [&](double p1, double p2) { return g.inv_n + p1 * p1 * g.inv_n1 + p2 * p2 * g.inv_n2; };
  // c2 = lead2 g2, c1 = lead1 g1 + P2'(0) g2, c0 = anchor + g0 + P1(0) g1 + P2(0) g2, and g0, g1, g2 are
  // uncorrelated.
  g.se2 = std::sqrt(g.lead2 * g.lead2 * g.inv_n2);
  g.se1 = std::sqrt(g.lead1 * g.lead1 * g.inv_n1 + g.slope2_zero * g.slope2_zero * g.inv_n2);
  g.se0 = std::sqrt(leverage(g.p1_zero, g.p2_zero));
  const bool has_df = g.n > 3;
  const double h_end = leverage(g.p1_end, g.p2_end);
  g.inv_df = has_df ? 1 / (g.n - 3) : std::numeric_limits<double>::infinity();
  g.inv_press = has_df ? 1 / (1 - h_end) : kNaN;
  const double t = has_df && student != nullptr ? student->quantile_975() : kNaN;
  g.t_quantile = t;
  g.end_halfwidth = t * std::sqrt(1 + h_end);
  g.next_halfwidth = t * std::sqrt(1 + leverage(g.p1_next, g.p2_next));
}

Geometry row_geometry(std::int64_t rows, const StudentT* student) {
  const auto n = static_cast<double>(rows);
  const double squared = n * n;
  const auto p2_at = [&](double p1) { return 3 * p1 * p1 - (squared - 1); };
  Geometry g{};
  g.n = n;
  g.n1 = n * (squared - 1) / 3;
  g.n2 = 4 * n * (squared - 1) * (squared - 4) / 5;
  g.lead1 = 2;
  g.lead2 = 12;
  g.p1_zero = -(n - 1);
  g.p2_zero = p2_at(g.p1_zero);
  g.slope2_zero = 12 * g.p1_zero;
  g.p2_mean = p2_at(0);
  g.slope2_mean = 0;
  g.p1_end = n - 1;
  g.p2_end = p2_at(g.p1_end);
  g.slope2_end = 12 * g.p1_end;
  g.p1_next = n + 1;
  g.p2_next = p2_at(g.p1_next);
  g.x_end = n - 1;
  g.s = std::sqrt((squared - 1) / 12) + kTiny;
  complete_geometry(g, student);
  return g;
}

void fill_pair_basis(std::int64_t rows, std::span<double> p1, std::span<double> p2) {
  const auto n = static_cast<double>(rows);
  for (std::size_t j = 0; j < p1.size(); ++j) {
    p1[j] = n - 1 - 2 * static_cast<double>(j);
    p2[j] = 3 * p1[j] * p1[j] - (n * n - 1);
  }
}

}  // namespace regfeatd::fit
