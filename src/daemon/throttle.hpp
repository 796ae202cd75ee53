#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/base/mutex.hpp"
#include "regfeatd/queue/progress.hpp"
#include "regfeatd/spec/settings.hpp"

namespace regfeatd::daemon {

/// Holds rows to a rate, over all workers of the daemon. Thread-safe.
class RateLimiter {
 public:
  using Clock = std::chrono::steady_clock;
  /// Books `rows`, and returns until when the caller has to wait. A quarter of a second's rows may come at
  /// once.
  [[nodiscard]] Clock::time_point book(std::int64_t rows, std::int64_t rows_per_second, Clock::time_point now);
  /// Whether anybody had to wait since the last call.
  [[nodiscard]] bool held_up();

 private:
  Mutex mutex_;
  Clock::time_point paid_until_ REGFEATD_GUARDED_BY(mutex_){};
  bool held_up_ REGFEATD_GUARDED_BY(mutex_) = false;
};

/// How long COMMITs take, of all workers, until the reporting thread decides by them and writes them down:
/// the workers have better things to do. Bounded; what is too much is dropped. Thread-safe.
class CommitTimes {
 public:
  static constexpr std::size_t kMost = 10'000;
  void add(const queue::CommitTime& time);
  /// Those added since the last call.
  [[nodiscard]] std::vector<queue::CommitTime> take();

 private:
  Mutex mutex_;
  std::vector<queue::CommitTime> times_ REGFEATD_GUARDED_BY(mutex_);
};
/// Nothing where there are none.
[[nodiscard]] std::optional<double> median_ms(std::vector<queue::CommitTime> times);

/// Decides how many workers may claim, from what commits take and how far replicas lag. Not thread-safe: the
/// reporting thread asks it with every report. Halves at once, gives back one at a time.
class Throttle {
 public:
  struct Sample {
    std::optional<double> commit_ms;        ///< median of the commits of the interval
    std::optional<double> waiting_ms;       ///< the age of the oldest commit that has not come back
    bool busy = false;                      ///< some partition is in hand
    std::optional<std::int64_t> lag_bytes;  ///< of the replica that is furthest behind
    bool held_to_rate = false;
  };
  struct Decision {
    int workers = 0;
    std::string reason;  ///< empty: nothing holds the daemon back
    friend bool operator==(const Decision&, const Decision&) = default;
  };
  [[nodiscard]] Decision decide(const spec::Settings::Throttle& limits, int wanted_workers, const Sample& sample);

 private:
  [[nodiscard]] std::optional<double> commit_limit_ms(const spec::Settings::Throttle& limits) const;
  void learn(const Sample& sample);

  int allowed_ = 0;  ///< 0: no decision yet
  int wanted_ = 0;   ///< as of the last decision
  int calm_samples_ = 0;
  bool slow_commits_ =
      false;  ///< workers rest because of them: only commits, or that nothing runs, show that it is over
  std::string cause_;
  std::optional<double> baseline_ms_;  ///< what commits take when nothing is wrong
  int learnt_ = 0;
};

}  // namespace regfeatd::daemon
