#include "regfeatd/queue/migrate.hpp"

#include <array>

#include "regfeatd/base/build_info.hpp"

namespace regfeatd::queue {
namespace {

constexpr Migration kMigrations[] = {
#include "migrations.inc"
};

constexpr std::int64_t kAdvisoryLock = 0x7265676665617464;  // "regfeatd"

int version_in(pqxx::transaction_base& tx) {
  const pqxx::result table = tx.exec_params("SELECT to_regclass('regfeat.migration') IS NOT NULL");
  if (!table[0][0].as<bool>()) return 0;
  return tx.exec_params("SELECT coalesce(max(version), 0) FROM regfeat.migration")[0][0].as<int>();
}

}  // namespace

std::span<const Migration> migrations() noexcept { return kMigrations; }

int required_version() noexcept { return migrations().back().version; }

int schema_version(pg::Session& session) {
  return pg::guarded("reading the schema version", [&] {
    pqxx::work tx(session.sql());
    return version_in(tx);
  });
}

std::vector<std::string> migrate(pg::Session& session, int to) {
  return pg::guarded("migrate", [&] {
    pqxx::work tx(session.sql());
    tx.exec_params("SELECT pg_advisory_xact_lock($1)", kAdvisoryLock);
    const int present = version_in(tx);
    if (present > to) {
      throw Fault(FaultClass::configuration, "the database has schema version " + std::to_string(present) + ", newer than " +
                                                 std::to_string(to) + ": migrations do not go back");
    }
    std::vector<std::string> applied;
    for (const Migration& m : migrations()) {
      if (m.version <= present || m.version > to) continue;
      tx.exec(std::string(m.sql));
      tx.exec("CREATE TABLE IF NOT EXISTS regfeat.migration (version integer PRIMARY KEY, name text NOT NULL, "
              "applied_at timestamptz NOT NULL DEFAULT now(), applied_by text NOT NULL DEFAULT current_user, build_id text NOT NULL);"
              "COMMENT ON TABLE regfeat.migration IS 'Which migrations this schema has.'");
      tx.exec_params("INSERT INTO regfeat.migration (version, name, build_id) VALUES ($1, $2, $3)", m.version, std::string(m.name),
                     std::string(build_id()));
      applied.emplace_back(m.name);
    }
    // What a migration added gets its privileges too, and roles that were made since the last time get theirs.
    if (to >= 2) tx.exec("SELECT * FROM regfeat.grant_privileges()");
    tx.commit();
    return applied;
  });
}

void require_schema(pg::Session& session) {
  const int present = schema_version(session);
  if (present == required_version()) return;
  const std::string needs = "this program serves schema version " + std::to_string(required_version());
  if (present == 0) {
    throw Fault(FaultClass::configuration, "the database has no schema regfeat: run `regfeatd migrate` (" + needs + ")");
  }
  throw Fault(FaultClass::configuration,
              "the database has schema version " + std::to_string(present) + "; " + needs + ": " +
                  (present < required_version() ? "run `regfeatd migrate`" : "install the newer regfeatd"));
}

}  // namespace regfeatd::queue
