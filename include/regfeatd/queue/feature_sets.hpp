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
};

struct EnqueueCounts {
  std::int64_t added = 0;
  std::int64_t requeued = 0;
  std::int64_t unchanged = 0;
};

/// Adds the partitions that are missing. With `requeue_existing`, those that exist are requeued too (their epoch rises):
/// for a specification whose output changed.
[[nodiscard]] EnqueueCounts enqueue(pqxx::transaction_base& tx, const StoredFeatureSet& feature_set, const spec::FeatureSet& specification,
                                    const std::vector<WantedPartition>& wanted, bool requeue_existing);

}  // namespace regfeatd::queue
