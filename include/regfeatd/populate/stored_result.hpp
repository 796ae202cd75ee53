#pragma once

#include <optional>
#include <string>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/queue/failover.hpp"

namespace regfeatd::populate {

/// Holds the rows of a finished partition, as its targets have them now, against the count and the checksum that were
/// recorded with its completion. What differs, in words; nullopt: nothing. Reads every row: as long as a load takes.
/// Throws Fault when it cannot be found out.
[[nodiscard]] std::optional<std::string> difference(pg::Session& session, const queue::StoredResult& result);

}  // namespace regfeatd::populate
