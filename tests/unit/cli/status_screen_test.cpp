#include "cli/status_screen.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/status_text.hpp"
#include "cli/terminal_text.hpp"

namespace regfeatd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& l : lines) out += l + '\n';
  return out;
}

/// Counted apart from the program's own way: of the characters that these tests use, two columns for all that take three bytes
/// but the bar's blocks, dots and the like (U+2000 to U+2FFF).
int terminal_columns_of(const std::string& line) {
  int columns = 0;
  for (const char ch : line) {
    const auto c = static_cast<unsigned char>(ch);
    if ((c & 0xc0) != 0x80) columns += c > 0xe2 && c < 0xf0 ? 2 : 1;
  }
  return columns;
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

TEST(StatusScreen, WideCharactersCountAsTheColumnsThatTheyTake) {
  queue::Snapshot s = busy();
  const std::string wide =
      "リレーション「為替レート」の列「率」は存在しません。管理者に連絡してください。行の詳細は次の通りです。";
  s.failures[0].message = wide;
  s.failures[0].series = "ユーロドル";
  s.feature_sets[0].name = "回帰";
  s.feature_sets[0].paused_reason = wide;
  s.feature_sets[0].stalled = wide;
  s.workers[0].daemon = "計算機の名前がとても長い場合の例";
  s.workers[0].series = "ユーロドル";
  s.heat_maps[0].series[0] = "ユーロドルの系列名";
  for (int columns = 20; columns <= 160; ++columns) {
    for (const std::string& line : status_screen(s, {columns, 0, false}))
      ASSERT_LE(terminal_columns_of(line), columns) << line;
  }
  // Columns under each other, whatever the names.
  std::vector<std::size_t> steps;
  for (const std::string& line : status_screen(s, {160, 0, false})) {
    for (const char* step : {"  write ", "  idle "}) {
      if (const auto at = line.find(step); at != std::string::npos)
        steps.push_back(static_cast<std::size_t>(terminal_columns_of(line.substr(0, at))));
    }
  }
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0], steps[1]);
}

TEST(StatusLine, FitsWithWideCharactersToo) {
  queue::FeatureSetStatus f = busy().feature_sets[0];
  f.name = "為替レートの回帰特徴量その一";
  f.paused_reason = "保守作業のため";
  for (int columns = 40; columns <= 160; ++columns) EXPECT_LE(terminal_columns_of(status_line(f, columns)), columns);
}

}  // namespace
}  // namespace regfeatd::cli
