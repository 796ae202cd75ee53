#include "regfeatd/queue/status.hpp"

namespace regfeatd::queue {
namespace {

template <class T>
std::optional<T> maybe(const pqxx::field& f) {
  if (f.is_null()) return std::nullopt;
  return f.as<T>();
}

std::string text(const pqxx::field& f) { return f.is_null() ? std::string() : f.as<std::string>(); }

}  // namespace

std::vector<FeatureSetStatus> read_status(pg::Session& session) {
  return pg::guarded("reading regfeat.status", [&] {
    pqxx::work tx(session.sql());
    std::vector<FeatureSetStatus> out;
    for (const auto& r : tx.exec("SELECT feature_set, partitions, pending, running, done, empty, failed, cancelled, percent, rows_done, rows_total, "
                                 "       rows_per_second, extract(epoch FROM eta - now())::float8, extract(epoch FROM eta_low - now())::float8, "
                                 "       extract(epoch FROM eta_high - now())::float8, workers, stalled_workers, "
                                 "       CASE WHEN paused_at IS NOT NULL OR breaker_until IS NOT NULL THEN coalesce(paused_reason, 'paused') END, blocked, blocked_reason "
                                 "  FROM regfeat.status ORDER BY feature_set")) {
      FeatureSetStatus s;
      s.name = r[0].as<std::string>();
      std::int64_t* const counts[] = {&s.partitions, &s.pending, &s.running, &s.done, &s.empty, &s.failed, &s.cancelled};
      for (pqxx::row_size_type i = 0; i < 7; ++i) *counts[i] = r[1 + i].as<std::int64_t>();
      s.percent = maybe<double>(r[8]).value_or(0);
      s.rows_done = maybe<std::int64_t>(r[9]).value_or(0);
      s.rows_total = maybe<std::int64_t>(r[10]);
      s.rows_per_second = maybe<double>(r[11]);
      s.eta_s = maybe<double>(r[12]);
      s.eta_low_s = maybe<double>(r[13]);
      s.eta_high_s = maybe<double>(r[14]);
      s.workers = r[15].as<std::int64_t>();
      s.stalled_workers = r[16].as<std::int64_t>();
      s.paused_reason = text(r[17]);
      s.blocked = r[18].as<std::int64_t>();
      s.blocked_reason = text(r[19]);
      out.push_back(std::move(s));
    }
    return out;
  });
}

std::vector<WorkerStatus> read_workers(pg::Session& session) {
  return pg::guarded("reading regfeat.worker", [&] {
    pqxx::work tx(session.sql());
    std::vector<WorkerStatus> out;
    for (const auto& r : tx.exec("SELECT d.name, w.worker, w.step, f.name, p.series, regfeat.order_text(f.order_kind, p.lower_bound), w.rows_done, "
                                 "       w.rows_total, extract(epoch FROM now() - w.step_started_at)::float8 "
                                 "  FROM regfeat.worker w JOIN regfeat.daemon d USING (daemon_id) LEFT JOIN regfeat.partition p ON p.partition_id = w.partition_id "
                                 "  LEFT JOIN regfeat.feature_set f ON f.feature_set_id = p.feature_set_id "
                                 " WHERE d.state IN ('running', 'draining') ORDER BY d.name, d.daemon_id, w.worker")) {
      out.push_back({r[0].as<std::string>(), r[1].as<int>(), r[2].as<std::string>(), text(r[3]), text(r[4]), text(r[5]), r[6].as<std::int64_t>(),
                     r[7].as<std::int64_t>(), maybe<double>(r[8]).value_or(0)});
    }
    return out;
  });
}

std::vector<FailureStatus> read_failures(pg::Session& session, int limit) {
  return pg::guarded("reading regfeat.failures", [&] {
    pqxx::work tx(session.sql());
    std::vector<FailureStatus> out;
    for (const auto& r : tx.exec_params("SELECT feature_set, series, \"from\", outcome, step, message, to_char(finished_at, 'YYYY-MM-DD HH24:MI:SS') "
                                        "  FROM regfeat.failures LIMIT $1",
                                        limit)) {
      out.push_back({text(r[0]), text(r[1]), text(r[2]), text(r[3]), text(r[4]), text(r[5]), text(r[6])});
    }
    return out;
  });
}

}  // namespace regfeatd::queue
