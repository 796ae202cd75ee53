#include "regfeatd/base/order.hpp"

#include <charconv>
#include <chrono>
#include <cstdio>

namespace regfeatd {
namespace {

using std::chrono::sys_days;
using std::chrono::year_month_day;
constexpr sys_days kEpoch{std::chrono::year{2000} / 1 / 1};

/// Reads `width` digits at `pos` and moves past them.
std::optional<unsigned> digits(std::string_view text, std::size_t& pos, std::size_t width) {
  if (pos + width > text.size()) return std::nullopt;
  unsigned value = 0;
  for (std::size_t i = 0; i < width; ++i) {
    const char c = text[pos + i];
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  pos += width;
  return value;
}

bool literal(std::string_view text, std::size_t& pos, char c) {
  if (pos >= text.size() || text[pos] != c) return false;
  ++pos;
  return true;
}

/// An offset `Z`, `+HH`, `+HH:MM` or `+HHMM` in minutes; 0 when the text has ended.
std::optional<int> utc_offset_minutes(std::string_view text, std::size_t& pos) {
  if (pos == text.size()) return 0;
  if (literal(text, pos, 'Z')) return 0;
  const bool negative = pos < text.size() && text[pos] == '-';
  if (!negative && text[pos] != '+') return std::nullopt;
  ++pos;
  const auto hours = digits(text, pos, 2);
  if (!hours || *hours > 15) return std::nullopt;
  unsigned minutes = 0;
  if (pos < text.size()) {
    (void)literal(text, pos, ':');
    const auto m = digits(text, pos, 2);
    if (!m || *m > 59) return std::nullopt;
    minutes = *m;
  }
  const int total = static_cast<int>(*hours * 60 + minutes);
  return negative ? -total : total;
}

}  // namespace

CivilTime to_civil(OrderValue t) noexcept {
  OrderValue days = t / kMicrosPerDay;
  OrderValue rest = t % kMicrosPerDay;
  if (rest < 0) {
    rest += kMicrosPerDay;
    --days;
  }
  const year_month_day ymd{kEpoch + std::chrono::days{days}};
  CivilTime c;
  c.year = static_cast<int>(ymd.year());
  c.month = static_cast<unsigned>(ymd.month());
  c.day = static_cast<unsigned>(ymd.day());
  const auto seconds = static_cast<unsigned>(rest / kMicrosPerSecond);
  c.hour = seconds / 3600;
  c.minute = seconds / 60 % 60;
  c.second = seconds % 60;
  c.micro = static_cast<unsigned>(rest % kMicrosPerSecond);
  return c;
}

OrderValue from_civil(const CivilTime& c) noexcept {
  const sys_days day{std::chrono::year{c.year} / static_cast<int>(c.month) / static_cast<int>(c.day)};
  const OrderValue days = (day - kEpoch).count();
  const OrderValue seconds = OrderValue{c.hour} * 3600 + OrderValue{c.minute} * 60 + c.second;
  return days * kMicrosPerDay + seconds * kMicrosPerSecond + c.micro;
}

std::optional<OrderValue> parse_time(std::string_view text) {
  std::size_t pos = 0;
  CivilTime c;
  const auto year = digits(text, pos, 4);
  if (!year || !literal(text, pos, '-')) return std::nullopt;
  const auto month = digits(text, pos, 2);
  if (!month || !literal(text, pos, '-')) return std::nullopt;
  const auto day = digits(text, pos, 2);
  if (!day) return std::nullopt;
  const year_month_day ymd = std::chrono::year{static_cast<int>(*year)} / static_cast<int>(*month) / static_cast<int>(*day);
  if (!ymd.ok()) return std::nullopt;
  c.year = static_cast<int>(*year);
  c.month = *month;
  c.day = *day;
  if (pos == text.size()) return from_civil(c);
  if (!literal(text, pos, 'T') && !literal(text, pos, ' ')) return std::nullopt;
  const auto hour = digits(text, pos, 2);
  if (!hour || *hour > 23 || !literal(text, pos, ':')) return std::nullopt;
  const auto minute = digits(text, pos, 2);
  if (!minute || *minute > 59) return std::nullopt;
  c.hour = *hour;
  c.minute = *minute;
  if (literal(text, pos, ':')) {
    const auto second = digits(text, pos, 2);
    if (!second || *second > 59) return std::nullopt;
    c.second = *second;
    if (literal(text, pos, '.')) {
      unsigned scale = 100'000;
      const std::size_t first = pos;
      while (pos < text.size() && text[pos] >= '0' && text[pos] <= '9') {
        c.micro += static_cast<unsigned>(text[pos] - '0') * scale;
        scale /= 10;
        ++pos;
      }
      if (pos == first || pos - first > 6) return std::nullopt;
    }
  }
  const auto offset = utc_offset_minutes(text, pos);
  if (!offset || pos != text.size()) return std::nullopt;
  return from_civil(c) - OrderValue{*offset} * 60 * kMicrosPerSecond;
}

std::string format_time(OrderValue t) {
  const CivilTime c = to_civil(t);
  char buffer[80];
  if (c.micro == 0) {
    std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02u %02u:%02u:%02u+00", c.year, c.month, c.day, c.hour, c.minute, c.second);
  } else {
    std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02u %02u:%02u:%02u.%06u+00", c.year, c.month, c.day, c.hour, c.minute,
                  c.second, c.micro);
  }
  return buffer;
}

std::string format_order(OrderKind kind, OrderValue v) {
  return kind == OrderKind::time ? format_time(v) : std::to_string(v);
}

}  // namespace regfeatd
