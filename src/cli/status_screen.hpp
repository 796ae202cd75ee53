#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "regfeatd/queue/status.hpp"

namespace regfeatd::cli {

struct ScreenOptions {
  int columns = 80;
  int rows = 0;  ///< at most so many lines; 0: as many as it takes
  bool colour = false;
};

/// What `regfeatd status` shows, line by line, none wider than `columns`: feature sets, workers, failures, slow partitions,
/// heat maps. With few rows the heat maps are cut first, then failures and slow partitions.
[[nodiscard]] std::vector<std::string> status_screen(const queue::Snapshot& snapshot, const ScreenOptions& options);

/// Columns that a text takes on a terminal: code points, escape sequences aside. Wide characters count as one.
[[nodiscard]] int display_width(std::string_view text);
/// The first `columns` columns of it, escape sequences kept.
[[nodiscard]] std::string clipped(std::string_view text, int columns);

}  // namespace regfeatd::cli
