#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/populate/apply.hpp"
#include "regfeatd/queue/validation.hpp"

namespace regfeatd::populate {

struct ValidateOptions {
  Restriction restriction;
  std::size_t sample = 0;        ///< so many partitions, drawn at random; 0: all
  std::size_t oracle_rows = 20;  ///< rows of each partition that the naive oracle computes, drawn at random
  std::uint64_t seed = 1;
  std::size_t input_budget_bytes = 1u << 30;
};

struct ValidateReport {
  std::int64_t run = 0;  ///< regfeat.validation_run
  queue::ValidationCounts counts;
  std::int64_t unfinished = 0;    ///< partitions that were asked for but are neither done nor empty: not looked at
  std::string nothing_looked_at;  ///< why; empty: something was
  std::int64_t changed_meanwhile =
      0;  ///< partitions that were requeued or recomputed while they were looked at: not judged
  std::vector<queue::Finding> findings;
};

/// Compares what the tables hold with what they should hold (docs/validate.md lists the checks), partition by
/// partition, each in one read-only transaction; findings go to regfeat.validation as they come.
/// `on_partition(done, of)` is called after each. Throws Fault (configuration) for an unknown feature set
/// and for a series that it does not have.
[[nodiscard]] ValidateReport validate(pg::Session& session, const std::string& feature_set,
                                      const ValidateOptions& options,
                                      const std::function<void(std::size_t, std::size_t)>& on_partition);

}  // namespace regfeatd::populate
