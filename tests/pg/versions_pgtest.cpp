// Programs and schemas of different versions, and who may migrate.
#include <fmt/format.h>
#include <signal.h>

#include "chaos.hpp"
#include "regfeatd/queue/migrate.hpp"

namespace regfeatd::test {
namespace {

/// As a later program would: a migration of which this program knows nothing.
std::string later_migration(int compatible_from) {
  return fmt::format(
      "INSERT INTO regfeat.migration (version, name, compatible_from, build_id) VALUES ({}, 'later', {}, 'later')",
      queue::required_version() + 7, compatible_from);
}

void expect_refusal(const Finished& f, const std::string& what) {
  EXPECT_EQ(f.exit_status, 78) << f.out;
  EXPECT_NE(f.out.find(what), std::string::npos) << f.out;
}

TEST(Versions, ANewerSchemaThatOnlyAddsIsServed) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 2);
  db.exec(later_migration(1));
  EXPECT_EQ(db.regfeatd({"run", "--once", "--workers", "1"}).exit_status, 0);
  EXPECT_EQ(db.regfeatd({"status"}).exit_status, 0);
  EXPECT_EQ(db.regfeatd({"migrate", "--check"}).exit_status, 0);
  const Finished again = db.regfeatd({"migrate"});
  EXPECT_EQ(again.exit_status, 0) << again.out;
  EXPECT_NE(again.out.find("newer than this program, which can serve it"), std::string::npos) << again.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 2);
}

TEST(Versions, ANewerSchemaThatIsNotServedIsRefusedWithWhatToDo) {
  const Database db;
  db.migrate();
  db.exec(later_migration(queue::required_version() + 1));
  for (const std::string command : {"run", "status"}) {
    expect_refusal(db.regfeatd({command}),
                   fmt::format("this program serves version {}: install a newer regfeatd", queue::required_version()));
  }
  expect_refusal(db.regfeatd({"migrate"}), "migrations do not go back");
  EXPECT_EQ(db.regfeatd({"migrate", "--check"}).exit_status, 1);
}

TEST(Versions, AnOlderSchemaIsRefusedWithWhatToDo) {
  const Database db;
  expect_refusal(db.regfeatd({"run"}), "no schema regfeat: run `regfeatd migrate`");
  ASSERT_EQ(db.regfeatd({"migrate", "--to", "2"}).exit_status, 0);
  for (const std::string command : {"run", "status"})
    expect_refusal(db.regfeatd({command}), "has schema version 2; this program needs version");
  EXPECT_EQ(db.regfeatd({"migrate", "--check"}).exit_status, 1);
  ASSERT_EQ(db.regfeatd({"migrate"}).exit_status, 0);
  EXPECT_EQ(db.regfeatd({"migrate", "--check"}).exit_status, 0);
}

TEST(Versions, ARunningDaemonEndsWhenTheSchemaOutgrowsIt) {
  const Database db;
  db.migrate();
  const auto daemon = start_daemon(db.conninfo(), 1);
  ASSERT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.worker WHERE step = 'idle'") == 1; }));
  db.exec(later_migration(1));
  db.exec("UPDATE regfeat.daemon SET heartbeat_at = '-infinity', lease = '1 year'");
  ASSERT_TRUE(
      eventually([&] { return db.count("SELECT count(*) FROM regfeat.daemon WHERE isfinite(heartbeat_at)") == 1; }));
  EXPECT_TRUE(daemon->running()) << "additions do not disturb it";
  db.exec("UPDATE regfeat.migration SET compatible_from = version WHERE name = 'later'");
  const Finished f = daemon->wait();
  expect_refusal(f, "install a newer regfeatd");
  EXPECT_EQ(db.text("SELECT state FROM regfeat.daemon"), "stopped");
}

TEST(Versions, SeveralMigrateAtOnceAndOneDoesIt) {
  const Database db;
  std::vector<std::unique_ptr<Process>> all;
  for (int i = 0; i < 6; ++i)
    all.push_back(
        std::make_unique<Process>(std::vector<std::string>{REGFEATD_BINARY, "migrate", "--conninfo", db.conninfo()}));
  int applied = 0;
  for (const auto& p : all) {
    const Finished f = p->wait();
    EXPECT_EQ(f.exit_status, 0) << f.out;
    applied += f.out.find("applied 0001_regfeat") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(applied, 1);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.migration"), static_cast<std::int64_t>(queue::migrations().size()));
}

TEST(Versions, AMigrationThatFailsLeavesNothing) {
  const Database db;
  db.exec("CREATE SCHEMA regfeat; CREATE TABLE regfeat.progress (mine int)");
  const Finished f = db.regfeatd({"migrate"});
  EXPECT_NE(f.exit_status, 0);
  EXPECT_NE(f.out.find("progress"), std::string::npos) << f.out;
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'regfeat'::regnamespace AND relkind IN ('r', 'v')"),
      "progress");
}

/// A server of its own, because roles belong to all of a server's databases. One role migrates, one runs the daemon, one
/// operates; none is a superuser.
TEST(Versions, SeparateRolesMigrateWithoutCreateRoleAndRunTheJob) {
  const Cluster cluster;
  const Database db(cluster.conninfo());
  db.exec(fmt::format(
      "CREATE ROLE owner LOGIN; CREATE ROLE loader LOGIN; CREATE ROLE duty LOGIN; GRANT CREATE ON DATABASE {} TO owner",
      db.text("SELECT current_database()")));
  const auto as = [&](const std::string& role, std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--conninfo", db.conninfo_as(role)});
    return regfeatd(arguments);
  };
  const Finished first = as("owner", {"migrate"});
  EXPECT_EQ(first.exit_status, 0) << first.out;
  for (const std::string role : {"regfeat_reader", "regfeat_operator", "regfeat_daemon"}) {
    EXPECT_NE(first.out.find("role " + role + " does not exist and owner may not create it"), std::string::npos)
        << first.out;
  }
  db.exec(
      "CREATE ROLE regfeat_reader NOLOGIN; CREATE ROLE regfeat_operator NOLOGIN; CREATE ROLE regfeat_daemon NOLOGIN;"
      "GRANT regfeat_daemon TO loader; GRANT regfeat_operator TO duty");
  const Finished second = as("owner", {"migrate"});
  EXPECT_EQ(second.exit_status, 0) << second.out;
  EXPECT_EQ(second.out.find("does not exist"), std::string::npos) << second.out;
  const Finished refused = as("loader", {"migrate", "--to", "1"});
  EXPECT_NE(refused.exit_status, 0);

  db.make_bars("eurusd", 3);
  db.exec("GRANT USAGE, CREATE ON SCHEMA bqx TO loader; GRANT SELECT ON ALL TABLES IN SCHEMA bqx TO loader");
  const TemporaryFile spec("spec.yaml", bars_specification({"eurusd"}, 3));
  for (const std::vector<std::string>& step :
       {std::vector<std::string>{"plan", spec.path()}, {"apply", spec.path()}, {"run", "--once", "--workers", "2"}}) {
    const Finished f = as("loader", step);
    EXPECT_EQ(f.exit_status, 0) << step.front() << ": " << f.out;
  }
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 3);
  pg::Session duty({db.conninfo_as("duty"), "test"});
  pqxx::work tx(duty.sql());
  EXPECT_EQ(tx.exec("SELECT * FROM regfeat.requeue('bars', reason => 'by duty')").size(), 3U);
  EXPECT_THROW(tx.exec("DELETE FROM regfeat.attempt"), pqxx::insufficient_privilege);
}

}  // namespace
}  // namespace regfeatd::test
