#include "regfeatd/queue/work.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "regfeatd/base/build_info.hpp"
#include "regfeatd/pg/brief.hpp"
#include "regfeatd/pg/catalog.hpp"

namespace regfeatd::queue {

std::optional<Claim> claim(pg::Session& session, DaemonId daemon, int worker) {
  return pg::guarded("claim", [&]() -> std::optional<Claim> {
    pqxx::work tx(session.sql());
    const pqxx::result r =
        // A claim whose client falls silent is ended by the server.
        tx.exec_params(
            "SELECT partition_id, attempt_id, epoch, attempts, feature_set_id, specification_version, series, lower_bound, upper_bound "
            "  FROM (SELECT set_config('idle_in_transaction_session_timeout', '5s', true)) s "
            " CROSS JOIN regfeat.claim($1, $2, CASE WHEN pg_backend_pid() = $4 THEN $4 END, $3)",
            // Behind a pooler libpq's number is not that of a server process: then none is recorded, and nobody ends it.
            daemon.value, worker, std::string(build_id()), session.backend_pid());
    tx.commit();
    if (r.empty()) return std::nullopt;
    const auto row = r[0];
    Claim c;
    c.partition.value = row[0].as<std::int64_t>();
    c.attempt.value = row[1].as<std::int64_t>();
    c.epoch.value = row[2].as<std::int64_t>();
    c.attempt_number = row[3].as<int>();
    c.feature_set.value = row[4].as<std::int64_t>();
    c.specification_version = row[5].as<int>();
    c.series = row[6].as<std::string>();
    c.range = {row[7].as<OrderValue>(), row[8].as<OrderValue>()};
    return c;
  });
}

std::int64_t expected_rows(pqxx::transaction_base& tx, const Claim& claim) {
  return tx
      .exec_params1("SELECT coalesce(rows_in, estimated_rows, 0) FROM regfeat.partition WHERE partition_id = $1",
                    claim.partition.value)[0]
      .as<std::int64_t>();
}

bool still_ours(pqxx::transaction_base& tx, const Claim& claim) {
  return !tx.exec_params("SELECT 1 FROM regfeat.partition WHERE partition_id = $1 AND epoch = $2 AND state = 'running'",
                         claim.partition.value, claim.epoch.value)
              .empty();
}

std::optional<LastResult> last_result(pqxx::transaction_base& tx, const Claim& claim) {
  const pqxx::result r = tx.exec_params(
      "SELECT input_fingerprint, rows_out FROM regfeat.partition "
      " WHERE partition_id = $1 AND input_fingerprint IS NOT NULL AND rows_out > 0",
      claim.partition.value);
  if (r.empty()) return std::nullopt;
  return LastResult{r[0][0].as<std::string>(), r[0][1].as<std::int64_t>()};
}

namespace {

void record_quarantine(pqxx::transaction_base& tx, const Claim& claim, const std::vector<QuarantinedKey>& keys) {
  tx.exec_params("DELETE FROM regfeat.quarantine WHERE partition_id = $1", claim.partition.value);
  for (const QuarantinedKey& k : keys) {
    tx.exec_params(
        "INSERT INTO regfeat.quarantine (partition_id, feature_set, series, key, reason, position, rows_left_out) "
        "SELECT $1, f.name, $2, $3, $4, $5, $6 FROM regfeat.feature_set f WHERE f.feature_set_id = $7",
        claim.partition.value, claim.series, k.key, k.reason, k.position, k.rows, claim.feature_set.value);
  }
}

void record_presence(pqxx::transaction_base& tx, const Claim& claim, const std::optional<Presence>& presence) {
  tx.exec_params("DELETE FROM regfeat.expectation WHERE partition_id = $1",
                 claim.partition.value);  // and with it regfeat.presence
  if (!presence) return;
  tx.exec_params("INSERT INTO regfeat.expectation (partition_id, expected, closed) VALUES ($1, $2, $3)",
                 claim.partition.value, presence->expected, presence->closed);
  std::vector<std::string> key, rows, present, unexpected;
  for (const KeyPresence& k : presence->keys) {
    key.push_back(k.key);
    rows.push_back(std::to_string(k.rows));
    present.push_back(std::to_string(k.present));
    unexpected.push_back(std::to_string(k.unexpected));
  }
  tx.exec_params(
      "INSERT INTO regfeat.presence (partition_id, key, rows, present, unexpected) "
      "SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[])",
      claim.partition.value, pg::array_literal(key), pg::array_literal(rows), pg::array_literal(present),
      pg::array_literal(unexpected));
}

/// The same rows under the same fingerprint: who wrote them, and what, stays on record.
bool complete_unchanged(pqxx::transaction_base& tx, const Claim& claim, const Completion& c) {
  return tx.exec_params(
               "UPDATE regfeat.partition SET state = 'done', daemon_id = NULL, worker = NULL, backend_pid = NULL, "
               "       changed_at = clock_timestamp(), rows_in = $3, specification_version = $4, disturbances = 0, message = NULL "
               " WHERE partition_id = $1 AND epoch = $2 AND state = 'running'",
               claim.partition.value, claim.epoch.value, c.rows_in, claim.specification_version)
             .affected_rows() == 1;
}

}  // namespace

bool complete(pqxx::transaction_base& tx, const Claim& claim, const Completion& c) {
  const std::string state = c.empty ? "empty" : "done";
  // Under READ COMMITTED the UPDATE waits for whoever holds the row and then looks at the epoch again: the check is
  // made under the lock that lasts until COMMIT.
  const bool held =
      c.unchanged
          ? complete_unchanged(tx, claim, c)
          : tx.exec_params(
                  "UPDATE regfeat.partition SET state = $3, daemon_id = NULL, worker = NULL, backend_pid = NULL, changed_at = clock_timestamp(), "
                  "       rows_in = $4, rows_out = $5, bytes_out = $6, nulls_out = $7, checksum = $8, input_fingerprint = $9, "
                  "       specification_version = $10, build_id = $11, disturbances = 0, message = NULL "
                  " WHERE partition_id = $1 AND epoch = $2 AND state = 'running'",
                  claim.partition.value, claim.epoch.value, state, c.rows_in, c.rows_out, c.bytes_out, c.nulls_out,
                  c.checksum, c.input_fingerprint, claim.specification_version, std::string(build_id()))
                    .affected_rows() == 1;
  if (!held) return false;
  record_quarantine(tx, claim, c.quarantined);
  record_presence(tx, claim, c.presence);
  tx.exec_params(
      "UPDATE regfeat.feature_set SET breaker_faults = 0, breaker_partition_id = NULL, breaker_until = NULL, breaker_reason = NULL "
      " WHERE feature_set_id = $1 AND breaker_faults > 0",
      claim.feature_set.value);
  return true;
}

void record_success(pqxx::transaction_base& tx, const Claim& claim, const Completion& c) {
  const Timings& t = c.timings;
  tx.exec_params(
      "UPDATE regfeat.attempt SET outcome = $2, finished_at = clock_timestamp(), rows_in = $3, rows_out = $4, bytes_out = $5, nulls_out = $6, "
      "       claim_ms = $7, read_ms = $8, fit_ms = $9, send_ms = $10, publish_ms = $11, wait_ms = $12, encode_ms = $13 WHERE attempt_id = $1",
      claim.attempt.value,
      c.unchanged ? "unchanged"
      : c.empty   ? "empty"
                  : "done",
      c.rows_in, c.rows_out, c.bytes_out, c.nulls_out, t.claim_ms, t.read_ms, t.fit_ms, t.send_ms, t.publish_ms,
      t.wait_ms, t.encode_ms);
}

bool committed(pg::Session& session, const Claim& claim) {
  return pg::guarded("reading the outcome of an unanswered commit", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    // The server may still be at the COMMIT: its transaction holds the work row until it is decided. One whose COMMIT
    // never arrived would hold it for ever, so it is ended; a COMMIT that is under way is not interrupted by that.
    tx.exec_params(
        "SELECT regfeat.end_backend(backend_pid, changed_at) FROM regfeat.partition WHERE partition_id = $1 AND epoch = $2 AND state = 'running'",
        claim.partition.value, claim.epoch.value);
    tx.exec_params("SELECT 1 FROM regfeat.partition WHERE partition_id = $1 FOR UPDATE", claim.partition.value);
    const bool done =
        tx.exec_params(
              "UPDATE regfeat.attempt SET message = $4 WHERE attempt_id = $1 AND partition_id = $2 AND epoch = $3 "
              "   AND outcome IN ('done', 'empty', 'unchanged')",
              claim.attempt.value, claim.partition.value, claim.epoch.value,
              "the connection was lost at COMMIT, which had happened")
            .affected_rows() == 1;
    tx.commit();
    return done;
  });
}

