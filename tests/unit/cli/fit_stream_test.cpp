#include "cli/fit_stream.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "cli/csv_writer.hpp"
#include "cli/window_list.hpp"
#include "regfeatd/base/fault.hpp"

namespace regfeatd::cli {
namespace {

struct Row {
  OrderValue order;
  int key;
  double value;
};

TableLayout layout(bool keyed) {
  TableLayout layout;
  layout.file = "in.csv";
  layout.header = {"n", "id", "x"};
  layout.order_kind = OrderKind::sequence;
  if (keyed) layout.key_columns = {1};
  layout.value_columns = {2};
  layout.input_names = {"x"};
  return layout;
}

fit::Plan plan(std::string_view windows) {
  return {parse_windows(windows, OrderKind::sequence), parse_metrics("terms,legacy_terms.a_coef")};
}

std::string number(double value) {
  char buffer[kMaxNumberChars];
  return {buffer, write_number(buffer, value)};
}

std::string csv(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows)
    text += std::to_string(row.order) + ",k" + std::to_string(row.key) + "," + number(row.value) + "\n";
  return text;
}

struct Cut {
  std::size_t max_rows = 1000;
  int threads = 1;
};

struct Outcome {
  std::string text;
  std::string error;
};

Outcome stream(const std::string& text, const TableLayout& table, const fit::Plan& fit_plan,
               const SeriesTracker::Options& tracking, Cut cut) {
  std::size_t pos = 0;
  BlockReader reader({.read = [&](char* to, std::size_t size) {
    const std::size_t count = text.copy(to, size, pos);
    pos += count;
    return count;
  }});
  Outcome outcome;
  std::uint64_t rows_reported = 0;
  const auto sink = [&](std::string_view lines, std::uint64_t rows) {
    outcome.text += lines;
    rows_reported += rows;
    return true;
  };
  try {
    fit_stream({}, reader, table, fit_plan, tracking,
               {.threads = cut.threads, .limits = {.max_rows = cut.max_rows, .max_bytes = 1U << 20}}, sink);
  } catch (const Fault& e) {
    outcome.error = e.what();
  }
  EXPECT_EQ(rows_reported, static_cast<std::uint64_t>(std::count(outcome.text.begin(), outcome.text.end(), '\n')));
  return outcome;
}

/// What the output must be: every series fitted as a whole, one row at a time.
std::string expected(const std::vector<Row>& rows, bool keyed, const fit::Plan& fit_plan,
                     const SeriesTracker::Options& tracking) {
  struct Whole {
    std::vector<OrderValue> order;
    std::vector<double> values;
  };
  fit::Fitter fitter(fit_plan, 1);
  fit::ColumnBlock block(fit_plan.column_count(), 1);
  std::map<int, Whole> series;
  std::string text;
  for (const Row& row : rows) {
    Whole& s = series[keyed ? row.key : 0];
    if (tracking.cold_start && tracking.from && row.order < *tracking.from) continue;
    s.order.push_back(row.order);
    s.values.push_back(row.value);
    if ((tracking.from && row.order < *tracking.from) || (tracking.to && row.order >= *tracking.to)) continue;
    fitter.fit({s.order, s.values, 0}, s.order.size() - 1, 1, block);
    text += std::to_string(row.order);
    if (keyed) text += ",k" + std::to_string(row.key);
    for (std::size_t c = 0; c < block.columns(); ++c) text += "," + number(block.column(c)[0]);
    text += '\n';
  }
  return text;
}

std::vector<Row> random_rows(int keys, bool interleaved) {
  const auto size = *rc::gen::inRange<std::size_t>(0, 120);
  std::vector<Row> rows;
  std::map<int, OrderValue> last;
  for (std::size_t i = 0; i < size; ++i) {
    const int key = keys == 1 ? 0 : *rc::gen::inRange(0, keys);
    const auto step = *rc::gen::inRange<OrderValue>(1, 5);
    const bool is_null = *rc::gen::inRange(0, 20) == 0;
    last[key] += step;
    rows.push_back(
        {last[key], key, is_null ? std::numeric_limits<double>::quiet_NaN() : *rc::gen::inRange(-999, 999) / 100.0});
  }
  if (!interleaved)
    std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.key < b.key; });
  return rows;
}

void check_against_whole(int keys, bool interleaved) {
  const fit::Plan fit_plan = plan("3,7,late=5:offset=2,10:range,r=6:range:offset=1:x=time");
  const std::vector<Row> rows = random_rows(keys, interleaved);
  SeriesTracker::Options tracking;
  tracking.interleaved = interleaved;
  if (*rc::gen::arbitrary<bool>()) tracking.from = *rc::gen::inRange<OrderValue>(0, 60);
  if (*rc::gen::arbitrary<bool>()) tracking.to = *rc::gen::inRange<OrderValue>(0, 200);
  tracking.cold_start = *rc::gen::arbitrary<bool>();
  const Cut cut{.max_rows = *rc::gen::inRange<std::size_t>(1, 40), .threads = *rc::gen::inRange(1, 5)};
  const Outcome outcome = stream(csv(rows), layout(keys > 1), fit_plan, tracking, cut);
  RC_ASSERT(outcome.error.empty());
  RC_ASSERT(outcome.text == expected(rows, keys > 1, fit_plan, tracking));
}

