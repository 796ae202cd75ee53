#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/pg/session.hpp"

namespace regfeatd::populate {

/// What removing a feature set would do to the database as it is now.
struct RemovalPlan {
  FeatureSetId id;
  std::string name;
  std::int64_t partitions = 0, running = 0, attempts = 0;
  std::vector<std::string> dropped;   ///< tables that apply created, quoted; with `drop_tables` only
  std::vector<std::string> kept;      ///< tables that stay as they are
  std::vector<std::string> findings;  ///< what stands in the way, all of it
};

/// Throws Fault (configuration) when there is no such feature set. Changes nothing.
[[nodiscard]] RemovalPlan plan_removal(pqxx::transaction_base& tx, const std::string& name, bool drop_tables);

/// Cancels whatever is pending or running, so that workers let go of the tables. To be committed before `remove`.
void stop_work(pqxx::transaction_base& tx, const RemovalPlan& plan);

/// Drops the tables, then everything that schema regfeat has about the feature set. The plan must have no findings.
void remove(pqxx::transaction_base& tx, const RemovalPlan& plan);

}  // namespace regfeatd::populate
