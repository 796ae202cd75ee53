#include "cli/window_list.hpp"

#include <gtest/gtest.h>

#include "cli/usage_error.hpp"

namespace regfeatd::cli {
namespace {

using fit::Window;
constexpr auto kTime = OrderKind::time;
constexpr auto kSequence = OrderKind::sequence;

std::string windows_error(std::string_view list, OrderKind order = kTime) {
  try {
    (void)parse_windows(list, order);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

std::string metrics_error(std::string_view list) {
  try {
    (void)parse_metrics(list);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

TEST(ParseWindows, Rows) {
  const auto windows = parse_windows("15,agg=90,lag=15:offset=1", kTime);
  ASSERT_EQ(windows.size(), 3U);
  EXPECT_EQ(windows[0], (Window{.label = "w15", .rows = 15, .offset = {}}));
  EXPECT_EQ(windows[1], (Window{.label = "agg", .rows = 90, .offset = {}}));
  EXPECT_EQ(windows[2], (Window{.label = "lag", .rows = 15, .offset = 1}));
}

TEST(ParseWindows, RangesOfTime) {
  const auto windows = parse_windows("5d,month=30d:min_rows=5:x=time:unit=1d", kTime);
  ASSERT_EQ(windows.size(), 2U);
  EXPECT_EQ(windows[0],
            (Window{.label = "l5d", .kind = Window::Kind::range, .range = 5 * kMicrosPerDay, .offset = {}}));
  EXPECT_EQ(windows[1], (Window{.label = "month",
                                .kind = Window::Kind::range,
                                .range = 30 * kMicrosPerDay,
                                .min_rows = 5,
                                .offset = {},
                                .x = fit::XAxis::time,
                                .x_unit = static_cast<double>(kMicrosPerDay)}));
}

TEST(ParseWindows, RangesOfASequence) {
  const auto windows = parse_windows("100:range,r=50:range:x=sequence:unit=10,20:x=time", kSequence);
  ASSERT_EQ(windows.size(), 3U);
  EXPECT_EQ(windows[0], (Window{.label = "l100", .kind = Window::Kind::range, .range = 100, .offset = {}}));
  EXPECT_EQ(windows[1].x_unit, 10);
  EXPECT_EQ(windows[2].x, fit::XAxis::time);
}

TEST(ParseWindows, Errors) {
  EXPECT_EQ(windows_error("2"), "--windows \"2\": the number of rows must be from 3 to 100,000, not \"2\"");
  EXPECT_EQ(windows_error("15,,30"),
            "--windows \"\": \"\" is neither a number of rows nor a duration such as 5d or 90min");
  EXPECT_EQ(windows_error("fifteen"),
            "--windows \"fifteen\": \"fifteen\" is neither a number of rows nor a duration such as 5d or 90min");
  EXPECT_EQ(windows_error("15,15"),
            "--windows: two windows are labelled \"w15\"; give one another label, such as short=15");
  EXPECT_EQ(windows_error("5d", kSequence),
            "--windows \"5d\": the range must be a whole number above 0 because the rows are ordered by a "
            "sequence, not \"5d\"");
  EXPECT_EQ(windows_error("15:min_rows=3"),
            "--windows \"15:min_rows=3\": min_rows goes with a range only: a window by rows always has all "
            "its rows");
  EXPECT_EQ(windows_error("15:x=time"),
            "--windows \"15:x=time\": x=time needs unit=DURATION, what 1 on the x axis means");
  EXPECT_EQ(windows_error("15:unit=1d"), "--windows \"15:unit=1d\": unit goes with x=time only");
  EXPECT_EQ(windows_error("=15"), "--windows \"=15\": the label before '=' is empty");
  EXPECT_EQ(windows_error("15:offset=-1"), "--windows \"15:offset=-1\": offset must be from 0 to 100,000, not \"-1\"");
  EXPECT_NE(windows_error("15:weights=2"), "");
  EXPECT_NE(windows_error("200000d"), "");
}

TEST(ParseMetrics, FamiliesAndMetrics) {
  EXPECT_EQ(parse_metrics("terms"), fit::metrics_of(fit::Family::terms));
  const auto mixed = parse_metrics("sigma,terms.r2");
  ASSERT_EQ(mixed.size(), 2U);
  EXPECT_EQ(qualified_name(mixed[0]), "inference.sigma");
  EXPECT_EQ(qualified_name(mixed[1]), "terms.r2");
}

TEST(ParseMetrics, Errors) {
  EXPECT_EQ(metrics_error("r2"),
            "--metrics: several families have a metric \"r2\"; say which: coefficients.r2, terms.r2, "
            "legacy_terms.r2");
  EXPECT_EQ(metrics_error("slope"), "--metrics: there is no metric or family \"slope\"; `regfeatd metrics` lists them");
  EXPECT_EQ(metrics_error("terms,terms.r2"), "--metrics: terms.r2 is listed twice");
}

}  // namespace
}  // namespace regfeatd::cli
