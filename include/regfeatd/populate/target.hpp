#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/catalog.hpp"
#include "regfeatd/pg/tuple_encoder.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

/// A target table of one series as the catalogue describes it.
struct ResolvedTarget {
  pg::TableInfo table;
  pg::ColumnType order_type = pg::ColumnType::timestamptz;
  std::string order_column;           ///< quoted
  std::vector<std::string> features;  ///< names of the feature columns, in the order of their computation
  pg::TupleLayout layout;
  std::string copy_columns;  ///< quoted list for COPY: order, keys, features
  spec::Statistics statistics = spec::Statistics::order;
  std::string filter_columns;  ///< quoted list: order, keys: what queries filter on
};

/// What the target table of a series should be, where it does not exist yet: the statements that create it.
[[nodiscard]] std::vector<std::string> target_ddl(const spec::FeatureSet& fs, const spec::Target& target,
                                                  const std::string& series, const std::vector<std::string>& key_types);

/// The statements that add the feature columns which a target made by `apply` (regfeat.target) lacks; none for others.
[[nodiscard]] std::vector<std::string> missing_column_ddl(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                                          const spec::Target& target, const std::string& series);

/// Looks up an existing target. Missing columns, wrong types, missing privileges, keys that the rows would violate are
/// appended to `findings`; missing feature columns are none where `columns_will_come`. nullopt: there is no such table; whether it could be created is checked then.
[[nodiscard]] std::optional<ResolvedTarget> resolve_target(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                                           const spec::Target& target, const std::string& series,
                                                           std::vector<std::string>& findings,
                                                           bool columns_will_come = false);

/// The key columns of a target must have the source's types.
void check_key_types(const spec::FeatureSet& fs, const ResolvedSource& source, const ResolvedTarget& target,
                     std::vector<std::string>& findings);

/// Rows of a target inside a range.
[[nodiscard]] std::int64_t count_rows(pqxx::transaction_base& tx, const ResolvedTarget& target, OrderRange range);

}  // namespace regfeatd::populate
