#include "regfeatd/queue/daemons.hpp"

#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include "regfeatd/base/build_info.hpp"
#include "regfeatd/pg/brief.hpp"

namespace regfeatd::queue {

std::string process_identity(int process_id) {
  std::ifstream stat("/proc/" + std::to_string(process_id) + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return {};
  // proc(5): the command, field 2, may hold anything but ends at the last ')'; the start time is field 22.
  std::istringstream rest(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  std::string field;
  for (int i = 3; i <= 22; ++i) rest >> field;
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string boot_id;
  std::getline(boot, boot_id);
  std::array<char, 64> name_space{};
  (void)!readlink("/proc/self/ns/pid", name_space.data(), name_space.size() - 1);
  return boot_id + ' ' + name_space.data() + ' ' + field;
}

DaemonId register_daemon(pg::Session& session, const DaemonIdentity& identity, std::chrono::microseconds lease,
                         int workers, std::optional<DaemonId> former) {
  return pg::guarded("registering the daemon", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    const auto id =
        tx.exec_params(
              "INSERT INTO regfeat.daemon (name, host, process_id, process_identity, build_id, lease, workers_configured, "
              "                            workers_desired, desired_generation, applied_generation) "
              "SELECT $1, $2, $3, $4, $5, $6 * interval '1 microsecond', $7, "
              "       f.workers_desired, coalesce(f.desired_generation, 0), coalesce(f.applied_generation, 0) "
              "  FROM (VALUES ($8::bigint)) AS x(former) LEFT JOIN regfeat.daemon f ON f.daemon_id = x.former RETURNING daemon_id",
              identity.name, identity.host, identity.process_id, identity.process_identity, std::string(build_id()),
              lease.count(), workers, former ? std::optional(former->value) : std::nullopt)[0][0]
            .as<std::int64_t>();
    tx.commit();
    return DaemonId{id};
  });
}

std::int64_t release_dead_neighbours(pg::Session& session, DaemonId self) {
  return pg::guarded("looking for dead daemons of this machine", [&] {
    const std::string own = process_identity(getpid());
    const std::string own_machine = own.substr(0, own.rfind(' '));
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    std::int64_t released = 0;
    for (const auto& row :
         tx.exec_params("SELECT daemon_id, process_id, process_identity, name FROM regfeat.daemon "
                        " WHERE state IN ('running', 'draining') AND daemon_id <> $1 AND process_identity <> '' "
                        " ORDER BY daemon_id FOR UPDATE SKIP LOCKED",
                        self.value)) {
      const auto identity = row[2].as<std::string>();
      const bool same_machine = identity.substr(0, identity.rfind(' ')) == own_machine;
      if (!same_machine || process_identity(row[1].as<int>()) == identity) continue;
      released += static_cast<std::int64_t>(
          tx.exec_params("SELECT * FROM regfeat.release_daemon($1, $2)", row[0].as<std::int64_t>(),
                         "the process of daemon " + row[3].as<std::string>() + " is gone")
              .size());
    }
    tx.commit();
    return released;
  });
}

bool heartbeat(pg::Session& session, DaemonId self) {
  return pg::guarded("heartbeat", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    const pqxx::result r = tx.exec_params(
        "UPDATE regfeat.daemon SET heartbeat_at = clock_timestamp() WHERE daemon_id = $1 AND state IN ('running', 'draining')",
        self.value);
    tx.commit();
    if (r.affected_rows() != 1) return false;
    pqxx::work rescue(session.sql());
    pg::be_brief(rescue);
    rescue.exec("SELECT * FROM regfeat.rescue()");
    rescue.commit();
    return true;
  });
}

void record_settings(pg::Session& session, DaemonId self, int workers, const spec::Settings& settings, int generation,
                     const std::string& message) {
  pg::guarded("recording the settings", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    tx.exec_params(
        "UPDATE regfeat.daemon SET workers_configured = $2, lease = $3 * interval '1 microsecond', settings_generation = $4, "
        "       message = nullif($5, ''), settings = $6::jsonb WHERE daemon_id = $1",
        self.value, workers, settings.lease.count(), generation, message, spec::settings_json(settings));
    tx.commit();
  });
}

namespace {

std::string to_json(const std::vector<RunningClaim>& claims) {
  auto list = nlohmann::json::array();
  for (const RunningClaim& r : claims)
    list.push_back({{"worker", r.worker}, {"partition_id", r.partition_id}, {"epoch", r.epoch}});
  return list.dump();
}

}  // namespace

Orders read_orders(pg::Session& session, DaemonId self, const std::vector<RunningClaim>& running) {
  return pg::guarded("reading orders", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    Orders orders;
    for (
        const auto& row : tx.exec_params(
            "SELECT r.worker, r.partition_id, r.epoch FROM jsonb_to_recordset($1::jsonb) AS r(worker int, partition_id bigint, epoch bigint) "
            "  JOIN regfeat.partition p USING (partition_id) WHERE p.epoch <> r.epoch",
            to_json(running))) {
      orders.fenced.push_back({row[0].as<int>(), row[1].as<std::int64_t>(), row[2].as<std::int64_t>()});
    }
    const pqxx::result d = tx.exec_params(
        "SELECT workers_desired, desired_generation FROM regfeat.daemon WHERE daemon_id = $1", self.value);
    if (!d.empty()) {
      if (!d[0][0].is_null()) orders.workers = d[0][0].as<int>();
      orders.generation = d[0][1].as<int>();
    }
    return orders;
  });
}

