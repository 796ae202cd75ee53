#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "pulse.hpp"
#include "regfeatd/daemon/daemon.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/queue/daemons.hpp"
#include "regfeatd/queue/progress.hpp"
#include "shared.hpp"
#include "site.hpp"

namespace regfeatd::daemon {

/// The thread of heartbeat and progress SQL, with a connection of its own: nothing it does holds up a worker or a
/// signal, and no worker holds it up. It also listens for new work.
class Reporter {
 public:
  struct Callbacks {
    std::function<std::vector<queue::WorkerReport>()> workers;
    std::function<void(const queue::RunningClaim&)>
        fenced;  ///< somebody requeued, cancelled or took over what a worker runs
    std::function<void(std::optional<int>, int)> workers_ordered;  ///< regfeat.set_workers, and its generation
    std::function<void(std::chrono::steady_clock::time_point)>
        writer_moved;                  ///< sessions opened before lead to the old one
    std::function<void()> lease_lost;  ///< another daemon has declared this one lost
    std::function<void(const std::string&)>
        schema_outgrown;                            ///< a migration that this program cannot serve; may come repeatedly
    std::function<void(DaemonResult)> queue_empty;  ///< `once`: nothing is left to do
    std::function<void(const std::vector<queue::FeatureSetStatus>&)> on_status;
    Site* site = nullptr;  ///< is told what was reported, and reads what its clients wait for
  };
  Reporter(Shared& shared, queue::DaemonIdentity identity, bool once, Callbacks callbacks);
  ~Reporter();

  /// Writes the state of the settings with the next report.
  void settings_changed(int generation, std::string message);
  /// Acknowledges set_workers with the next report.
  void workers_applied(int desired_generation, int settings_generation);
  /// Last report and the daemon's row set to stopped. Ends the thread.
  void stop(const std::string& message);
  /// Ends its connection: for a server that answers nobody. From any thread.
  void hang_up();
  /// For the watchdog, on the control thread: does it neither work nor wait for the database?
  [[nodiscard]] bool hung(Pulse::Clock::duration limit) { return pulse_watch_.hung(pulse_, limit); }
  /// Until when the last acknowledged heartbeat holds the lease, by the lease that was in force when it was sent.
  [[nodiscard]] std::chrono::steady_clock::time_point lease_until() const noexcept { return lease_until_.load(); }

 private:
  using Clock = std::chrono::steady_clock;
  void loop(const std::stop_token& stop);
  void connect(const std::stop_token& stop);
  void beat();
  void report();
  void write_progress(std::chrono::microseconds interval);
  void throttle(std::optional<double> commit_ms);
  void look_for_end();
  void write_settings();
  void look_for_orders();
  [[nodiscard]] std::vector<queue::RunningClaim> claims_held() const;
  void prune();
  void drop_leftovers();

  Shared& shared_;
  const queue::DaemonIdentity identity_;
  const bool once_;
  const Callbacks callbacks_;
  Pulse pulse_;
  PulseWatch pulse_watch_;
  std::unique_ptr<pg::Session> session_;
  Failover failover_;
  Clock::time_point last_good_ = Clock::now();
  std::atomic<Clock::time_point> lease_until_;
  Clock::time_point next_beat_, next_report_, next_prune_;
  std::chrono::microseconds long_reports_{0};  ///< between two reports, where reporting itself takes long
  bool drain_written_ = false;
  int orders_seen_ = 0;
  Throttle throttle_;
  std::string limits_written_;  ///< what holds the daemon back, as its row has it
  std::int64_t pruned_up_to_ = 0;
  queue::ProgressWriter progress_;

  Mutex mutex_;
  std::shared_ptr<pg::Canceller> canceller_ REGFEATD_GUARDED_BY(mutex_);
  int desired_applied_ REGFEATD_GUARDED_BY(mutex_) = 0;
  bool workers_dirty_ REGFEATD_GUARDED_BY(mutex_) = false;
  int generation_ REGFEATD_GUARDED_BY(mutex_) = 1;
  std::string message_ REGFEATD_GUARDED_BY(mutex_);
  bool settings_dirty_ REGFEATD_GUARDED_BY(mutex_) = true;  // those of the start are written too
  std::jthread thread_;
};

}  // namespace regfeatd::daemon
