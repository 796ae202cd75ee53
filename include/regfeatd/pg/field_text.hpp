#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace regfeatd::pg {

/// A field in PostgreSQL's binary send format as people read it. `type_name`: as format_type gives it, with or without a
/// modifier. Integers, numeric, boolean, date, timestamps, uuid and character types as psql shows them; others in hex.
[[nodiscard]] std::string field_text(std::span<const std::byte> field, const std::string& type_name);

}  // namespace regfeatd::pg
