#include "regfeatd/populate/completeness.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace regfeatd::populate {
namespace {

bool is_closed(const ExpectedCells& e, OrderValue at) {
  return std::any_of(e.closed.begin(), e.closed.end(),
                     [&](const OrderRange& c) { return c.lower <= at && at < c.upper; });
}

TEST(Completeness, AgreesWithCountingCellByCell) {
  std::mt19937 random{7};
  const auto pick = [&](OrderValue from, OrderValue to) {
    return std::uniform_int_distribution<OrderValue>{from, to}(random);
  };
  for (int round = 0; round < 3000; ++round) {
    ExpectedCells e;
    e.range.lower = pick(-50, 50);
    e.range.upper = e.range.lower + pick(1, 120);
    e.cadence = pick(1, 9);
    e.until = pick(e.range.lower, e.range.upper);
    std::vector<OrderRange> closures;
    for (OrderValue n = pick(0, 4); n > 0; --n) {
      const OrderValue from = pick(-80, 160);
      closures.push_back({from, from + pick(1, 40)});
    }
    e.closed = merged(closures);
    std::set<OrderValue> positions;
    for (OrderValue n = pick(0, 60); n > 0; --n) positions.insert(pick(e.range.lower, e.range.upper - 1));

    std::int64_t expected = 0, closed = 0;
    CellCount count;
    for (OrderValue cell = e.range.lower; cell < e.range.upper; cell += e.cadence) {
      const auto from = positions.lower_bound(cell), to = positions.lower_bound(cell + e.cadence);
      if (is_closed(e, cell)) {
        closed += cell < e.until ? 1 : 0;
        count.unexpected += std::distance(from, to);
      } else if (cell < e.until) {
        ++expected;
        count.present += from != to ? 1 : 0;
      }
    }
    EXPECT_EQ(e.expected_cells(), expected);
    EXPECT_EQ(e.closed_cells(), closed);
    const CellCount got = count_cells(e, std::vector<OrderValue>(positions.begin(), positions.end()));
    EXPECT_EQ(got.present, count.present);
    EXPECT_EQ(got.unexpected, count.unexpected);
  }
}

TEST(Completeness, ClosuresThatTouchAreOne) {
  const std::vector<OrderRange> out = merged({{10, 20}, {0, 5}, {20, 30}, {4, 6}});
  ASSERT_EQ(out.size(), 2U);
  EXPECT_EQ(out[0], (OrderRange{0, 6}));
  EXPECT_EQ(out[1], (OrderRange{10, 30}));
}

}  // namespace
}  // namespace regfeatd::populate
