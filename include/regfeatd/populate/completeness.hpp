#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/queue/work.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

/// Where one partition expects rows: in every cell of the cadence that begins before `until` and outside `closed`.
struct ExpectedCells {
  OrderRange range;
  OrderValue cadence = 1;
  OrderValue until = 0;            ///< at most range.upper; a time that has not come yet is not expected
  std::vector<OrderRange> closed;  ///< ascending, apart from each other

  /// Cells that begin in [from, to).
  [[nodiscard]] std::int64_t cells(OrderValue from, OrderValue to) const noexcept;
  /// Cells that begin before `until` and in closures.
  [[nodiscard]] std::int64_t closed_cells() const noexcept;
  [[nodiscard]] std::int64_t expected_cells() const noexcept;
};

/// The rows of one key held against it.
struct CellCount {
  std::int64_t present = 0;     ///< expected cells that hold a row
  std::int64_t unexpected = 0;  ///< rows in cells that are closed
};
/// `positions`: ascending, inside the range.
[[nodiscard]] CellCount count_cells(const ExpectedCells& expected, std::span<const OrderValue> positions);

/// Brings closures into the form of ExpectedCells::closed.
[[nodiscard]] std::vector<OrderRange> merged(std::vector<OrderRange> closures);

/// Asks the server, which knows the time zones, when the source is closed. The feature set must have a cadence.
[[nodiscard]] ExpectedCells expected_cells(pqxx::transaction_base& tx, const spec::FeatureSet& fs, OrderRange range);

/// What is wrong with the calendar: an unknown time zone.
[[nodiscard]] std::vector<std::string> check_calendar(pqxx::transaction_base& tx, const spec::FeatureSet& fs);

}  // namespace regfeatd::populate
