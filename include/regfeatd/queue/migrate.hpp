#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

struct Migration {
  int version;
  int compatible_from;  ///< programs that serve this version or a later one can serve a schema with this migration
  std::string_view name;
  std::string_view sql;
};

/// The migrations built into this program, ascending.
[[nodiscard]] std::span<const Migration> migrations() noexcept;

/// The version of the schema that this program serves, and the least that it needs.
[[nodiscard]] int required_version() noexcept;

/// What is in the database.
struct SchemaState {
  int version = 0;          ///< 0: there is no schema
  int compatible_from = 0;  ///< the oldest program that can serve it, by the version that it serves
};
[[nodiscard]] SchemaState schema_state(pg::Session& session);

/// Why this program cannot serve such a schema and what to do; "" when it can: it has the program's version, or a later
/// one to which migrations have only added.
[[nodiscard]] std::string schema_objection(const SchemaState& state);

struct Migrated {
  std::vector<std::string> applied;        ///< names of the migrations
  std::vector<std::string> missing_roles;  ///< that do not exist and could not be created
};
/// Applies what is missing up to `to`, all in one transaction under an advisory lock. Throws Fault (configuration) when
/// the database is newer than `to` and not by additions alone: migrations do not go back.
Migrated migrate(pg::Session& session, int to);

/// Throws Fault (configuration), with what to do, when this program cannot serve the schema.
void require_schema(pg::Session& session);

}  // namespace regfeatd::queue
