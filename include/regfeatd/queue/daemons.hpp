#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/spec/settings.hpp"

namespace regfeatd::queue {

/// Who a daemon is, as its row in regfeat.daemon says.
struct DaemonIdentity {
  std::string name;
  std::string host;
  int process_id = 0;
  std::string process_identity;  ///< see `process_identity()`
};

/// Boot id, process-id namespace and start time of a process of this machine, in one text; empty when there is no such
/// process. Two processes with the same id at different times have different identities.
[[nodiscard]] std::string process_identity(int process_id);

/// `former`: its own row that was declared lost; what set_workers asked of it holds on.
[[nodiscard]] DaemonId register_daemon(pg::Session& session, const DaemonIdentity& identity,
                                       std::chrono::microseconds lease, int workers,
                                       std::optional<DaemonId> former = std::nullopt);

/// Declares daemons of this machine lost whose process is certainly gone, without waiting for their leases. Returns how
/// many partitions were given back.
std::int64_t release_dead_neighbours(pg::Session& session, DaemonId self);

/// Renews the lease and rescues the partitions of daemons whose lease ran out. false: this daemon was itself declared
/// lost and must stop its workers.
[[nodiscard]] bool heartbeat(pg::Session& session, DaemonId self);

/// A partition that a worker runs, and the epoch it claimed.
struct RunningClaim {
  int worker = 0;
  std::int64_t partition_id = 0;
  std::int64_t epoch = 0;
};
/// What operators and other daemons decided since the last look.
struct Orders {
  std::vector<RunningClaim> fenced;  ///< of those given: requeued, cancelled or taken over
  std::optional<int> workers;        ///< regfeat.set_workers; absent: the configuration decides
  int generation = 0;                ///< of `workers`
};
[[nodiscard]] Orders read_orders(pg::Session& session, DaemonId self, const std::vector<RunningClaim>& running);
/// Acknowledges `Orders::workers`.
void record_workers(pg::Session& session, DaemonId self, int workers, int desired_generation, int settings_generation);

/// Deletes a batch of history older than given: attempts that are not their partition's latest, progress rows, daemons that
/// are no more. Walks the attempts from `after`; returns where to go on. nullopt: at the end, or another daemon is at it.
[[nodiscard]] std::optional<std::int64_t> prune(pg::Session& session, const spec::Settings::Retention& kept,
                                                std::int64_t after);

/// Is there a pooler between this session and the server? Then LISTEN and process ids mean nothing.
[[nodiscard]] bool behind_pooler(pg::Session& session);

/// Settings as applied, for regfeat.daemons.
void record_settings(pg::Session& session, DaemonId self, int workers, const spec::Settings& settings, int generation,
                     const std::string& message);
void record_draining(pg::Session& session, DaemonId self);
void record_stopped(pg::Session& session, DaemonId self, const std::string& message);

/// What one worker is doing.
struct WorkerReport {
  int worker = 0;
  int backend_pid = 0;
  std::int64_t partition_id = 0;  ///< 0: none
  std::int64_t epoch = 0;
  const char* step = "idle";  ///< a string literal
  std::int64_t rows_done = 0;
  std::int64_t rows_total = 0;
  double step_seconds = 0;  ///< how long in this step
};

/// Writes the workers' rows and how many are active.
void report(pg::Session& session, DaemonId self, const std::vector<WorkerReport>& workers);

}  // namespace regfeatd::queue
