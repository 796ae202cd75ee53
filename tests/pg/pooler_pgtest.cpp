// A whole job behind the real pgbouncer in transaction mode, and how an idle daemon learns of work with and without LISTEN.
#include <fmt/format.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "chaos.hpp"
#include "regfeatd/queue/daemons.hpp"

namespace regfeatd::test {
namespace {

constexpr const char* kPgbouncer = "/usr/sbin/pgbouncer";

std::string keyword(const std::string& conninfo, const std::string& key) {
  const std::size_t at = conninfo.find(key + '=') + key.size() + 1;
  return conninfo.substr(at, conninfo.find(' ', at) - at);
}

/// pgbouncer in front of a database's server, with `pool_size` server connections for all clients.
class Pooler {
 public:
  Pooler(const Database& db, int pool_size) {
    const std::string host = keyword(db.conninfo(), "host"), port = keyword(db.conninfo(), "port");
    std::string pattern = (std::filesystem::temp_directory_path() / "regfeatd-pooler-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream(folder_ / "pgbouncer.ini") << fmt::format(
        "[databases]\n* = host={} port={} user=regfeatd\n[pgbouncer]\npool_mode = transaction\nauth_type = any\nlisten_addr =\nlisten_port = {}\n"
        "unix_socket_dir = {}\ndefault_pool_size = {}\nmax_client_conn = 200\nlogfile = {}/log\n",
        host, port, port, folder_.string(), pool_size, folder_.string());
    std::vector<std::string> command{kPgbouncer, "-q"};
    struct stat server {};
    if (geteuid() == 0 &&
        stat(host.c_str(), &server) == 0) {  // it refuses to run as root; the server's user may use the server's socket
      std::filesystem::permissions(folder_, std::filesystem::perms::all);
      for (const auto& path : {folder_, folder_ / "pgbouncer.ini"})
        (void)!chown(path.c_str(), server.st_uid, server.st_gid);
      command.insert(command.end(), {"-u", getpwuid(server.st_uid)->pw_name});
    }
    command.push_back((folder_ / "pgbouncer.ini").string());
    process_ = std::make_unique<Process>(command);
    conninfo_ = db.conninfo();
    conninfo_.replace(conninfo_.find(host), host.size(), folder_.string());
    if (!eventually([&] { return std::filesystem::exists(folder_ / (".s.PGSQL." + port)) || !process_->running(); }) ||
        !process_->running()) {
      throw std::runtime_error("pgbouncer does not run: " + process_->output());
    }
  }
  ~Pooler() {
    process_->signal(SIGKILL);
    process_->wait();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Pooler(const Pooler&) = delete;
  Pooler& operator=(const Pooler&) = delete;
  [[nodiscard]] const std::string& conninfo() const noexcept { return conninfo_; }

 private:
  std::filesystem::path folder_;
  std::string conninfo_;
  std::unique_ptr<Process> process_;
};

TEST(Pooler, AWholeJobRunsBehindPgbouncerInTransactionMode) {
  if (!std::filesystem::exists(kPgbouncer))
    GTEST_SKIP() << "there is no " << kPgbouncer << ": scripts/install-deps installs it";
  const auto make = [](const Database& db) { apply_bars_job(db, {"eurusd", "gbpusd"}, 12); };
  const auto expected = undisturbed(make);
  const Database db;
  constexpr int kPoolSize = 6;
  const Pooler pooler(db, kPoolSize);
  pg::Session through({pooler.conninfo(), "test"});
  EXPECT_TRUE(queue::behind_pooler(through));
  EXPECT_FALSE(queue::behind_pooler(*db.session()));

  const auto program = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--conninfo", pooler.conninfo()});
    return regfeatd(arguments);
  };
  db.make_bars("eurusd", 12);
  db.make_bars("gbpusd", 12);
  const TemporaryFile spec("spec.yaml", bars_specification({"eurusd", "gbpusd"}, 12));
  for (const std::vector<std::string>& step :
       {std::vector<std::string>{"migrate"}, {"plan", spec.path()}, {"apply", spec.path()}}) {
    const Finished f = program(step);
    ASSERT_EQ(f.exit_status, 0) << f.out;
  }
  // More clients than server connections: two daemons of two workers and a reporter each, status and operators beside them.
  const auto one = start_daemon(pooler.conninfo(), 2);
  const auto two = start_daemon(pooler.conninfo(), 2);
  const auto ask = [&](const std::string& sql) {
    pqxx::work tx(through.sql());
    const auto answer = tx.exec(sql)[0][0].as<std::string>("");
    tx.commit();
    return answer;
  };
  EXPECT_TRUE(eventually(
      [&] { return ask("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')") == "0"; }));
  EXPECT_EQ(target_checksums(db), expected);
  // Operators' orders arrive by polling alone.
  ask("SELECT count(*) FROM regfeat.set_workers('chaos', 1)");
  EXPECT_TRUE(eventually([&] {
    return ask("SELECT count(*) FROM regfeat.daemons WHERE alive AND workers_configured = 1 AND applied_generation = desired_generation") ==
           "2";
  }));
  db.exec("UPDATE regfeat.partition SET input_fingerprint = NULL");
  EXPECT_EQ(ask("SELECT count(*) FROM regfeat.requeue('bars')"), "24");
  EXPECT_TRUE(eventually(
      [&] { return ask("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')") == "0"; }));
  EXPECT_EQ(program({"status"}).exit_status, 0);
  for (Process* daemon : {one.get(), two.get()}) {
    daemon->signal(SIGTERM);
    const Finished f = daemon->wait();
    EXPECT_EQ(f.exit_status, 0) << f.out;
  }
  EXPECT_EQ(target_checksums(db), expected);
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(format('%s %s %s', outcome, step, message), '; ') FROM regfeat.attempt WHERE outcome NOT IN ('done', 'empty')"),
      "");
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE backend_pid IS NOT NULL"), 0)
      << "server connections are shared: nobody may end them";

