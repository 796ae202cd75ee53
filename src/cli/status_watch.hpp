#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::cli {

/// Shows the status, a frame after the other, until SIGINT, SIGTERM or SIGHUP; returns the exit status. On a terminal each frame is
/// written over the last one in one go, so that nothing flickers; a change of its size is followed at once, also while the
/// database does not answer. Elsewhere the frames follow each other as plain text.
///
/// A lost connection is a line on the screen; `connect` opens the next. A signal ends the command at once: a query that is
/// under way is cancelled, and given up when the server does not answer within a second or a second signal comes.
/// Throws Fault for what trying again does not mend.
int watch_status(std::unique_ptr<pg::Session> session, std::function<std::unique_ptr<pg::Session>()> connect,
                 std::chrono::milliseconds interval, bool colour);

}  // namespace regfeatd::cli
