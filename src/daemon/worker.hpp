#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>

#include "pulse.hpp"
#include "regfeatd/base/mutex.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/queue/daemons.hpp"
#include "shared.hpp"

namespace regfeatd::daemon {

/// One thread with one connection: claims a partition, runs it, records what became of it, claims the next.
class Worker : private populate::RunObserver {
 public:
  Worker(Shared& shared, int number);
  ~Worker() override;

  /// Has the thread ended (because fewer workers are wanted, or the daemon stops)?
  [[nodiscard]] bool finished() const noexcept { return finished_.load(); }
  /// Ends the statement in hand and makes the run give up. The worker itself goes on. Does not wait for the server.
  void cancel_run();
  /// The same by ending the connection: for a server that answers nobody.
  void hang_up();
  /// The same, only if its session was opened before `t`.
  void cancel_run_over_session_before(std::chrono::steady_clock::time_point t);
  /// The same, only if that claim is still the one in hand.
  void cancel_run(const queue::RunningClaim& claim);
  /// For progress; from any thread.
  [[nodiscard]] queue::WorkerReport report() const;
  /// For the watchdog, on the control thread: does it neither work nor wait for the database?
  [[nodiscard]] bool hung(Pulse::Clock::duration limit) { return pulse_watch_.hung(pulse_, limit); }
  [[nodiscard]] int number() const noexcept { return number_; }

 private:
  void loop();
  void serve_one();
  bool ensure_session();
  void drop_useless_session(const Fault& fault);
  void run(const queue::Claim& claim);
  void conclude(const queue::Claim& claim, const Fault& fault);
  void settle_doubt(const queue::Claim& claim, const Fault& fault);
  void record(const queue::Claim& claim, const Fault& fault);
  void idle();
  void pause();
  void rest();
  void pace(std::int64_t rows);
  [[nodiscard]] bool wanted() const noexcept;

  void at_step(populate::Step step) override;
  void at_rows(std::int64_t done, std::int64_t total) override;
  void set_step(const char* step);

  Shared& shared_;
  const int number_;
  std::uint64_t wakeups_seen_ = 0;
  std::unique_ptr<pg::Session> session_;
  populate::PartitionRunner runner_;
  queue::Timings timings_;
  std::int64_t rows_paced_ = 0;  ///< of the partition in hand

  mutable Mutex mutex_;
  std::shared_ptr<pg::Canceller> canceller_ REGFEATD_GUARDED_BY(mutex_);
  std::stop_source run_stop_ REGFEATD_GUARDED_BY(mutex_);
  bool running_ REGFEATD_GUARDED_BY(mutex_) = false;

  Pulse pulse_;
  PulseWatch pulse_watch_;
  std::atomic<int> backend_pid_{0};
  std::atomic<std::int64_t> partition_id_{0}, epoch_{0}, rows_done_{0}, rows_total_{0};
  std::atomic<const char*> step_{"start"};
  std::atomic<std::chrono::steady_clock::time_point> step_since_{std::chrono::steady_clock::now()};
  std::atomic<std::chrono::steady_clock::time_point> session_since_{};
  std::atomic<bool> finished_{false};
  std::jthread thread_;  // last: it starts when everything else is there
};

}  // namespace regfeatd::daemon