  // Nothing of ours stays on any of the server connections. As many transactions at once as there are connections see them all.
  std::vector<std::unique_ptr<pg::Session>> sessions;
  std::vector<std::unique_ptr<pqxx::work>> all;
  for (int i = 0; i < kPoolSize - 1; ++i) {
    sessions.push_back(std::make_unique<pg::Session>(pg::ConnectOptions{pooler.conninfo(), "test"}));
    all.push_back(std::make_unique<pqxx::work>(sessions.back()->sql()));
    const auto left = all.back()->exec1(
        "SELECT (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()), pg_my_temp_schema()::int, "
        "  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), "
        // these five are pgbouncer's own: it sets them on the server connection for each client
        "  (SELECT coalesce(string_agg(name, ', '), '') FROM pg_settings WHERE source = 'session' AND name NOT IN "
        "    ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings'))");
    for (int field = 0; field < 4; ++field) EXPECT_EQ(left[field].as<int>(), 0) << field;
    EXPECT_EQ(left[4].as<std::string>(), "");
  }
}

/// An idle daemon with an hour between polls: only a notification can tell it of new work.
TEST(Pooler, WithoutAPoolerANotificationWakesAnIdleDaemon) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 2);
  const auto daemon = start_daemon(db.conninfo(), 2, "poll: 1h\nprogress: 1h\nheartbeat: 10m\nlease: 1h\n");
  const auto done = [&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'") == 2; };
  ASSERT_TRUE(eventually(done));
  ASSERT_TRUE(eventually([&] {
    return db.count(
               "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'regfeatd/%' AND state <> 'idle'") ==
           0;
  }));
  db.exec("SELECT regfeat.requeue('bars')");
  EXPECT_TRUE(eventually(done));
}

/// The other way round: nothing is listened for, and the poll finds it.
TEST(Pooler, WithListenOffPollingFindsTheWork) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 2);
  const auto daemon =
      start_daemon(db.conninfo(), 2, "listen: false\npoll: 100ms\nprogress: 1h\nheartbeat: 10m\nlease: 1h\n");
  const auto done = [&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'") == 2; };
  ASSERT_TRUE(eventually(done));
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()"),
      0);
  db.exec("SELECT regfeat.requeue('bars')");
  EXPECT_TRUE(eventually(done));
}

}  // namespace
}  // namespace regfeatd::test
