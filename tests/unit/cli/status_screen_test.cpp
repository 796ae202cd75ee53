#include "cli/status_screen.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

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
  s.daemons = {{1, "host", "host", "running", "", "", "", true, 1, 4, 8}};
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

/// 6 or 16 workers of which four work, so many failures and slow partitions, 28 series of which the last has failed.
queue::Snapshot crowded(std::size_t workers, std::size_t failures, std::size_t slow) {
  queue::Snapshot s = busy(28);
  s.feature_sets[0].stalled.clear();
  const auto working = s.workers[0];
  s.workers.clear();
  for (std::size_t w = 0; w < workers; ++w) {
    s.workers.push_back(w + 4 >= workers ? working : queue::WorkerStatus{"host", 0, "idle", "", "", "", 0, 0, 3});
    s.workers.back().worker = static_cast<int>(w);
  }
  s.failures.assign(failures, s.failures[0]);
  s.slow_partitions.assign(slow, s.slow_partitions[0]);
  s.heat_maps[0].rows.front() = std::string(12, 'D');
  s.heat_maps[0].rows.back() = "DDDDFDDDDDDD";
  return s;
}

std::size_t lines_with(const std::vector<std::string>& lines, const std::string& part) {
  return static_cast<std::size_t>(std::count_if(
      lines.begin(), lines.end(), [&](const std::string& l) { return l.find(part) != std::string::npos; }));
}

/// The number before `what` in "… and 3 more workers" or "not shown: 3 workers"; 0: neither.
std::size_t told(const std::vector<std::string>& lines, const std::string& what) {
  for (const std::string& l : lines) {
    for (const std::string& before : {std::string("… and "), std::string("not shown: "), std::string(", ")}) {
      const bool more = before == "… and ";
      for (auto at = l.find(before); at != std::string::npos; at = l.find(before, at + 1)) {
        std::size_t end = 0;
        const std::string rest = l.substr(at + before.size());
        if (rest.empty() || std::isdigit(static_cast<unsigned char>(rest[0])) == 0) continue;
        const std::size_t n = std::stoul(rest, &end);
        if (rest.compare(end, std::string::npos, (more ? " more " : " ") + what) == 0 ||
            (!more && rest.compare(end, what.size() + 1, ' ' + what) == 0))
          return n;
      }
    }
  }
  return 0;
}

TEST(StatusScreen, NoPartVanishesWithoutAWord) {
  for (const std::size_t workers : {2u, 6u, 16u}) {
    for (const std::size_t failures : {0u, 1u, 2u, 5u}) {
      for (const std::size_t slow : {0u, 2u, 5u}) {
        for (int rows = 5; rows <= 70; ++rows) {
          const auto lines = status_screen(crowded(workers, failures, slow), {80, rows, false});
          SCOPED_TRACE(fmt::format("{} workers, {} failures, {} slow, {} rows\n{}", workers, failures, slow, rows,
                                   joined(lines)));
          ASSERT_LE(static_cast<int>(lines.size()), rows);
          ASSERT_EQ(lines_with(lines, "host/") + told(lines, "workers"), workers);
          ASSERT_EQ(lines_with(lines, "is gone") + told(lines, "failures"), failures);
          ASSERT_EQ(lines_with(lines, "times the usual") + told(lines, "slow partitions"), slow);
          ASSERT_EQ(lines_with(lines, "DDDD") + told(lines, "series"), 28u);
        }
      }
    }
  }
}

TEST(StatusScreen, AnOrdinaryTerminalHasRoomForEveryPart) {
  const auto lines = status_screen(crowded(16, 5, 5), {80, 22, false});
  EXPECT_EQ(lines.size(), 22u) << "no line is left empty: " << joined(lines);
  EXPECT_GE(lines_with(lines, "write"), 3u) << joined(lines);
  EXPECT_EQ(lines_with(lines, "idle"), 0u) << "those that work, not the idle ones: " << joined(lines);
  EXPECT_GE(lines_with(lines, "is gone"), 2u);
  EXPECT_GE(lines_with(lines, "times the usual"), 1u);
  EXPECT_EQ(lines_with(lines, "DDDDFDDDDDDD"), 1u) << "the series with a failed partition stays: " << joined(lines);
}

TEST(StatusScreen, ManyFeatureSetsLeaveRoomForTheRest) {
  queue::Snapshot s = crowded(6, 2, 2);
  const auto one = s.feature_sets[0];
  for (int i = 0; i < 20; ++i) {
    s.feature_sets.push_back(one);
    s.feature_sets.back().name = "set" + std::to_string(i);
  }
  const auto lines = status_screen(s, {80, 22, false});
  EXPECT_GE(told(lines, "feature sets"), 1u) << joined(lines);
  EXPECT_EQ(lines_with(lines, "155/360") + told(lines, "feature sets"), 21u);
  EXPECT_GE(lines_with(lines, "is gone"), 1u) << joined(lines);
}

TEST(StatusScreen, DaemonsThatAreNotAliveAreToldFirst) {
  queue::Snapshot s = busy();
  s.daemons[0].alive = false;
  s.daemons[0].heartbeat_age_s = 125;
  auto lines = status_screen(s, {80, 0, false});
  EXPECT_EQ(lines[0], "no daemon is alive: nothing is computed");
  EXPECT_EQ(lines[1], "daemon host is not alive: no heartbeat for 2 min 05 s");
  // One that was started again under its name is no news, nor is one that stopped in order.
  s.daemons = {{5, "host", "host", "running", "", "", "", true, 1, 4, 8},
               {4, "host", "host", "lost", "", "", "", false, 300, 0, 4},
               {3, "other", "other", "stopped", "", "", "", false, 300, 0, 4}};
  EXPECT_THAT(joined(status_screen(s, {80, 0, false})), Not(HasSubstr("not alive")));
  s.daemons.push_back({2, "third", "third", "lost", "", "", "", false, 300, 0, 4});
  lines = status_screen(s, {80, 0, false});
  EXPECT_EQ(lines[0], "daemon third is not alive: no heartbeat for 5 min 00 s");
  for (int i = 0; i < 9; ++i) {
    s.daemons.push_back(s.daemons.back());
    s.daemons.back().name += 'x';
  }
  EXPECT_EQ(status_screen(s, {80, 0, false})[3], "… and 7 more daemons are not alive");
  // With nothing to compute it is no alarm.
  s.daemons.clear();
  s.feature_sets[0].pending = s.feature_sets[0].running = 0;
  EXPECT_EQ(status_screen(s, {80, 0, true})[0], "no daemon is alive");
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
