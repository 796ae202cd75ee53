#include "documents.hpp"

namespace regfeatd::spec {
namespace {

using List = std::vector<std::string>;

List findings_of(const std::string& text) {
  try {
    (void)parse_feature_set(text, "f.yaml");
  } catch (const SpecError& e) {
    return e.findings();
  }
  return {};
}

TEST(Calendar, IsRead) {
  const FeatureSet fs = parse_feature_set(kDocument +
                                              "cadence: 1min\n"
                                              "calendar:\n"
                                              "  zone: America/New_York\n"
                                              "  closed:\n"
                                              "    - { weekly: \"fri 17:00\", until: \"sun 17:00\" }\n"
                                              "    - { weekly: \"sun 24:00\", until: \"mon 01:30\" }\n"
                                              "    - { from: \"2018-12-24 17:00\", until: 2018-12-26 }\n",
                                          "f.yaml");
  EXPECT_EQ(fs.calendar.cadence, 60 * kMicrosPerSecond);
  EXPECT_EQ(fs.calendar.zone, "America/New_York");
  ASSERT_EQ(fs.calendar.weekly.size(), 2U);
  EXPECT_EQ(fs.calendar.weekly[0].from_minute, 4 * 1440 + 17 * 60);
  EXPECT_EQ(fs.calendar.weekly[0].until_minute, 6 * 1440 + 17 * 60);
  EXPECT_EQ(fs.calendar.weekly[1].from_minute, 7 * 1440);
  EXPECT_EQ(fs.calendar.weekly[1].until_minute, 90);
  ASSERT_EQ(fs.calendar.closed.size(), 1U);
  EXPECT_EQ(fs.calendar.closed[0], (OrderRange{*parse_time("2018-12-24 17:00"), *parse_time("2018-12-26")}));
}

TEST(Calendar, DecidesCountsButNoOutput) {
  const FeatureSet without = parse_feature_set(kDocument, "f.yaml");
  const FeatureSet with = parse_feature_set(kDocument + "cadence: 1min\n", "f.yaml");
  EXPECT_EQ(output_identity(with), output_identity(without));
  EXPECT_EQ(calendar_identity(without), "");
  EXPECT_NE(calendar_identity(with), "");
  EXPECT_NE(calendar_identity(with), calendar_identity(parse_feature_set(kDocument + "cadence: 2min\n", "f.yaml")));
}

TEST(Calendar, Mistakes) {
  EXPECT_EQ(findings_of(kDocument + "calendar: { closed: [ { weekly: \"fri 17:00\", until: \"sun 17:00\" } ] }\n"),
            List{"f.yaml:16: calendar: needs cadence: DURATION beside it, how often a row is expected"});
  EXPECT_EQ(findings_of(kDocument + "cadence: 60d\n"),
            List{"f.yaml:16: cadence: is longer than a partition; take larger partitions, or leave it out"});
  for (const std::string cadence : {"7d", "7h", "25h"}) {  // by month
    const List found = findings_of(kDocument + "cadence: " + cadence + "\n");
    ASSERT_EQ(found.size(), 1u) << cadence;
    EXPECT_TRUE(found.front().starts_with(
        "f.yaml:16: cadence: does not divide a day, of which partitions by month and year have varying numbers: cells would "
        "begin in one partition and end in the next; take partitions that are multiples of it"))
        << found.front();
  }
  for (const std::string cadence : {"8h", "1d", "1s"}) {
    EXPECT_EQ(findings_of(kDocument + "cadence: " + cadence + "\n"), List{});
  }
  EXPECT_EQ(
      findings_of(
          kDocument +
          "cadence: 1min\ncalendar:\n  closed:\n    - { weekly: friday, until: \"sun 25:00\" }\n    - { until: 2018-12-26 }\n"
          "    - { from: \"2018-12-24T17:00Z\", until: \"2018-12-24 17:00-05\" }\n    - { from: 2018-12-24, until: 2018-12-24 }\n"
          "    - { weekly: \"fri 17:00\", until: \"fri 17:00\" }\n"),
      (List{
          "f.yaml:19: calendar.closed[0].weekly: expected a day of the week and a time, such as fri 17:00, not \"friday\"",
          "f.yaml:19: calendar.closed[0].until: expected a day of the week and a time, such as fri 17:00, not \"sun 25:00\"",
          "f.yaml:20: calendar.closed[1]: needs weekly: DAY HH:MM or from: TIME, and until",
          "f.yaml:21: calendar.closed[2].from: expected a local time without an offset, such as 2018-12-24 17:00, not \"2018-12-24T17:00Z\"",
          "f.yaml:21: calendar.closed[2].until: expected a local time without an offset, such as 2018-12-24 17:00, not \"2018-12-24 17:00-05\"",
          "f.yaml:22: calendar.closed[3]: is empty: until is not after from",
          "f.yaml:23: calendar.closed[4]: is empty: weekly and until are the same"}));
  EXPECT_EQ(parse_feature_set(kSequenceDocument + "cadence: 1\n", "f.yaml").calendar.cadence, 1);
  EXPECT_EQ(findings_of(kSequenceDocument + "cadence: 43\n"), List{});
  EXPECT_EQ(
      findings_of(kSequenceDocument + "cadence: 40\n"),
      List{"f.yaml:10: cadence: does not divide a partition: cells would begin in one partition and end in the next; "
           "take partitions that are multiples of it, such as by: week for a weekly source, or leave it out"});
  EXPECT_EQ(findings_of(kSequenceDocument + "cadence: 87\ncalendar: { closed: [] }\n"),
            (List{"f.yaml:10: cadence: is longer than a partition; take larger partitions, or leave it out",
                  "f.yaml:11: calendar: a sequence has no calendar; give cadence alone"}));
}

}  // namespace
}  // namespace regfeatd::spec
