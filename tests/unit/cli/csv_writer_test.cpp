#include "cli/csv_writer.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <system_error>

namespace regfeatd::cli {
namespace {

std::string number(double value) {
  char buffer[kMaxNumberChars];
  return {buffer, write_number(buffer, value)};
}

std::string to_chars(double value) {
  char buffer[kMaxNumberChars];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

std::string field(std::string_view value) {
  std::string text;
  append_field(text, value);
  return text;
}

TEST(WriteNumber, IsShortestAndReadsBack) {
  EXPECT_EQ(number(0.1), "0.1");
  EXPECT_EQ(number(1.0), "1");
  EXPECT_EQ(number(-0.0), "-0");
  EXPECT_EQ(number(5e-324), "5e-324");
  EXPECT_EQ(number(std::numeric_limits<double>::max()), "1.7976931348623157e+308");
  EXPECT_EQ(number(-std::numeric_limits<double>::min()), "-2.2250738585072014e-308");
}

TEST(WriteNumber, NullIsNothing) { EXPECT_EQ(number(std::numeric_limits<double>::quiet_NaN()), ""); }

void expect_as_the_library(double value) {
  if (!std::isfinite(value)) return;
  const std::string text = number(value);
  double back = 0;
  ASSERT_EQ(std::from_chars(text.data(), text.data() + text.size(), back).ec, std::errc{}) << text;
  ASSERT_EQ(std::bit_cast<std::uint64_t>(back), std::bit_cast<std::uint64_t>(value)) << text;
  ASSERT_EQ(text, to_chars(value));
}

TEST(WriteNumber, AnyBitsReadBackAndAreTheLibrarysShortest) {
  std::mt19937_64 random(20240701);
  for (int i = 0; i < 200'000; ++i) {
    expect_as_the_library(std::bit_cast<double>(random()));
    // Around 1, where our own method works.
    expect_as_the_library(std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 190) - 180));
    // Few digits, and the neighbours of such numbers.
    const double few = static_cast<double>(random() % 1'000'000) / std::pow(10.0, static_cast<double>(random() % 12));
    expect_as_the_library(-few);
    expect_as_the_library(std::nextafter(few, 1e9));
    expect_as_the_library(std::nextafter(few, -1e9));
    // Integers of every size.
    expect_as_the_library(static_cast<double>(random() >> (random() % 64)));
  }
}

TEST(WriteNumber, PowersOfTwoAndTenAndTheirNeighbours) {
  for (int e = -1074; e < 1024; ++e) {
    const double power = std::ldexp(1.0, e);  // the gap below is half the gap above
    for (const double value : {power, std::nextafter(power, 0.0), std::nextafter(power, 2 * power), 3 * power})
      expect_as_the_library(value);
  }
  for (int e = -323; e <= 308; ++e) {
    for (int digits = 1; digits < 100; ++digits) {
      const std::string text = std::to_string(digits) + "e" + std::to_string(e);
      expect_as_the_library(std::strtod(text.c_str(), nullptr));
    }
  }
}

TEST(AppendField, QuotesWhatNeedsIt) {
  EXPECT_EQ(field("plain text"), "plain text");
  EXPECT_EQ(field(""), "");
  EXPECT_EQ(field("a,b"), "\"a,b\"");
  EXPECT_EQ(field("say \"hi\""), "\"say \"\"hi\"\"\"");
  EXPECT_EQ(field("a\nb"), "\"a\nb\"");
}

TEST(TextBuffer, GrowsAndKeepsItsText) {
  TextBuffer buffer;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    char* to = buffer.reserve(10);
    to = std::fill_n(to, i % 10, static_cast<char>('a' + i % 26));
    buffer.commit(to);
    expected.append(static_cast<std::size_t>(i % 10), static_cast<char>('a' + i % 26));
  }
  EXPECT_EQ(buffer.text(), expected);
  buffer.clear();
  EXPECT_EQ(buffer.text(), "");
}

}  // namespace
}  // namespace regfeatd::cli
