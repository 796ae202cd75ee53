// The work table, operated from psql while daemons run.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

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
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.requeue('demo', NULL, 'infinity')"), 0) << "nothing is behind it";
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.requeue('demo', NULL, NULL, '-infinity')"), 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.requeue('demo', NULL, '-infinity', 'infinity')"), 10);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.requeue('demo', NULL, '2024-07-05', 'infinity', widen => true)"),
            2);
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

/// Runs that are in flight when it opens fail too; they are no probes, and the first probe comes after 10 s all the same.
TEST_F(Operators, TheBreakerWaitsLongerForFailedProbesOnly) {
  const Fault fault(FaultClass::configuration, "relation does not exist", "42P01");
  const auto wait_s = [&] {
    return db_.count(
        "SELECT round(extract(epoch FROM breaker_until - clock_timestamp()) / 10) * 10 FROM regfeat.feature_set");
  };
  std::vector<queue::Claim> in_flight;
  for (int i = 0; i < 8; ++i) {
    const auto claim = queue::claim(*session_, daemon_, i);
    ASSERT_TRUE(claim);
    in_flight.push_back(*claim);
  }
  for (const queue::Claim& claim : in_flight) (void)queue::fail(*session_, claim, fault, "read", {}, {});
  EXPECT_EQ(db_.count("SELECT breaker_faults FROM regfeat.feature_set"), queue::kBreakerFaults);
  EXPECT_EQ(wait_s(), 10);
  for (const int longer : {20, 40, 80, 120, 120}) {
    db_.exec(
        "UPDATE regfeat.feature_set SET breaker_until = now() - interval '1 second'; UPDATE regfeat.partition SET not_before = '-infinity'");
    const auto probe = queue::claim(*session_, daemon_, 0);
    ASSERT_TRUE(probe);
    EXPECT_EQ(queue::fail(*session_, *probe, fault, "read", {}, {}), queue::Verdict::breaker_open);
    EXPECT_EQ(wait_s(), longer);
  }
  EXPECT_EQ(db_.count("SELECT max(attempts) FROM regfeat.partition"), 1) << "charged until it opened, not afterwards";
  // Whoever reloads the settings does not wait for it, even where every partition was kept away from the next probe.
  db_.exec("UPDATE regfeat.partition SET not_before = now() + interval '2 minutes'");
  EXPECT_FALSE(queue::claim(*session_, daemon_, 0));
  EXPECT_EQ(queue::probe_at_once(*session_), 1);
  EXPECT_TRUE(queue::claim(*session_, daemon_, 0));
  EXPECT_FALSE(queue::claim(*session_, daemon_, 0)) << "one probe";
}

TEST_F(Operators, TheBreakerCountsDifferentPartitions) {
  const Fault fault(FaultClass::configuration, "relation does not exist", "42P01");
  db_.exec("UPDATE regfeat.partition SET not_before = 'infinity' WHERE partition_id > 3");
  const auto fail = [&](int partition) {
    db_.exec(fmt::format(
        "UPDATE regfeat.partition SET not_before = CASE partition_id WHEN {} THEN '-infinity' ELSE 'infinity' END::timestamptz",
        partition));
    const auto claim = queue::claim(*session_, daemon_, 0);
    return claim &&
           queue::fail(*session_, *claim, fault, "read", {}, {.attempts = 100}) == queue::Verdict::breaker_open;
  };
  for (const int partition : {1, 1, 1, 2, 1, 2}) EXPECT_FALSE(fail(partition)) << "two different ones";
  EXPECT_TRUE(fail(3));
}

/// From the rows alone: each wait is between a half and the whole of a base that doubles up to the cap, and none is like the other.
TEST_F(Operators, TheBackOffDoublesUpToItsCapWithJitter) {
  const Fault fault(FaultClass::partition, "broken", "22000");
  db_.exec("UPDATE regfeat.partition SET state = 'cancelled' WHERE partition_id > 1");
  std::vector<double> shares;
  for (const int whole_s : {10, 20, 40, 80, 100, 100}) {
    db_.exec("UPDATE regfeat.partition SET not_before = '-infinity'");
    const auto claim = queue::claim(*session_, daemon_, 0);
    ASSERT_TRUE(claim);
    EXPECT_EQ(queue::fail(*session_, *claim, fault, "read", {}, {.attempts = 100, .base = 10s, .cap = 100s}),
              queue::Verdict::retried);
    shares.push_back(std::stod(db_.text(fmt::format(
        "SELECT extract(epoch FROM p.not_before - p.changed_at) / {} FROM regfeat.partition p WHERE partition_id = 1",
        whole_s))));
    EXPECT_GE(shares.back(), 0.499);
    EXPECT_LE(shares.back(), 1.001);
    EXPECT_FALSE(queue::claim(*session_, daemon_, 0)) << "not before that";
  }
  EXPECT_GT(*std::max_element(shares.begin(), shares.end()) - *std::min_element(shares.begin(), shares.end()), 0.001);
}

