// A partition's life, broken at every step: the connection killed, the claim taken away, the run stopped.
#include <fmt/format.h>

#include <functional>

#include "pg_fixture.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/queue/daemons.hpp"

namespace regfeatd::test {
namespace {

using populate::Step;

/// Does something once, when a step is reached.
class AtStep : public populate::RunObserver {
 public:
  AtStep(Step step, std::function<void()> action) : step_(step), action_(std::move(action)) {}
  void at_step(Step step) override {
    if (step == step_) act();
  }
  void at_rows(std::int64_t done, std::int64_t) override {
    // In the middle of the second target's COPY, for the step `write`.
    if (step_ == Step::write && done > 0) act();
  }

 private:
  void act() {
    if (action_) action_();
    action_ = nullptr;
  }
  Step step_;
  std::function<void()> action_;
};

class Disturbance : public ::testing::TestWithParam<Step> {
 protected:
  void SetUp() override {
    db_.migrate();
    db_.make_bars("eurusd", 2);
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 2));
    ASSERT_EQ(db_.regfeatd({"apply", file.path()}).exit_status, 0);
    const auto session = db_.session();
    daemon_ = queue::register_daemon(*session, {"test", "test", 0, ""}, std::chrono::minutes{5}, 1);
  }

  [[nodiscard]] std::int64_t visible_rows() const {
    return db_.count("SELECT (SELECT count(*) FROM bqx.reg_rate_eurusd) + (SELECT count(*) FROM bqx.reg_bqx_eurusd)");
  }

  Database db_;
  DaemonId daemon_;
  populate::PartitionRunner runner_;
  queue::Timings timings_;
};

TEST_P(Disturbance, AKilledConnectionLeavesNothingAndTheNextTrySucceeds) {
  const auto session = db_.session();
  const auto claim = queue::claim(*session, daemon_, 0);
  ASSERT_TRUE(claim);
  AtStep killer(GetParam(),
                [&] { db_.exec(fmt::format("SELECT pg_terminate_backend({}, 5000)", session->backend_pid())); });
  EXPECT_THROW(runner_.run(*session, *claim, {}, killer, {}, timings_), Fault);
  EXPECT_EQ(visible_rows(), 0);
  EXPECT_EQ(db_.text("SELECT state FROM regfeat.partition ORDER BY partition_id LIMIT 1"), "running");

  const auto fresh = db_.session();
  const auto verdict = queue::fail(*fresh, *claim, Fault(FaultClass::transient, "killed", "57P01"), "test", timings_,
                                   {.base = std::chrono::microseconds{1}});
  EXPECT_EQ(verdict, queue::Verdict::retried);
  const auto again = queue::claim(*fresh, daemon_, 0);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->partition, claim->partition);
  EXPECT_EQ(again->attempt_number, 1) << "a disturbance is not charged";
  AtStep nothing(Step::claim, nullptr);
  EXPECT_EQ(runner_.run(*fresh, *again, {}, nothing, {}, timings_), populate::RunResult::done);
  EXPECT_EQ(visible_rows(), 2 * db_.count("SELECT count(*) FROM bqx.m1_eurusd WHERE time < '2024-07-02'"));
}

TEST_P(Disturbance, ARequeueDuringTheRunFencesIt) {
  const auto session = db_.session();
  const auto claim = queue::claim(*session, daemon_, 0);
  ASSERT_TRUE(claim);
  const bool too_late = GetParam() == Step::commit;  // the work row is locked: the requeue would wait for the commit
  AtStep requeue(GetParam(), [&] {
    if (!too_late)
      db_.exec(fmt::format("UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1 WHERE partition_id = {}",
                           claim->partition.value));
  });
  const auto result = runner_.run(*session, *claim, {}, requeue, {}, timings_);
  EXPECT_EQ(result, too_late ? populate::RunResult::done : populate::RunResult::fenced);
  if (too_late) return;
  EXPECT_EQ(visible_rows(), 0);
  EXPECT_EQ(db_.text("SELECT state FROM regfeat.partition ORDER BY partition_id LIMIT 1"), "pending");
}

/// A stop is looked at between blocks: it takes effect where it comes before the last of them.
class Stopped : public Disturbance {};

TEST_P(Stopped, EndsTheRunAndTheSessionSurvives) {
  const auto session = db_.session();
  const auto claim = queue::claim(*session, daemon_, 0);
  ASSERT_TRUE(claim);
  std::stop_source stop;
  AtStep stopper(GetParam(), [&] { stop.request_stop(); });
  EXPECT_THROW(runner_.run(*session, *claim, {}, stopper, stop.get_token(), timings_), Fault);
  EXPECT_FALSE(session->broken());
  queue::give_back(*session, *claim, "test");
  EXPECT_EQ(visible_rows(), 0);
  EXPECT_EQ(db_.text("SELECT state || ' ' || attempts FROM regfeat.partition ORDER BY partition_id LIMIT 1"),
            "pending 0");
  EXPECT_EQ(db_.text("SELECT outcome FROM regfeat.attempt"), "returned");
}

INSTANTIATE_TEST_SUITE_P(Steps, Disturbance,
                         ::testing::Values(Step::begin, Step::read, Step::write, Step::publish, Step::complete,
                                           Step::commit),
                         [](const auto& step) { return std::string(populate::to_string(step.param)); });

INSTANTIATE_TEST_SUITE_P(Steps, Stopped, ::testing::Values(Step::read, Step::write),
                         [](const auto& step) { return std::string(populate::to_string(step.param)); });

using Partition = Disturbance;

TEST_F(Partition, BadInputFailsAfterTheLimitAndTheOthersGoOn) {
  // A second row for one minute: the join gives it two rows at one position.
  db_.exec(
      "ALTER TABLE bqx.m1_eurusd DROP CONSTRAINT m1_eurusd_pkey; INSERT INTO bqx.m1_eurusd SELECT * FROM bqx.m1_eurusd WHERE time = '2024-07-02 10:00'");
  const TemporaryFile config("regfeatd.yaml", "retry: { attempts: 2, base: 1ms, cap: 10ms }\npoll: 100ms\n");
  const Finished f = db_.regfeatd({"run", "--once", "--workers", "2", "--config", config.path()});
  EXPECT_EQ(f.exit_status, 1) << f.out;
  EXPECT_EQ(db_.text("SELECT string_agg(state, ' ' ORDER BY lower_bound) FROM regfeat.partition"), "done failed");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'failed'"), 2);
  EXPECT_NE(
      db_.text("SELECT message FROM regfeat.failures LIMIT 1").find("more than one row at 2024-07-02 10:00:00+00"),
      std::string::npos)
      << db_.text("SELECT message FROM regfeat.failures LIMIT 1");
}

TEST_F(Partition, LookbackLargerThanTheBudgetFailsWithThatMessage) {
  const auto session = db_.session();
  const auto claim = queue::claim(*session, daemon_, 0);
  AtStep nothing(Step::claim, nullptr);
  try {
    runner_.run(*session, *claim, {.input_budget_bytes = 1000, .reserve = {}}, nothing, {}, timings_);
    FAIL() << "expected a fault";
  } catch (const Fault& e) {
    EXPECT_EQ(e.fault_class(), FaultClass::partition);
    EXPECT_NE(std::string(e.what()).find("memory budget"), std::string::npos) << e.what();
  }
  EXPECT_EQ(visible_rows(), 0);
}

}  // namespace
}  // namespace regfeatd::test
