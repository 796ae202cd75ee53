#pragma once

#include <string>
#include <string_view>

namespace regfeatd::spec {

/// Whether a libpq connection string (keywords or URI) holds a password, or a key's passphrase.
[[nodiscard]] bool holds_password(std::string_view conninfo);

}  // namespace regfeatd::spec
