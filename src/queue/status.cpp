#include "regfeatd/queue/status.hpp"

#include <algorithm>
#include <map>

namespace regfeatd::queue {
namespace {

template <class T>
std::optional<T> maybe(const pqxx::field& f) {
  if (f.is_null()) return std::nullopt;
  return f.as<T>();
}

std::string text(const pqxx::field& f) { return f.is_null() ? std::string() : f.as<std::string>(); }

// An ETA that has passed while work is left is due any moment; one that nobody renews is none, see
// regfeat.current_progress.
constexpr const char* kStatus = R"(
  SELECT s.feature_set, s.partitions, s.pending, s.running, s.done, s.empty, s.failed, s.cancelled, s.percent, s.rows_done, s.rows_total,
         s.rows_per_second, extract(epoch FROM s.eta - now())::float8, extract(epoch FROM s.eta_low - now())::float8,
         extract(epoch FROM s.eta_high - now())::float8, s.workers, s.stalled_workers,
         CASE WHEN s.paused_at IS NOT NULL OR s.breaker_until IS NOT NULL THEN coalesce(s.paused_reason, 'paused') END,
         coalesce(g.bytes_done, 0), g.bytes_total, y.rows_per_second_now, y.stalled, y.limited_by, coalesce(g.slow_partitions, 0),
         (SELECT coalesce(sum(d.workers_configured), 0) FROM regfeat.daemon d WHERE d.state IN ('running', 'draining') AND d.heartbeat_at + d.lease >= now()),
         s.blocked, s.blocked_reason
    FROM regfeat.status s
    LEFT JOIN regfeat.latest_progress g USING (feature_set)
    LEFT JOIN regfeat.current_progress y ON y.feature_set_id = g.feature_set_id AND s.pending + s.running > 0
   ORDER BY s.feature_set)";

std::vector<FeatureSetStatus> status_in(pqxx::transaction_base& tx) {
  std::vector<FeatureSetStatus> out;
  for (const auto& r : tx.exec(kStatus)) {
    FeatureSetStatus s;
    s.name = r[0].as<std::string>();
    std::int64_t* const counts[] = {&s.partitions, &s.pending, &s.running, &s.done, &s.empty, &s.failed, &s.cancelled};
    for (pqxx::row_size_type i = 0; i < 7; ++i) *counts[i] = maybe<std::int64_t>(r[1 + i]).value_or(0);
    s.percent = maybe<double>(r[8]).value_or(0);
    s.rows_done = maybe<std::int64_t>(r[9]).value_or(0);
    s.rows_total = maybe<std::int64_t>(r[10]);
    s.rows_per_second = maybe<double>(r[11]);
    std::optional<double>* const etas[] = {&s.eta_s, &s.eta_low_s, &s.eta_high_s};
    for (pqxx::row_size_type i = 0; i < 3; ++i) {
      *etas[i] = maybe<double>(r[12 + i]);
      if (*etas[i]) *etas[i] = std::max(0.0, **etas[i]);
    }
    s.workers = r[15].as<std::int64_t>();
    s.stalled_workers = r[16].as<std::int64_t>();
    s.paused_reason = text(r[17]);
    s.bytes_done = r[18].as<std::int64_t>();
    s.bytes_total = maybe<std::int64_t>(r[19]);
    s.rows_per_second_now = maybe<double>(r[20]);
    s.stalled = text(r[21]);
    s.limited_by = text(r[22]);
    s.slow_partitions = r[23].as<std::int64_t>();
    s.workers_configured = r[24].as<std::int64_t>();
    s.blocked = r[25].as<std::int64_t>();
    s.blocked_reason = text(r[26]);
    out.push_back(std::move(s));
  }
  return out;
}

std::vector<DaemonStatus> daemons_in(pqxx::transaction_base& tx) {
  std::vector<DaemonStatus> out;
  for (
      const auto& r : tx.exec(
          "SELECT daemon_id, name, host, state, build_id, to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), message, alive, "
          "       extract(epoch FROM now() - heartbeat_at)::float8, workers_active, workers_configured "
          "  FROM regfeat.daemons WHERE state IN ('running', 'draining') OR coalesce(stopped_at, heartbeat_at) > now() - interval '1 hour' "
          " ORDER BY alive DESC, name, daemon_id DESC LIMIT 100")) {
    out.push_back({r[0].as<std::int64_t>(), text(r[1]), text(r[2]), text(r[3]), text(r[4]), text(r[5]), text(r[6]),
                   r[7].as<bool>(), r[8].as<double>(), r[9].as<int>(), r[10].as<int>()});
  }
  return out;
}

std::vector<WorkerStatus> workers_in(pqxx::transaction_base& tx) {
  std::vector<WorkerStatus> out;
  for (
      const auto& r : tx.exec(
          "SELECT d.name, w.worker, w.step, f.name, p.series, regfeat.order_text(f.order_kind, p.lower_bound), w.rows_done, "
          "       w.rows_total, extract(epoch FROM now() - w.step_started_at)::float8 "
          "  FROM regfeat.worker w JOIN regfeat.daemons d USING (daemon_id) LEFT JOIN regfeat.partition p ON p.partition_id = w.partition_id "
          "  LEFT JOIN regfeat.feature_set f ON f.feature_set_id = p.feature_set_id "
          " WHERE d.alive ORDER BY d.name, d.daemon_id, w.worker")) {
    out.push_back({r[0].as<std::string>(), r[1].as<int>(), r[2].as<std::string>(), text(r[3]), text(r[4]), text(r[5]),
                   r[6].as<std::int64_t>(), r[7].as<std::int64_t>(), maybe<double>(r[8]).value_or(0)});
  }
  return out;
}

std::vector<FailureStatus> failures_in(pqxx::transaction_base& tx, int limit) {
  std::vector<FailureStatus> out;
  for (
      const auto& r : tx.exec_params(
          "SELECT feature_set, series, \"from\", outcome, step, message, to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') "
          "  FROM regfeat.failures LIMIT $1",
          limit)) {
    out.push_back({text(r[0]), text(r[1]), text(r[2]), text(r[3]), text(r[4]), text(r[5]), text(r[6])});
  }
  return out;
}

/// The worst so many; `ids` becomes the array of all of them. The view is not cheap: it is asked once for both.
std::vector<SlowPartition> slow_in(pqxx::transaction_base& tx, int limit, std::string& ids) {
  std::vector<SlowPartition> out;
  ids = "{";
  for (
      const auto& r : tx.exec(
          "SELECT feature_set, series, \"from\", phase, seconds, times_median, partition_id FROM regfeat.slow_partitions")) {
    ids += (ids.size() > 1 ? "," : "") + r[6].as<std::string>();
    if (static_cast<int>(out.size()) >= limit) continue;
    out.push_back({text(r[0]), text(r[1]), text(r[2]), text(r[3]), r[4].as<double>(), r[5].as<double>()});
  }
  ids += '}';
  return out;
}

char letter_of(const std::string& state, bool slow) {
  if (state == "pending") return '.';
  if (state == "running") return 'r';
  if (state == "done") return slow ? 's' : 'D';
  if (state == "empty") return 'e';
  if (state == "failed") return 'F';
  return 'c';
}

/// Columns are the distinct lower bounds. `ranges` and `series` number from 1.
constexpr const char* kHeatMap = R"(
  SELECT dense_rank() OVER (PARTITION BY p.feature_set_id ORDER BY p.lower_bound), f.name, p.series,
         regfeat.order_text(f.order_kind, p.lower_bound), regfeat.order_text(f.order_kind, p.upper_bound), p.state,
         p.partition_id = ANY ($1::bigint[])
    FROM regfeat.partition p JOIN regfeat.feature_set f USING (feature_set_id)
   WHERE NOT p.removed
   ORDER BY f.name, p.series, p.lower_bound)";

