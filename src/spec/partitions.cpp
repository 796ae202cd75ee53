#include "spec/partitions.hpp"

#include <limits>

namespace regfeatd::spec {
namespace {

OrderValue saturating_add(OrderValue a, OrderValue b) {
  OrderValue sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b < 0 ? std::numeric_limits<OrderValue>::min() : std::numeric_limits<OrderValue>::max();
}

/// The cell of the grid anchor + k * width that holds v. The distance to the anchor is taken modulo 2^64,
/// where it always fits.
OrderRange grid_cell(OrderValue anchor, OrderValue width, OrderValue v) {
  const auto w = static_cast<std::uint64_t>(width);
  const auto a = static_cast<std::uint64_t>(anchor), x = static_cast<std::uint64_t>(v);
  std::uint64_t into = 0;  // v - lower
  if (v >= anchor) {
    into = (x - a) % w;
  } else {
    const std::uint64_t short_of = (a - x) % w;
    into = short_of == 0 ? 0 : w - short_of;
  }
  const OrderValue lower = saturating_add(v, -static_cast<OrderValue>(into));
  return {lower, saturating_add(v, static_cast<OrderValue>(w - into))};
}

OrderValue first_of_month(int year, unsigned month) {
  CivilTime c;
  c.year = year;
  c.month = month;
  return from_civil(c);
}

/// 2000-01-03 was a Monday.
constexpr OrderValue kSomeMonday = 2 * kMicrosPerDay;

}  // namespace

OrderRange partition_at(const Partitioning& p, OrderValue v) {
  switch (p.by) {
    case PartitionUnit::hour:
      return grid_cell(0, 3600 * kMicrosPerSecond, v);
    case PartitionUnit::day:
      return grid_cell(0, kMicrosPerDay, v);
    case PartitionUnit::week:
      return grid_cell(kSomeMonday, 7 * kMicrosPerDay, v);
    case PartitionUnit::month: {
      const CivilTime c = to_civil(v);
      const bool last = c.month == 12;
      return {first_of_month(c.year, c.month), first_of_month(last ? c.year + 1 : c.year, last ? 1 : c.month + 1)};
    }
    case PartitionUnit::year: {
      const CivilTime c = to_civil(v);
      return {first_of_month(c.year, 1), first_of_month(c.year + 1, 1)};
    }
    case PartitionUnit::step:
      return grid_cell(p.range.lower, p.step, v);
  }
  return {v, v};
}

std::vector<OrderRange> enumerate(const Partitioning& p, std::size_t at_most) {
  std::vector<OrderRange> out;
  for (OrderValue v = p.range.lower; v < p.range.upper && out.size() < at_most;) {
    const OrderRange cell = partition_at(p, v);
    out.push_back(cell);
    v = cell.upper;
  }
  return out;
}

std::vector<OrderRange> enumerate_partitions(const FeatureSet& fs) {
  return enumerate(fs.partitioning, std::numeric_limits<std::size_t>::max());
}

OrderRange partition_holding(const FeatureSet& fs, OrderValue v) { return partition_at(fs.partitioning, v); }

}  // namespace regfeatd::spec
