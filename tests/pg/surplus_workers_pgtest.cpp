// Workers that are not wanted any more while throttle.rows_per_second makes them wait between two partitions: they claim
// nothing more, and what they wait for is not taken for a slow commit.
#include <signal.h>

#include <fstream>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

class SurplusWorkers : public ::testing::Test {
 protected:
  static constexpr const char* kSettings = "poll: 100ms\nprogress: 100ms\ndaemon_name: paced\n";

  /// Leaves a daemon whose worker 0 waits in the middle of a partition, for minutes, and whose others wait to claim one.
  void SetUp() override {
    apply_bars_job(db_, {"eurusd"}, 5);
    daemon_ = std::make_unique<Process>(std::vector<std::string>{REGFEATD_BINARY, "run", "--config", config_.path(),
                                                                 "--workers", "1", "--conninfo", db_.conninfo()});
    ASSERT_TRUE(eventually([&] {
      return db_.count(
                 "SELECT count(*) FROM regfeat.worker WHERE step = 'write' AND updated_at - step_started_at > interval '500ms'") ==
             1;
    })) << daemon_->output();
    set_workers(4);
    ASSERT_TRUE(eventually([&] { return waiting() == 3; })) << daemon_->output();
  }

  void set_workers(int n) const {
    db_.exec("SELECT regfeat.set_workers('paced', " + std::to_string(n) + ")");
    ASSERT_TRUE(eventually([&] {
      return db_.count(
                 "SELECT count(*) FROM regfeat.daemons WHERE applied_generation = desired_generation AND workers_configured = " +
                 std::to_string(n)) == 1;
    }));
  }
  [[nodiscard]] std::int64_t waiting() const {
    return db_.count(
        "SELECT count(*) FROM regfeat.worker WHERE worker > 0 AND partition_id IS NULL AND step = 'throttled'");
  }
  [[nodiscard]] std::int64_t attempts() const { return db_.count("SELECT count(*) FROM regfeat.attempt"); }

  Database db_;
  TemporaryFile config_{"regfeatd.yaml",
                        std::string(kSettings) + "throttle: { commit_latency: 200ms, rows_per_second: 1 }\n"};
  std::unique_ptr<Process> daemon_;
};

TEST_F(SurplusWorkers, ClaimNothingAfterAnAcknowledgedSetWorkers) {
  EXPECT_EQ(db_.text("SELECT throttle FROM regfeat.daemons"), "held to 1 rows/s");
  set_workers(1);
  ASSERT_TRUE(eventually([&] { return waiting() == 0; })) << "they end without waiting for the rest of it";
  std::ofstream(config_.path()) << kSettings;
  daemon_->signal(SIGHUP);
  ASSERT_TRUE(eventually(
      [&] { return db_.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('pending', 'running')") == 0; }));
  EXPECT_EQ(attempts(), 5);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt WHERE worker > 0"), 0);
  daemon_->signal(SIGTERM);
  EXPECT_EQ(daemon_->wait().exit_status, 0);
}

TEST_F(SurplusWorkers, ClaimNothingAfterTheOrderToStop) {
  daemon_->signal(SIGTERM);
  EXPECT_EQ(daemon_->wait().exit_status, 0);
  EXPECT_EQ(attempts(), 1);
  EXPECT_EQ(db_.text("SELECT outcome FROM regfeat.attempt"), "done") << "what was in hand is finished";
}

}  // namespace
}  // namespace regfeatd::test
