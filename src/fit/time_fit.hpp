#pragma once

#include <span>
#include <vector>

#include "fit/kernel.hpp"
#include "regfeatd/base/order.hpp"

namespace regfeatd::fit {

/// One fit as FitArrays hold it.
struct SingleFit {
  double anchor, g0, g1, g2, rss, sum_e, sum_de2;
};

/// Fits with x: time, any spacing: orthogonal polynomials of the window's own abscissae (Forsythe,
/// "Generation and use of orthogonal polynomials for data-fitting with a digital computer", J. SIAM 5, 1957),
/// P1 and P2 orthogonalised once more against rounding, one step of refinement of the coefficients, and
/// residuals summed in a pass of their own. Only + - * / and sqrt: the same bits everywhere. Keeps scratch
/// memory; not thread-safe.
class TimeFitter {
 public:
  /// order and y: the window's rows, at least 3, y finite. Fills `geometry` but for what complete_geometry
  /// adds.
  SingleFit fit(std::span<const OrderValue> order, std::span<const double> y, double x_unit, Geometry& geometry);

 private:
  struct Basis {
    double n1, beta, gamma, n2;
  };
  Basis make_basis(std::span<const OrderValue> order, double x_unit);
  void correct(SingleFit& f, const Basis& b);

  std::vector<double> p1_, p2_, d_, e_;
};

}  // namespace regfeatd::fit
