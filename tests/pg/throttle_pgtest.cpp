// What holds the daemon back, on a real server: slow commits, a replica that stands still, a bound on rows
// per second.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <thread>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

using std::chrono::milliseconds;

/// Waits for something that must come; the test's own time limit is the only one.
void wait_until(Process& daemon, const std::function<bool()>& there) {
  while (daemon.running() && !there()) std::this_thread::sleep_for(milliseconds{50});
}

TEST(Throttling, SlowCommitsLowerTheWorkersUntilTheyAreFastAgain) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 12);
  // Every COMMIT of a partition waits for a lock that the test holds.
  db.exec(R"(
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON regfeat.partition DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION hold();)");
  const auto holder = db.session();
  pqxx::nontransaction lock(holder->sql());
  lock.exec("SELECT pg_advisory_lock(4711)");
  const TemporaryFile config("regfeatd.yaml",
                             "workers: 4\nprogress: 100ms\npoll: 100ms\nthrottle: { commit_latency: 150ms }\n");
  Process daemon({REGFEATD_BINARY, "run", "--config", config.path(), "--conninfo", db.conninfo()});
  wait_until(daemon, [&] {
    return db.count(
               "SELECT count(*) FROM regfeat.progress WHERE throttle LIKE '%: 1 of 4 workers: a commit takes "
               "% ms, more than 150 ms'") > 0;
  });
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.daemons WHERE throttle LIKE '1 of 4 workers: %'"), 1);
  EXPECT_GT(db.count("SELECT count(*) FROM regfeat.progress WHERE limited_by = 'throttle'"), 0);
  lock.exec("SELECT pg_advisory_unlock(4711)");
  // The three that have to rest are seen resting, then all go on.
  wait_until(daemon, [&] {
    return db.count("SELECT count(*) FROM regfeat.daemons WHERE throttle IS NULL AND workers_configured = 4") == 1;
  });
  wait_until(daemon, [&] {
    return db.count("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')") == 0;
  });
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome NOT IN ('done', 'empty')"), 0);
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().exit_status, 0);
}

TEST(Throttling, RestingWorkersClaimNothing) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 36);
  // Commits take longer than the limit for good: one worker does it all from the moment at which that was
  // noticed.
  db.exec(R"(
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.15); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON regfeat.partition DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION slow();)");
  const TemporaryFile config("regfeatd.yaml",
                             "workers: 4\nprogress: 100ms\npoll: 50ms\nthrottle: { commit_latency: 20ms }\n");
  const Finished f = db.regfeatd({"run", "--once", "--config", config.path()});
  EXPECT_EQ(f.exit_status, 0) << f.out;
  // After the first commits of all four (and those that were in hand when it was noticed) only worker 0 is
  // left.
  EXPECT_GE(db.count("SELECT count(*) FROM (SELECT worker, row_number() OVER (ORDER BY attempt_id DESC) AS "
                     "back FROM regfeat.attempt WHERE outcome = 'done') a WHERE back <= 3 AND worker = 0"),
            3);
}

TEST(Throttling, ReportsBetweenSlowCommitsGiveNoWorkerBack) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 12);
  // Several reports come while one partition is computed, and every commit is slow.
  db.exec(R"(
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON regfeat.partition DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION slow();)");
  const TemporaryFile config("regfeatd.yaml",
                             "workers: 4\nprogress: 100ms\npoll: 50ms\nthrottle: { commit_latency: 100ms, "
                             "rows_per_second: 3000 }\n");
  const Finished f = db.regfeatd({"run", "--once", "--config", config.path()});
  EXPECT_EQ(f.exit_status, 0) << f.out;
  const std::string one = "throttle LIKE '%: 1 of 4 workers: %'";
  EXPECT_GT(db.count("SELECT count(*) FROM regfeat.progress WHERE " + one), 0);
  EXPECT_EQ(
      db.text(fmt::format(
          "SELECT string_agg(throttle, E'\\n' ORDER BY at) FROM regfeat.progress WHERE running > 0 AND {0} IS NOT TRUE "
          "   AND at > (SELECT min(at) FROM regfeat.progress WHERE {0})",
          one)),
      "");
}