void record_workers(pg::Session& session, DaemonId self, int workers, int desired_generation, int settings_generation) {
  pg::guarded("acknowledging the number of workers", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    tx.exec_params(
        "UPDATE regfeat.daemon SET workers_configured = $2, applied_generation = $3, settings_generation = $4 WHERE daemon_id = $1",
        self.value, workers, desired_generation, settings_generation);
    tx.commit();
  });
}

std::optional<std::int64_t> prune(pg::Session& session, const spec::Settings::Retention& kept, std::int64_t after) {
  constexpr int kBatch = 1000;
  return pg::guarded("pruning history", [&]() -> std::optional<std::int64_t> {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    // One daemon at a time: another's batch would only make this one wait.
    if (!tx.exec("SELECT pg_try_advisory_xact_lock(hashtextextended('regfeat.prune', 0))")[0][0].as<bool>())
      return std::nullopt;
    const pqxx::row others = tx.exec_params1(
        "SELECT greatest(regfeat.prune_progress(now() - $1 * interval '1 microsecond', $3), "
        "                regfeat.prune_daemons(now() - $2 * interval '1 microsecond', $3)) >= $3",
        kept.progress.count(), kept.attempts.count(), kBatch);
    const pqxx::result r =
        tx.exec_params("SELECT next_after FROM regfeat.prune_attempts(now() - $1 * interval '1 microsecond', $2, $3)",
                       kept.attempts.count(), after, kBatch);
    tx.commit();
    if (!r[0][0].is_null()) return r[0][0].as<std::int64_t>();
    // The attempts are through, but a full batch of the others says that there may be more of them.
    return others[0].as<bool>() ? std::optional(after) : std::nullopt;
  });
}

bool behind_pooler(pg::Session& session) {
  return pg::guarded("looking for a pooler", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    return !tx.exec_params("SELECT pg_backend_pid() = $1", session.backend_pid())[0][0].as<bool>();
  });
}

void record_draining(pg::Session& session, DaemonId self) {
  pg::guarded("recording the drain", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    tx.exec_params("UPDATE regfeat.daemon SET state = 'draining' WHERE daemon_id = $1 AND state = 'running'",
                   self.value);
    tx.commit();
  });
}

void record_stopped(pg::Session& session, DaemonId self, const std::string& message) {
  pg::guarded("recording the stop", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    tx.exec_params(
        "UPDATE regfeat.daemon SET state = 'stopped', stopped_at = clock_timestamp(), workers_active = 0, message = nullif($2, '') "
        " WHERE daemon_id = $1 AND state IN ('running', 'draining')",
        self.value, message);
    tx.exec_params("DELETE FROM regfeat.worker WHERE daemon_id = $1", self.value);
    tx.commit();
  });
}

namespace {

constexpr const char* kWriteWorkers = R"(
  WITH w AS (
    SELECT * FROM jsonb_to_recordset($2::jsonb)
      AS w(worker int, backend_pid int, partition_id bigint, step text, rows_done bigint, rows_total bigint, step_seconds float8)
  ), gone AS (
    DELETE FROM regfeat.worker x WHERE x.daemon_id = $1 AND NOT EXISTS (SELECT 1 FROM w WHERE w.worker = x.worker)
  )
  INSERT INTO regfeat.worker (daemon_id, worker, backend_pid, partition_id, step, rows_done, rows_total, step_started_at, updated_at)
  SELECT $1, worker, backend_pid, nullif(partition_id, 0), step, rows_done, rows_total,
         clock_timestamp() - step_seconds * interval '1 second', clock_timestamp()
    FROM w
  ON CONFLICT (daemon_id, worker) DO UPDATE SET
    backend_pid = excluded.backend_pid, partition_id = excluded.partition_id, step = excluded.step, rows_done = excluded.rows_done,
    rows_total = excluded.rows_total, step_started_at = excluded.step_started_at, updated_at = excluded.updated_at)";

std::string to_json(const std::vector<WorkerReport>& workers) {
  auto list = nlohmann::json::array();
  for (const WorkerReport& w : workers) {
    list.push_back({{"worker", w.worker},
                    {"backend_pid", w.backend_pid},
                    {"partition_id", w.partition_id},
                    {"step", w.step},
                    {"rows_done", w.rows_done},
                    {"rows_total", w.rows_total},
                    {"step_seconds", w.step_seconds}});
  }
  return list.dump();
}

}  // namespace

void report(pg::Session& session, DaemonId self, const std::vector<WorkerReport>& workers) {
  pg::guarded("reporting workers", [&] {
    pqxx::work tx(session.sql());
    pg::be_brief(tx);
    // The daemon's row first, as whoever declares this daemon lost does: the other order could deadlock with it.
    const auto active =
        std::count_if(workers.begin(), workers.end(), [](const WorkerReport& w) { return w.partition_id != 0; });
    const pqxx::result own = tx.exec_params(
        "UPDATE regfeat.daemon SET workers_active = $2 WHERE daemon_id = $1 AND state IN ('running', 'draining')",
        self.value, active);
    if (own.affected_rows() != 1) return;
    tx.exec_params(kWriteWorkers, self.value, to_json(workers));
    tx.commit();
  });
}

}  // namespace regfeatd::queue
