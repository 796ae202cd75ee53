#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <stop_token>
#include <thread>

#include "regfeatd/base/mutex.hpp"
#include "regfeatd/pg/session.hpp"

namespace regfeatd::daemon {

/// One run of a partition, as whoever wants to end it sees it. Shared by its worker and the cancel thread.
struct CancellableRun {
  std::stop_source stop;
  std::shared_ptr<pg::Canceller> canceller;  ///< of the session that it runs on
  std::atomic<bool> over{false};             ///< cancels are for the run, not for the statements that record what became of it
};

/// Sends cancel requests. Each needs a connection to the server, which may take long when the network is bad: neither
/// signals nor heartbeats wait for it.
class CancelThread {
 public:
  CancelThread();

  /// Ends the run's statement soon, unless the run is over by then. Thread-safe; does not block.
  void send(std::shared_ptr<CancellableRun> run);

 private:
  void loop(const std::stop_token& stop);

  Mutex mutex_;
  ConditionVariable arrived_;
  std::deque<std::shared_ptr<CancellableRun>> waiting_ REGFEATD_GUARDED_BY(mutex_);
  std::jthread thread_;  // last: it starts when everything else is there
};

}  // namespace regfeatd::daemon
