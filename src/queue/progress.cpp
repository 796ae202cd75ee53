#include "regfeatd/queue/progress.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <optional>

#include "regfeatd/base/quantity.hpp"
#include "regfeatd/queue/eta.hpp"

namespace regfeatd::queue {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kHistory = 200;  // attempts that a daemon learns from when it starts
constexpr int kTail = 256;     // pending partitions that are looked at one by one
constexpr double kOverlap_s = 10;
constexpr auto kSlowEvery = std::chrono::seconds{30};
constexpr auto kModelEvery = std::chrono::seconds{5};

/// A feature set with work in hand, or that had some a moment ago.
struct Counts {
  std::int64_t id = 0;
  std::int64_t rows_done = 0;  ///< in hand included
  std::int64_t bytes_done = 0;
  int workers = 0, configured = 0, elsewhere = 0;
  bool throttled = false;  ///< a daemon holds itself back
  double now_s = 0;
  double committing_since_s = 0;  ///< the longest of the COMMITs under way; the end of time when there is none
};

constexpr const char* kActive = R"(
  SELECT f.feature_set_id, extract(epoch FROM clock_timestamp())::float8,
         (SELECT coalesce(sum(d.workers_configured), 0) FROM regfeat.daemon d WHERE d.state IN ('running', 'draining') AND d.heartbeat_at + d.lease >= now()),
         (SELECT count(*) FROM regfeat.partition p WHERE p.state = 'running' AND p.feature_set_id <> f.feature_set_id),
         EXISTS (SELECT FROM regfeat.daemon d WHERE d.throttle IS NOT NULL AND d.state IN ('running', 'draining') AND d.heartbeat_at + d.lease >= now()),
         (SELECT coalesce(extract(epoch FROM min(w.step_started_at)), 'infinity')::float8 FROM regfeat.worker w JOIN regfeat.daemon d USING (daemon_id)
           WHERE w.step IN ('complete', 'commit') AND d.state IN ('running', 'draining') AND d.heartbeat_at + d.lease >= now())
    FROM regfeat.feature_set f
   WHERE EXISTS (SELECT FROM regfeat.partition p WHERE p.feature_set_id = f.feature_set_id AND p.state = 'running')
      OR EXISTS (SELECT FROM regfeat.attempt a WHERE a.feature_set_id = f.feature_set_id
                    AND a.finished_at > now() - greatest(2 * $1::float8, 10000000) * interval '1 microsecond'))";

constexpr const char* kRunning = R"(
  SELECT p.partition_id, extract(epoch FROM a.started_at)::float8, coalesce(p.rows_in, p.estimated_rows, 0), coalesce(w.rows_done, 0), coalesce(w.rows_total, 0),
         coalesce(d.name, '?'), coalesce(p.worker, 0), coalesce(w.step, 'unknown'), coalesce(extract(epoch FROM now() - w.step_started_at), 0)::float8,
         s.wait_event_type, s.state
    FROM regfeat.partition p
    JOIN regfeat.attempt a ON a.attempt_id = p.attempt_id
    LEFT JOIN regfeat.worker w ON w.daemon_id = p.daemon_id AND w.worker = p.worker AND w.partition_id = p.partition_id
    LEFT JOIN regfeat.daemon d ON d.daemon_id = p.daemon_id
    LEFT JOIN pg_stat_activity s ON s.pid = p.backend_pid
   WHERE p.state = 'running' AND p.feature_set_id = $1 ORDER BY p.partition_id)";

// Successes only: they say what partitions cost. At a start the newest, and no more than matter; many unchanged must not
// hide what writing costs.
constexpr const char* kFinished = R"(
  WITH written AS (
    SELECT a.* FROM regfeat.attempt a
     WHERE a.feature_set_id = $1 AND a.outcome = 'done' AND a.finished_at > 'epoch'::timestamptz + $2 * interval '1 second'
     ORDER BY a.finished_at DESC LIMIT $3
  ), others AS (
    SELECT a.* FROM regfeat.attempt a
     WHERE a.feature_set_id = $1 AND a.outcome IN ('empty', 'unchanged')
       AND a.finished_at > CASE WHEN $2 > 0 THEN 'epoch'::timestamptz + $2 * interval '1 second' ELSE (SELECT min(w.finished_at) FROM written w) END
     ORDER BY a.finished_at DESC LIMIT $3
  )
  SELECT a.attempt_id, extract(epoch FROM a.started_at)::float8, extract(epoch FROM a.finished_at)::float8, coalesce(a.rows_in, 0),
         coalesce(a.read_ms, 0), coalesce(a.fit_ms, 0) + coalesce(a.encode_ms, 0), coalesce(a.send_ms, 0) + coalesce(a.publish_ms, 0) + coalesce(a.commit_ms, 0),
         a.outcome = 'unchanged', a.commit_ms / 1000
    FROM (SELECT * FROM written UNION ALL SELECT * FROM others) a
   ORDER BY a.finished_at + coalesce(a.commit_ms, 0) * interval '1 millisecond')";

