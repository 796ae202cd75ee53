#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

struct Migration {
  int version;
  std::string_view name;
  std::string_view sql;
};

/// The migrations built into this program, ascending.
[[nodiscard]] std::span<const Migration> migrations() noexcept;

/// The version of the schema that this program serves.
[[nodiscard]] int required_version() noexcept;

/// The version in the database; 0 when the schema is not there.
[[nodiscard]] int schema_version(pg::Session& session);

/// Applies what is missing up to `to`, all in one transaction under an advisory lock, and returns the names of what
/// was applied. Throws Fault (configuration) when the database is newer than `to`: migrations do not go back.
std::vector<std::string> migrate(pg::Session& session, int to);

/// Throws Fault (configuration), with what to do, unless the database has exactly the version this program serves.
void require_schema(pg::Session& session);

}  // namespace regfeatd::queue
