#pragma once

#include <memory>
#include <string>
#include <vector>

#include "regfeatd/queue/finished_attempts.hpp"
#include "regfeatd/queue/status.hpp"
#include "shared.hpp"

namespace regfeatd::daemon {

/// What /metrics shows; docs/http.md lists every metric. Thread-safe: the reporter writes, the control thread
/// reads.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  /// Adds to the counters and histograms of this daemon.
  void count(const queue::FinishedAttempt& attempt);
  /// Replaces the gauges of the feature sets. Unknown values have no sample.
  void set(const std::vector<queue::FeatureSetStatus>& feature_sets);
  /// A heartbeat was acknowledged.
  void set_heartbeat();
  void count_response(int status);

  /// All of it in the text format of Prometheus, with the state of the daemon as it is now.
  [[nodiscard]] std::string text(const Shared& shared) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace regfeatd::daemon
