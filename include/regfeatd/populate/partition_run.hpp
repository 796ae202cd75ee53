#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/populate/write_turns.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::populate {

/// Where a worker is in a partition's life; `to_string` gives the name that regfeat.worker and regfeat.attempt show.
enum class Step { claim, begin, read, wait, write, publish, complete, commit };
[[nodiscard]] const char* to_string(Step step) noexcept;

/// Is told where a run is. Called on the worker's thread, before each step and after each block; what it takes
/// holds the run up (throttle). Tests use it to break things at every step.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void at_step(Step step) = 0;
  virtual void at_rows(std::int64_t done, std::int64_t total) = 0;
};

enum class RunResult { done, empty, fenced };

struct RunOptions {
  /// What the input rows of a partition may occupy in memory, and what of it is kept between partitions. The rest is put
  /// on disk (input_store.hpp).
  std::size_t input_budget_bytes = 256u << 20;
  /// Asked before rows are read with the bytes that they are expected to need: how much they may occupy. Absent:
  /// `input_budget_bytes`.
  std::function<std::size_t(std::size_t wanted_bytes)> reserve;
  /// Who sends rows when; absent: at once. A turn lasts from the first row to the last, without keys and commit.
  WriteTurns* turns = nullptr;
  /// Rows encoded and sent at a time: with 90 columns 140 kB, less than a socket holds (docs/performance.md has others).
  std::size_t send_rows = 128;
  std::chrono::microseconds lease =
      std::chrono::minutes{1};  ///< the server ends a transaction that stands idle for so long
};

/// Computes partitions, one after the other, on one session (src/populate/partition_run.cpp shows a partition's life
/// from claim to commit). Keeps what it learnt of feature sets and all buffers between partitions. Not thread-safe.
class PartitionRunner {
 public:
  PartitionRunner();
  ~PartitionRunner();

  /// Runs a claimed partition in one transaction on `session`. On return with `done` or `empty` it is committed.
  /// Throws Fault; CommitInDoubt when the answer to COMMIT was lost. After a throw nothing of the attempt is visible,
  /// but for the doubt. `stop`: checked between blocks; a Fault (transient) ends the run. `timings` is filled as far
  /// as the run got, also when it throws.
  RunResult run(pg::Session& session, const queue::Claim& claim, const RunOptions& options, RunObserver& observer,
                const std::stop_token& stop, queue::Timings& timings);

  /// Forgets what was learnt from the catalogue, so that the next run looks again.
  void forget_catalogue();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace regfeatd::populate
