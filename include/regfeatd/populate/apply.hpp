#pragma once

#include <optional>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/queue/feature_sets.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

/// A part of a specification, as --series, --from and --to ask for it.
struct Restriction {
  std::vector<std::string> series;  ///< empty: all
  std::optional<OrderValue> from, to;
};

/// A table that a feature set writes.
struct TargetTable {
  std::string name;      ///< quoted
  bool created = false;  ///< by this apply
};

/// What the version in force writes and the new one does not.
struct NoLongerWritten {
  std::string table;  ///< template, as in the specification
  std::vector<std::string>
      columns;  ///< that are there, and will be NULL in what is computed anew; empty: the whole table stays as it is
};

/// What `apply` would do to the database as it is now.
struct ApplyPlan {
  bool new_feature_set = false;
  bool new_version = false;             ///< the document differs from the stored one
  bool output_changed = false;          ///< and its output does too: partitions that exist are computed anew
  std::vector<std::string> series;      ///< those that are applied
  std::vector<std::string> all_series;  ///< those of the whole specification
  std::vector<std::string> ddl;
  std::vector<queue::WantedPartition> partitions;
  std::int64_t new_partitions = 0, requeued_partitions = 0, unchanged_partitions = 0;
  std::vector<queue::KnownPartition>
      removed;                       ///< partitions that the specification names no longer: cancelled, their rows stay
  std::vector<TargetTable> targets;  ///< the tables that are written, for regfeat.target
  std::vector<NoLongerWritten> no_longer_written;
  std::int64_t estimated_rows = 0;     ///< source rows of the partitions to be computed
  double estimated_bytes = 0;          ///< of COPY stream, for all targets
  std::string wal;                     ///< whether rows go through the write-ahead log, and why
  std::vector<std::string> placement;  ///< a line per way of publishing, with how many partitions use it
  std::vector<std::string> findings;   ///< what stands in the way, all of it; empty: apply can go on
};

/// Checks the specification against the catalogue and works out what is to be done. Changes nothing. `tx` must be in UTC.
[[nodiscard]] ApplyPlan plan_apply(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document,
                                   const Restriction& restriction);

/// Only one transaction at a time applies or removes a feature set: waits for others, until the end of `tx`.
void one_apply_at_a_time(pqxx::transaction_base& tx);

/// Does it: DDL, the specification, the partitions. The plan must come from the same transaction and have no findings;
/// which partitions are requeued is decided anew, under lock.
queue::EnqueueCounts apply(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document, ApplyPlan plan);

/// Preflight of a stored feature set, for the series that have unfinished partitions: what would make them fail.
[[nodiscard]] std::vector<std::string> preflight(pqxx::transaction_base& tx);

/// Settings that every transaction reading the catalogue or times needs.
void use_utc(pqxx::transaction_base& tx);

}  // namespace regfeatd::populate
