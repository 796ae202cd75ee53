#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::queue {

/// A specification as the database holds it.
struct StoredFeatureSet {
  FeatureSetId id;
  int version = 0;
  std::string document;
  std::string output_identity;
};

[[nodiscard]] std::optional<StoredFeatureSet> find_feature_set(pqxx::transaction_base& tx, const std::string& name);
/// The specification of one version. Throws Fault (configuration) when it is not there.
[[nodiscard]] StoredFeatureSet load_specification(pqxx::transaction_base& tx, FeatureSetId id, int version);

/// Stores a specification: a new feature set, a new version of one, or nothing when the document is unchanged.
[[nodiscard]] StoredFeatureSet store_feature_set(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document);

/// A partition that should exist.
struct WantedPartition {
  std::string series;
  OrderRange range;
  std::optional<std::int64_t> estimated_rows;
  bool requeue = false;  ///< it is there, but its rows are not what the specification says
  bool rewrite =
      false;  ///< its target lacks columns or rows: whenever it is computed, not to be passed over as unchanged
};

/// A partition as the work table holds it.
struct KnownPartition {
  PartitionId id;
  std::string series;
  OrderRange range;
  bool removed = false;    ///< taken out by an earlier apply
  bool cancelled = false;  ///< by an operator
  bool current =
      false;  ///< pending, cancelled by an operator, or last tried under a specification with the same output and calendar
};
[[nodiscard]] std::vector<KnownPartition> known_partitions(pqxx::transaction_base& tx,
                                                           const StoredFeatureSet& feature_set,
                                                           const spec::FeatureSet& specification);

/// Locks the partitions of a feature set against claims and completions, until the end of `tx`.
void lock_partitions(pqxx::transaction_base& tx, FeatureSetId id);

/// Cancels partitions that the specification names no longer. Their rows stay in the targets.
void remove_partitions(pqxx::transaction_base& tx, const std::vector<PartitionId>& ids);

/// Records depends_on of the specification in force.
void store_dependencies(pqxx::transaction_base& tx, FeatureSetId id, const spec::FeatureSet& fs);
/// What is wrong with depends_on: unknown feature sets, another kind of order, circles.
[[nodiscard]] std::vector<std::string> check_dependencies(pqxx::transaction_base& tx, const spec::FeatureSet& fs);

struct EnqueueCounts {
  std::int64_t added = 0;
  std::int64_t requeued = 0;
  std::int64_t unchanged = 0;
};

/// Adds the partitions that are missing and requeues those that say so (their epoch rises).
[[nodiscard]] EnqueueCounts enqueue(pqxx::transaction_base& tx, const StoredFeatureSet& feature_set,
                                    const spec::FeatureSet& specification, const std::vector<WantedPartition>& wanted);

}  // namespace regfeatd::queue
