#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

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
    std::function<void(const queue::RunningClaim&)> fenced;  ///< somebody requeued, cancelled or took over what a worker runs
    std::function<void(std::optional<int>, int)> workers_ordered;  ///< regfeat.set_workers, and its generation
    std::function<void()> lease_lost;      ///< another daemon has declared this one lost
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
  /// Until when the last acknowledged heartbeat holds the lease, by the lease that was in force when it was sent.
  [[nodiscard]] std::chrono::steady_clock::time_point lease_until() const noexcept { return lease_until_.load(); }

 private:
  using Clock = std::chrono::steady_clock;
  void loop(const std::stop_token& stop);
  void connect(const std::stop_token& stop);
  void beat();
  void report();
  void write_progress(std::chrono::microseconds interval);
  void look_for_end();
  void write_settings();
  void look_for_orders();
  void prune();
  void drop_leftovers();

  Shared& shared_;
  const queue::DaemonIdentity identity_;
  const bool once_;
  const Callbacks callbacks_;
  std::unique_ptr<pg::Session> session_;
  std::atomic<Clock::time_point> lease_until_;
  Clock::time_point next_beat_, next_report_;
  bool drain_written_ = false;
  int orders_seen_ = 0;
  std::int64_t pruned_up_to_ = 0;
  queue::ProgressWriter progress_;
  Clock::time_point next_prune_ = Clock::now() + std::chrono::minutes{1};

  Mutex mutex_;
  int desired_applied_ REGFEATD_GUARDED_BY(mutex_) = 0;
  bool workers_dirty_ REGFEATD_GUARDED_BY(mutex_) = false;
  int generation_ REGFEATD_GUARDED_BY(mutex_) = 1;
  std::string message_ REGFEATD_GUARDED_BY(mutex_);
  bool settings_dirty_ REGFEATD_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace regfeatd::daemon
