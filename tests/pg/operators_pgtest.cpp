// The work table, operated from psql while daemons run.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>

#include "chaos.hpp"
#include "regfeatd/queue/daemons.hpp"
#include "regfeatd/queue/migrate.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::test {
namespace {

using namespace std::chrono_literals;

class Operators : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.migrate();
    db_.exec(
        "INSERT INTO regfeat.feature_set (name, specification_version, order_kind, lookback_rows) VALUES ('demo', 1, 'time', 150);"
        "INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, rows_in) "
        "SELECT f.feature_set_id, s, regfeat.order_value('time', 'x', d::text), regfeat.order_value('time', 'x', (d + interval '1 day')::text), "
        "       regfeat.order_value('time', 'x', d::text), 100 "
        "  FROM regfeat.feature_set f, unnest('{eurusd,gbpusd}'::text[]) s, generate_series(timestamp '2024-07-01', '2024-07-05', '1 day') d");
    session_ = db_.session();
    daemon_ = queue::register_daemon(*session_, {"test", "test", 0, ""}, std::chrono::minutes{5}, 1);
  }
  [[nodiscard]] std::string refusal(const std::string& sql) const {
    try {
      db_.exec(sql);
    } catch (const std::exception& e) {
      return e.what();
    }
    return "not refused";
  }

  Database db_;
  std::unique_ptr<pg::Session> session_;
  DaemonId daemon_;
};

TEST_F(Operators, RangesAreHalfOpenAndWidenedByTheLookBack) {
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.requeue('demo')"), 10);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.requeue('demo', 'eurusd', '2024-07-02', '2024-07-03')"), 1);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.requeue('demo', 'eurusd', '2024-07-02 23:00', '2024-07-03 00:01')"),
            2);
  EXPECT_EQ(
      db_.count("SELECT count(*) FROM regfeat.requeue('demo', 'eurusd', '2024-07-02', '2024-07-03', widen => true)"), 3)
      << "150 rows of look-back reach over two partitions of 100";
  EXPECT_EQ(db_.text("SELECT message FROM regfeat.requeue('demo', 'gbpusd', reason => 'late rows') LIMIT 1"),
            "requeued by regfeatd: late rows");
  EXPECT_EQ(db_.count("SELECT partitions FROM regfeat.requeue_preview('demo', 'eurusd')"), 5);
  EXPECT_EQ(db_.count("SELECT rows FROM regfeat.requeue_preview('demo', 'eurusd')"), 500);
}

TEST_F(Operators, MistakesAreNamed) {
  EXPECT_NE(refusal("SELECT regfeat.pause('dmeo')").find("there is no feature set dmeo"), std::string::npos);
  EXPECT_NE(refusal("SELECT regfeat.cancel('demo', 'usdjpy')").find("no partitions of a series usdjpy"),
            std::string::npos);
  EXPECT_NE(refusal("SELECT regfeat.requeue('demo', NULL, '2024-13-01')").find("'2024-13-01' is not a time"),
            std::string::npos);
  EXPECT_NE(refusal("SELECT regfeat.requeue('demo', NULL, '2024-07-02', '2024-07-02')").find("range is empty"),
            std::string::npos);
  EXPECT_NE(refusal("SELECT regfeat.set_workers('nobody', 2)").find("no daemon nobody is running"), std::string::npos);
  EXPECT_NE(refusal("SELECT regfeat.set_workers('test', -1)").find("not between 0 and 1024"), std::string::npos);
}

