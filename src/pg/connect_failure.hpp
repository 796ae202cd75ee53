#pragma once

#include <string>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::pg {

/// The fault behind a refused connection, from libpq's message (a failed connection has no SQLSTATE): what to do about
/// it is added where that is known. Transient unless the message says that trying again cannot help.
[[nodiscard]] Fault connect_failure(const std::string& message);

}  // namespace regfeatd::pg
