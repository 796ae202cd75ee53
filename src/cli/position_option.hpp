#pragma once

#include <string>

#include "regfeatd/base/order.hpp"

namespace regfeatd::cli {

/// Reads a position that was given with an option: a time, or an integer for sets ordered by a sequence.
/// Throws SpecError.
[[nodiscard]] OrderValue position_option(OrderKind kind, const std::string& option, const std::string& text);

}  // namespace regfeatd::cli
