#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/pg/tuple_encoder.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/queue/work.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

struct BenchOptions {
  pg::ConnectOptions connect;  ///< the server; a database of its own is made there
  int partitions = 12;
  int rows = 30'700;                                  ///< of a partition; at most 44,640, the minutes of a month
  pg::FeatureType columns = pg::FeatureType::float8;  ///< of the targets
  spec::Publish publish = spec::Publish::create;      ///< not automatic
  std::size_t send_rows = RunOptions{}.send_rows;     ///< of the pipeline
};

/// The ways that are measured.
enum class BenchPath {
  bare,      ///< COPY of encoded rows into new tables without keys or statistics: nothing less fills a table
  raw,       ///< the same, published as the pipeline publishes: keys, statistics, ATTACH or exchange
  pipeline,  ///< claim, read, fit, encode, send, publish, commit, by as many workers
  ahead,  ///< the same with half as many workers more: as many send rows at a time, the others read ahead, build keys or commit
  raw_compact,   ///< `raw` of what `storage: compact` keeps
  compact,       ///< `ahead` with `storage: compact`
  compact_real,  ///< `ahead` with `storage: [compact, real]`
  insert,  ///< a sample of one target's rows, as text, an INSERT for each: how the worker before this program wrote
  insert_1000,  ///< the same, 1,000 rows to an INSERT
};
/// Its name in words, as results show it.
[[nodiscard]] const char* to_string(BenchPath path) noexcept;
[[nodiscard]] bool is_insert(BenchPath path) noexcept;

struct BenchMeasurement {
  double seconds = 0;
  double client_cpu_s = 0;
  std::optional<double> server_cpu_s;  ///< absent: the server is not on this machine
  int workers = 0;                     ///< threads, each with a connection
  std::int64_t rows = 0;               ///< of all targets
  std::int64_t bytes = 0;              ///< of the rows as a COPY stream, however they were sent
  queue::Timings timings;              ///< pipeline only: summed over its workers
};

/// A database of its own on the given server, with the sources and targets of the main job (two inputs, 90
/// columns each) and one partition per series; all partitions hold the same rows. Dropped at the end.
class Bench {
 public:
  /// Throws Fault: configuration when the role may not create databases.
  explicit Bench(const BenchOptions& options);
  ~Bench();

  /// All partitions once, `connections` of them sent at a time. Clearing up and a CHECKPOINT come before and are
  /// not in the result. INSERTs are measured on one connection only.
  BenchMeasurement measure(BenchPath path, int connections);

  /// What the figures stand on: server version, WAL level, whether a CHECKPOINT may precede each measurement.
  [[nodiscard]] std::string describe() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace regfeatd::populate
