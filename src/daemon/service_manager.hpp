#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/queue/status.hpp"

namespace regfeatd::daemon {

/// What systemd is told (sd_notify(3), Type=notify). Everything here does nothing when no service manager listens.
/// Thread-safe.
class ServiceManager {
 public:
  ServiceManager();

  void ready() const;
  void reloading() const;
  /// `grace`: running partitions may take so long; the manager is asked to wait for longer, whatever TimeoutStopSec= is.
  void stopping(std::chrono::microseconds grace) const;
  /// One line for `systemctl status`.
  void status(const std::string& line) const;
  void feed_watchdog() const;
  /// WatchdogSec= of the unit; nullopt: no watchdog.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval() const noexcept {
    return watchdog_interval_;
  }

 private:
  std::optional<std::chrono::microseconds> watchdog_interval_;
};

/// What is in hand, in a line: `bqx_regression 34.2 %, ETA 14 min 05 s`, or `idle: nothing to do`.
[[nodiscard]] std::string status_line(const std::vector<queue::FeatureSetStatus>& sets);

}  // namespace regfeatd::daemon