std::vector<HeatMap> heat_maps_in(pqxx::transaction_base& tx, const std::string& slow) {
  std::vector<HeatMap> out;
  for (const auto& r : tx.exec_params(kHeatMap, slow)) {
    const auto name = r[1].as<std::string>();
    if (out.empty() || out.back().feature_set != name) out.push_back({name, {}, {}, {}, {}});
    HeatMap& map = out.back();
    const auto series = r[2].as<std::string>();
    if (map.series.empty() || map.series.back() != series) {
      map.series.push_back(series);
      map.rows.emplace_back();
    }
    const auto column = r[0].as<std::size_t>() - 1;
    if (map.from.size() <= column) {
      map.from.resize(column + 1);
      map.to.resize(column + 1);
    }
    map.from[column] = r[3].as<std::string>();
    map.to[column] = r[4].as<std::string>();
    map.rows.back().resize(std::max(map.rows.back().size(), column + 1), ' ');
    map.rows.back()[column] = letter_of(r[5].as<std::string>(), r[6].as<bool>());
  }
  for (HeatMap& map : out) {
    for (std::string& row : map.rows) row.resize(map.from.size(), ' ');
  }
  return out;
}

/// The last progress row of each slice of time, with the means of the rates that the slice knows: the row after the last partition has none.
constexpr const char* kHistory = R"(
  SELECT DISTINCT ON (f.name, slice)
         f.name, to_char(g.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), g.percent, g.rows_done, avg(g.rows_per_second) OVER slices,
         avg(g.rows_per_second_now) OVER slices, g.workers_active, g.workers_configured, extract(epoch FROM g.eta - g.at)::float8,
         extract(epoch FROM g.eta_low - g.at)::float8, extract(epoch FROM g.eta_high - g.at)::float8
    FROM regfeat.progress g JOIN regfeat.feature_set f USING (feature_set_id), floor(extract(epoch FROM g.at) / $2) slice
   WHERE g.at > now() - $1 * interval '1 minute'
  WINDOW slices AS (PARTITION BY f.name, slice)
   ORDER BY f.name, slice, g.at DESC)";