TEST_F(Operators, RequeueAndCancelFenceWhatRuns) {
  for (const std::string call : {"regfeat.requeue('demo', reason => 'x')", "regfeat.cancel('demo', reason => 'x')"}) {
    const auto claim = queue::claim(*session_, daemon_, 0);
    ASSERT_TRUE(claim);
    EXPECT_TRUE(
        queue::read_orders(*session_, daemon_, {{0, claim->partition.value, claim->epoch.value}}).fenced.empty());
    db_.exec("SELECT " + call);
    EXPECT_EQ(queue::read_orders(*session_, daemon_, {{0, claim->partition.value, claim->epoch.value}}).fenced.size(),
              1U);
    pqxx::work tx(session_->sql());
    EXPECT_FALSE(queue::complete(tx, *claim, {}));
    tx.abort();
    EXPECT_EQ(db_.text(fmt::format("SELECT outcome FROM regfeat.attempt WHERE attempt_id = {}", claim->attempt.value)),
              "fenced");
  }
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.partition WHERE state = 'cancelled'"), 10);
  EXPECT_FALSE(queue::claim(*session_, daemon_, 0));
}

TEST_F(Operators, APauseLetsWhatRunsFinish) {
  const auto claim = queue::claim(*session_, daemon_, 0);
  ASSERT_TRUE(claim);
  db_.exec("SELECT regfeat.pause('demo', 'maintenance')");
  EXPECT_EQ(db_.text("SELECT paused_reason FROM regfeat.status"), "paused by regfeatd: maintenance");
  EXPECT_FALSE(queue::claim(*session_, daemon_, 0));
  pqxx::work tx(session_->sql());
  EXPECT_TRUE(queue::complete(tx, *claim, {}));
  tx.commit();
  db_.exec("SELECT regfeat.resume('demo')");
  EXPECT_TRUE(queue::claim(*session_, daemon_, 0));
}

TEST_F(Operators, PriorityGoesFirst) {
  db_.exec("SELECT regfeat.set_priority('demo', 5, 'gbpusd', '2024-07-04')");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.partition WHERE priority = 5"), 2);
  const auto claim = queue::claim(*session_, daemon_, 0);
  ASSERT_TRUE(claim);
  EXPECT_EQ(claim->series, "gbpusd");
  EXPECT_EQ(db_.text(fmt::format("SELECT \"from\" FROM regfeat.partition_status WHERE partition_id = {}",
                                 claim->partition.value)),
            "2024-07-04 00:00:00+00");
}

/// What is blocked has no say in whose turn it is.
TEST_F(Operators, ABlockedPartitionLendsItsPriorityToNoOther) {
  db_.exec(
      "UPDATE regfeat.partition SET priority = 5;"  // of demo, which the other set waits for
      "INSERT INTO regfeat.feature_set (name, specification_version, order_kind) VALUES ('dependent', 1, 'time');"
      "INSERT INTO regfeat.dependency (feature_set_id, requires_id, lookback) SELECT d.feature_set_id, f.feature_set_id, 0 "
      "  FROM regfeat.feature_set d, regfeat.feature_set f WHERE d.name = 'dependent' AND f.name = 'demo';"
      "INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, priority) "
      "SELECT d.feature_set_id, p.series, p.lower_bound, p.upper_bound, p.claim_rank, 10 "
      "  FROM regfeat.feature_set d, regfeat.partition p WHERE d.name = 'dependent' AND p.series = 'eurusd'");
  const auto claimed = [&] {
    const auto claim = queue::claim(*session_, daemon_, 0);
    return claim
               ? db_.text(fmt::format(
                     "SELECT f.name || ' ' || p.priority FROM regfeat.partition p JOIN regfeat.feature_set f USING (feature_set_id) WHERE partition_id = {}",
                     claim->partition.value))
               : "nothing";
  };
  const auto free_first_day = [&](int priority) {
    db_.exec(fmt::format(
        "UPDATE regfeat.partition SET state = 'done' WHERE partition_id = (SELECT min(partition_id) FROM regfeat.partition WHERE series = 'eurusd');"
        "UPDATE regfeat.partition q SET priority = {} FROM regfeat.feature_set d WHERE d.feature_set_id = q.feature_set_id AND d.name = 'dependent' "
        "   AND q.lower_bound = (SELECT min(lower_bound) FROM regfeat.partition)",
        priority));
  };
  EXPECT_EQ(claimed(), "demo 5") << "all of the dependent set is blocked";
  free_first_day(0);
  EXPECT_EQ(claimed(), "demo 5") << "blocked ones of 10, a free one of 0";
  free_first_day(6);
  EXPECT_EQ(claimed(), "dependent 6");
  EXPECT_EQ(claimed(), "demo 5");
}

