#pragma once

#include <string_view>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::pg {

/// What an SQLSTATE means for the work at hand. An empty state is a connection that broke.
[[nodiscard]] FaultClass classify(std::string_view sqlstate) noexcept;

}  // namespace regfeatd::pg
