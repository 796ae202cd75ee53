#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace regfeatd {

/// Reads `250ms`, `60s`, `5min`, `2h`, `30d`, `1w`, `15us`. A number without a unit is refused. nullopt on anything else,
/// negative values, overflow, and what is above 0 but rounds to no microsecond.
[[nodiscard]] std::optional<std::chrono::microseconds> parse_duration(std::string_view text);

/// Reads `4096`, `64KiB`, `512MiB`, `1GiB`, and the decimal `kB`, `MB`, `GB`. nullopt on anything else.
[[nodiscard]] std::optional<std::uint64_t> parse_bytes(std::string_view text);

/// `1.2 GB`, `33.6 MB`: decimal units, one decimal.
[[nodiscard]] std::string format_bytes(double bytes);

/// `1 min 12 s`, `350 ms`, `2 h 05 min`: for people.
[[nodiscard]] std::string format_duration(std::chrono::microseconds d);
/// The same of seconds; less than none, as between clocks that differ, is none.
[[nodiscard]] std::string format_seconds(double s);

/// `1,234,567`.
[[nodiscard]] std::string format_count(std::int64_t n);

}  // namespace regfeatd
