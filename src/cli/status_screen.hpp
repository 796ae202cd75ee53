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

/// What `regfeatd status` shows, line by line, none wider than `columns`: daemons that are not alive, feature sets, workers,
/// failures, slow partitions, heat maps. Where there are too few rows, each part is shortened and says by how much: of workers
/// those that work stay, of series those with failed partitions; what has no line at all is named in the last one.
[[nodiscard]] std::vector<std::string> status_screen(const queue::Snapshot& snapshot, const ScreenOptions& options);

}  // namespace regfeatd::cli
