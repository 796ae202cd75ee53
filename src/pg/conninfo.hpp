#pragma once

#include <string>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::pg {

/// The connection string for libpq: the given one with our defaults added where it and its service file are silent
/// (docs/configuration.md, "Connections"; two of them are set_environment_defaults()'s), the application name, and
/// `password` unless empty. Throws Fault (configuration), whose message never quotes the string.
[[nodiscard]] std::string complete_conninfo(const ConnectOptions& options, const std::string& password);

}  // namespace regfeatd::pg
