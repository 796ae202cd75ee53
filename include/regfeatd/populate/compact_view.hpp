#pragma once

#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "regfeatd/spec/feature_set.hpp"

// `storage: compact`: the view that has a target's name and derives its metrics from the numbers that are
// kept. docs/compact-storage.md is its account for people.

namespace regfeatd::populate {

/// The SQL expression of one metric of one window; `column` names the columns of the written table by part.
/// Exposed for tests.
[[nodiscard]] std::string compact_expression(const fit::Window& window, fit::Metric metric,
                                             const std::vector<std::string>& column_of_part);

/// The statement's text behind CREATE VIEW ... AS.
[[nodiscard]] std::string compact_select(const spec::FeatureSet& fs, const spec::Target& target,
                                         const std::string& series);

/// The statements that bring the view to what the specification says: none where it is so. What stands in the
/// way (the name is taken by a table or by somebody else's view) is appended to `findings`.
[[nodiscard]] std::vector<std::string> compact_view_ddl(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                                        const spec::Target& target, const std::string& series,
                                                        std::vector<std::string>& findings);

}  // namespace regfeatd::populate
