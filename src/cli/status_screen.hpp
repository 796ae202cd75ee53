#pragma once

#include <string>
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

}  // namespace regfeatd::cli
