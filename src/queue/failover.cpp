#include "regfeatd/queue/failover.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "regfeatd/pg/brief.hpp"

namespace regfeatd::queue {

Writer note_writer(pg::Session& session) {
  return pg::guarded("looking at the writer", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    const pqxx::result r = tx.exec("SELECT identity, verified FROM regfeat.note_writer()");
    tx.commit();
    return Writer{r[0][0].as<std::string>(), r[0][1].as<bool>()};
  });
}

void record_writer_verified(pg::Session& session) {
  pg::guarded("recording a verification", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    tx.exec("UPDATE regfeat.writer SET verified_at = clock_timestamp() WHERE verified_at IS NULL");
    tx.commit();
  });
}

std::vector<PartitionId> requeue_lost(pg::Session& session, const std::vector<AcknowledgedCommit>& acknowledged) {
  return pg::guarded("looking for lost commits", [&] {
    auto list = nlohmann::json::array();
    for (const AcknowledgedCommit& a : acknowledged)
      list.push_back({{"partition_id", a.partition.value}, {"epoch", a.epoch.value}});
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    std::vector<PartitionId> lost;
    for (const auto& row : tx.exec_params("SELECT partition_id FROM regfeat.requeue_lost($1)", list.dump()))
      lost.push_back({row[0].as<std::int64_t>()});
    tx.commit();
    return lost;
  });
}

std::vector<RunningClaim> orphans(pg::Session& session, DaemonId self, const std::vector<RunningClaim>& in_hand) {
  return pg::guarded("looking for orphans", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    std::vector<RunningClaim> out;
    for (const auto& row :
         tx.exec_params(  // A worker may have claimed since it was asked, and the answer be on its way.
             "SELECT worker, partition_id, epoch FROM regfeat.partition WHERE state = 'running' AND daemon_id = $1 "
             "   AND changed_at < clock_timestamp() - interval '5 seconds'",
             self.value)) {
      const RunningClaim c{row[0].is_null() ? 0 : row[0].as<int>(), row[1].as<std::int64_t>(),
                           row[2].as<std::int64_t>()};
      const bool held = std::any_of(in_hand.begin(), in_hand.end(), [&](const RunningClaim& h) {
        return h.partition_id == c.partition_id && h.epoch == c.epoch;
      });
      if (!held) out.push_back(c);
    }
    return out;
  });
}

bool recompute(pg::Session& session, PartitionId partition, Epoch epoch, const std::string& reason) {
  return pg::guarded("putting a partition back", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    const bool done =
        tx.exec_params("SELECT regfeat.recompute($1, $2, $2, $3)", partition.value, epoch.value, reason)[0][0]
            .as<bool>();
    tx.commit();
    return done;
  });
}

std::vector<StoredResult> recent_results(pg::Session& session, std::chrono::microseconds window, int limit) {
  return pg::guarded("listing recent results", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    std::vector<StoredResult> out;
    for (
        const auto& row : tx.exec_params(
            "SELECT partition_id, epoch, feature_set_id, specification_version, series, lower_bound, upper_bound, rows_out, checksum "
            "  FROM regfeat.partition WHERE state = 'done' AND rows_out IS NOT NULL AND checksum IS NOT NULL "
            "   AND changed_at > (SELECT max(changed_at) FROM regfeat.partition WHERE state = 'done') - $1 * interval '1 microsecond' "
            " ORDER BY changed_at DESC LIMIT $2",
            window.count(), limit)) {
      StoredResult r;
      r.claim.partition.value = row[0].as<std::int64_t>();
      r.claim.epoch.value = row[1].as<std::int64_t>();
      r.claim.feature_set.value = row[2].as<std::int64_t>();
      r.claim.specification_version = row[3].as<int>();
      r.claim.series = row[4].as<std::string>();
      r.claim.range = {row[5].as<OrderValue>(), row[6].as<OrderValue>()};
      r.rows_out = row[7].as<std::int64_t>();
      r.checksum = row[8].as<std::string>();
      out.push_back(std::move(r));
    }
    return out;
  });
}

}  // namespace regfeatd::queue
