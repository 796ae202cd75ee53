#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/fit/metric.hpp"
#include "regfeatd/fit/window.hpp"

namespace regfeatd::cli {

/// Reads the value of --windows: items `[LABEL=]SIZE[:OPTION]...` separated by commas. SIZE is a number of rows, or a
/// duration such as 5d for a time range; on a sequence a range is a number with the option `range`. Options: `range`,
/// `min_rows=N`, `offset=N`, `x=row|time`, `unit=DURATION` (a number on a sequence). The label is w15 for 15 rows and l5d for
/// a range of 5d unless given. Throws UsageError.
[[nodiscard]] std::vector<fit::Window> parse_windows(std::string_view list, OrderKind order);

/// Reads the value of --metrics: families and metrics, `r2` or `inference.sigma`, separated by commas. Throws UsageError.
[[nodiscard]] std::vector<fit::Metric> parse_metrics(std::string_view list);

/// `inference.sigma`.
[[nodiscard]] std::string qualified_name(fit::Metric metric);

}  // namespace regfeatd::cli
