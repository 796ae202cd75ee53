#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace regfeatd::queue {

// Times are seconds on any one clock; rows are source rows.

struct FinishedPartition {
  double started_s = 0, finished_s = 0;
  double rows = 0;
  bool unchanged = false;  ///< its rows were read and found to be there already: nothing was written
};

struct RunningPartition {
  std::int64_t id = 0;
  double started_s = 0;
  double rows = 0;       ///< as far as known
  double rows_done = 0;  ///< written so far, as last reported
};

/// Pending partitions of which only sums are known.
struct PendingSum {
  double partitions = 0;  ///< with rows
  double rows = 0, squared_rows = 0;
  double empty = 0;  ///< partitions without rows
};

/// What is left at one instant.
struct RemainingWork {
  std::vector<double> pending_rows;  ///< in the order of claims
  std::vector<RunningPartition> running;
  int workers = 0;          ///< that will work on it: those running and those about to claim
  PendingSum earlier = {};  ///< those that come before `pending_rows`
  bool rows_known = true;   ///< false: of some partitions nobody knows their rows
};

/// Seconds from now until the last partition is done. Four of five runs end between low and high.
struct Eta {
  double median_s = 0, low_s = 0, high_s = 0;
};

/// Nothing finished and no row was written for longer than expected by far.
struct Stall {
  double silent_s = 0;    ///< since the last sign of life
  double expected_s = 0;  ///< what the longest running partition should have taken; 0: nothing has been measured
};

/// Worker-seconds per row, the fixed rows of each partition counted in, with so many workers at once.
struct CurvePoint {
  int workers = 0;
  double seconds_per_row = 0;
  double partitions = 0;  ///< measured, the older ones counting less; 0: none
};

/// What a partition costs: seconds = seconds_per_row * (rows + fixed_rows), with `workers` at once.
struct PartitionCost {
  double seconds_per_row = 0;
  double fixed_rows = 0;
  double empty_s = 0;     ///< a partition without rows
  double usual_rows = 0;  ///< of a partition
};

/// When a job will be done, learnt from the partitions that finished. docs/progress.md says how and how well.
/// Pure: it knows of no clock and no database, and the same events give the same answers. Not thread-safe.
class EtaModel {
 public:
  /// The shortest silence that is called a stall; 30 s until it is set.
  void set_least_patience(double seconds) { least_patience_s_ = seconds; }

  /// Events, in the order of their times.
  void workers_changed(double at_s, int workers);
  void finished(const FinishedPartition& partition);
  /// What runs now. To be called every few seconds: signs of life come from here. Nothing running is no
  /// stall.
  void observe(double now_s, const std::vector<RunningPartition>& running);

  /// nullopt: unknown, as nothing was measured or nobody works.
  [[nodiscard]] std::optional<Eta> estimate(double now_s, const RemainingWork& work) const;
  [[nodiscard]] std::optional<Stall> stalled(double now_s) const;
  /// Source rows per second with so many workers, of partitions of the usual size. nullopt: unknown.
  [[nodiscard]] std::optional<double> rows_per_second(int workers) const;
  /// What partitions cost with so many workers. nullopt: unknown.
  [[nodiscard]] std::optional<PartitionCost> cost(int workers) const;
  /// From one worker to as many as were seen. More workers are never slower together: seconds_per_row / workers does not
  /// grow.
  [[nodiscard]] std::vector<CurvePoint> curve() const;
  /// Between numbers of workers that were not measured the cost of a row grows like workers^exponent.
  [[nodiscard]] double scaling_exponent() const;

 private:
  struct Sample {
    double seconds = 0, rows = 0, workers = 0;
  };
  struct Fit;   // the samples as seen from one number of workers
  class World;  // one way in which it may go

  static void add_usual(Fit& f, std::size_t measured);
  [[nodiscard]] double mean_workers(double from_s, double to_s) const;
  [[nodiscard]] double idle_within(double from_s, double to_s) const;
  [[nodiscard]] std::optional<Fit> fit(double workers) const;
  void sign_of_life(double at_s);
  void count_unchanged(const FinishedPartition& p, double seconds);
  [[nodiscard]] double patience_s() const;

  std::deque<Sample> samples_;  ///< with rows, oldest first
  double fixed_rows_ = 0;
  double empty_s_ = 0;
  std::size_t empties_ = 0;
  double unchanged_seconds_ = 0, unchanged_rows_ = 0;  ///< measured, the older ones counting less
  double recent_unchanged_ = 0, recent_written_ = 0;   ///< of the job at hand likewise, by kUnchangedHalfLife
  std::deque<std::pair<double, int>> workers_;         ///< since when, how many
  std::deque<std::pair<double, double>> stalls_;       ///< intervals in which nothing moved
  std::map<std::int64_t, double> rows_done_;           ///< at the last look
  std::vector<RunningPartition> running_;
  std::optional<double> last_life_s_;
  double least_patience_s_ = 30;
};

/// The finish of a list of partitions on `workers` equal workers, each taking the next as soon as it is free:
/// the common core of the model and of regfeat.model_seconds. `free_at_s`: when each worker is free (fewer
/// than `workers`: the others are now). Workers beyond `workers` end what they have.
[[nodiscard]] double schedule(std::vector<double> free_at_s, const std::vector<double>& seconds, int workers);

}  // namespace regfeatd::queue
