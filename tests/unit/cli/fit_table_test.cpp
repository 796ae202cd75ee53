#include "cli/fit_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace regfeatd::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TableLayout layout() {
  TableLayout layout;
  layout.file = "in.csv";
  layout.header = {"t", "id", "x", "note", "y"};
  layout.key_columns = {1};
  layout.value_columns = {4, 2};
  layout.input_names = {"y", "x"};
  return layout;
}

TableRows read(const std::string& text, const TableLayout& table = layout()) {
  static CsvBlock block;  // the rows point into it
  block = {text, 2};
  TableRows rows;
  read_rows(block, table, rows);
  return rows;
}

TEST(ReadRows, TakesOrderKeysAndValues) {
  const TableRows rows = read("2024-07-01T00:00:00Z,7,1.5,hello,-2\n2024-07-01 00:01,\"8\",,,1e3\n");
  EXPECT_EQ(rows.error, "");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows.order[1] - rows.order[0], 60 * kMicrosPerSecond);
  EXPECT_THAT(rows.values[0], ElementsAre(-2, 1000));
  EXPECT_EQ(rows.values[1][0], 1.5);
  EXPECT_TRUE(std::isnan(rows.values[1][1]));
  EXPECT_THAT(rows.key, ElementsAre(0, 1));
  EXPECT_THAT(rows.line, ElementsAre(2, 3));
  EXPECT_THAT(rows.passed, ElementsAre("2024-07-01T00:00:00Z", "7", "2024-07-01 00:01", "\"8\""));
}

TEST(ReadRows, QuotesDoNotMakeAnotherKey) {
  const TableRows rows = read("2024-07-01,7,1,,1\n2024-07-02,\"7\",1,,1\n2024-07-03,8,1,,1\n2024-07-04,7,1,,1\n");
  EXPECT_THAT(rows.key, ElementsAre(0, 0, 1, 0));
  ASSERT_EQ(rows.keys.size(), 2U);
  EXPECT_EQ(describe_key(layout(), rows.keys[0]), "id=\"7\"");
}

TEST(ReadRows, KeysOfSeveralColumnsCannotBeConfused) {
  TableLayout table = layout();
  table.key_columns = {1, 3};
  const TableRows rows = read("2024-07-01,a,1,bc,1\n2024-07-02,ab,1,c,1\n2024-07-03,\"a,b\",1,c,1\n", table);
  EXPECT_THAT(rows.key, ElementsAre(0, 1, 2));
  EXPECT_EQ(describe_key(table, rows.keys[2]), "id=\"a,b\", note=\"c\"");
}

TEST(ReadRows, TheFirstBadRowEndsTheBlock) {
  const std::string good = "2024-07-01,7,1,,1\n";
  const auto error = [&](const std::string& row) {
    const TableRows rows = read(good + row + "\n2024-07-03,7,1,,1\n");
    EXPECT_EQ(rows.size(), 1U) << row;
    EXPECT_EQ(rows.values[0].size(), 1U) << row;
    EXPECT_EQ(rows.passed.size(), 2U) << row;
    return rows.error;
  };
  EXPECT_EQ(error("2024-07-02,7,1x,,1"), "in.csv:3: column \"x\": \"1x\" is not a number");
  EXPECT_EQ(error("2024-07-02,7,0,, 1"), "in.csv:3: column \"y\": \" 1\" is not a number");
  EXPECT_EQ(error("2024-07-02,7,0,,1e999"), "in.csv:3: column \"y\": \"1e999\" is not a number");
  EXPECT_EQ(error("2024-07-32,7,1,,1"),
            "in.csv:3: column \"t\": \"2024-07-32\" is not a time such as 2024-07-01T12:30:00Z");
  EXPECT_EQ(error(",7,1,,1"), "in.csv:3: column \"t\": \"\" is not a time such as 2024-07-01T12:30:00Z");
  EXPECT_EQ(error("2024-07-02,7,1,1"), "in.csv:3: 4 fields where the header has 5");
  EXPECT_EQ(error("2024-07-02,7,1,,1,"), "in.csv:3: 6 fields where the header has 5");
  EXPECT_EQ(error("2024-07-02,7,1,a\"b,1"), "in.csv:3: a quote inside a field that does not start with one");
}

TEST(ParseValue, NullsAndNumbers) {
  for (const char* text : {"", "NULL", "NaN", "nan", "Inf", "-inf", "infinity"}) {
    const auto value = parse_value(text);
    ASSERT_TRUE(value) << text;
    EXPECT_TRUE(std::isnan(*value)) << text;
  }
  EXPECT_EQ(parse_value("1.25"), 1.25);
  EXPECT_EQ(parse_value("+1.25"), 1.25);
  EXPECT_EQ(parse_value("-1e-3"), -0.001);
  for (const char* text : {"null", "-", "+", "+-1", "++1", "1,5", "1 ", "0x10", "1e", "N/A", "1e999", "1e-999"}) {
    EXPECT_FALSE(parse_value(text)) << text;
  }
}

TEST(ParseSequence, PlainIntegersOnly) {
  EXPECT_EQ(parse_sequence("12"), 12);
  EXPECT_EQ(parse_sequence("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  for (const char* text : {"", "+1", "1.0", "1e3", " 1", "9223372036854775808", "2024-07-01"}) {
    EXPECT_FALSE(parse_sequence(text)) << text;
  }
}

TEST(InQuotes, ShowsWhatATerminalCanShow) {
  EXPECT_EQ(in_quotes("a\tb\x1b[31m"), "\"a?b?[31m\"");
  EXPECT_EQ(in_quotes(std::string(200, 'x')), "\"" + std::string(60, 'x') + "...\"");
  EXPECT_EQ(in_quotes(std::string(59, 'x') + "é"), "\"" + std::string(59, 'x') + "...\"");  // not half a character
}

}  // namespace
}  // namespace regfeatd::cli
