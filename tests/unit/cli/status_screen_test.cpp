#include "cli/status_screen.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regfeatd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& l : lines) out += l + '\n';
  return out;
}

queue::Snapshot busy(std::size_t series = 30, std::size_t ranges = 12) {
  queue::Snapshot s;
  queue::FeatureSetStatus f;
  f.name = "bqx_regression";
  f.partitions = 360;
  f.pending = 200;
  f.running = 4;
  f.done = 155;
  f.failed = 1;
  f.percent = 43.2;
  f.rows_per_second = 147113;
  f.rows_per_second_now = 146042;
  f.eta_s = 65;
  f.eta_low_s = 60;
  f.eta_high_s = 71;
  f.workers = 4;
  f.workers_configured = 8;
  f.limited_by = "server";
  f.slow_partitions = 2;
  f.stalled = "nothing finished and no row was written for 5 min 00 s: worker host/3 in step write for 6 min 00 s";
  s.feature_sets = {f};
  s.workers = {{"host", 0, "write", "bqx_regression", "eurusd", "2024-07-01 00:00:00+00", 10240, 30700, 1.5},
               {"another-host-with-a-very-long-name.example", 11, "idle", "", "", "", 0, 0, 3}};
  s.failures = {{"bqx_regression", "eurusd", "2024-07-01 00:00:00+00", "failed", "read",
                 "column \"rate\"\033[2J\nis gone", "2024-07-02 10:00:00"}};
  s.slow_partitions = {{"bqx_regression", "gbpusd", "2024-07-01 00:00:00+00", "read", 12.5, 4.2}};
  queue::HeatMap map{"bqx_regression", {}, {}, {}, {}};
  for (std::size_t r = 0; r < ranges; ++r) {
    map.from.push_back("2024-07-01 00:00:00+00");
    map.to.push_back("2024-08-01 00:00:00+00");
  }
  for (std::size_t i = 0; i < series; ++i) {
    map.series.push_back("series" + std::to_string(i));
    map.rows.push_back(std::string(ranges, 'D'));
  }
  map.rows.front()[ranges / 2] = 'F';
  s.heat_maps = {map};
  return s;
}

TEST(StatusScreen, NoLineIsWiderThanTheTerminal) {
  for (int columns = 20; columns <= 250; ++columns) {
    for (const bool colour : {false, true}) {
      for (const std::string& line : status_screen(busy(30, 400), {columns, 0, colour})) {
        ASSERT_LE(display_width(line), columns) << line;
        ASSERT_EQ(line.find('\n'), std::string::npos);
      }
    }
  }
}

TEST(StatusScreen, NeverMoreLinesThanTheTerminalHas) {
  for (int rows = 1; rows <= 60; ++rows)
    EXPECT_LE(static_cast<int>(status_screen(busy(), {80, rows, false}).size()), rows);
}

TEST(StatusScreen, SaysWhatMatters) {
  const std::string text = joined(status_screen(busy(), {120, 0, false}));
  for (const char* part : {"bqx_regression",
                           "43.2 %",
                           "155/360 partitions",
                           "4 running",
                           "200 pending",
                           "1 failed",
                           "2 slow",
                           "147,113 rows/s (now 146,042)",
                           "ETA 1 min 05 s (1 min 00 s to 1 min 11 s)",
                           "4 of 8 workers",
                           "limited by server",
                           "stalled: nothing finished",
                           "host/0",
                           "write",
                           "10,240/30,700 rows",
                           "failed: column \"rate\"",
                           "gbpusd 2024-07-01",
                           "4.2 times",
                           "in read",
                           "D done"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("\033"))) << "no escape sequence without colours, not even one that a message brings";
}

TEST(StatusScreen, ACellForSeveralPartitionsShowsTheOneThatMatters) {
  const auto lines = status_screen(busy(1, 400), {80, 0, false});
  EXPECT_THAT(lines.back(), HasSubstr("F"));
  EXPECT_THAT(joined(lines), HasSubstr("partitions a cell"));
}

TEST(StatusScreen, SeriesThatDoNotFitAreCounted) {
  const auto lines = status_screen(busy(30), {80, 24, false});
  EXPECT_THAT(lines.back(), HasSubstr("more series"));
}

TEST(StatusScreen, NothingIsMadeUp) {
  queue::Snapshot s = busy();
  s.feature_sets[0].eta_s.reset();
  s.feature_sets[0].rows_per_second.reset();
  const std::string text = joined(status_screen(s, {120, 0, false}));
  EXPECT_THAT(text, HasSubstr("ETA unknown"));
  EXPECT_THAT(text, Not(HasSubstr("rows/s")));
}

TEST(Clipped, CountsWhatIsSeen) {
  EXPECT_EQ(clipped("abcdef", 3), "abc");
  EXPECT_EQ(clipped("█░█", 2), "█░");
  EXPECT_EQ(clipped("\033[31mred\033[0m", 3), "\033[31mred\033[0m");
  EXPECT_EQ(clipped("\033[31mred and more\033[0m", 3), "\033[31mred\033[0m");
  EXPECT_EQ(display_width("\033[31m█ä\033[0m"), 2);
}

}  // namespace
}  // namespace regfeatd::cli