std::chrono::microseconds back_off(int attempt, const spec::Settings::Retry& retry) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  const double doubled = static_cast<double>(retry.base.count()) * std::exp2(std::clamp(attempt - 1, 0, 40));
  const double limited = std::min(doubled, static_cast<double>(retry.cap.count()));
  return std::chrono::microseconds{
      static_cast<std::int64_t>(limited * std::uniform_real_distribution<double>(0.5, 1.0)(random))};
}

namespace {

void record_attempt(pqxx::transaction_base& tx, const Claim& claim, const std::string& outcome, const Fault* fault,
                    const std::string& step, const std::string& message, const Timings& t) {
  tx.exec_params(
      "UPDATE regfeat.attempt SET outcome = $2, finished_at = clock_timestamp(), fault_class = nullif($3, ''), step = $4, "
      "       sqlstate = nullif($5, ''), message = $6, context = nullif($7, ''), claim_ms = $8, read_ms = $9, fit_ms = $10, "
      "       send_ms = $11, publish_ms = $12, wait_ms = $13, encode_ms = $14 WHERE attempt_id = $1 AND (outcome = 'running' OR (outcome = 'lost' AND $2 = 'fenced'))",
      claim.attempt.value, outcome, fault == nullptr ? std::string() : std::string(to_string(fault->fault_class())),
      step, fault == nullptr ? std::string() : fault->sqlstate(), message,
      fault == nullptr ? std::string() : fault->context(), t.claim_ms, t.read_ms, t.fit_ms, t.send_ms, t.publish_ms,
      t.wait_ms, t.encode_ms);
}

/// Opens the breaker once configuration faults have hit enough different partitions in a row. While it is open, faults
/// are not charged (the feature set is to blame), and the partition stays away from the next probe, so that one broken
/// series cannot keep the breaker open for the others. Returns whether the breaker is open.
bool count_configuration_fault(pqxx::transaction_base& tx, const Claim& claim, const std::string& message) {
  tx.exec_params(
      "UPDATE regfeat.feature_set SET breaker_faults = breaker_faults + 1, breaker_partition_id = $2, breaker_reason = $3, "
      "       breaker_until = CASE WHEN breaker_faults + 1 >= $4 THEN clock_timestamp() + "
      "         least(interval '2 minutes', interval '10 seconds' * power(2, least(breaker_faults + 1 - $4, 10))) END "
      " WHERE feature_set_id = $1 AND (breaker_partition_id IS DISTINCT FROM $2 OR breaker_until IS NOT NULL)",
      claim.feature_set.value, claim.partition.value, message, kBreakerFaults);
  return tx.exec_params(
               "UPDATE regfeat.partition p SET attempts = greatest(p.attempts - 1, 0), state = 'pending', "
               "       not_before = greatest(p.not_before, f.breaker_until + interval '1 second') "
               "  FROM regfeat.feature_set f WHERE f.feature_set_id = $1 AND f.breaker_until IS NOT NULL AND p.partition_id = $2",
               claim.feature_set.value, claim.partition.value)
             .affected_rows() == 1;
}

}  // namespace

