#include "regfeatd/queue/limits.hpp"

namespace regfeatd::queue {

void record_limits(pg::Session& session, DaemonId self, const std::string& workers_reason,
                   const std::string& throttle) {
  pg::guarded("recording what holds the daemon back", [&] {
    pqxx::work tx(session.sql());
    tx.exec_params(
        "UPDATE regfeat.daemon SET workers_reason = nullif($2, ''), throttle = nullif($3, '') WHERE "
        "daemon_id = $1",
        self.value, workers_reason, throttle);
    tx.commit();
  });
}

std::optional<std::int64_t> replication_lag_bytes(pg::Session& session) {
  return pg::guarded("asking for the replication lag", [&]() -> std::optional<std::int64_t> {
    pqxx::work tx(session.sql());
    // A receiver that replays nothing (pg_receivewal, an archiver) counts by what it has written.
    const pqxx::row row = tx.exec1(
        "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn, write_lsn, "
        "sent_lsn)))::bigint "
        "  FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')");
    if (row[0].is_null()) return std::nullopt;
    return row[0].as<std::int64_t>();
  });
}

}  // namespace regfeatd::queue
