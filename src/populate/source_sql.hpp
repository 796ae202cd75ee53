#pragma once

#include <optional>
#include <string>

#include "regfeatd/populate/source.hpp"

namespace regfeatd::populate {

/// Bounds on the order column; absent: unbounded.
struct OrderBounds {
  std::optional<OrderValue> at_least, below;
};

/// `SELECT o, k1.., v1.. FROM source WHERE bounds`: order column `o` in its own type, keys `k1`.., inputs `v1`.. as
/// double precision. The bounds stand on every table's own order column, so that each can use its index and prune.
[[nodiscard]] std::string select_source(const spec::FeatureSet& fs, const ResolvedSource& source, OrderBounds bounds);

/// For an unkeyed series: the position of the first look-back row; one column, NULL when there is none.
[[nodiscard]] std::string select_lookback_start(const spec::FeatureSet& fs, const ResolvedSource& source,
                                                OrderRange range);

/// What COPY reads: `o` as bigint or timestamp, keys, inputs; ordered by keys and `o`. `lookback_start`: as found by
/// `select_lookback_start`, unkeyed series only.
[[nodiscard]] std::string select_rows(const spec::FeatureSet& fs, const ResolvedSource& source, OrderRange range,
                                      std::optional<OrderValue> lookback_start);

/// The query of a query source with the widest bounds filled in, to be described.
[[nodiscard]] std::string select_source_query_text(const ResolvedSource& source);

/// A position as a literal of a column's type.
[[nodiscard]] std::string order_literal(pg::ColumnType type, OrderValue v);

}  // namespace regfeatd::populate
