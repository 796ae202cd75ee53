// What the status says of work whose daemon is gone, and between reports that are far apart.
#include <signal.h>

#include <nlohmann/json.hpp>
#include <string>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

constexpr int kDays = 5;

/// Five days of one pair, of which the COMMIT of the fourth takes as long as `public.held` has a row.
class LiveStatus : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.migrate();
    db_.make_bars("eurusd", kDays);
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, kDays));
    const Finished f = db_.regfeatd({"apply", file.path()});
    ASSERT_EQ(f.exit_status, 0) << f.out;
    db_.exec(R"(
      CREATE TABLE public.held AS SELECT true AS held;
      CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF (SELECT count(*) FROM regfeat.partition WHERE lower_bound < NEW.lower_bound) = 3 THEN
            WHILE EXISTS (SELECT FROM public.held) LOOP PERFORM pg_sleep(0.02); END LOOP;
          END IF;
          RETURN NULL;
        END $$;
      CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON regfeat.partition DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION public.hold();)");
  }
  /// Waits until the fourth day is the one in hand and an ETA is known.
  [[nodiscard]] bool held() const {
    return eventually([&] {
      return db_.count(
                 "SELECT count(*) FROM regfeat.latest_progress WHERE done = 3 AND running = 1 AND eta IS NOT NULL") ==
             1;
    });
  }
  [[nodiscard]] nlohmann::json status() const {
    return nlohmann::json::parse(db_.regfeatd({"status", "--json"}).out)["feature_sets"][0];
  }
  Database db_;
};

TEST_F(LiveStatus, NothingIsForetoldOfWorkWhoseDaemonIsGone) {
  const auto daemon =
      start_daemon(db_.conninfo(), 1, "lease: 4s\nheartbeat: 200ms\npoll: 200ms\nprogress: 200ms\ndaemon_name: gone\n");
  ASSERT_TRUE(held()) << daemon->output();
  db_.exec("UPDATE regfeat.daemon SET throttle = 'commits take long'");
  daemon->signal(SIGKILL);
  daemon->wait();
  // While its lease lasts nobody can know, but what was foretold does not lie before now.
  db_.exec(
      "UPDATE regfeat.progress SET eta = now() - interval '12 s', eta_low = now() - interval '13 s', eta_high = now() - interval '11 s'");
  const auto at_once = status();
  if (!at_once["eta"].is_null()) {
    for (const char* bound : {"seconds", "low_seconds", "high_seconds"}) EXPECT_EQ(at_once["eta"][bound], 0) << at_once;
  }
  db_.exec("UPDATE regfeat.daemon SET heartbeat_at = now() - interval '5 s'");  // the lease has run out
  const auto later = status();
  EXPECT_TRUE(later["eta"].is_null()) << later;
  EXPECT_TRUE(later["rows_per_second"]["smoothed"].is_null()) << later;
  EXPECT_TRUE(later["rows_per_second"]["now"].is_null()) << later;
  EXPECT_EQ(later["workers"]["active"], 0) << later;
  EXPECT_EQ(later["workers"]["configured"], 0) << later;
  EXPECT_EQ(later["partitions"]["running"], 1) << "nobody has taken it up yet";
  EXPECT_EQ(
      db_.text(
          "SELECT format('%s %s', workers, num_nonnulls(rows_per_second, eta, eta_low, eta_high)) FROM regfeat.status"),
      "0 0");

  // Another daemon comes, and does not repeat what held the dead one back.
  db_.exec("DELETE FROM public.held; DELETE FROM regfeat.progress");
  const auto heir =
      start_daemon(db_.conninfo(), 1, "lease: 4s\nheartbeat: 200ms\npoll: 200ms\nprogress: 200ms\ndaemon_name: heir\n");
  ASSERT_TRUE(eventually([&] { return db_.count("SELECT count(*) FROM regfeat.latest_progress WHERE done = 5") == 1; }))
      << heir->output();
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.progress WHERE throttle IS NOT NULL"), 0);
}

TEST_F(LiveStatus, ReportsMayBeAnHourApart) {
  const std::string settings = "lease: 4s\nheartbeat: 200ms\npoll: 200ms\ndaemon_name: rare\n";
  {
    // Something to learn from, so that the one report in an hour has an ETA.
    const auto teacher = start_daemon(db_.conninfo(), 1, settings + "progress: 200ms\n");
    ASSERT_TRUE(held()) << teacher->output();
  }
  // As it is half an hour after a report: the work goes on, and the last report is the newest there is.
  const auto daemon = start_daemon(db_.conninfo(), 1, settings + "progress: 1h\n");
  ASSERT_TRUE(eventually([&] {
    return db_.count(
               "SELECT count(*) FROM regfeat.partition p JOIN regfeat.daemons d USING (daemon_id) WHERE p.state = 'running' AND d.alive "
               "   AND d.settings->>'progress' = '1h'") == 1;
  })) << daemon->output();
  db_.exec(
      "UPDATE regfeat.progress g SET at = g.at - interval '30 min', next_due = g.at + interval '30 min', eta = now() + interval '1 min', "
      "       eta_low = now() + interval '50 s', eta_high = now() + interval '70 s', rows_per_second = 1000, rows_per_second_now = 900, stalled = NULL;"
      "UPDATE regfeat.worker SET updated_at = updated_at - interval '30 min', step_started_at = step_started_at - interval '30 min'");
  const auto between = status();
  EXPECT_NEAR(between["eta"]["seconds"].get<double>(), 60, 30) << between;
  EXPECT_EQ(between["rows_per_second"]["smoothed"], 1000) << between;
  EXPECT_EQ(between["rows_per_second"]["now"], 900) << between;
  EXPECT_EQ(between["workers"]["active"], 1) << between;
  EXPECT_EQ(db_.text("SELECT concat_ws(' ', workers, stalled_workers) FROM regfeat.status"), "1 0");
  db_.exec("UPDATE regfeat.progress SET at = now() - interval '4 h', next_due = now() - interval '3 h'");
  EXPECT_TRUE(status()["eta"].is_null()) << "three reports are missing";
  db_.exec("DELETE FROM public.held");
}

}  // namespace
}  // namespace regfeatd::test