TEST_F(Operators, TheBreakerOpensProbesAndCloses) {
  const Fault fault(FaultClass::configuration, "relation does not exist", "42P01");
  for (int i = 0; i < queue::kBreakerFaults; ++i) {
    const auto claim = queue::claim(*session_, daemon_, 0);
    ASSERT_TRUE(claim);
    EXPECT_EQ(queue::fail(*session_, *claim, fault, "read", {}, {}),
              i + 1 < queue::kBreakerFaults ? queue::Verdict::retried : queue::Verdict::breaker_open);
  }
  EXPECT_FALSE(queue::claim(*session_, daemon_, 0)) << "the breaker is open";
  EXPECT_EQ(db_.text("SELECT paused_reason FROM regfeat.status"), "relation does not exist");
  db_.exec("UPDATE regfeat.feature_set SET breaker_until = now() - interval '1 second'");
  const auto probe = queue::claim(*session_, daemon_, 0);
  ASSERT_TRUE(probe);
  EXPECT_FALSE(queue::claim(*session_, daemon_, 1)) << "one probe at a time";
  pqxx::work tx(session_->sql());
  ASSERT_TRUE(queue::complete(tx, *probe, {}));
  tx.commit();
  EXPECT_EQ(db_.count("SELECT breaker_faults FROM regfeat.feature_set"), 0);
  EXPECT_TRUE(queue::claim(*session_, daemon_, 0));
}

TEST_F(Operators, RescuePassesOverALockedRowAndComesBack) {
  const auto claim = queue::claim(*session_, daemon_, 0);
  ASSERT_TRUE(claim);
  db_.exec(
      "UPDATE regfeat.daemon SET heartbeat_at = now() - interval '1 day'; UPDATE regfeat.partition SET backend_pid = NULL");
  {
    pqxx::work stalled(session_->sql());  // between the completing UPDATE and COMMIT
    ASSERT_TRUE(queue::complete(stalled, *claim, {}));
    db_.exec("SET lock_timeout = '2s'; SELECT * FROM regfeat.rescue()");
  }
  EXPECT_EQ(db_.text("SELECT state FROM regfeat.daemon"), "lost");
  db_.exec("SELECT * FROM regfeat.rescue()");
  EXPECT_EQ(db_.text(fmt::format("SELECT outcome FROM regfeat.attempt WHERE attempt_id = {}", claim->attempt.value)),
            "lost");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'"), 0);
}

TEST_F(Operators, TheClaimTouchesAFewPagesOfALargeTable) {
  db_.exec(
      "INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, state) "
      "SELECT feature_set_id, 'big', i, i + 1, i, 'done' FROM regfeat.feature_set, generate_series(1, 50000) i; ANALYZE regfeat.partition");
  std::string plan;
  pqxx::work tx(session_->sql());
  for (
      const auto& row : tx.exec(
          "EXPLAIN (ANALYZE, BUFFERS) SELECT q.partition_id FROM regfeat.partition q WHERE q.feature_set_id = 1 AND q.state = 'pending' "
          "AND q.not_before <= now() ORDER BY q.priority DESC, q.claim_rank, q.partition_id LIMIT 1 FOR UPDATE SKIP LOCKED")) {
    plan += row[0].as<std::string>() + '\n';
  }
  EXPECT_NE(plan.find("partition_claim"), std::string::npos) << plan;
  EXPECT_EQ(plan.find("Sort"), std::string::npos) << plan;
  EXPECT_EQ(plan.find("Seq Scan"), std::string::npos) << plan;
}

