#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "regfeatd/base/mutex.hpp"
#include "regfeatd/queue/failover.hpp"

namespace regfeatd::daemon {

class Shared;

/// The commits that servers acknowledged to this daemon in the last minutes. Thread-safe.
class RecentCommits {
 public:
  void add(const queue::Claim& claim);
  [[nodiscard]] std::vector<queue::AcknowledgedCommit> list();

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    queue::AcknowledgedCommit commit;
    Clock::time_point at;
  };
  Mutex mutex_;
  std::deque<Entry> entries_ REGFEATD_GUARDED_BY(mutex_);
};

/// What is to be done when another server has become the writer: sessions to the old one are given up, commits that it
/// acknowledged and the new one lacks are put back into the queue, and what was finished shortly before is held against
/// its targets. For the reporting thread; the verification has a thread and a connection of its own.
class Failover {
 public:
  using Clock = std::chrono::steady_clock;
  /// `give_up_old_sessions`: ends what runs over sessions that were opened before the time given.
  Failover(Shared& shared, std::function<void(Clock::time_point)> give_up_old_sessions);
  ~Failover();

  /// After each new session of the reporter. `last_good`: when its last one was known to work.
  void look(pg::Session& session, Clock::time_point last_good);
  /// With every report: gives back what the work table says this daemon runs, and it does not; seen twice in a row.
  void look_for_orphans(pg::Session& session, const std::vector<queue::RunningClaim>& in_hand);
  /// Recent results are being verified: the queue may get fuller.
  [[nodiscard]] bool busy() const noexcept { return busy_.load(); }

 private:
  void verify(const std::stop_token& stop);
  void end_verification();
  void verify_once(pg::Session& session, const std::stop_token& stop);

  Shared& shared_;
  const std::function<void(Clock::time_point)> give_up_old_sessions_;
  std::string identity_;  ///< of the writer; empty: not known yet
  std::vector<queue::RunningClaim> suspects_;
  std::atomic<bool> busy_{false};
  Mutex mutex_;
  std::shared_ptr<pg::Canceller> canceller_ REGFEATD_GUARDED_BY(mutex_);  ///< of the verification's session
  std::jthread thread_;
};

}  // namespace regfeatd::daemon
