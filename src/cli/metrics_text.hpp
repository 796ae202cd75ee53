#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "regfeatd/fit/metric.hpp"

namespace regfeatd::cli {

// The metric catalogue as text: of one family, or of all.

/// Aligned columns; formulas and remarks are broken at `width` columns (absent: never).
[[nodiscard]] std::string metrics_table(std::optional<fit::Family> family, std::optional<std::size_t> width);
/// docs/metrics.md is this, for all families.
[[nodiscard]] std::string metrics_markdown(std::optional<fit::Family> family);
[[nodiscard]] std::string metrics_json(std::optional<fit::Family> family);

}  // namespace regfeatd::cli
