#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/fit/fitter.hpp"

// The numbers of a window from which its metrics can be derived: what `storage: compact` keeps. Which numbers
// a metric needs stands here; the SQL that derives it in populate/compact_view.cpp; the account of both in
// docs/compact-storage.md.

namespace regfeatd::fit {

/// The members of Family::stored, in its order.
enum class Part : std::uint8_t { a2, a1, b, rss, tss, residual, step_squares, p_coef2, p_coef1, n_obs, t_quantile };

[[nodiscard]] Metric metric_of(Part part);

/// What a metric of a window is derived from. `n_obs` and `t_quantile` are asked for only by windows by
/// range: elsewhere they are constants of the window.
[[nodiscard]] std::vector<Part> parts_of(const Window& window, Metric metric);

/// Why the plan cannot be stored compactly: x: time, or metrics of families with different offsets in a
/// window that does not say its own. nullopt: it can.
[[nodiscard]] std::optional<std::string> compact_obstacle(const Plan& plan);

/// The plan that computes what must be stored for all columns of `plan`: the same windows, with their offsets
/// said, and the parts that any of its columns needs. `compact_obstacle(plan)` must be nullopt.
[[nodiscard]] Plan compact_plan(const Plan& plan);

/// The constants of windows of `rows` rows (x: row) that derivations use; m is the mean of x, z = (x - m)/s.
struct WindowConstants {
  double n = 0, m = 0, s = 0;    ///< s: the population standard deviation of x plus 1e-10
  double z_end = 0, z_next = 0;  ///< z of the newest row, and one row further
  double x_end = 0;
  double fitted1 = 0, fitted2 = 0;               ///< TSS - RSS = fitted1 a1^2 + fitted2 a2^2
  double se0 = 0, se1 = 0, se2 = 0;              ///< standard errors of c0, c1, c2 per unit of sigma
  double press = 0;                              ///< 1/(1 - h_end); for n = 3 of no use
  double end_halfwidth = 0, next_halfwidth = 0;  ///< t(0.975, n-3) sqrt(1 + h); for n = 3 of no use
};
[[nodiscard]] WindowConstants window_constants(std::int64_t rows);

}  // namespace regfeatd::fit
