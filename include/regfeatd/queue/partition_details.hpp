#pragma once

#include <string>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

/// What is known of every partition, as the JSON document that /api/partitions serves (docs/http.md): for
/// each feature set the names of the series, the bounds of the ranges, and one short list per partition that
/// refers to both. Throws Fault.
[[nodiscard]] std::string partition_details_json(pg::Session& session);

}  // namespace regfeatd::queue
