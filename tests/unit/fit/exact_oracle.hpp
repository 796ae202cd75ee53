#pragma once

#include <span>
#include <vector>

#include "regfeatd/fit/metric.hpp"

namespace regfeatd::fit::test {

/// A metric to the last digit, and what its error is measured against: the sizes of the quantities it is made
/// of, times how much the definition itself magnifies their relative errors.
struct ExactMetric {
  bool is_null;
  double value;
  double scale;
};

/// All metrics of the catalogue for one window with x = 0 ... n-1, from exact integer sums of the binary
/// fractions that the values are, carried on at 100 decimal digits. `ratio` is 1/(1-r2), infinite where the
/// fit is perfect.
struct ExactFit {
  std::vector<ExactMetric> metrics;
  double rss;
  double tss;
  double ratio;
  double spread;  ///< the largest distance of a value from the newest
};
[[nodiscard]] ExactFit exact_fit(std::span<const double> y);

}  // namespace regfeatd::fit::test
