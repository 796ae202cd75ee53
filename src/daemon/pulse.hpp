#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace regfeatd::daemon {

/// The signs of life of one thread. `begin` and `beat` are for the thread itself; `Watch` reads from another one.
class Pulse {
 public:
  using Clock = std::chrono::steady_clock;

  /// Once, by the thread when it starts: takes its id and names it, as `ps -L` and debuggers show it (15 bytes).
  void begin(const std::string& thread_name);
  /// The thread goes round its loop, or gets on with its work.
  void beat() noexcept { due_.store(Clock::now(), std::memory_order_relaxed); }
  /// The same before a sleep of known length: silence until then is no bad sign.
  void sleeps_for(Clock::duration d) noexcept { due_.store(Clock::now() + d, std::memory_order_relaxed); }

 private:
  friend class PulseWatch;
  std::atomic<int> thread_id_{0};  // 0: not started, or ended
  std::atomic<Clock::time_point> due_{Clock::now()};

 public:
  void end() noexcept { thread_id_.store(0); }
};

/// Judges one pulse. Not thread-safe: it belongs to who watches.
class PulseWatch {
 public:
  /// Has the thread hung: no beat for `limit`, and neither waiting for the network (a statement of the server takes as
  /// long as it takes; dead connections end by themselves) nor switching, as one that reads a long result does?
  [[nodiscard]] bool hung(const Pulse& pulse, Pulse::Clock::duration limit);

 private:
  int thread_id_ = 0;
  std::int64_t switches_ = -1;  // voluntary context switches at the last look
};

}  // namespace regfeatd::daemon