constexpr const char* kWrite = R"(
  INSERT INTO regfeat.progress (feature_set_id, daemon_id, pending, running, done, empty, failed, cancelled, rows_done, rows_total, percent,
                                rows_per_second, workers_active, eta, eta_low, eta_high, rows_per_second_now, bytes_done, bytes_total, workers_configured,
                                stalled, limited_by, slow_partitions, throttle, next_due)
  SELECT f.feature_set_id, $1, s.pending, s.running, s.done, s.empty, s.failed, s.cancelled, s.rows_done + k.rows_in_hand, s.rows_total, s.percent, $3::float8,
         s.running, now() + $4::float8 * interval '1 second', now() + $5::float8 * interval '1 second', now() + $6::float8 * interval '1 second',
         (SELECT greatest(s.rows_done + k.rows_in_hand - g.rows_done - u.rows_unchanged, 0) / nullif(extract(epoch FROM now() - g.at), 0)
            FROM regfeat.progress g
           CROSS JOIN LATERAL (SELECT coalesce(sum(a.rows_in), 0) AS rows_unchanged FROM regfeat.attempt a
                                WHERE a.feature_set_id = g.feature_set_id AND a.outcome = 'unchanged' AND a.finished_at > g.at) u
            WHERE g.feature_set_id = f.feature_set_id AND g.at > now() - greatest(interval '1 minute', 3 * (g.next_due - g.at)) ORDER BY g.at DESC LIMIT 1),
         b.bytes, CASE WHEN s.rows_done > 0 THEN (b.bytes::float8 * s.rows_total / s.rows_done)::bigint END, $7::int, nullif($8, ''), nullif($9, ''), $10::bigint,
         (SELECT string_agg(d.name || ': ' || d.throttle, '; ' ORDER BY d.daemon_id)
            FROM regfeat.daemon d WHERE d.state IN ('running', 'draining') AND d.heartbeat_at + d.lease >= now() AND d.throttle IS NOT NULL),
         now() + $11::float8 * interval '1 microsecond'
    FROM regfeat.feature_set f
    JOIN regfeat.status s ON s.feature_set = f.name
    CROSS JOIN LATERAL (SELECT coalesce(sum(w.rows_done), 0)::bigint AS rows_in_hand
                          FROM regfeat.partition p JOIN regfeat.worker w ON w.daemon_id = p.daemon_id AND w.worker = p.worker AND w.partition_id = p.partition_id
                         WHERE p.state = 'running' AND p.feature_set_id = f.feature_set_id) k
    CROSS JOIN LATERAL (SELECT coalesce(sum(p.bytes_out), 0)::bigint AS bytes FROM regfeat.partition p
                         WHERE p.feature_set_id = f.feature_set_id AND p.state = 'done') b
   WHERE f.feature_set_id = $2
     AND NOT EXISTS (SELECT FROM regfeat.progress g WHERE g.feature_set_id = $2 AND g.at > now() - $11::float8 * 0.5 * interval '1 microsecond'))";

constexpr const char* kFinishedByDaemon = R"(
  SELECT a.attempt_id, extract(epoch FROM a.finished_at)::float8, CASE WHEN a.outcome = 'done' THEN coalesce(a.rows_in, 0) ELSE 0 END
    FROM regfeat.feature_set f JOIN regfeat.attempt a USING (feature_set_id)
   WHERE a.daemon_id = $1 AND a.finished_at > 'epoch'::timestamptz + $2 * interval '1 second')";

constexpr const char* kCommittingSince = R"(
  SELECT coalesce(extract(epoch FROM min(w.step_started_at)), 'infinity')::float8 FROM regfeat.worker w
   WHERE w.daemon_id = $1 AND w.step IN ('complete', 'commit'))";

constexpr const char* kWriteDaemon = R"(
  INSERT INTO regfeat.daemon_progress (daemon_id, workers_active, workers_configured, partitions, rows_per_second)
  SELECT d.daemon_id, d.workers_active, d.workers_configured, $2::bigint, $3::float8 / nullif(extract(epoch FROM now() - l.at), 0)
    FROM regfeat.daemon d
    LEFT JOIN LATERAL (SELECT x.at FROM regfeat.daemon_progress x WHERE x.daemon_id = d.daemon_id ORDER BY x.at DESC LIMIT 1) l ON true
   WHERE d.daemon_id = $1 AND (d.workers_active > 0 OR $2::bigint > 0))";

}  // namespace

