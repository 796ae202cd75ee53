#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "regfeatd/base/order.hpp"

namespace regfeatd::fit {

/// What stands on the x axis of a fit.
enum class XAxis {
  row,   ///< x_j = j, the number of the row inside the window
  time,  ///< x_j = (t_j - t_i) / x_unit, so that the row the window ends on has x = 0
};

/// The rows that one fit takes.
struct Window {
  enum class Kind { rows, range };

  std::string label;  ///< `w15`, `agg`, `l5d`: the {window} of column names
  Kind kind = Kind::rows;
  std::int64_t rows = 0;      ///< kind rows: exactly this many rows, 3 ... 100,000
  OrderValue range = 0;       ///< kind range: the rows with t_end - range < t <= t_end, in order units, > 0
  std::int64_t min_rows = 3;  ///< kind range: fewer rows make every metric NULL but n_obs; >= 1, and a fit needs 3
  /// The window ends this many rows before the row its metrics stand on. Absent: what the metric's family defines
  /// (1 for legacy_terms, 0 for the others).
  std::optional<std::int64_t> offset;
  XAxis x = XAxis::row;
  double x_unit = 1.0;  ///< x: time only; order units (microseconds) per unit of x

  friend bool operator==(const Window&, const Window&) = default;
};

inline constexpr std::int64_t kMinWindowRows = 3;
inline constexpr std::int64_t kMaxWindowRows = 100'000;

}  // namespace regfeatd::fit
