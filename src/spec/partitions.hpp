#pragma once

#include <vector>

#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::spec {

/// More partitions of one series than this are refused: the unit is too small for the range.
inline constexpr std::size_t kMaxPartitionsPerSeries = 100'000;

/// The unit's partition that holds `v`; bounds beyond the 64-bit range are cut to it.
[[nodiscard]] OrderRange partition_at(const Partitioning& p, OrderValue v);

/// The partitions of `p.range`, ascending, but no more than `at_most`.
[[nodiscard]] std::vector<OrderRange> enumerate(const Partitioning& p, std::size_t at_most);

}  // namespace regfeatd::spec
