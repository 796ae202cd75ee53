#pragma once

#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/populate/target.hpp"
#include "regfeatd/queue/validation.hpp"

namespace regfeatd::populate {

/// One target of one series.
struct AuditedTarget {
  std::string series;
  std::size_t target = 0;  ///< which of the specification's
  ResolvedTarget resolved;
};

/// Keys and indexes: the unique key of tables that apply made, indexes that a table had when its feature set was applied last,
/// indexes that are not valid, and tables that lack an index which most of their kind have (the partitions of a table; the
/// tables of a target across series).
[[nodiscard]] std::vector<queue::Finding> audit_indexes(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                                        const std::vector<AuditedTarget>& targets);

}  // namespace regfeatd::populate
