#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace regfeatd {

/// A position on the ordering column of a series: microseconds since 2000-01-01 00:00 UTC (PostgreSQL's own binary
/// form of timestamp and timestamptz) when the feature set is ordered by time, the number itself when it is ordered
/// by an integer sequence.
using OrderValue = std::int64_t;

enum class OrderKind { time, sequence };

inline constexpr OrderValue kMicrosPerSecond = 1'000'000;
inline constexpr OrderValue kMicrosPerDay = 86'400 * kMicrosPerSecond;

/// A date and time of the proleptic Gregorian calendar, UTC.
struct CivilTime {
  int year = 2000;
  unsigned month = 1, day = 1, hour = 0, minute = 0, second = 0;
  unsigned micro = 0;
};

[[nodiscard]] CivilTime to_civil(OrderValue t) noexcept;
/// Dates that 64 bits do not reach (some 292,000 years) become the greatest or the least value.
[[nodiscard]] OrderValue from_civil(const CivilTime& c) noexcept;

/// Parses `YYYY-MM-DD`, optionally followed by `T` or a space, `HH:MM[:SS[.ffffff]]`, and optionally `Z` or an offset
/// `+HH[:MM]`. Without an offset the time is UTC. nullopt when the text is none of these or names no such day.
[[nodiscard]] std::optional<OrderValue> parse_time(std::string_view text);

/// `2024-07-01 00:00:00+00`, with fractional seconds only where there are any. PostgreSQL reads it as timestamptz, `BC`
/// before the year 1 and its `infinity` and `-infinity` (the greatest and the least value) included.
[[nodiscard]] std::string format_time(OrderValue t);

/// `format_time` for times, the digits for sequences.
[[nodiscard]] std::string format_order(OrderKind kind, OrderValue v);

/// A half-open range [lower, upper).
struct OrderRange {
  OrderValue lower = 0;
  OrderValue upper = 0;
  friend constexpr bool operator==(const OrderRange&, const OrderRange&) = default;
};

}  // namespace regfeatd