struct ProgressWriter::FeatureSet {
  EtaModel model;
  bool started = false;
  struct Seen {
    double finished_s = 0;
    bool taken = false;  ///< false: the time of its COMMIT is waited for
  };
  std::map<std::int64_t, Seen> recent;  ///< attempts that were looked at, by id
  double finished_until_s = 0;
  double open_since_s = INFINITY;  ///< an attempt that is not taken in yet may have finished so early
  double usual_commit_s = 0;
  std::int64_t slow = 0;
  Clock::time_point next_slow, next_model;
  double read_ms = 0, fit_ms = 0, server_ms = 0;  ///< of recent attempts, the older ones counting less
  double client_waits = 0, waits = 0;             ///< backends that waited for the client, of all that were looked at
  bool throttled = false;
  std::string slowest_worker;  ///< the one longest in its step, in words

  void learn(pqxx::transaction_base& tx, const Counts& c);
  std::vector<RunningPartition> look(pqxx::transaction_base& tx, const Counts& c);
  [[nodiscard]] RemainingWork remaining(pqxx::transaction_base& tx, const Counts& c,
                                        std::vector<RunningPartition> running) const;
  [[nodiscard]] std::string verdict(double now_s) const;
  [[nodiscard]] const char* limited_by() const;
  void store(pqxx::transaction_base& tx, std::int64_t id) const;
};

/// Takes in what finished since the last time; the first time, the recent history of all daemons.
void ProgressWriter::FeatureSet::learn(pqxx::transaction_base& tx, const Counts& c) {
  struct Attempt {
    double from = 0, to = 0, rows = 0, read = 0, fit = 0, server = 0;
    bool unchanged = false;
  };
  std::vector<Attempt> attempts;
  // An attempt has its time before its COMMIT: what became visible late is not to be missed.
  const double from_s = std::min(finished_until_s - kOverlap_s, open_since_s);
  std::erase_if(recent, [&](const auto& r) { return r.second.finished_s < from_s - kOverlap_s; });
  open_since_s = c.committing_since_s;
  for (const auto& r : tx.exec_params(kFinished, c.id, std::max(0.0, from_s), kHistory)) {
    const double finished_s = r[2].as<double>();
    const auto [seen, is_new] = recent.emplace(r[0].as<std::int64_t>(), Seen{finished_s, false});
    if (seen->second.taken) continue;
    if (r[8].is_null() && is_new && started) {
      open_since_s = std::min(open_since_s, finished_s - 1);
      continue;  // its daemon writes it down with its next report
    }
    seen->second.taken = true;
    finished_until_s = std::max(finished_until_s, finished_s);
    const double commit_s = r[8].is_null() ? usual_commit_s : r[8].as<double>();
    usual_commit_s += 0.1 * (commit_s - usual_commit_s);
    attempts.push_back({r[1].as<double>(), finished_s + commit_s, r[3].as<double>(), r[4].as<double>(),
                        r[5].as<double>(), r[6].as<double>(), r[7].as<bool>()});
  }
  const bool first = !started;
  if (first) {
    // How many ran at once, from the attempts themselves.
    std::vector<std::pair<double, int>> steps;
    for (const Attempt& a : attempts) {
      steps.emplace_back(a.from, 1);
      steps.emplace_back(a.to, -1);
    }
    std::sort(steps.begin(), steps.end());
    int n = 0;
    for (const auto& [at, change] : steps) model.workers_changed(at, n += change);
    started = true;
  }
  constexpr double kForget = 0.98;
  for (const Attempt& a : attempts) {
    model.finished({a.from, a.to, a.rows, a.unchanged});
    read_ms = kForget * read_ms + a.read;
    fit_ms = kForget * fit_ms + a.fit;
    server_ms = kForget * server_ms + a.server;
  }
  if (first) model.observe(c.now_s, {});  // that was another job
}

