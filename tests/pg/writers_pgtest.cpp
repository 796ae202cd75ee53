// `writers`: of the workers, how many send rows at a time; those that have read and wait hold no transaction.
#include <fmt/format.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <thread>

#include "chaos.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/queue/daemons.hpp"

namespace regfeatd::test {
namespace {

using populate::Step;

/// Tells of every step.
class Watcher : public populate::RunObserver {
 public:
  explicit Watcher(std::function<void(Step)> at_step) : at_step_(std::move(at_step)) {}
  void at_step(Step step) override { at_step_(step); }
  void at_rows(std::int64_t, std::int64_t) override {}

 private:
  std::function<void(Step)> at_step_;
};

/// Runs that share turns, each on a session of its own.
class Writers : public ::testing::Test {
 protected:
  void SetUp() override {
    apply_bars_job(db_, {"eurusd"}, 5);  // Monday to Friday
    const auto session = db_.session();
    daemon_ = queue::register_daemon(*session, {"test", "test", 0, ""}, std::chrono::minutes{5}, 3);
    options_.turns = &turns_;
  }

  Database db_;
  DaemonId daemon_;
  populate::WriteTurns turns_{1};
  populate::RunOptions options_;
};

TEST_F(Writers, OneLoadsWhileTheOthersHaveReadAndAllAreDone) {
  std::atomic<int> loading{0}, most{0}, waited{0};
  const auto work = [&](int number) {
    const auto session = db_.session();
    populate::PartitionRunner runner;
    while (const auto claim = queue::claim(*session, daemon_, number)) {
      bool has_turn = false;
      Watcher watcher([&](Step step) {
        if (step == Step::wait) ++waited;
        if (step == Step::write) {
          has_turn = true;
          const int now = ++loading;
          for (int seen = most.load(); seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          // The first one goes on when somebody waits for it.
          while (waited.load() == 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        if (step == Step::publish && has_turn) --loading;
      });
      queue::Timings timings;
      EXPECT_EQ(runner.run(*session, *claim, options_, watcher, {}, timings), populate::RunResult::done);
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back(work, i);
  }
  EXPECT_EQ(most.load(), 1);
  EXPECT_GT(waited.load(), 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 5);
  EXPECT_EQ(db_.count("SELECT count(*) FROM bqx.reg_rate_eurusd"),
            db_.count("SELECT sum(rows_out) FROM regfeat.partition"));
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt WHERE wait_ms > 0"), waited.load());
}

TEST_F(Writers, WhoWaitsHoldsNoTransactionAndIsFencedWhenThePartitionIsTakenAway) {
  auto turn = turns_.try_take();
  const auto session = db_.session();
  const auto claim = queue::claim(*session, daemon_, 0);
  ASSERT_TRUE(claim);
  Watcher watcher([&](Step step) {
    if (step != Step::wait) return;
    EXPECT_EQ(db_.text(fmt::format("SELECT state FROM pg_stat_activity WHERE pid = {}", session->backend_pid())),
              "idle");
    db_.exec("SELECT regfeat.requeue('bars', NULL, NULL, NULL)");
    turn->give_back();
  });
  populate::PartitionRunner runner;
  queue::Timings timings;
  EXPECT_EQ(runner.run(*session, *claim, options_, watcher, {}, timings), populate::RunResult::fenced);
  EXPECT_EQ(db_.count("SELECT count(*) FROM bqx.reg_rate_eurusd"), 0);
  EXPECT_TRUE(turns_.try_take()) << "a fenced run gives its turn back";
}

TEST_F(Writers, AStopEndsTheWait) {
  const auto turn = turns_.try_take();
  const auto session = db_.session();
  const auto claim = queue::claim(*session, daemon_, 0);
  ASSERT_TRUE(claim);
  std::stop_source stop;
  Watcher watcher([&](Step step) {
    if (step == Step::wait) stop.request_stop();
  });
  populate::PartitionRunner runner;
  queue::Timings timings;
  try {
    runner.run(*session, *claim, options_, watcher, stop.get_token(), timings);
    ADD_FAILURE() << "it did not stop";
  } catch (const Fault& e) {
    EXPECT_EQ(std::string(e.what()), "wait: stopped");
    EXPECT_EQ(e.fault_class(), FaultClass::transient);
  }
  EXPECT_FALSE(session->broken());
}

TEST(WritersOfADaemon, AreBoundedAndChangedByReload) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 8);
  // Whoever loads needs the target's definition and waits for this lock.
  const auto holder = db.session();
  pqxx::work lock(holder->sql());
  lock.exec("LOCK TABLE bqx.reg_rate_eurusd IN ACCESS EXCLUSIVE MODE");
  const TemporaryFile config("regfeatd.yaml",
                             "workers: 4\nwriters: 1\nprogress: 100ms\nheartbeat: 100ms\npoll: 100ms\n");
  Process daemon({REGFEATD_BINARY, "run", "--config", config.path(), "--conninfo", db.conninfo()});
  const auto steps = [&](int write, int wait) {
    return db.count("SELECT count(*) FROM regfeat.worker WHERE step = 'write'") == write &&
           db.count("SELECT count(*) FROM regfeat.worker WHERE step = 'wait'") == wait;
  };
  ASSERT_TRUE(eventually([&] { return steps(1, 3); })) << daemon.output();
  EXPECT_EQ(db.text("SELECT settings->>'writers' FROM regfeat.daemons"), "1");
  std::ofstream(config.path()) << "workers: 4\nwriters: 3\nprogress: 100ms\nheartbeat: 100ms\npoll: 100ms\n";
  daemon.signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return steps(3, 1); })) << daemon.output();
  daemon.signal(SIGTERM);  // those that wait are in hand: they are finished first
  lock.abort();
  const Finished f = daemon.wait();
  EXPECT_EQ(f.exit_status, 0) << f.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 4);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'"), 0);
}

}  // namespace
}  // namespace regfeatd::test
