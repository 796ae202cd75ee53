#include "regfeatd/queue/finished_attempts.hpp"

namespace regfeatd::queue {
namespace {

// The time of COMMIT is written after the commit: an attempt whose time is still missing is waited for, for a
// moment.
constexpr const char* kAttempts = R"(
  SELECT a.attempt_id, f.name, a.outcome,
         a.outcome <> 'running' AND (a.commit_ms IS NOT NULL OR a.outcome NOT IN ('done', 'empty', 'unchanged')
                                     OR a.finished_at < now() - interval '5 seconds') AS settled,
         extract(epoch FROM a.finished_at - a.started_at)::float8,
         coalesce(a.rows_in, 0), coalesce(a.rows_out, 0), coalesce(a.bytes_out, 0), coalesce(a.nulls_out, 0),
         a.claim_ms, a.read_ms, a.fit_ms, a.encode_ms, a.send_ms, a.publish_ms, a.commit_ms
    FROM regfeat.attempt a JOIN regfeat.feature_set f USING (feature_set_id)
   WHERE a.attempt_id >= $2 AND a.daemon_id = $1
   ORDER BY a.attempt_id)";

FinishedAttempt attempt_of(const pqxx::row& r) {
  FinishedAttempt a;
  a.feature_set = r[1].as<std::string>();
  a.outcome = r[2].as<std::string>();
  a.seconds = r[4].is_null() ? 0 : r[4].as<double>();
  a.rows_in = r[5].as<std::int64_t>();
  a.rows_out = r[6].as<std::int64_t>();
  a.bytes_out = r[7].as<std::int64_t>();
  a.nulls_out = r[8].as<std::int64_t>();
  for (std::size_t i = 0; i < a.phase_seconds.size(); ++i) {
    const auto field = r[9 + static_cast<pqxx::row_size_type>(i)];
    if (!field.is_null()) a.phase_seconds[i] = field.as<double>() / 1000;
  }
  return a;
}

}  // namespace

std::vector<FinishedAttempt> FinishedAttempts::next(pg::Session& session, DaemonId daemon) {
  return pg::guarded("reading finished attempts", [&] {
    pqxx::work tx(session.sql());
    if (from_ < 0)
      from_ = tx.exec("SELECT greatest(coalesce(max(attempt_id), 0) - 10000, 0) FROM regfeat.attempt")[0][0]
                  .as<std::int64_t>();
    std::vector<FinishedAttempt> out;
    std::optional<std::int64_t> open;  // the first that is not over
    std::int64_t last = from_ - 1;
    for (const auto& r : tx.exec_params(kAttempts, daemon.value, from_)) {
      last = r[0].as<std::int64_t>();
      if (!r[3].as<bool>()) {
        if (!open) open = last;
      } else if (after_.insert(last).second) {
        out.push_back(attempt_of(r));
      }
    }
    from_ = open.value_or(last + 1);
    after_.erase(after_.begin(), after_.lower_bound(from_));
    return out;
  });
}

}  // namespace regfeatd::queue
