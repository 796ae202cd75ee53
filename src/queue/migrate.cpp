#include "regfeatd/queue/migrate.hpp"

#include <fmt/format.h>

#include <array>

#include "regfeatd/base/build_info.hpp"

namespace regfeatd::queue {
namespace {

constexpr Migration kMigrations[] = {
#include "migrations.inc"
};

constexpr std::int64_t kAdvisoryLock = 0x7265676665617464;  // "regfeatd"

SchemaState state_in(pqxx::transaction_base& tx) {
  if (!tx.exec("SELECT to_regclass('regfeat.migration') IS NOT NULL")[0][0].as<bool>()) return {};
  const pqxx::result newest =
      tx.exec("SELECT version, compatible_from FROM regfeat.migration ORDER BY version DESC LIMIT 1");
  if (newest.empty()) return {};
  return {newest[0][0].as<int>(), newest[0][1].as<int>()};
}

/// Runs one migration and writes down that it was.
void apply(pqxx::transaction_base& tx, const Migration& m) {
  tx.exec(std::string(m.sql));
  tx.exec(
      "CREATE TABLE IF NOT EXISTS regfeat.migration (version integer PRIMARY KEY, name text NOT NULL, compatible_from integer NOT NULL, "
      "applied_at timestamptz NOT NULL DEFAULT now(), applied_by text NOT NULL DEFAULT current_user, build_id text NOT NULL);"
      "COMMENT ON TABLE regfeat.migration IS 'Which migrations this schema has.';"
      "COMMENT ON COLUMN regfeat.migration.compatible_from IS 'Programs that serve this schema version or a later one can serve the schema as of this "
      "migration: they run on during an upgrade. Older ones refuse to start, or stop.'");
  tx.exec_params("INSERT INTO regfeat.migration (version, name, compatible_from, build_id) VALUES ($1, $2, $3, $4)",
                 m.version, std::string(m.name), m.compatible_from, std::string(build_id()));
}

}  // namespace

std::span<const Migration> migrations() noexcept { return kMigrations; }

int required_version() noexcept { return migrations().back().version; }

SchemaState schema_state(pg::Session& session) {
  return pg::guarded("reading the schema version", [&] {
    pqxx::work tx(session.sql());
    return state_in(tx);
  });
}

std::string schema_objection(const SchemaState& state) {
  const int own = required_version();
  if (state.version == 0)
    return fmt::format(
        "the database has no schema regfeat: run `regfeatd migrate` (this program serves schema version {})", own);
  if (state.version < own)
    return fmt::format("the database has schema version {}; this program needs version {}: run `regfeatd migrate`",
                       state.version, own);
  if (state.compatible_from > own) {
    return fmt::format(
        "the database has schema version {}, for programs that serve version {} or later; this program serves version {}: install a newer regfeatd",
        state.version, state.compatible_from, own);
  }
  return {};
}

Migrated migrate(pg::Session& session, int to) {
  return pg::guarded("migrate", [&] {
    pqxx::work tx(session.sql());
    tx.exec_params("SELECT pg_advisory_xact_lock($1)", kAdvisoryLock);
    const SchemaState present = state_in(tx);
    Migrated result;
    if (present.version > to) {
      if (to == required_version() && schema_objection(present).empty())
        return result;  // a newer program has added to it
      throw Fault(FaultClass::configuration,
                  fmt::format("the database has schema version {}, newer than {}: migrations do not go back",
                              present.version, to));
    }
    for (const Migration& m : migrations()) {
      if (m.version <= present.version || m.version > to) continue;
      apply(tx, m);
      result.applied.emplace_back(m.name);
    }
    // What a migration added gets its privileges too, and roles that were made since the last time get theirs.
    if (to >= 2) {
      for (const auto& row : tx.exec("SELECT role FROM regfeat.grant_privileges() WHERE NOT granted"))
        result.missing_roles.push_back(row[0].as<std::string>());
    }
    tx.commit();
    return result;
  });
}

void require_schema(pg::Session& session) {
  const std::string objection = schema_objection(schema_state(session));
  if (!objection.empty()) throw Fault(FaultClass::configuration, objection);
}

}  // namespace regfeatd::queue
