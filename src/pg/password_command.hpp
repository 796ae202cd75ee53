#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace regfeatd::pg {

/// Runs a program (no shell) and returns the first line that it prints: a password for the next connection. Throws
/// Fault: configuration when there is no such program, transient when it fails, prints nothing or does not end within
/// `timeout` (it and its children are killed then). Neither what it prints nor the arguments stand in any message;
/// of what a failing one says on standard error the last line does.
[[nodiscard]] std::string run_password_command(const std::vector<std::string>& command,
                                               std::chrono::milliseconds timeout);

}  // namespace regfeatd::pg
