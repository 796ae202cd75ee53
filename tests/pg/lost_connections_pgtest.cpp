// Connections that end while daemons run: backends terminated at random, the server restarted, the network cut exactly at
// COMMIT. Afterwards the targets are those of an undisturbed run, and the attempts say what happened.
#include <fmt/format.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <random>
#include <thread>

#include "chaos.hpp"
#include "wire_proxy.hpp"

namespace regfeatd::test {
namespace {

using std::chrono::milliseconds;

bool all_done(const Database& db) {
  return db.count("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')") == 0;
}

void stop(Process& daemon) {
  daemon.signal(SIGTERM);
  const Finished f = daemon.wait();
  EXPECT_EQ(f.exit_status, 0) << f.out;
}

TEST(LostConnections, EveryWorkersBackendIsEndedAtRandomMoments) {
  const auto make = [](const Database& db) { apply_bars_job(db, {"eurusd", "gbpusd"}, chaos_size(15, 120)); };
  const auto expected = undisturbed(make);
  const Database db;
  make(db);
  std::mt19937 random(chaos_seed());
  const auto one = start_daemon(db.conninfo(), 2);
  const auto two = start_daemon(db.conninfo(), 2);
  const auto killer = db.session();
  int ended = 0;
  EXPECT_TRUE(eventually([&] {
    std::this_thread::sleep_for(milliseconds{std::uniform_int_distribution<int>(0, 40)(random)});
    pqxx::work tx(killer->sql());
    ended +=
        tx.exec1(
              "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity "
              " WHERE datname = current_database() AND application_name ~ '^regfeatd/chaos/[0-9]+$' AND random() < 0.6")
            [0]
                .as<int>();
    tx.commit();
    return all_done(db);
  }));
  stop(*one);
  stop(*two);
  EXPECT_GT(ended, 0);
  EXPECT_EQ(target_checksums(db), expected);
  expect_complete_and_explained(db);
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.attempt WHERE outcome = 'disturbed' AND fault_class IS DISTINCT FROM 'transient'"),
      0);
  std::printf(
      "%d backends ended; attempts: %s\n", ended,
      db.text(
            "SELECT string_agg(outcome || ' ' || n, ', ') FROM (SELECT outcome, count(*) n FROM regfeat.attempt GROUP BY 1 ORDER BY 1) x")
          .c_str());
}

TEST(LostConnections, TheServerIsRestartedFastAndImmediate) {
  const auto make = [](const Database& db) { apply_bars_job(db, {"eurusd", "gbpusd"}, chaos_size(15, 90)); };
  const auto expected = undisturbed(make);
  const Cluster cluster;
  const Database db(cluster.conninfo());
  make(db);
  const auto one = start_daemon(db.conninfo(), 2);
  const auto two = start_daemon(db.conninfo(), 2);
  const auto done = [&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"); };
  {
    // The first restart meets work in hand for certain, the others by chance.
    const auto blocker = db.session();
    pqxx::work lock(blocker->sql());
    lock.exec("LOCK TABLE bqx.m1_eurusd IN ACCESS EXCLUSIVE MODE");
    ASSERT_TRUE(eventually([&] {  // all four workers: a daemon that is still starting would end
      return db.count("SELECT count(*) FROM pg_locks WHERE relation = 'bqx.m1_eurusd'::regclass AND NOT granted") == 4;
    }));
    cluster.pg({"restart", "-m", "immediate"});
  }
  for (const std::string mode : {"fast", "immediate", "immediate", "fast"}) {
    const auto before = done();
    EXPECT_TRUE(eventually([&] {
      return all_done(db) ||
             (done() > before && db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'") > 0);
    }));
    cluster.pg({"restart", "-m", mode});
  }
  EXPECT_TRUE(eventually([&] { return all_done(db); }));
  stop(*one);
  stop(*two);
  EXPECT_EQ(target_checksums(db), expected);
  expect_complete_and_explained(db);
  EXPECT_GT(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome NOT IN ('done', 'empty')"), 0)
      << "the restarts hit work in hand";
}

TEST(LostConnections, ASecondSignalEndsADaemonWhoseServerIsGone) {
  const Cluster cluster;
  const Database db(cluster.conninfo());
  apply_bars_job(db, {"eurusd"}, 1);
  const auto blocker = db.session();
  pqxx::work lock(blocker->sql());
  lock.exec("LOCK TABLE bqx.m1_eurusd IN ACCESS EXCLUSIVE MODE");
  const auto daemon = start_daemon(db.conninfo(), 1);
  ASSERT_TRUE(
      eventually([&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'") == 1; }));
  cluster.pg({"stop", "-m", "immediate"});
  daemon->signal(SIGTERM);
  ASSERT_TRUE(eventually([&] { return daemon->output().find("stopping") != std::string::npos; }));
  daemon->signal(SIGTERM);
  EXPECT_TRUE(eventually([&] { return !daemon->running(); })) << daemon->output();
  EXPECT_EQ(daemon->wait().exit_status, 0) << daemon->output();
  cluster.pg({"start", "--fast-unsafe"});
  // What it could not give back is taken from it by the next daemon.
  const Finished f = db.regfeatd({"run", "--once", "--workers", "1"});
  EXPECT_EQ(f.exit_status, 0) << f.out;
  EXPECT_EQ(db.text("SELECT string_agg(outcome, ' ' ORDER BY attempt_id) FROM regfeat.attempt"), "lost done");
}

TEST(LostConnections, TheNetworkIsCutExactlyAtCommit) {
  const auto make = [](const Database& db) { apply_bars_job(db, {"eurusd"}, chaos_size(20, 120)); };
  const auto expected = undisturbed(make);
  const Database db;
  make(db);
  std::mt19937 random(chaos_seed());
  Mutex mutex;
  std::atomic<bool> quiet{false};
  WireProxy proxy(db.conninfo(), [&](const std::string& application) {
    if (quiet || application.find("/start") != std::string::npos) return CommitFate::pass;
    const MutexLock lock(mutex);
    const int dice = std::uniform_int_distribution<int>(0, 11)(random);
    return dice == 0 ? CommitFate::lose_reply : dice == 1 ? CommitFate::lose_request : CommitFate::pass;
  });
  const auto daemon = start_daemon(proxy.conninfo(), 3);
  EXPECT_TRUE(eventually([&] { return all_done(db); })) << daemon->output();
  quiet = true;
  stop(*daemon);
  EXPECT_GT(proxy.replies_lost(), 0);
  EXPECT_GT(proxy.requests_lost(), 0);
  EXPECT_EQ(target_checksums(db), expected);
  expect_complete_and_explained(db);
  std::printf(
      "%d replies and %d requests lost; attempts: %s\n", proxy.replies_lost(), proxy.requests_lost(),
      db.text(
            "SELECT string_agg(outcome || ' ' || n, ', ') FROM (SELECT outcome, count(*) n FROM regfeat.attempt GROUP BY 1 ORDER BY 1) x")
          .c_str());
}

/// Each fate of the COMMIT of the partition's own transaction, one at a time.
class OneCommit : public ::testing::TestWithParam<CommitFate> {};

TEST_P(OneCommit, IsSettledByTheAttemptsOwnRow) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 1);
  std::atomic<int> commits{0};
  // A worker's first COMMIT is that of the claim, its second that of the partition.
  WireProxy proxy(db.conninfo(), [&](const std::string& application) {
    return application == "regfeatd/chaos/0" && ++commits == 2 ? GetParam() : CommitFate::pass;
  });
  const auto daemon = start_daemon(proxy.conninfo(), 1);
  EXPECT_TRUE(eventually(
      [&] { return all_done(db) && db.count("SELECT count(*) FROM regfeat.worker WHERE step = 'idle'") == 1; }));
  stop(*daemon);
  const bool replied = GetParam() == CommitFate::lose_reply;
  EXPECT_EQ(db.text("SELECT string_agg(outcome, ' ' ORDER BY attempt_id) FROM regfeat.attempt"),
            replied ? "done" : "disturbed done");
  EXPECT_NE(db.text("SELECT message FROM regfeat.attempt ORDER BY attempt_id LIMIT 1"), "")
      << "the first attempt says what happened";
  EXPECT_EQ(db.count("SELECT count(*) FROM bqx.reg_rate_eurusd"), db.count("SELECT count(*) FROM bqx.m1_eurusd"));
  expect_complete_and_explained(db);
}

INSTANTIATE_TEST_SUITE_P(Fates, OneCommit, ::testing::Values(CommitFate::lose_reply, CommitFate::lose_request),
                         [](const auto& fate) {
                           return fate.param == CommitFate::lose_reply ? "ReplyLost" : "RequestLost";
                         });

/// The claim's own COMMIT goes unanswered: the partition is claimed, and nobody knows.
TEST(LostConnections, AClaimWhoseAnswerWasLostIsGivenBack) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 1);
  std::atomic<int> commits{0};
  WireProxy proxy(db.conninfo(), [&](const std::string& application) {
    return application == "regfeatd/chaos/0" && ++commits == 1 ? CommitFate::lose_reply : CommitFate::pass;
  });
  const auto daemon = start_daemon(proxy.conninfo(), 1);
  EXPECT_TRUE(eventually([&] { return all_done(db); }));
  stop(*daemon);
  EXPECT_EQ(db.text("SELECT string_agg(outcome, ' ' ORDER BY attempt_id) FROM regfeat.attempt"), "lost done");
  expect_complete_and_explained(db);
}

}  // namespace
}  // namespace regfeatd::test