TEST_F(Operators, RolesMayWhatTheyShould) {
  db_.exec(
      "SET ROLE regfeat_operator; SELECT * FROM regfeat.requeue('demo'); SELECT * FROM regfeat.cancel('demo'); SELECT * FROM regfeat.pause('demo');"
      "SELECT * FROM regfeat.resume('demo'); SELECT * FROM regfeat.set_priority('demo', 1); SELECT * FROM regfeat.requeue_failed('demo');"
      "SELECT * FROM regfeat.set_workers('test', 3)");
  db_.exec("SET ROLE regfeat_reader; SELECT * FROM regfeat.status; SELECT * FROM regfeat.requeue_preview('demo')");
  for (const std::string call :
       {"requeue('demo')", "cancel('demo')", "pause('demo')", "resume('demo')", "set_priority('demo', 1)",
        "requeue_failed('demo')", "set_workers('test', 3)", "rescue()"}) {
    EXPECT_NE(refusal("SET ROLE regfeat_reader; SELECT * FROM regfeat." + call).find("permission denied"),
              std::string::npos)
        << call;
  }
  EXPECT_NE(refusal("SET ROLE regfeat_operator; UPDATE regfeat.partition SET state = 'done'").find("permission denied"),
            std::string::npos);
}

TEST_F(Operators, HistoryIsPrunedButForTheLatestAttempts) {
  for (int i = 0; i < 3; ++i) {
    const auto claim = queue::claim(*session_, daemon_, 0);
    ASSERT_TRUE(claim);
    db_.exec("SELECT regfeat.requeue('demo')");
  }
  db_.exec(
      "UPDATE regfeat.attempt SET started_at = now() - interval '1 year', finished_at = now() - interval '1 year'");
  db_.exec("SELECT * FROM regfeat.prune_attempts(now() - interval '90 days', 0, 100)");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt"), 1);
}

TEST(Daemons, ComputeEachPartitionOnceAndObeySetWorkers) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 12);
  db.make_bars("gbpusd", 12);
  const TemporaryFile spec("spec.yaml", bars_specification({"eurusd", "gbpusd"}, 12));
  ASSERT_EQ(db.regfeatd({"apply", spec.path()}).exit_status, 0);
  const TemporaryFile config("c.yaml",
                             "lease: 3s\nheartbeat: 500ms\npoll: 500ms\nprogress: 300ms\ndaemon_name: many\n");
  std::vector<std::unique_ptr<Process>> daemons;
  for (int i = 0; i < 4; ++i) {
    daemons.push_back(std::make_unique<Process>(std::vector<std::string>{
        REGFEATD_BINARY, "run", "--config", config.path(), "--workers", "4", "--conninfo", db.conninfo()}));
  }
  EXPECT_TRUE(eventually(
      [&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')") == 0; }));
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt"), 24);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome IN ('done', 'empty')"), 24);
  EXPECT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.daemons WHERE alive") == 4; }));
  db.exec("SELECT regfeat.set_workers('many', 2)");
  EXPECT_TRUE(eventually([&] {
    return db.count("SELECT count(*) FROM regfeat.daemons WHERE applied_generation = 1 AND workers_configured = 2") ==
           4;
  }));
  EXPECT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.worker") == 8; }));

  // One is stopped for longer than its lease: the others declare it lost; when it wakes it registers anew.
  daemons[0]->signal(SIGSTOP);
  EXPECT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.daemon WHERE state = 'lost'") == 1; }));
  daemons[0]->signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.daemon") == 5; }));
  for (const auto& d : daemons) d->signal(SIGTERM);
  for (const auto& d : daemons) EXPECT_EQ(d->wait().exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.daemon WHERE state = 'stopped'"), 4);
}

}  // namespace
}  // namespace regfeatd::test
