#include "regfeatd/base/order.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <limits>

namespace regfeatd {
namespace {

constexpr OrderValue kLeast = std::numeric_limits<OrderValue>::min();
constexpr OrderValue kMost = std::numeric_limits<OrderValue>::max();

CivilTime date(int year, unsigned month, unsigned day) {
  CivilTime c;
  c.year = year;
  c.month = month;
  c.day = day;
  return c;
}

TEST(Order, EpochIsPostgresEpoch) {
  EXPECT_EQ(from_civil(date(2000, 1, 1)), 0);
  EXPECT_EQ(from_civil(date(1970, 1, 1)), -10957 * kMicrosPerDay);
  EXPECT_EQ(parse_time("2000-01-01 00:00:01"), kMicrosPerSecond);
  EXPECT_EQ(parse_time("2024-07-01"), 8948 * kMicrosPerDay);
}

TEST(Order, ParsesFormsAndOffsets) {
  const OrderValue noon = *parse_time("2024-02-29T12:00");
  EXPECT_EQ(parse_time("2024-02-29 12:00:00"), noon);
  EXPECT_EQ(parse_time("2024-02-29T12:00:00Z"), noon);
  EXPECT_EQ(parse_time("2024-02-29 12:00:00.000000+00"), noon);
  EXPECT_EQ(parse_time("2024-02-29 14:00+02"), noon);
  EXPECT_EQ(parse_time("2024-02-29 06:30-05:30"), noon);
  EXPECT_EQ(parse_time("2024-02-29 14:00+0200"), noon);
  EXPECT_EQ(parse_time("2024-02-29 12:00:00.25"), noon + 250'000);
  EXPECT_EQ(parse_time("2024-02-29 12:00:00.000001"), noon + 1);
}

TEST(Order, RefusesWhatIsNoTime) {
  for (const char* text : {"",
                           "2024",
                           "2024-07",
                           "2024-7-1",
                           "2023-02-29",
                           "2024-13-01",
                           "2024-00-01",
                           "2024-01-00",
                           "2024-04-31",
                           "0000-01-01",
                           "2024-07-01 ",
                           "2024-07-01T",
                           "2024-07-01 24:00",
                           "2024-07-01 12:60",
                           "2024-07-01 12:00:60",
                           "2024-07-01 12:00:00.",
                           "2024-07-01 12:00:00.1234567",
                           "2024-07-01 12:00+16",
                           "2024-07-01 12:00+1",
                           "2024-07-01 12:00+01:",
                           "2024-07-01 12:00+01:60",
                           "2024-07-01 12:00 UTC",
                           "2024-07-01x",
                           "-2024-07-01",
                           "24-07-01",
                           "2024/07/01",
                           "infinity"}) {
    EXPECT_EQ(parse_time(text), std::nullopt) << text;
  }
}

TEST(Order, FormatsAsPostgresReads) {
  EXPECT_EQ(format_time(0), "2000-01-01 00:00:00+00");
  EXPECT_EQ(format_time(-1), "1999-12-31 23:59:59.999999+00");
  EXPECT_EQ(format_time(*parse_time("2024-07-01 06:05:04.03")), "2024-07-01 06:05:04.030000+00");
  EXPECT_EQ(format_time(from_civil(date(10000, 1, 1))), "10000-01-01 00:00:00+00");
  EXPECT_EQ(format_time(from_civil(date(0, 12, 31))), "0001-12-31 00:00:00+00 BC");
  EXPECT_EQ(format_time(from_civil(date(-43, 3, 15))), "0044-03-15 00:00:00+00 BC");
}

// std::chrono::year ends at 32767; PostgreSQL's timestamps do not.
TEST(Order, ReachesAsFarAsPostgres) {
  EXPECT_EQ(format_time(from_civil(date(294'276, 12, 31))), "294276-12-31 00:00:00+00");
  EXPECT_EQ(to_civil(from_civil(date(-4712, 1, 1))).year, -4712);
  EXPECT_EQ(format_time(kMost), "infinity");
  EXPECT_EQ(format_time(kLeast), "-infinity");
  EXPECT_EQ(from_civil(date(2'000'000, 1, 1)), kMost);
  EXPECT_EQ(from_civil(date(-2'000'000, 1, 1)), kLeast);
}

TEST(Order, SequencesAreDigits) {
  EXPECT_EQ(format_order(OrderKind::sequence, -17), "-17");
  EXPECT_EQ(format_order(OrderKind::time, 0), "2000-01-01 00:00:00+00");
}

TEST(Order, CivilRoundTripEverywhere) {
  EXPECT_TRUE(rc::check("from_civil(to_civil(t)) == t", [] {
    const auto t = *rc::gen::arbitrary<OrderValue>();
    RC_ASSERT(from_civil(to_civil(t)) == t);
  }));
  for (const OrderValue t : {kLeast, kLeast + 1, kMost, kMost - 1, OrderValue{-1}, OrderValue{0}, OrderValue{1}}) {
    EXPECT_EQ(from_civil(to_civil(t)), t);
  }
}

TEST(Order, ParseReadsWhatFormatWrites) {
  const OrderValue first = *parse_time("0001-01-01"), last = *parse_time("9999-12-31");
  EXPECT_TRUE(rc::check("parse_time(format_time(t)) == t", [=] {
    const OrderValue t = *rc::gen::inRange(first, last);
    RC_ASSERT(parse_time(format_time(t)) == t);
  }));
}

TEST(Order, ConsecutiveDaysFollowTheCalendar) {
  CivilTime before = to_civil(from_civil(date(1896, 1, 1)));
  for (OrderValue day = from_civil(date(1896, 1, 2)); day < from_civil(date(2105, 1, 1)); day += kMicrosPerDay) {
    const CivilTime c = to_civil(day);
    const bool next_day = c.year == before.year && c.month == before.month && c.day == before.day + 1;
    const bool next_month =
        c.day == 1 && before.day >= 28 && (c.month == before.month + 1 || (c.month == 1 && before.month == 12));
    ASSERT_TRUE(next_day || next_month) << format_time(day);
    before = c;
  }
  EXPECT_EQ(parse_time("1900-02-29"), std::nullopt);
  EXPECT_TRUE(parse_time("2000-02-29").has_value());
}

}  // namespace
}  // namespace regfeatd
