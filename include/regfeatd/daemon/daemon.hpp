#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/queue/status.hpp"
#include "regfeatd/spec/settings.hpp"

namespace regfeatd::daemon {

struct DaemonOptions {
  spec::Settings settings;
  std::string config_path;     ///< read again at SIGHUP; empty: where the settings were found
  bool once = false;           ///< end when nothing is left to do
  std::optional<int> workers;  ///< --workers: over the configuration, also after a reload
  /// Called every few seconds with what the database says of the feature sets; on the reporting thread.
  std::function<void(const std::vector<queue::FeatureSetStatus>&)> on_status;
};

enum class DaemonResult {
  finished,  ///< --once: all done; or stopped by a signal in order
  failed,    ///< --once: partitions failed
  blocked,   ///< --once: what is left is paused or behind an open breaker
  outgrown,  ///< a migration was applied that this program cannot serve
  fatal,     ///< a broken invariant
};

/// Runs until told to stop (SIGTERM, SIGINT), or until the queue is empty with `once`. Throws Fault when the database
/// cannot be reached at start, its schema does not fit, or the preflight finds anything.
[[nodiscard]] DaemonResult run(const DaemonOptions& options);

}  // namespace regfeatd::daemon
