#include "spec/partitions.hpp"

#include <rapidcheck.h>

#include <limits>

#include "documents.hpp"

namespace regfeatd::spec {
namespace {

constexpr OrderValue kLeast = std::numeric_limits<OrderValue>::min();
constexpr OrderValue kMost = std::numeric_limits<OrderValue>::max();

OrderValue time_of(const char* text) { return *parse_time(text); }

Partitioning by(PartitionUnit unit) {
  Partitioning p;
  p.by = unit;
  return p;
}

OrderRange holding(PartitionUnit unit, const char* text) { return partition_at(by(unit), time_of(text)); }

OrderRange between(const char* lower, const char* upper) { return {time_of(lower), time_of(upper)}; }

TEST(Partitions, CalendarUnits) {
  EXPECT_EQ(holding(PartitionUnit::hour, "2024-02-29 13:59:59.999999"),
            between("2024-02-29 13:00", "2024-02-29 14:00"));
  EXPECT_EQ(holding(PartitionUnit::day, "2024-02-29 13:00"), between("2024-02-29", "2024-03-01"));
  EXPECT_EQ(holding(PartitionUnit::week, "2024-07-01"), between("2024-07-01", "2024-07-08"));  // a Monday
  EXPECT_EQ(holding(PartitionUnit::week, "2024-06-30 23:00"), between("2024-06-24", "2024-07-01"));
  EXPECT_EQ(holding(PartitionUnit::month, "2024-12-31"), between("2024-12-01", "2025-01-01"));
  EXPECT_EQ(holding(PartitionUnit::year, "2024-12-31"), between("2024-01-01", "2025-01-01"));
  EXPECT_EQ(holding(PartitionUnit::day, "1999-12-31 23:00"), between("1999-12-31", "2000-01-01"));
  EXPECT_EQ(holding(PartitionUnit::week, "1969-12-31"), between("1969-12-29", "1970-01-05"));
}

TEST(Partitions, StepsAreCountedFromTheLowerBound) {
  Partitioning p = by(PartitionUnit::step);
  p.step = 86;
  p.range = {1, 689};
  EXPECT_EQ(partition_at(p, 1), (OrderRange{1, 87}));
  EXPECT_EQ(partition_at(p, 86), (OrderRange{1, 87}));
  EXPECT_EQ(partition_at(p, 87), (OrderRange{87, 173}));
  EXPECT_EQ(partition_at(p, 0), (OrderRange{-85, 1}));
  EXPECT_EQ(partition_at(p, -85), (OrderRange{-85, 1}));
  EXPECT_EQ(partition_at(p, -86), (OrderRange{-171, -85}));
}

TEST(Partitions, EnumerateOfADocument) {
  const FeatureSet fs = parsed();
  EXPECT_EQ(enumerate_partitions(fs),
            (std::vector<OrderRange>{between("2024-07-01", "2024-08-01"), between("2024-08-01", "2024-09-01"),
                                     between("2024-09-01", "2024-10-01")}));
  EXPECT_EQ(partition_holding(fs, time_of("2031-05-05")), between("2031-05-01", "2031-06-01"));
}

// Extremes come from a table's infinite timestamps: no overflow, no endless loop.
TEST(Partitions, EndsOfTheRange) {
  for (const PartitionUnit unit :
       {PartitionUnit::hour, PartitionUnit::day, PartitionUnit::week, PartitionUnit::month, PartitionUnit::year}) {
    for (const OrderValue v : {kLeast, kLeast + 1, kMost - 1, kMost}) {
      const OrderRange r = partition_at(by(unit), v);
      EXPECT_LE(r.lower, v);
      EXPECT_GE(r.upper, v);
    }
  }
  Partitioning p = by(PartitionUnit::step);
  p.step = kMost;
  p.range = {kLeast, kMost};
  EXPECT_EQ(enumerate(p, 10).size(), 3U);
}

TEST(Partitions, TheyTileTheRangeAndHoldingAgrees) {
  EXPECT_TRUE(rc::check("partitions tile the range", [] {
    Partitioning p = by(*rc::gen::element(PartitionUnit::hour, PartitionUnit::day, PartitionUnit::week,
                                          PartitionUnit::month, PartitionUnit::year, PartitionUnit::step));
    if (p.by == PartitionUnit::step) {
      p.step = *rc::gen::inRange<OrderValue>(1, 1000);
      p.range.lower = *rc::gen::inRange<OrderValue>(-100'000, 100'000);
      p.range.upper = p.range.lower + p.step * *rc::gen::inRange<OrderValue>(1, 50);
    } else {
      p.range.lower = partition_at(p, *rc::gen::inRange<OrderValue>(-60'000, 60'000) * kMicrosPerDay / 7).lower;
      p.range.upper = partition_at(p, p.range.lower + *rc::gen::inRange<OrderValue>(1, 3000) * kMicrosPerDay / 7).upper;
    }
    const auto all = enumerate(p, kMaxPartitionsPerSeries);
    RC_ASSERT(!all.empty());
    RC_ASSERT(all.front().lower == p.range.lower);
    RC_ASSERT(all.back().upper == p.range.upper);
    for (std::size_t i = 0; i < all.size(); ++i) {
      RC_ASSERT(all[i].lower < all[i].upper);
      if (i > 0) RC_ASSERT(all[i - 1].upper == all[i].lower);
      const OrderValue inside = *rc::gen::inRange(all[i].lower, all[i].upper);
      RC_ASSERT(partition_at(p, inside) == all[i]);
      RC_ASSERT(partition_at(p, all[i].lower) == all[i]);
      RC_ASSERT(partition_at(p, all[i].upper - 1) == all[i]);
    }
  }));
}

TEST(Partitions, FindingsOfTheKey) {
  const auto with = [](const std::string& partition) {
    return findings_with({{"{ by: month, from: 2024-07-01, to: 2024-10-01 }", partition},
                          {", partition: \"{table}_{start:%Y_%m}\"", ""}});
  };
  EXPECT_EQ(with("{ by: fortnight, from: 2024-07-01, to: 2024-08-01 }"),
            List{"f.yaml:3: partition.by: must be hour, day, week, month or year, not \"fortnight\""});
  EXPECT_EQ(with("{ by: month, from: 2024-07-15, to: 2024-10-01 }"),
            List{"f.yaml:3: partition.from: must be the start of a month in UTC; the nearest are 2024-07-01 "
                 "00:00:00+00 and 2024-08-01 "
                 "00:00:00+00"});
  EXPECT_EQ(with("{ by: week, from: 2024-07-01, to: 2024-07-09 }"),
            List{"f.yaml:3: partition.to: must be the start of a week (Monday) in UTC; the nearest are "
                 "2024-07-08 00:00:00+00 and "
                 "2024-07-15 00:00:00+00"});
  EXPECT_EQ(with("{ by: month, from: 2024-07-01, to: 2024-07-01 }"),
            List{"f.yaml:3: partition.to: must lie after from; the range is half-open, \"2024-07-01\" is not "
                 "in it"});
  EXPECT_EQ(with("{ by: month, from: July, to: 2024-02-30 }"),
            (List{"f.yaml:3: partition.from: must be a date or a time in UTC, such as 2024-07-01 or "
                  "2024-07-01T06:00, not \"July\"",
                  "f.yaml:3: partition.to: must be a date or a time in UTC, such as 2024-07-01 or "
                  "2024-07-01T06:00, not \"2024-02-30\""}));
  EXPECT_EQ(with("{ by: hour, from: 1900-01-01, to: 2024-01-01 }"),
            List{"f.yaml:3: partition: makes more than 100000 partitions of each series; take a larger unit "
                 "or a shorter range"});
  EXPECT_EQ(with("{ by: 86, from: 2024-07-01, to: 2024-10-01 }"),
            List{"f.yaml:3: partition.by: must be hour, day, week, month or year, not \"86\""});
  EXPECT_EQ(with("{}"),
            (List{"f.yaml:3: partition: key \"by\" is missing", "f.yaml:3: partition: key \"from\" is missing",
                  "f.yaml:3: partition: key \"to\" is missing"}));
  EXPECT_TRUE(with("{ by: hour, from: 2024-07-01T06:00, to: \"2024-07-01 08:00+00\" }").empty());
}

TEST(Partitions, FindingsOfSteps) {
  const auto with = [](const std::string& partition) {
    return findings_of(edited(kSequenceDocument, {{"{ by: 86, from: 1, to: 689 }", partition}}));
  };
  EXPECT_TRUE(with("{ by: 86, from: 1, to: 689 }").empty());
  EXPECT_EQ(with("{ by: 100, from: 1, to: 689 }"),
            List{"f.yaml:3: partition.to: must lie a whole number of steps of 100 above from; the nearest "
                 "are 601 and 701"});
  EXPECT_EQ(with("{ by: month, from: 1, to: 689 }"),
            List{"f.yaml:3: partition.by: must be a whole number from 1 to 9223372036854775807, not \"month\""});
  EXPECT_EQ(with("{ by: 0, from: 1, to: 689 }").size(), 1U);
  EXPECT_EQ(with("{ by: 1, from: -9223372036854775808, to: 9223372036854775807 }").size(), 1U);
}

}  // namespace
}  // namespace regfeatd::spec
