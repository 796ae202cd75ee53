// A worker that gets no further: the verdict names it and its step wherever progress is shown, and goes with
// what held it up.
#include <fmt/format.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <string>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

constexpr int kDays = 5;
constexpr const char* kSettings =
    "lease: 2s\nheartbeat: 200ms\npoll: 200ms\nprogress: 200ms\nstalled_after: 1s\ndaemon_name: chaos\n";

/// Five days of one pair, of which the third is held up in one step while `public.held` has a row. (A lock
/// would not do: the worker's lock_timeout ends such a wait.)
class StallVerdict : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    db_.migrate();
    db_.make_bars("eurusd", kDays);
    db_.exec(R"(
      CREATE TABLE public.held AS SELECT true AS held;
      CREATE FUNCTION public.passes() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN WHILE EXISTS (SELECT FROM public.held) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN true; END $$;)");
    if (std::string(GetParam()) == "read") hold_the_read();
    if (std::string(GetParam()) == "commit") hold_the_commit();
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, kDays));
    const Finished f = db_.regfeatd({"apply", file.path()});
    ASSERT_EQ(f.exit_status, 0) << f.out;
  }

  /// At a row that no other day's look-back reaches.
  void hold_the_read() const {
    db_.exec(R"(
      ALTER TABLE bqx.m1_eurusd RENAME TO raw_eurusd;
      CREATE VIEW bqx.m1_eurusd AS SELECT * FROM bqx.raw_eurusd
       WHERE CASE WHEN "time" = timestamp '2024-07-03 06:00' THEN public.passes() ELSE true END;)");
  }

  void hold_the_commit() const {
    db_.exec(R"(
      CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF (SELECT count(*) FROM regfeat.partition WHERE lower_bound < NEW.lower_bound) = 2 THEN PERFORM public.passes(); END IF;
          RETURN NULL;
        END $$;
      CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON regfeat.partition DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION public.hold();)");
  }

  Database db_;
};

TEST_P(StallVerdict, NamesTheWorkerAndItsStepUntilItGoesOn) {
  const std::string named = fmt::format(": worker chaos/0 in step {} for ", GetParam());
  const auto daemon = start_daemon(db_.conninfo(), 1, kSettings);
  ASSERT_TRUE(eventually([&] {
    return db_.count("SELECT count(*) FROM regfeat.latest_progress WHERE strpos(stalled, '" + named + "') > 0") == 1;
  })) << daemon->output();
  const std::string verdict = db_.text("SELECT stalled FROM regfeat.latest_progress");
  EXPECT_TRUE(verdict.starts_with("nothing finished and no row was written for ")) << verdict;
  EXPECT_NE(verdict.find(", where "), std::string::npos) << "two partitions have been measured: " << verdict;
  EXPECT_EQ(db_.text("SELECT concat_ws(' ', done, running, workers) FROM regfeat.status"), "2 1 1");
  EXPECT_EQ(db_.text("SELECT num_nonnulls(rows_per_second, eta, eta_low, eta_high) FROM regfeat.status"), "0")
      << "nothing is foretold while nothing moves";
  const std::string screen = db_.regfeatd({"status"}).out;
  EXPECT_NE(screen.find("  stalled: nothing finished"), std::string::npos) << screen;
  EXPECT_NE(screen.find(named), std::string::npos) << screen;
  EXPECT_NE(screen.find("ETA unknown while stalled"), std::string::npos) << screen;
  EXPECT_EQ(screen.find(" rows/s"), std::string::npos) << screen;
  const auto document = nlohmann::json::parse(db_.regfeatd({"status", "--json"}).out);
  EXPECT_NE(document["feature_sets"][0]["stalled"].get<std::string>().find(named), std::string::npos)
      << document.dump();
  EXPECT_TRUE(document["feature_sets"][0]["eta"].is_null()) << document.dump();

  db_.exec("DELETE FROM public.held");
  ASSERT_TRUE(eventually([&] {
    return db_.text("SELECT concat_ws(' ', done, stalled) FROM regfeat.latest_progress") == std::to_string(kDays);
  })) << daemon->output();
  EXPECT_TRUE(nlohmann::json::parse(db_.regfeatd({"status", "--json"}).out)["feature_sets"][0]["stalled"].is_null());
  EXPECT_EQ(db_.regfeatd({"status"}).out.find("stalled"), std::string::npos);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt"), kDays);
  daemon->signal(SIGTERM);
  EXPECT_EQ(daemon->wait().exit_status, 0);
}

INSTANTIATE_TEST_SUITE_P(Steps, StallVerdict, ::testing::Values("read", "commit"),
                         [](const auto& step) { return "in_" + std::string(step.param); });

}  // namespace
}  // namespace regfeatd::test