TEST(FitStream, OneSeriesIsWhatTheWholeGives) {
  rc::check("one series", [] { check_against_whole(1, false); });
}

TEST(FitStream, KeysTogetherAreWhatTheWholeGives) {
  rc::check("keys together", [] { check_against_whole(4, false); });
}

TEST(FitStream, KeysInterleavedAreWhatTheWholeGives) {
  rc::check("keys interleaved", [] { check_against_whole(4, true); });
}

// The block method of long windows depends on the number of a row within its series, and on nothing else.
TEST(FitStream, LongWindowsDoNotDependOnTheCut) {
  std::vector<Row> rows;
  for (int i = 0; i < 12'000; ++i) rows.push_back({i, i < 9'000 ? 1 : 2, std::sin(i * 0.01) + i * 1e-5});
  const fit::Plan fit_plan = plan("2500,15");
  const std::string text = csv(rows);
  const std::string reference = stream(text, layout(true), fit_plan, {}, {.max_rows = 20'000, .threads = 1}).text;
  for (const Cut cut : {Cut{7, 3}, Cut{1000, 4}, Cut{4096, 2}, Cut{2501, 1}}) {
    EXPECT_TRUE(stream(text, layout(true), fit_plan, {}, cut).text == reference) << cut.max_rows;
  }
}

TEST(FitStream, ErrorsComeAfterTheRowsBeforeThem) {
  struct Case {
    const char* input;
    bool interleaved;
    std::size_t rows_before;
    const char* error;
  };
  const std::vector<Case> cases{
      {"1,a,1\n2,a,1\n2,a,1\n", false, 2, "in.csv:3: column \"n\": 2 stands on two rows of key id=\"a\""},
      {"1,a,1\n3,a,1\n2,a,1\n", false, 2,
       "in.csv:3: column \"n\": 2 comes after 3 of key id=\"a\": the rows of a series must ascend"},
      {"1,a,1\n1,b,1\n2,a,1\n", false, 2,
       "in.csv:3: rows of key id=\"a\" come again after rows of another key: sort by key then time, or give "
       "--interleaved"},
      {"1,a,1\n1,b,1\n2,a,1\n1,b,1\n", true, 3, "in.csv:4: column \"n\": 1 stands on two rows of key id=\"b\""},
      {"1,a,1\n2,a,x\n3,a,1\n", false, 1, "in.csv:2: column \"x\": \"x\" is not a number"},
      {"1,a,1\n2,a,1\n\"3\n", false, 2, "in.csv:3: a quoted field is not closed"},
      {"1,a,1\n2,a,x\n1,a,1\n", false, 1, "in.csv:2: column \"x\": \"x\" is not a number"},
  };
  for (const Case& c : cases) {
    for (const std::size_t max_rows : {1u, 2u, 3u, 100u}) {
      for (const int threads : {1, 3}) {
        SeriesTracker::Options tracking;
        tracking.interleaved = c.interleaved;
        const Outcome outcome = stream(c.input, layout(true), plan("3"), tracking, {max_rows, threads});
        EXPECT_EQ(outcome.error, c.error) << max_rows;
        EXPECT_EQ(static_cast<std::size_t>(std::count(outcome.text.begin(), outcome.text.end(), '\n')), c.rows_before)
            << c.input;
      }
    }
  }
}

TEST(FitStream, AKeyMayGoOnInTheNextBlockOnly) {
  const std::string text = "1,a,1\n2,a,1\n1,b,1\n2,b,1\n1,c,1\n";
  for (const std::size_t max_rows : {1u, 2u, 3u, 4u, 5u}) {
    EXPECT_EQ(stream(text, layout(true), plan("3"), {}, {max_rows, 2}).error, "") << max_rows;
    EXPECT_NE(stream(text + "3,b,1\n", layout(true), plan("3"), {}, {max_rows, 2}).error, "") << max_rows;
  }
}

TEST(FitStream, StopsWhenNobodyWantsMore) {
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += std::to_string(i) + ",a,1\n";
  std::size_t pos = 0;
  BlockReader reader({.read = [&](char* to, std::size_t size) {
    const std::size_t count = text.copy(to, std::min<std::size_t>(size, 100), pos);
    pos += count;
    return count;
  }});
  int calls = 0;
  fit_stream({}, reader, layout(false), plan("3"), {}, {.threads = 3, .limits = {.max_rows = 10, .max_bytes = 1000}},
             [&](std::string_view, std::uint64_t) { return ++calls < 3; });
  EXPECT_EQ(calls, 3);
  EXPECT_LT(pos, text.size() / 2);
}

TEST(BlockLimits, StayWithinBounds) {
  for (const char* windows : {"3", "15,30,45,60,75,90", "100000"}) {
    for (const std::size_t inputs : {1u, 10u, 1000u}) {
      const BlockReader::Limits limits = block_limits(plan(windows), inputs, false);
      EXPECT_GE(limits.max_rows, 64U);
      EXPECT_LE(limits.max_rows * plan(windows).column_count() * inputs * 8, std::size_t{256} << 20)
          << windows << ' ' << inputs;
    }
  }
}

}  // namespace
}  // namespace regfeatd::cli
