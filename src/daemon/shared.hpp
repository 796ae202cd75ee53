#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "failover.hpp"
#include "memory.hpp"
#include "regfeatd/base/ids.hpp"
#include "regfeatd/base/mutex.hpp"
#include "regfeatd/populate/write_turns.hpp"
#include "regfeatd/spec/settings.hpp"
#include "throttle.hpp"

namespace regfeatd::daemon {

/// What the threads of a daemon share: the settings snapshot, the lease, wake-ups and the order to stop.
class Shared {
 public:
  explicit Shared(spec::Settings settings)
      : settings_(std::make_shared<const spec::Settings>(std::move(settings))),
        reporter_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Shared() { close(reporter_event_); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  /// The daemon's name as far as it fits into an application name (63 bytes) with what stands around it.
  [[nodiscard]] std::string short_name() const { return name.substr(0, 45); }
  std::string name;  ///< set before the threads start

  [[nodiscard]] std::shared_ptr<const spec::Settings> settings() {
    const MutexLock lock(mutex_);
    return settings_;
  }
  void replace_settings(spec::Settings settings) {
    auto next = std::make_shared<const spec::Settings>(std::move(settings));
    const MutexLock lock(mutex_);
    settings_ = std::move(next);
  }

  /// Sleeps until `d` has passed or somebody called `wake_workers` (new work, new settings, stop) after the call that
  /// returned `seen`. Returns what to pass next time, so that no wake-up is lost in between.
  [[nodiscard]] std::uint64_t wait_for_work(std::uint64_t seen, std::chrono::microseconds d) {
    const MutexLock lock(mutex_);
    if (wakeups_ == seen) wake_.wait_for(mutex_, d);
    return wakeups_;
  }
  void wake_workers() {
    const MutexLock lock(mutex_);
    ++wakeups_;
    wake_.notify_all();
  }

  /// Interrupts the reporting thread's sleep; it watches `reporter_fd`.
  void wake_reporter() noexcept { (void)!write(reporter_event_, &kOne, sizeof kOne); }
  [[nodiscard]] int reporter_fd() const noexcept { return reporter_event_; }

  /// Why there are fewer workers than were asked for (memory_budget); empty: there are not.
  [[nodiscard]] std::string workers_reason() {
    const MutexLock lock(mutex_);
    return workers_reason_;
  }
  void set_workers_reason(const std::string& reason) {
    const MutexLock lock(mutex_);
    workers_reason_ = reason;
  }

  MemoryPool memory;
  populate::WriteTurns write_turns;
  RateLimiter rate;
  CommitTimes commit_times;
  std::atomic<int> workers_allowed{1024};  ///< worker i claims while i < workers_allowed; lowered by the throttle
  std::atomic<std::int64_t> daemon_id{0};
  std::atomic<int> workers_wanted{0};  ///< worker i runs while i < workers_wanted
  std::atomic<bool> draining{false};   ///< claim nothing more
  std::atomic<bool> aborting{false};   ///< give back what is running
  std::atomic<bool> lease_held{true};  ///< false: heartbeats have failed for longer than the lease; claim nothing
  std::atomic<bool> fatal{false};
  RecentCommits recent_commits;
  std::atomic<std::chrono::steady_clock::time_point> sessions_valid_from{};  ///< older ones lead to a former writer
  std::atomic<int> idle_workers{0};                                          ///< workers whose last claim found nothing

 private:
  Mutex mutex_;
  ConditionVariable wake_;
  std::shared_ptr<const spec::Settings> settings_ REGFEATD_GUARDED_BY(mutex_);
  static constexpr std::uint64_t kOne = 1;
  const int reporter_event_;
  std::uint64_t wakeups_ REGFEATD_GUARDED_BY(mutex_) = 0;
  std::string workers_reason_ REGFEATD_GUARDED_BY(mutex_);
};

}  // namespace regfeatd::daemon