/// Rows that progress shows never run ahead of the rate, however the rows are cut into partitions and
/// workers.
TEST(Throttling, RowsStayBelowTheRateAndAReloadLiftsIt) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 5);
  constexpr int kRate = 2000;
  const TemporaryFile config(
      "regfeatd.yaml",
      fmt::format("workers: 2\nprogress: 100ms\npoll: 100ms\nthrottle: {{ rows_per_second: {} }}\n", kRate));
  Process daemon({REGFEATD_BINARY, "run", "--config", config.path(), "--conninfo", db.conninfo()});
  wait_until(daemon,
             [&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('done', 'empty')") >= 4; });
  EXPECT_GE(
      db.count(fmt::format("SELECT count(*) FROM regfeat.progress WHERE throttle LIKE '%: held to {} rows/s'", kRate)),
      1);
  EXPECT_GE(db.count("SELECT count(*) FROM regfeat.progress WHERE rows_done > 0"), 2) << "two to compare";
  // Between any two rows: the rate, the burst of a quarter of a second, and a block of 1024 rows in the hands
  // of each worker.
  EXPECT_EQ(db.count(fmt::format(
                "SELECT count(*) FROM regfeat.progress a JOIN regfeat.progress b ON a.at < b.at "
                " WHERE b.rows_done - a.rows_done > {} * (extract(epoch FROM b.at - a.at) + 0.25) + 2 * 2 * 1024",
                kRate)),
            0);
  // Without the bound the rest, computed anew, comes at once; the reason goes away.
  std::ofstream(config.path()) << "workers: 2\nprogress: 100ms\npoll: 100ms\n";
  daemon.signal(SIGHUP);
  wait_until(daemon,
             [&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('done', 'empty')") == 5; });
  wait_until(daemon, [&] { return db.count("SELECT count(*) FROM regfeat.daemons WHERE throttle IS NULL") == 1; });
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().exit_status, 0);
}

/// A cluster of the test's own, which a replica may follow.
class ReplicatedCluster {
 public:
  ReplicatedCluster() : folder_("marker", "") {
    const std::filesystem::path home = std::filesystem::path(folder_.path()).parent_path();
    dir_ = (home / "pg").string();
    wal_ = (home / "wal").string();
    std::filesystem::create_directory(wal_);
    std::filesystem::permissions(home, std::filesystem::perms::all);
    const Finished f = Process({SOURCE_DIR "/scripts/pg", "--dir", dir_, "start", "--set", "wal_level=replica", "--set",
                                "max_wal_senders=2"})
                           .wait();
    if (f.exit_status != 0) throw std::runtime_error(f.out);
    const Finished c = Process({SOURCE_DIR "/scripts/pg", "--dir", dir_, "conninfo"}).wait();
    conninfo_ = c.out.substr(0, c.out.find('\n'));
  }
  ~ReplicatedCluster() { (void)Process({SOURCE_DIR "/scripts/pg", "--dir", dir_, "destroy"}).wait(); }
  [[nodiscard]] const std::string& conninfo() const { return conninfo_; }
  [[nodiscard]] const std::string& wal_folder() const { return wal_; }

 private:
  TemporaryFile folder_;
  std::string dir_, wal_, conninfo_;
};

TEST(Throttling, AReplicaThatFallsBehindLowersTheWorkers) {
  const char* const receiver = "/usr/bin/pg_receivewal";
  if (!std::filesystem::exists(receiver)) GTEST_SKIP() << "no pg_receivewal";
  const ReplicatedCluster cluster;
  const auto text = [&](const std::string& sql) {
    pg::Session session({cluster.conninfo(), "test"});
    pqxx::nontransaction tx(session.sql());
    const pqxx::result r = tx.exec(sql);
    return r.empty() || r[0][0].is_null() ? std::string() : r[0][0].as<std::string>();
  };
  ASSERT_EQ(regfeatd({"migrate", "--conninfo", cluster.conninfo()}).exit_status, 0);
  const TemporaryFile config("regfeatd.yaml",
                             "workers: 4\nprogress: 100ms\npoll: 100ms\nthrottle: { replication_lag: 2MiB }\n");
  Process daemon({REGFEATD_BINARY, "run", "--config", config.path(), "--conninfo", cluster.conninfo()});
  Process replica({receiver, "--no-loop", "-s", "1", "-D", cluster.wal_folder(), "-d", cluster.conninfo()});
  wait_until(daemon, [&] {
    return text(
               "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND write_lsn IS NOT "
               "NULL") == "1" ||
           !replica.running();
  });
  ASSERT_TRUE(replica.running()) << replica.wait().out;
  replica.signal(SIGSTOP);
  text("CREATE TABLE lag AS SELECT i, repeat('x', 100) FROM generate_series(1, 60000) i");
  wait_until(daemon,
             [&] { return text("SELECT throttle FROM regfeat.daemons").starts_with("1 of 4 workers: a replica is "); });
  EXPECT_TRUE(text("SELECT throttle FROM regfeat.daemons").ends_with(" behind, more than 2.1 MB"))
      << text("SELECT throttle FROM regfeat.daemons");
  replica.signal(SIGCONT);
  wait_until(daemon, [&] { return text("SELECT throttle FROM regfeat.daemons").empty(); });
  replica.signal(SIGTERM);
  (void)replica.wait();
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().exit_status, 0);
}

}  // namespace
}  // namespace regfeatd::test