Verdict fail(pg::Session& session, const Claim& claim, const Fault& fault, const std::string& step,
             const Timings& timings, const spec::Settings::Retry& retry) {
  return pg::guarded("recording a failure", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    const bool transient = fault.fault_class() == FaultClass::transient;
    // A broken connection may have left its backend behind, with the work row locked.
    tx.exec_params(
        "SELECT regfeat.end_backend(backend_pid, changed_at) FROM regfeat.partition WHERE partition_id = $1 AND epoch = $2 AND state = 'running'",
        claim.partition.value, claim.epoch.value);
    const pqxx::result row = tx.exec_params(
        "SELECT attempts, disturbances FROM regfeat.partition WHERE partition_id = $1 AND epoch = $2 AND state = 'running' FOR UPDATE",
        claim.partition.value, claim.epoch.value);
    if (row.empty()) {
      record_attempt(tx, claim, "fenced", &fault, step, fault.what(), timings);
      tx.commit();
      return Verdict::fenced;
    }
    const int attempts = row[0][0].as<int>();
    const int disturbances = row[0][1].as<int>() + (transient ? 1 : 0);
    const bool give_up = transient ? disturbances > kMaxDisturbances : attempts >= retry.attempts;
    const auto delay = back_off(transient ? disturbances : attempts, retry);
    record_attempt(tx, claim, transient ? "disturbed" : "failed", &fault, step, fault.what(), timings);
    tx.exec_params(
        "UPDATE regfeat.partition SET state = $3, attempts = attempts - $4, disturbances = $5, "
        "       not_before = clock_timestamp() + $6 * interval '1 microsecond', daemon_id = NULL, worker = NULL, backend_pid = NULL, "
        "       input_fingerprint = CASE WHEN $3 = 'failed' THEN NULL ELSE input_fingerprint END, "
        "       changed_at = clock_timestamp(), message = $7 WHERE partition_id = $1 AND epoch = $2",
        claim.partition.value, claim.epoch.value, give_up ? "failed" : "pending", transient ? 1 : 0, disturbances,
        delay.count(), std::string(fault.what()));
    const bool breaker_open =
        fault.fault_class() == FaultClass::configuration && count_configuration_fault(tx, claim, fault.what());
    tx.commit();
    if (breaker_open) return Verdict::breaker_open;
    return give_up ? Verdict::failed : Verdict::retried;
  });
}

