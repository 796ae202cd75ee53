#pragma once

#include <string>
#include <vector>

#include "regfeatd/queue/status.hpp"

namespace regfeatd::cli {

/// Columns of the terminal behind `fd`; 80 where it cannot be told.
[[nodiscard]] int terminal_columns(int fd);

/// One line for a feature set: bar, percent, counts, rate, ETA. At most `columns` wide.
[[nodiscard]] std::string status_line(const queue::FeatureSetStatus& s, int columns);

/// `about 1 min 20 s (1 min 05 s to 1 min 50 s)`; `unknown` without an estimate.
[[nodiscard]] std::string eta_text(const queue::FeatureSetStatus& s);

}  // namespace regfeatd::cli
