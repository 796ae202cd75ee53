#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

/// A row of regfeat.status.
struct FeatureSetStatus {
  std::string name;
  std::int64_t partitions = 0, pending = 0, running = 0, done = 0, empty = 0, failed = 0, cancelled = 0;
  double percent = 0;
  std::int64_t rows_done = 0;
  std::optional<std::int64_t> rows_total;
  std::optional<double> rows_per_second;
  std::optional<double> eta_s, eta_low_s, eta_high_s;  ///< seconds from now
  std::int64_t workers = 0, stalled_workers = 0;
  std::string paused_reason;  ///< empty: not paused
  std::int64_t blocked = 0;   ///< pending partitions that wait for another feature set
  std::string blocked_reason; ///< what the first of them waits for
};
[[nodiscard]] std::vector<FeatureSetStatus> read_status(pg::Session& session);

/// A worker as last reported.
struct WorkerStatus {
  std::string daemon;
  int worker = 0;
  std::string step, feature_set, series, from;
  std::int64_t rows_done = 0, rows_total = 0;
  double step_seconds = 0;
};
[[nodiscard]] std::vector<WorkerStatus> read_workers(pg::Session& session);

/// A row of regfeat.failures.
struct FailureStatus {
  std::string feature_set, series, from, outcome, step, message, at;
};
[[nodiscard]] std::vector<FailureStatus> read_failures(pg::Session& session, int limit);

}  // namespace regfeatd::queue