std::vector<ProgressPoint> history_in(pqxx::transaction_base& tx, int minutes, int points) {
  std::vector<ProgressPoint> out;
  const double slice_s = std::max(0.5, minutes * 60.0 / std::max(1, points));
  for (const auto& r : tx.exec_params(kHistory, minutes, slice_s)) {
    out.push_back({text(r[0]), text(r[1]), maybe<double>(r[2]).value_or(0), r[3].as<std::int64_t>(),
                   maybe<double>(r[4]), maybe<double>(r[5]), r[6].as<int>(), maybe<int>(r[7]).value_or(0),
                   maybe<double>(r[8]), maybe<double>(r[9]), maybe<double>(r[10])});
  }
  return out;
}

}  // namespace

std::vector<FeatureSetStatus> read_status(pg::Session& session) {
  return pg::guarded("reading regfeat.status", [&] {
    pqxx::work tx(session.sql());
    return status_in(tx);
  });
}

Snapshot read_snapshot(pg::Session& session, const SnapshotOptions& options) {
  return pg::guarded("reading the status", [&] {
    pqxx::work tx(session.sql());
    tx.exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
    Snapshot out;
    const pqxx::result now = tx.exec(
        "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), extract(epoch FROM now())::float8");
    out.at = now[0][0].as<std::string>();
    out.at_s = now[0][1].as<double>();
    out.feature_sets = status_in(tx);
    out.daemons = daemons_in(tx);
    out.workers = workers_in(tx);
    if (options.failures > 0) out.failures = failures_in(tx, options.failures);
    std::string slow = "{}";
    if (options.slow_partitions > 0 || options.heat_maps)
      out.slow_partitions = slow_in(tx, options.slow_partitions, slow);
    if (options.heat_maps) out.heat_maps = heat_maps_in(tx, slow);
    if (options.history_minutes > 0) out.history = history_in(tx, options.history_minutes, options.history_points);
    return out;
  });
}

}  // namespace regfeatd::queue
