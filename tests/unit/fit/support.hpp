#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "fit/kernel.hpp"
#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::fit::test {

/// How much less the tests with random windows do under sanitizers and without optimization.
#ifndef REGFEATD_TEST_DIVISOR
#define REGFEATD_TEST_DIVISOR 1
#endif
inline constexpr int kDivisor = REGFEATD_TEST_DIVISOR;

using Random = std::mt19937_64;

struct OwnedSeries {
  std::vector<OrderValue> order;
  std::vector<double> values;
  std::int64_t first_row_number = 0;

  [[nodiscard]] Series view() const { return {order, values, first_row_number}; }
  [[nodiscard]] std::size_t size() const { return values.size(); }
};

/// One row a minute.
[[nodiscard]] OwnedSeries minutes(std::vector<double> values);
/// Irregular times: gaps of 1 ... 20 minutes.
[[nodiscard]] OwnedSeries irregular(std::vector<double> values, Random& random);

/// A random walk of `step` around `start`, rounded to `decimals`.
[[nodiscard]] std::vector<double> walk(std::size_t rows, double start, double step, int decimals, Random& random);
/// Closing prices of the real series in REGFEATD_DATA_DIR, else ../shared/data beside the sources; empty
/// where there is none. `name`: "fx_m1/eurusd_201810".
[[nodiscard]] std::vector<double> real_closes(const std::string& name);

[[nodiscard]] Window row_window(std::int64_t rows);
[[nodiscard]] Window range_window(OrderValue range, std::int64_t min_rows);
[[nodiscard]] std::vector<Metric> every_metric();
[[nodiscard]] Plan plan_of(std::vector<Window> windows);
/// Index of `family.metric` of window w.
[[nodiscard]] std::size_t column_of(const Plan& plan, std::size_t w, const std::string& qualified_name);

/// Fits the whole series in one call.
[[nodiscard]] ColumnBlock fit_all(const Plan& plan, const OwnedSeries& series);
/// The first row and column whose bits differ among rows [0, rows), as text; nothing where there is none.
[[nodiscard]] std::optional<std::string> first_difference(const Plan& plan, const ColumnBlock& a, const ColumnBlock& b,
                                                          std::size_t rows);
/// The instruction sets that this processor runs.
[[nodiscard]] std::vector<const Kernel*> available_kernels();

/// Forces a kernel for its lifetime.
class ForcedKernel {
 public:
  explicit ForcedKernel(const Kernel* kernel) { force_kernel(kernel); }
  ~ForcedKernel() { force_kernel(nullptr); }
  ForcedKernel(const ForcedKernel&) = delete;
  ForcedKernel& operator=(const ForcedKernel&) = delete;
};

}  // namespace regfeatd::fit::test
