#include "regfeatd/base/quantity.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

namespace regfeatd {
namespace {

/// Splits "1.5GiB" into the number and the unit; nullopt when there is no finite non-negative number in front.
std::optional<std::pair<double, std::string_view>> split(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(number) || number < 0 || text.front() == '-') return std::nullopt;
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  return std::pair{number, unit};
}

template <std::size_t N>
std::optional<double> scaled(std::string_view text, const std::array<std::pair<std::string_view, double>, N>& units) {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  for (const auto& [name, factor] : units) {
    if (parts->second == name) return parts->first * factor;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::chrono::microseconds> parse_duration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 9> kUnits{{{"us", 1},
                                                                              {"ms", 1e3},
                                                                              {"s", 1e6},
                                                                              {"min", 60e6},
                                                                              {"m", 60e6},
                                                                              {"h", 3600e6},
                                                                              {"d", 86400e6},
                                                                              {"day", 86400e6},
                                                                              {"w", 7 * 86400e6}}};
  const auto us = scaled(text, kUnits);
  if (!us || *us >= 9.2e18 || (*us > 0 && *us < 0.5)) return std::nullopt;  // not nothing, but less than can be told
  return std::chrono::microseconds{static_cast<std::int64_t>(std::llround(*us))};
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{{"", 1},
                                                                               {"B", 1},
                                                                               {"kB", 1e3},
                                                                               {"MB", 1e6},
                                                                               {"GB", 1e9},
                                                                               {"TB", 1e12},
                                                                               {"KiB", 1024.0},
                                                                               {"MiB", 1048576.0},
                                                                               {"GiB", 1073741824.0},
                                                                               {"TiB", 1099511627776.0}}};
  const auto bytes = scaled(text, kUnits);
  if (!bytes || *bytes >= 1.8e19) return std::nullopt;
  return static_cast<std::uint64_t>(*bytes);
}

std::string format_bytes(double bytes) {
  static constexpr std::array<const char*, 5> kNames{"B", "kB", "MB", "GB", "TB"};
  std::size_t i = 0;
  while (bytes >= 999.95 && i + 1 < kNames.size()) {
    bytes /= 1000;
    ++i;
  }
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, i == 0 ? "%.0f %s" : "%.1f %s", bytes, kNames.at(i));
  return buffer;
}

std::string format_duration(std::chrono::microseconds d) {
  if (d < std::chrono::microseconds{0}) return "-" + format_duration(-d);
  const double s = static_cast<double>(d.count()) / 1e6;
  char buffer[60];
  if (s < 0.9995) {
    std::snprintf(buffer, sizeof buffer, "%.0f ms", s * 1e3);
  } else if (s < 9.95) {
    std::snprintf(buffer, sizeof buffer, "%.1f s", s);
  } else if (s < 59.5) {
    std::snprintf(buffer, sizeof buffer, "%.0f s", s);
  } else {
    const auto total = static_cast<long long>(std::llround(s));
    if (total < 3600) {
      std::snprintf(buffer, sizeof buffer, "%lld min %02lld s", total / 60, total % 60);
    } else if (total < 86400) {
      std::snprintf(buffer, sizeof buffer, "%lld h %02lld min", total / 3600, total / 60 % 60);
    } else {
      std::snprintf(buffer, sizeof buffer, "%lld d %02lld h", total / 86400, total / 3600 % 24);
    }
  }
  return buffer;
}

std::string format_seconds(double s) {
  return format_duration(std::chrono::microseconds{static_cast<std::int64_t>(std::max(0.0, s) * 1e6)});
}

std::string format_count(std::int64_t n) {
  std::string text = std::to_string(n);
  const std::size_t first = n < 0 ? 1 : 0;
  for (std::size_t i = text.size(); i > first + 3;) {
    i -= 3;
    text.insert(i, ",");
  }
  return text;
}

}  // namespace regfeatd