std::vector<RunningPartition> ProgressWriter::FeatureSet::look(pqxx::transaction_base& tx, const Counts& c) {
  std::vector<RunningPartition> running;
  double longest = -1;
  slowest_worker.clear();
  throttled = c.throttled;
  for (const auto& r : tx.exec_params(kRunning, c.id)) {
    const double counted = r[4].as<double>();  // once it has been read
    running.push_back(
        {r[0].as<std::int64_t>(), r[1].as<double>(), counted > 0 ? counted : r[2].as<double>(), r[3].as<double>()});
    const auto step = r[7].as<std::string>();
    const double seconds = r[8].as<double>();
    if (seconds > longest) {
      longest = seconds;
      slowest_worker = fmt::format("worker {}/{} in step {} for {}", r[5].as<std::string>(), r[6].as<int>(), step,
                                   format_seconds(seconds));
    }
    if (step != "write" || r[10].is_null() || r[10].as<std::string>() != "active") continue;
    constexpr double kForget = 0.98;
    client_waits = kForget * client_waits + (!r[9].is_null() && r[9].as<std::string>() == "Client" ? 1 : 0);
    waits = kForget * waits + 1;
  }
  return running;
}

RemainingWork ProgressWriter::FeatureSet::remaining(pqxx::transaction_base& tx, const Counts& c,
                                                    std::vector<RunningPartition> running) const {
  RemainingWork work;
  work.running = std::move(running);
  const pqxx::row r = tx.exec_params1(
      "SELECT coalesce((SELECT jsonb_agg(x) FROM unnest(tail_rows) x), '[]')::text, partitions, \"rows\", "
      "squared_rows, empty, unknown FROM regfeat.remaining_rows($1, $2)",
      c.id, kTail);
  work.pending_rows = nlohmann::json::parse(r[0].as<std::string>()).get<std::vector<double>>();
  work.earlier = {r[1].as<double>(), r[2].as<double>(), r[3].as<double>(), r[4].as<double>()};
  work.rows_known = r[5].as<std::int64_t>() == 0;
  // Those that are between two partitions work on this one too, unless other feature sets have them.
  const auto waiting = static_cast<double>(work.pending_rows.size()) + work.earlier.partitions + work.earlier.empty;
  const int free = waiting > 0 ? c.configured - c.elsewhere : 0;
  work.workers = std::max(static_cast<int>(work.running.size()), free);
  return work;
}

std::string ProgressWriter::FeatureSet::verdict(double now_s) const {
  const auto stall = model.stalled(now_s);
  if (!stall) return {};
  std::string out = fmt::format("nothing finished and no row was written for {}", format_seconds(stall->silent_s));
  if (stall->expected_s > 0) out += fmt::format(", where {} is usual", format_seconds(stall->expected_s));
  return out + (slowest_worker.empty() ? "" : ": " + slowest_worker);
}

const char* ProgressWriter::FeatureSet::limited_by() const {
  if (throttled) return "throttle";
  const double all = read_ms + fit_ms + server_ms;
  if (all <= 0) return "";
  if (fit_ms > 0.5 * all) return "fits";
  if (read_ms > 0.5 * all) return "source";
  // The server waits for bytes although the client does little but send: they are under way.
  if (waits >= 10 && client_waits > 0.5 * waits && fit_ms < 0.25 * all) return "network";
  return "server";
}

/// For regfeat.eta_by_workers and regfeat.requeue_preview.
void ProgressWriter::FeatureSet::store(pqxx::transaction_base& tx, std::int64_t id) const {
  const auto cost = model.cost(1);
  const auto curve = model.curve();
  if (!cost || curve.empty()) return;
  auto list = nlohmann::json::array();
  for (const CurvePoint& p : curve) {
    list.push_back({{"workers", p.workers}, {"seconds_per_row", p.seconds_per_row}, {"partitions", p.partitions}});
  }
  tx.exec_params("DELETE FROM regfeat.eta_curve WHERE feature_set_id = $1 AND workers > $2", id, curve.back().workers);
  tx.exec_params(R"(
      WITH m AS (
        INSERT INTO regfeat.eta_model (feature_set_id, at, fixed_rows, empty_seconds, usual_rows, scaling_exponent)
        VALUES ($1, clock_timestamp(), $2, $3, $4, $5)
        ON CONFLICT (feature_set_id) DO UPDATE SET at = excluded.at, fixed_rows = excluded.fixed_rows, empty_seconds = excluded.empty_seconds,
          usual_rows = excluded.usual_rows, scaling_exponent = excluded.scaling_exponent
        RETURNING feature_set_id)
      INSERT INTO regfeat.eta_curve (feature_set_id, workers, seconds_per_row, partitions)
      SELECT m.feature_set_id, c.* FROM m, jsonb_to_recordset($6::jsonb) AS c(workers int, seconds_per_row float8, partitions float8)
      ON CONFLICT (feature_set_id, workers) DO UPDATE SET seconds_per_row = excluded.seconds_per_row, partitions = excluded.partitions)",
                 id, cost->fixed_rows, cost->empty_s, cost->usual_rows, model.scaling_exponent(), list.dump());
}