void give_back(pg::Session& session, const Claim& claim, const std::string& reason) {
  pg::guarded("giving a partition back", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    const pqxx::result r = tx.exec_params(
        "UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, attempts = attempts - 1, daemon_id = NULL, worker = NULL, "
        "       backend_pid = NULL, changed_at = clock_timestamp(), message = $3 "
        " WHERE partition_id = $1 AND epoch = $2 AND state = 'running'",
        claim.partition.value, claim.epoch.value, reason);
    record_attempt(tx, claim, r.affected_rows() == 1 ? "returned" : "fenced", nullptr, "", reason, {});
    tx.commit();
  });
}

void record_fenced(pg::Session& session, const Claim& claim, const std::string& step) {
  pg::guarded("recording a fenced attempt", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    record_attempt(tx, claim, "fenced", nullptr, step,
                   "the partition was requeued, cancelled or taken over while this attempt ran", {});
    tx.commit();
  });
}

Outlook outlook(pg::Session& session) {
  return pg::guarded("looking at the queue", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    const pqxx::result r = tx.exec(
        "SELECT count(*) FILTER (WHERE p.state IN ('pending', 'running') AND NOT (p.state = 'pending' AND b.blocked)), "
        "       count(*) FILTER (WHERE p.state = 'failed'), count(*) FILTER (WHERE p.state = 'pending' AND b.blocked), "
        "       coalesce(max(CASE WHEN p.state = 'pending' AND b.blocked AND NOT w.waits "
        "                         THEN 'feature set ' || f.name || ': ' || coalesce(f.paused_reason, f.breaker_reason, 'paused') END), "
        "                'feature set ' || min(f.name) FILTER (WHERE w.waits) || ': ' || regfeat.blocked_by(min(p.partition_id) FILTER (WHERE w.waits))) "
        "  FROM regfeat.partition p JOIN regfeat.feature_set f USING (feature_set_id) "
        "  CROSS JOIN LATERAL (SELECT p.state = 'pending' AND f.feature_set_id IN (SELECT d.feature_set_id FROM regfeat.dependency d) "
        "                         AND EXISTS (SELECT FROM regfeat.waits_for(p.feature_set_id, p.series, p.lower_bound, p.upper_bound, 1)) AS waits) w "
        "  CROSS JOIN LATERAL (SELECT f.paused_at IS NOT NULL OR f.breaker_until IS NOT NULL OR w.waits AS blocked) b "
        " WHERE p.state IN ('pending', 'running', 'failed')");
    Outlook o;
    o.claimable = r[0][0].as<std::int64_t>();
    o.failed = r[0][1].as<std::int64_t>();
    o.blocked = r[0][2].as<std::int64_t>();
    if (!r[0][3].is_null()) o.blocked_reason = r[0][3].as<std::string>();
    return o;
  });
}

}  // namespace regfeatd::queue
