#include "regfeatd/base/quantity.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <limits>

namespace regfeatd {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;

TEST(Quantity, Durations) {
  EXPECT_EQ(parse_duration("15us"), 15us);
  EXPECT_EQ(parse_duration("250ms"), 250ms);
  EXPECT_EQ(parse_duration("60s"), 60s);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("5min"), 5min);
  EXPECT_EQ(parse_duration("5 min"), 5min);
  EXPECT_EQ(parse_duration("2h"), 2h);
  EXPECT_EQ(parse_duration("30d"), std::chrono::days{30});
  EXPECT_EQ(parse_duration("1w"), std::chrono::weeks{1});
  EXPECT_EQ(parse_duration("0s"), 0s);
  for (const char* text : {"", "5", "s", "-5s", "-0s", "5 minutes!", "1e3s", "inf s", "nan s", "0x5s", "5s ", " 5s",
                           "1,5s", "300000y", "99999999999999d", "1e999s"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

// 0.4us must not become a window of no width.
TEST(Quantity, ADurationBelowTheResolutionIsRefused) {
  EXPECT_EQ(parse_duration("0.4us"), std::nullopt);
  EXPECT_EQ(parse_duration("0.0001ms"), std::nullopt);
  EXPECT_EQ(parse_duration("0.6us"), 1us);
}

TEST(Quantity, Bytes) {
  EXPECT_EQ(parse_bytes("4096"), 4096U);
  EXPECT_EQ(parse_bytes("64KiB"), 65536U);
  EXPECT_EQ(parse_bytes("1GiB"), 1U << 30);
  EXPECT_EQ(parse_bytes("1.5 GiB"), 3U << 29);
  EXPECT_EQ(parse_bytes("1kB"), 1000U);
  EXPECT_EQ(parse_bytes("2MB"), 2'000'000U);
  for (const char* text : {"", "GiB", "1gib", "-1", "1GB!", "1 e3", "99999999TiB", "inf", "1KB"}) {
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  }
}

TEST(Quantity, FormatsForPeople) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.0 kB");
  EXPECT_EQ(format_bytes(33.6e6), "33.6 MB");
  EXPECT_EQ(format_bytes(999.96e6), "1.0 GB");
  EXPECT_EQ(format_bytes(5e15), "5000.0 TB");
  EXPECT_EQ(format_duration(350ms), "350 ms");
  EXPECT_EQ(format_seconds(0.35), "350 ms");
  EXPECT_EQ(format_seconds(-2), "0 ms");
  EXPECT_EQ(format_duration(999'600us), "1.0 s");
  EXPECT_EQ(format_duration(9s), "9.0 s");
  EXPECT_EQ(format_duration(59s), "59 s");
  EXPECT_EQ(format_duration(59'600ms), "1 min 00 s");
  EXPECT_EQ(format_duration(72s), "1 min 12 s");
  EXPECT_EQ(format_duration(125min), "2 h 05 min");
  EXPECT_EQ(format_duration(std::chrono::hours{49}), "2 d 01 h");
  EXPECT_EQ(format_duration(-72s), "-1 min 12 s");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
  EXPECT_EQ(format_count(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

// Rounding must carry into the next unit: no "60 min 00 s".
TEST(Quantity, RoundingCarries) {
  EXPECT_EQ(format_duration(microseconds{3'599'600'000}), "1 h 00 min");
  EXPECT_EQ(format_duration(microseconds{9'960'000}), "10 s");
  EXPECT_EQ(format_duration(std::chrono::seconds{86'399} + 600ms), "1 d 00 h");
}

TEST(Quantity, WholeSecondsRoundTrip) {
  EXPECT_TRUE(rc::check("parse_duration(n s) == n", [] {
    const auto n = *rc::gen::inRange<std::int64_t>(0, 1'000'000'000);
    RC_ASSERT(parse_duration(std::to_string(n) + "s") == std::chrono::seconds{n});
  }));
}

}  // namespace
}  // namespace regfeatd
