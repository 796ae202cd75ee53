#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

/// A row of regfeat.status, with what the newest progress row adds.
struct FeatureSetStatus {
  std::string name;
  std::int64_t partitions = 0, pending = 0, running = 0, done = 0, empty = 0, failed = 0, cancelled = 0;
  double percent = 0;
  std::int64_t rows_done = 0;
  std::optional<std::int64_t> rows_total;
  std::int64_t bytes_done = 0;
  std::optional<std::int64_t> bytes_total;
  std::optional<double> rows_per_second;               ///< smoothed
  std::optional<double> rows_per_second_now;           ///< of the last few seconds
  std::optional<double> eta_s, eta_low_s, eta_high_s;  ///< seconds from now
  std::int64_t workers = 0, workers_configured = 0;
  std::int64_t stalled_workers = 0;
  std::string stalled;     ///< the verdict; empty: not stalled
  std::string limited_by;  ///< server, network, fits, source, throttle; empty: unknown
  std::int64_t slow_partitions = 0;
  std::string paused_reason;   ///< empty: not paused
  std::int64_t blocked = 0;    ///< pending partitions that wait for another feature set
  std::string blocked_reason;  ///< what the first of them waits for
};
[[nodiscard]] std::vector<FeatureSetStatus> read_status(pg::Session& session);

/// A daemon that is alive, or was in the last hour.
struct DaemonStatus {
  std::int64_t id = 0;
  std::string name, host, state, build_id, started_at, message;
  bool alive = false;
  double heartbeat_age_s = 0;
  int workers_active = 0, workers_configured = 0;
};

/// A worker of a daemon that is alive, as last reported.
struct WorkerStatus {
  std::string daemon;
  int worker = 0;
  std::string step, feature_set, series, from;
  std::int64_t rows_done = 0, rows_total = 0;
  double step_seconds = 0;
};

/// A row of regfeat.failures.
struct FailureStatus {
  std::string feature_set, series, from, outcome, step, message, at;
};

/// A row of regfeat.slow_partitions.
struct SlowPartition {
  std::string feature_set, series, from, phase;
  double seconds = 0, times_median = 0;
};

/// The partitions of one feature set as a picture: a row per series, a column per range.
struct HeatMap {
  std::string feature_set;
  std::vector<std::string> series;
  std::vector<std::string> from, to;  ///< bounds of the columns, ascending
  /// By series: one letter per column. `.` pending, `r` running, `D` done, `e` empty, `F` failed, `c`
  /// cancelled, `s` done but slow (see regfeat.slow_partitions), space: no such partition.
  std::vector<std::string> rows;
};

/// The last progress row of a slice of time, for charts.
struct ProgressPoint {
  std::string feature_set, at;
  double percent = 0;
  std::int64_t rows_done = 0;
  std::optional<double> rows_per_second, rows_per_second_now;  ///< means over the slice
  int workers_active = 0, workers_configured = 0;
  std::optional<double> eta_s, eta_low_s, eta_high_s;  ///< seconds after `at`
};

struct SnapshotOptions {
  int failures = 5;         ///< the newest so many; 0: none
  int slow_partitions = 5;  ///< the worst so many; 0: none
  bool heat_maps = true;
  int history_minutes = 0;  ///< progress rows of the last so many minutes, at most `history_points` per feature set
  int history_points = 300;
};

/// What the status command, the HTTP page and /api/status show: everything at one instant, in one read-only
/// transaction. SELECT on schema regfeat suffices (role regfeat_reader).
struct Snapshot {
  std::string at;   ///< the server's clock, ISO 8601 in UTC
  double at_s = 0;  ///< the same, seconds since 1970
  std::vector<FeatureSetStatus> feature_sets;
  std::vector<DaemonStatus> daemons;
  std::vector<WorkerStatus> workers;
  std::vector<FailureStatus> failures;
  std::vector<SlowPartition> slow_partitions;
  std::vector<HeatMap> heat_maps;
  std::vector<ProgressPoint> history;
};
[[nodiscard]] Snapshot read_snapshot(pg::Session& session, const SnapshotOptions& options);

/// The JSON document of docs/progress.md, one line per call, no newline at its end. Unknown values are null.
[[nodiscard]] std::string to_json(const Snapshot& snapshot);

}  // namespace regfeatd::queue
