#include "regfeatd/base/order.hpp"

#include <cstdio>
#include <limits>

namespace regfeatd {
namespace {

/// Days from 2000-01-01 to a date, and back, over all 64-bit times: std::chrono::year ends at 32767, PostgreSQL's at
/// 294276. Years are counted from March, in eras of 400 years: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
constexpr std::int64_t kDaysPerEra = 146'097;
constexpr std::int64_t kEpochFromMarchOfYear0 = 730'425;  // 0000-03-01 ... 2000-01-01

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

constexpr std::int64_t days_from_civil(std::int64_t year, std::int64_t month, std::int64_t day) {
  const std::int64_t y = month <= 2 ? year - 1 : year;
  const std::int64_t era = floor_div(y, 400);
  const std::int64_t year_of_era = y - era * 400;
  const std::int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const std::int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * kDaysPerEra + day_of_era - kEpochFromMarchOfYear0;
}
static_assert(days_from_civil(2000, 1, 1) == 0 && days_from_civil(2000, 3, 1) == 60 &&
              days_from_civil(1999, 12, 31) == -1);

unsigned days_in_month(unsigned year, unsigned month) {
  return static_cast<unsigned>(days_from_civil(month == 12 ? year + 1 : year, month == 12 ? 1 : month + 1, 1) -
                               days_from_civil(year, month, 1));
}

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
  const std::int64_t days = floor_div(t, kMicrosPerDay);
  const OrderValue rest = t % kMicrosPerDay + (t % kMicrosPerDay < 0 ? kMicrosPerDay : 0);
  const std::int64_t since_march = days + kEpochFromMarchOfYear0;
  const std::int64_t era = floor_div(since_march, kDaysPerEra);
  const std::int64_t day_of_era = since_march - era * kDaysPerEra;
  const std::int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month_from_march = (5 * day_of_year + 2) / 153;
  CivilTime c;
  c.month = static_cast<unsigned>(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
  c.year = static_cast<int>(year_of_era + era * 400 + (c.month <= 2 ? 1 : 0));
  c.day = static_cast<unsigned>(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  const auto seconds = static_cast<unsigned>(rest / kMicrosPerSecond);
  c.hour = seconds / 3600;
  c.minute = seconds / 60 % 60;
  c.second = seconds % 60;
  c.micro = static_cast<unsigned>(rest % kMicrosPerSecond);
  return c;
}

OrderValue from_civil(const CivilTime& c) noexcept {
  const OrderValue seconds = OrderValue{c.hour} * 3600 + OrderValue{c.minute} * 60 + c.second;
  const __int128 t =
      __int128{days_from_civil(c.year, c.month, c.day)} * kMicrosPerDay + seconds * kMicrosPerSecond + c.micro;
  constexpr __int128 kLeast = std::numeric_limits<OrderValue>::min(), kMost = std::numeric_limits<OrderValue>::max();
  return static_cast<OrderValue>(t < kLeast ? kLeast : t > kMost ? kMost : t);
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
  // There is no year 0, for PostgreSQL neither.
  if (*year == 0 || *month == 0 || *month > 12 || *day == 0 || *day > days_in_month(*year, *month)) return std::nullopt;
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
  if (t == std::numeric_limits<OrderValue>::max()) return "infinity";
  if (t == std::numeric_limits<OrderValue>::min()) return "-infinity";
  const CivilTime c = to_civil(t);
  char buffer[80];
  std::snprintf(buffer, sizeof buffer, "%04d-%02u-%02u %02u:%02u:%02u", c.year > 0 ? c.year : 1 - c.year, c.month,
                c.day, c.hour, c.minute, c.second);
  std::string text = buffer;
  if (c.micro != 0) {
    std::snprintf(buffer, sizeof buffer, ".%06u", c.micro);
    text += buffer;
  }
  return text + (c.year > 0 ? "+00" : "+00 BC");
}

std::string format_order(OrderKind kind, OrderValue v) {
  return kind == OrderKind::time ? format_time(v) : std::to_string(v);
}

}  // namespace regfeatd
