#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

/// What holds a daemon back, for regfeat.daemons and the progress rows; empty texts: nothing.
void record_limits(pg::Session& session, DaemonId self, const std::string& workers_reason, const std::string& throttle);

/// How far the replica that is furthest behind still has to go, in bytes of WAL; nullopt: there is no
/// streaming replica, or the role may not see how far they are (pg_read_all_stats).
[[nodiscard]] std::optional<std::int64_t> replication_lag_bytes(pg::Session& session);

}  // namespace regfeatd::queue
