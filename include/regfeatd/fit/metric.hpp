#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace regfeatd::fit {

/// `stored` is no family of the catalogue: the numbers of a window that `storage: compact` keeps, from which the
/// metrics of the others are derived (compact.hpp).
enum class Family : std::uint8_t { coefficients, terms, legacy_terms, inference, stored };

/// When a metric is NULL in a window that has all its rows, none of them NULL, NaN or infinite.
enum class NullRule : std::uint8_t {
  never,           ///< only where the result is not finite (overflow)
  needs_four,      ///< also where the window has fewer than 4 rows
  value_dependent  ///< also where a denominator of the formula is 0 (RSS, TSS, 2 a2 + 1e-10), besides `min_rows`
};

/// A row of the catalogue: one metric, everything that the program, its documents and its NULL accounting know of it.
struct MetricInfo {
  Family family;
  std::string_view name;       ///< `r2`: the {metric} of column names; unique inside a family only
  std::string_view formula;    ///< plain text, as in docs/metrics.md
  std::string_view unit;       ///< "input", "input/row^2", "1", ...
  std::string_view when_null;  ///< for people
  NullRule null_rule;
  std::int64_t min_rows;  ///< windows with fewer rows make it NULL: 3, or 4 where n - 3 divides
};

/// Index into `catalogue()`; the members of Family::stored come after its end.
enum class Metric : std::uint8_t {};

/// What specifications may ask for: the members of Family::stored are not among it.
[[nodiscard]] std::span<const MetricInfo> catalogue() noexcept;
[[nodiscard]] bool exists(Metric m) noexcept;
[[nodiscard]] const MetricInfo& info(Metric m) noexcept;
[[nodiscard]] std::string_view to_string(Family f) noexcept;
[[nodiscard]] std::optional<Family> family_from_name(std::string_view name) noexcept;
/// In the order of the catalogue, which is the order of the columns.
[[nodiscard]] std::vector<Metric> metrics_of(Family f);

/// Finds `r2` or `inference.sigma`. An unqualified name that several families define is ambiguous: `matches` then
/// holds all of them, and none when there is no such metric.
struct MetricLookup {
  std::optional<Metric> metric;
  std::vector<Metric> matches;
};
[[nodiscard]] MetricLookup find_metric(std::string_view name);

/// Whether a metric is the number of rows in its window. For windows by range it is given whatever that number is, 0
/// included: it says how complete the window is.
[[nodiscard]] bool counts_rows(Metric m) noexcept;

/// The window offset (rows) that a family defines: 1 for legacy_terms, 0 for the others.
[[nodiscard]] std::int64_t default_offset(Family f) noexcept;

}  // namespace regfeatd::fit