TEST_F(Operators, NewestFirstIsClaimedNewestFirstAndFeatureSetsTakeTurns) {
  db_.exec(
      "UPDATE regfeat.partition SET claim_rank = -lower_bound; UPDATE regfeat.feature_set SET claim_order = 'newest_first';"
      "INSERT INTO regfeat.feature_set (name, specification_version, order_kind) VALUES ('other', 1, 'time');"
      "INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank) "
      "SELECT f.feature_set_id, p.series, p.lower_bound, p.upper_bound, p.lower_bound "
      "  FROM regfeat.feature_set f, regfeat.partition p WHERE f.name = 'other'");
  while (queue::claim(*session_, daemon_, 0)) {
  }
  EXPECT_EQ(
      db_.text(
          "SELECT string_agg(f.name, ' ' ORDER BY a.attempt_id) FROM regfeat.attempt a JOIN regfeat.feature_set f USING (feature_set_id) "
          " WHERE a.attempt_id <= 6"),
      "demo other demo other demo other");
  const auto out_of_order = [&](const std::string& set, const std::string& before) {
    return db_.count(
        fmt::format("SELECT count(*) FROM (SELECT lower_bound - lag(lower_bound) OVER (ORDER BY a.attempt_id) AS step "
                    "  FROM regfeat.attempt a JOIN regfeat.partition p USING (partition_id) JOIN regfeat.feature_set f "
                    "    ON f.feature_set_id = p.feature_set_id WHERE f.name = '{}') s WHERE step {} 0",
                    set, before));
  };
  EXPECT_EQ(out_of_order("demo", ">"), 0);
  EXPECT_EQ(out_of_order("other", "<"), 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt"), 20);
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
  const auto pages = db_.count("SELECT relpages FROM pg_class WHERE oid = 'regfeat.partition'::regclass");
  ASSERT_GT(pages, 500);
  pqxx::work tx(session_->sql());
  std::int64_t touched = 0;
  for (int i = 0; i < 2; ++i) {  // the second time nothing has to be looked up in the catalogue any more
    const auto plan = nlohmann::json::parse(tx.exec1(fmt::format(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM regfeat.claim({}, {}, NULL, 'test')", daemon_.value,
        i))[0]
                                                .as<std::string>())[0]["Plan"];
    EXPECT_EQ(plan["Actual Rows"], 1) << "there is something to claim";
    touched = plan["Shared Hit Blocks"].get<std::int64_t>() + plan["Shared Read Blocks"].get<std::int64_t>();
  }
  EXPECT_LT(touched, pages / 4) << "of " << pages;
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

TEST_F(Operators, WhatSetWorkersAskedOutlastsALostLease) {
  db_.exec(
      "SELECT regfeat.set_workers('test', 7); UPDATE regfeat.daemon SET applied_generation = 1;"
      "SELECT r.* FROM regfeat.daemon d, regfeat.release_daemon(d.daemon_id, 'lost') r");
  const DaemonId anew = queue::register_daemon(*session_, {"test", "test", 0, ""}, std::chrono::minutes{5}, 7, daemon_);
  EXPECT_EQ(db_.text(fmt::format(
                "SELECT concat_ws(' ', workers_configured, workers_desired, desired_generation, applied_generation) "
                "  FROM regfeat.daemons WHERE daemon_id = {}",
                anew.value)),
            "7 7 1 1");
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
  EXPECT_TRUE(eventually([&] {
    return db.text(
               "SELECT concat_ws(' ', workers_desired, workers_configured, applied_generation) FROM regfeat.daemons LIMIT 1") ==
           "2 2 1";
  })) << "what was asked of it holds on";
  for (const auto& d : daemons) d->signal(SIGTERM);
  for (const auto& d : daemons) EXPECT_EQ(d->wait().exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.daemon WHERE state = 'stopped'"), 4);
}

}  // namespace
}  // namespace regfeatd::test
