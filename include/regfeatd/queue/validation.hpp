#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

/// A row of regfeat.validation.
struct Finding {
  std::string series;
  PartitionId partition;  ///< 0: about a table as a whole
  std::string from, to;
  std::string what;  ///< docs/validate.md lists them: value, row_missing, null_count, ...
  std::string target, column, position;
  std::string message;
};

/// A finished partition as the work table holds it.
struct FinishedWork {
  PartitionId id;
  std::int64_t epoch = 0;
  std::string series;
  OrderRange range;
  bool empty = false;
  std::int64_t rows_in = 0, rows_out = 0, nulls_out = 0;
  std::string checksum, input_fingerprint;
  int specification_version = 0;
};
/// Those in state done or empty that the specification still names, by series and range.
[[nodiscard]] std::vector<FinishedWork> finished_work(pqxx::transaction_base& tx, FeatureSetId id);
/// A partition in any state.
struct ListedWork {
  std::string series, state;
  OrderRange range;
};
/// All that the specification still names, by series and range.
[[nodiscard]] std::vector<ListedWork> listed_work(pqxx::transaction_base& tx, FeatureSetId id);
/// Whether nothing has happened to a partition since `work` was read.
[[nodiscard]] bool untouched(pqxx::transaction_base& tx, const FinishedWork& work);

/// What a validation amounted to.
struct ValidationCounts {
  std::int64_t partitions = 0, partitions_of = 0, rows = 0, values = 0, oracle_values = 0, findings = 0;
};

/// Each in a transaction of its own, so that an interrupted validation leaves what it found.
[[nodiscard]] std::int64_t begin_validation(pg::Session& session, const std::string& feature_set, std::uint64_t seed);
void record_findings(pg::Session& session, std::int64_t run, const std::string& feature_set,
                     const std::vector<Finding>& findings);
void end_validation(pg::Session& session, std::int64_t run, const ValidationCounts& counts);

}  // namespace regfeatd::queue