ProgressWriter::ProgressWriter() = default;
ProgressWriter::~ProgressWriter() = default;

void ProgressWriter::write(pg::Session& session, DaemonId self, std::chrono::microseconds interval,
                           std::chrono::microseconds stalled_after) {
  pg::guarded("writing progress", [&] {
    pqxx::work tx(session.sql());
    std::vector<Counts> active;
    for (const auto& r : tx.exec_params(kActive, interval.count())) {
      Counts c;
      c.id = r[0].as<std::int64_t>();
      c.now_s = r[1].as<double>();
      c.configured = r[2].as<int>();
      c.elsewhere = r[3].as<int>();
      c.throttled = r[4].as<bool>();
      c.committing_since_s = r[5].as<double>();
      active.push_back(c);
    }
    for (const Counts& c : active) {
      auto& slot = feature_sets_[c.id];
      if (!slot) slot = std::make_unique<FeatureSet>();
      FeatureSet& set = *slot;
      set.model.set_least_patience(std::chrono::duration<double>(stalled_after).count());
      set.learn(tx, c);
      auto running = set.look(tx, c);
      const auto now = Clock::now();
      if (now >= set.next_slow) {
        set.slow = tx.exec_params1(
                         "SELECT count(*) FROM regfeat.slow_partitions s JOIN regfeat.feature_set f ON "
                         "f.name = s.feature_set WHERE f.feature_set_id = $1",
                         c.id)[0]
                       .as<std::int64_t>();
        set.next_slow = now + kSlowEvery;
      }
      const RemainingWork work = set.remaining(tx, c, running);
      if (!running.empty()) set.model.workers_changed(c.now_s, work.workers);
      set.model.observe(c.now_s, running);
      const std::string stalled = set.verdict(c.now_s);
      std::optional<Eta> eta;
      std::optional<double> rate;
      if (stalled.empty()) {  // else nobody knows how long nothing will move
        if (work.rows_known) eta = set.model.estimate(c.now_s, work);
        rate = set.model.rows_per_second(work.workers);
      }
      const auto part = [&](double Eta::*member) { return eta ? std::optional<double>((*eta).*member) : std::nullopt; };
      tx.exec_params(kWrite, self.value, c.id, rate, part(&Eta::median_s), part(&Eta::low_s), part(&Eta::high_s),
                     c.configured, stalled, std::string(set.limited_by()), set.slow, interval.count());
      if (now >= set.next_model || running.empty()) {
        set.store(tx, c.id);
        set.next_model = now + kModelEvery;
      }
    }
    const auto finished = write_daemon(tx, self);
    const auto committing_since_s = tx.exec_params1(kCommittingSince, self.value)[0].as<double>();
    tx.commit();
    const double from_s = std::min(counted_until_s_ - kOverlap_s, committing_since_s_);
    committing_since_s_ = committing_since_s;
    counted_.insert(finished.begin(), finished.end());
    for (const auto& [id, at] : finished) counted_until_s_ = std::max(counted_until_s_, at);
    std::erase_if(counted_, [&](const auto& c) { return c.second < from_s - kOverlap_s; });
  });
}

/// The attempts that this row counts: those that no row before it did, by id, and when they finished.
std::map<std::int64_t, double> ProgressWriter::write_daemon(pqxx::transaction_base& tx, DaemonId self) const {
  std::map<std::int64_t, double> finished;
  double rows = 0;
  for (const auto& r : tx.exec_params(kFinishedByDaemon, self.value,
                                      std::max(0.0, std::min(counted_until_s_ - kOverlap_s, committing_since_s_)))) {
    const auto id = r[0].as<std::int64_t>();
    if (counted_.contains(id)) continue;
    finished.emplace(id, r[1].as<double>());
    rows += r[2].as<double>();
  }
  tx.exec_params(kWriteDaemon, self.value, finished.size(), rows);
  return finished;
}

void record_commit_times(pg::Session& session, const std::vector<CommitTime>& times) {
  if (times.empty()) return;
  auto list = nlohmann::json::array();
  for (const CommitTime& t : times) list.push_back({{"attempt_id", t.attempt.value}, {"ms", t.ms}});
  pg::guarded("recording commit times", [&] {
    pqxx::work tx(session.sql());
    tx.exec_params(
        "UPDATE regfeat.attempt a SET commit_ms = t.ms FROM jsonb_to_recordset($1::jsonb) AS t(attempt_id "
        "bigint, ms float8) "
        " WHERE a.attempt_id = t.attempt_id",
        list.dump());
    tx.commit();
  });
}

}  // namespace regfeatd::queue
