#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

/// How long the COMMIT of an attempt took.
struct CommitTime {
  AttemptId attempt;
  double ms = 0;
};

/// Writes the progress rows of the feature sets that have work in hand, and of the daemon itself: rates, ETA,
/// stall verdict, what limits the run. Learns from the attempts of all daemons. For the reporting thread; not
/// thread-safe.
class ProgressWriter {
 public:
  ProgressWriter();
  ~ProgressWriter();

  /// `interval`: until the next call, as far as can be told. A progress row for each feature set whose newest one is older than half of `interval`, and one for the
  /// daemon. After a throw it may be called again, also with another session: nothing is counted twice.
  /// `stalled_after`: the shortest silence that is called a stall.
  void write(pg::Session& session, DaemonId self, std::chrono::microseconds interval,
             std::chrono::microseconds stalled_after);

 private:
  struct FeatureSet;
  std::map<std::int64_t, double> write_daemon(pqxx::transaction_base& tx, DaemonId self) const;

  std::map<std::int64_t, std::unique_ptr<FeatureSet>> feature_sets_;
  // An attempt has its time before its COMMIT, so that one that becomes visible late is looked for again.
  std::map<std::int64_t, double> counted_;  ///< recent attempts of the daemon's own, by id, and when they finished
  double counted_until_s_ = 0;
  double committing_since_s_ = INFINITY;  ///< of the COMMITs under way at the last row the first
};

/// Written after the fact, many at once: a transaction cannot know how long its own COMMIT takes.
void record_commit_times(pg::Session& session, const std::vector<CommitTime>& times);

}  // namespace regfeatd::queue
