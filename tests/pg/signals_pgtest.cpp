// A running daemon and its signals: drain, give back, reload.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <fstream>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

class Signals : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.migrate();
    db_.make_bars("eurusd", 30);
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 30));
    ASSERT_EQ(db_.regfeatd({"apply", file.path()}).exit_status, 0);
  }

  [[nodiscard]] std::vector<std::string> daemon(const std::string& config) const {
    return {REGFEATD_BINARY, "run", "--config", config, "--conninfo", db_.conninfo()};
  }
  [[nodiscard]] std::int64_t in_state(const std::string& states) const {
    return db_.count("SELECT count(*) FROM regfeat.partition WHERE state IN (" + states + ")");
  }

  Database db_;
};

TEST_F(Signals, TerminateFinishesWhatIsInHandAndLeavesTheRestPending) {
  const TemporaryFile config("regfeatd.yaml", "workers: 2\n");
  Process process(daemon(config.path()));
  ASSERT_TRUE(eventually([&] { return in_state("'done'") >= 2; }));
  process.signal(SIGTERM);
  const Finished f = process.wait();
  EXPECT_EQ(f.exit_status, 0) << f.out;
  EXPECT_EQ(in_state("'running'"), 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt WHERE outcome NOT IN ('done', 'empty')"), 0)
      << "nothing was given up";
  EXPECT_EQ(db_.text("SELECT state FROM regfeat.daemon"), "stopped");
}

TEST_F(Signals, WhatDoesNotFinishWithinTheGraceIsGivenBackUncharged) {
  // A session of ours keeps a lock that the load of the first partition needs.
  const auto blocker = db_.session();
  pqxx::work lock(blocker->sql());
  lock.exec("LOCK TABLE bqx.m1_eurusd IN ACCESS EXCLUSIVE MODE");
  const TemporaryFile config("regfeatd.yaml", "workers: 2\nshutdown_grace: 300ms\n");
  Process process({REGFEATD_BINARY, "run", "--config", config.path(), "--conninfo", db_.conninfo()});
  // The preflight does not read rows, so it gets by.
  ASSERT_TRUE(eventually([&] { return in_state("'running'") == 2; }));
  process.signal(SIGTERM);
  const Finished f = process.wait();
  EXPECT_EQ(f.exit_status, 0) << f.out;
  EXPECT_EQ(in_state("'pending'"), 30) << f.out;
  EXPECT_EQ(db_.count("SELECT max(attempts) FROM regfeat.partition"), 0) << "not charged";
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'returned'"), 2);
}

TEST_F(Signals, ASecondSignalDoesNotWaitForTheGrace) {
  const auto blocker = db_.session();
  pqxx::work lock(blocker->sql());
  lock.exec("LOCK TABLE bqx.m1_eurusd IN ACCESS EXCLUSIVE MODE");
  const TemporaryFile config("regfeatd.yaml", "workers: 1\nshutdown_grace: 1h\n");
  Process process(daemon(config.path()));
  ASSERT_TRUE(eventually([&] { return in_state("'running'") == 1; }));
  process.signal(SIGTERM);
  ASSERT_TRUE(eventually([&] { return db_.text("SELECT state FROM regfeat.daemon") == "draining"; }));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().exit_status, 0);
  EXPECT_EQ(in_state("'pending'"), 30);
}

TEST_F(Signals, HangUpChangesTheWorkersAndAnInvalidFileKeepsTheOldSettings) {
  const TemporaryFile config("regfeatd.yaml", "workers: 1\nprogress: 200ms\n");
  Process process(daemon(config.path()));
  const auto workers = [&] { return db_.text("SELECT workers_configured FROM regfeat.daemons"); };
  ASSERT_TRUE(eventually([&] { return workers() == "1" && in_state("'done'") >= 1; }));
  EXPECT_TRUE(eventually([&] { return db_.text("SELECT settings ->> 'lease' FROM regfeat.daemons") == "1min"; }))
      << "those of the start are there too";
  std::ofstream(config.path()) << "workers: 3\nprogress: 200ms\n";
  process.signal(SIGHUP);
  EXPECT_TRUE(eventually([&] { return workers() == "3"; })) << workers();
  EXPECT_EQ(
      db_.text(
          "SELECT settings_generation || ' ' || (settings ->> 'workers') || ' ' || (settings ->> 'progress') FROM regfeat.daemons"),
      "2 3 200ms");
  std::ofstream(config.path()) << "worker: 5\n";
  process.signal(SIGHUP);
  EXPECT_TRUE(
      eventually([&] { return db_.text("SELECT message FROM regfeat.daemons").find("worker") != std::string::npos; }));
  EXPECT_EQ(workers(), "3");
  EXPECT_TRUE(process.running());
  ASSERT_TRUE(eventually([&] { return in_state("'pending', 'running'") == 0; }));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().exit_status, 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt WHERE outcome NOT IN ('done', 'empty')"), 0)
      << "no running partition was touched";
}

TEST_F(Signals, HangUpTurnsListeningOnAndOffAndKeepsTheName) {
  const std::string common = "workers: 1\npoll: 1h\nprogress: 200ms\n";
  const TemporaryFile config("regfeatd.yaml", common + "daemon_name: named\nlisten: false\n");
  Process process(daemon(config.path()));
  ASSERT_TRUE(eventually([&] { return in_state("'pending', 'running'") == 0; })) << process.output();
  const auto reload = [&](const std::string& more, int generation) {
    std::ofstream(config.path()) << common << more;
    process.signal(SIGHUP);
    ASSERT_TRUE(eventually([&] { return db_.count("SELECT settings_generation FROM regfeat.daemons") == generation; }))
        << process.output();
  };
  reload("daemon_name: renamed\nlisten: true\n", 2);
  EXPECT_EQ(db_.text("SELECT name || ' ' || (settings ->> 'daemon_name') FROM regfeat.daemons"), "named named");
  EXPECT_NE(process.output().find("daemon_name takes a restart"), std::string::npos) << process.output();
  // Nobody polls for an hour: the notification alone brings the work to the daemon.
  db_.exec("SELECT regfeat.requeue('bars', force => true)");
  ASSERT_TRUE(eventually([&] { return in_state("'pending', 'running'") == 0; })) << process.output();
  reload("daemon_name: named\nlisten: false\n", 3);
  EXPECT_EQ(
      db_.count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"),
      0);
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().exit_status, 0);
}

}  // namespace
}  // namespace regfeatd::test
