// Keyed sets, targets that exist, what apply changes, dependencies, unchanged partitions, quarantine.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>

#include "pg_fixture.hpp"
#include "regfeatd/populate/apply.hpp"

namespace regfeatd::test {
namespace {

/// Players with matches at irregular times over `days` days from 2020-09-12, some with few, some with long gaps.
void make_players(const Database& db, int days = 40) {
  db.exec(fmt::format("CREATE SCHEMA players; CREATE TABLE players.games (id int, at timestamptz, points int, PRIMARY KEY (id, at)); "
                      "INSERT INTO players.games SELECT p, timestamptz '2020-09-12 15:00+00' + d * interval '1 day', (p * 7 + d * d * 3) % 13 "
                      "  FROM generate_series(1, 12) p, generate_series(0, {0} - 1) d "
                      " WHERE (d * 5 + p) % (1 + p % 5) = 0 AND NOT (p = 4 AND d BETWEEN 5 AND {0} - 8) AND NOT (p = 7 AND d < {0} - 3)",
                      days));
}

std::string players(const std::string& extra = {}, const std::string& name = "form", const std::string& windows = "l5d: { range: 5d }, l30d: { range: 30d }, g3: 3") {
  return fmt::format(R"(feature_set: {}
series: [league]
partition: {{ by: day, from: 2020-09-12, to: 2020-10-22 }}
source: {{ tables: [ {{ table: players.games, time: at }} ] }}
key: [id]
inputs: {{ points: {{ column: points }} }}
windows: {{ {} }}
metrics: [n_obs, terms.prediction]
targets: [ {{ input: points, table: players.{}_features, time: at, column: "{{metric}}_{{window}}" }} ]
{})",
                     name, windows, name, extra);
}

Finished apply_text(const Database& db, const std::string& specification) {
  const TemporaryFile file("spec.yaml", specification);
  return db.regfeatd({"apply", file.path()});
}

Finished run_once(const Database& db) { return db.regfeatd({"run", "--once", "--workers", "2"}); }

void requeue_all(const Database& db) {
  db.exec("UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, attempts = 0; DELETE FROM regfeat.attempt");
}

std::int64_t attempts(const Database& db, const std::string& outcome) {
  return db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = '" + outcome + "'");
}

TEST(FeatureSets, KeyedWindowsHoldTheRowsThatSqlCounts) {
  for (const bool with_index : {true, false}) {
    const Database db;
    db.migrate();
    make_players(db);
    if (!with_index) db.exec("ALTER TABLE players.games DROP CONSTRAINT games_pkey");
    ASSERT_EQ(apply_text(db, players()).exit_status, 0);
    ASSERT_EQ(run_once(db).exit_status, 0);
    EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features"), db.count("SELECT count(*) FROM players.games"));
    EXPECT_EQ(db.count("WITH c AS (SELECT id, at, count(*) OVER (PARTITION BY id ORDER BY at RANGE BETWEEN interval '5 days' - interval '1 us' PRECEDING AND CURRENT ROW) AS d5, "
                       "  count(*) OVER (PARTITION BY id ORDER BY at RANGE BETWEEN interval '30 days' - interval '1 us' PRECEDING AND CURRENT ROW) AS d30, "
                       "  count(*) OVER (PARTITION BY id ORDER BY at ROWS 2 PRECEDING) AS g3 FROM players.games) "
                       "SELECT count(*) FROM c JOIN players.form_features f USING (id, at) "
                       " WHERE n_obs_l5d IS DISTINCT FROM CASE WHEN d5 >= 3 THEN d5 END OR n_obs_l30d IS DISTINCT FROM CASE WHEN d30 >= 3 THEN d30 END "
                       "    OR n_obs_g3 IS DISTINCT FROM CASE WHEN g3 = 3 THEN 3 END"),
              0);
    // A parabola through three points meets the last one.
    EXPECT_EQ(db.count("SELECT count(*) FROM players.games g JOIN players.form_features f USING (id, at) WHERE abs(prediction_g3 - points) > 1e-9"), 0);
  }
}

TEST(FeatureSets, OnlyPartitionsWithOtherInputsAreWrittenAgain) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  const std::int64_t done = attempts(db, "done");
  requeue_all(db);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "unchanged"), done);
  EXPECT_EQ(attempts(db, "done"), 0);
  // Player 5 plays every day: his row of day 10 is in the windows of days 10, 11 and 12, and in no other.
  db.exec("UPDATE players.games SET points = points + 1 WHERE id = 5 AND at::date = '2020-09-22'");
  requeue_all(db);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "done"), 3);
  EXPECT_EQ(attempts(db, "unchanged"), done - 3);
  // A damaged target, or a cleared fingerprint, is repaired.
  db.exec("DELETE FROM players.form_features WHERE at::date = '2020-09-13' AND id = 5; "
          "UPDATE regfeat.partition SET input_fingerprint = NULL WHERE regfeat.order_time('time', lower_bound) = '2020-09-20 00:00+00'");
  requeue_all(db);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "done"), 2);
}

TEST(FeatureSets, AKeyThatCannotBeUsedIsSetAside) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec("ALTER TABLE players.games DROP CONSTRAINT games_pkey; ALTER TABLE players.games ALTER id DROP NOT NULL; "
          "INSERT INTO players.games SELECT * FROM players.games WHERE id = 5 AND at::date = '2020-09-22'; "
          "INSERT INTO players.games VALUES (NULL, '2020-09-23 15:00+00', 1)");
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine WHERE key = 'id=5' AND position LIKE '2020-09-22%'"), 3 - 1);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine WHERE key = 'id=NULL' AND rows_left_out = 1"), 1);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features WHERE id = 5 AND at::date = '2020-09-22'"), 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.games g LEFT JOIN players.form_features f USING (id, at) WHERE g.id <> 5 AND f.id IS NULL"), 0);
  ASSERT_EQ(apply_text(db, players("on_bad_key: fail", "strict", "g3: 3")).exit_status, 0);
  EXPECT_EQ(db.text("SELECT count(*) FROM regfeat.partition"), "80");
}

TEST(FeatureSets, ApplyTouchesWhatChanged) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players()).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_NE(apply_text(db, players()).out.find("0 partitions added, 0 requeued, 40 unchanged"), std::string::npos);
  db.exec("SELECT regfeat.requeue('form', \"from\" => '2020-10-20'); SELECT regfeat.set_priority('form', 7, \"from\" => '2020-10-21')");
  EXPECT_NE(apply_text(db, players("priority: 3\nclaim_order: newest_first")).out.find("0 requeued, 40 unchanged"), std::string::npos);
  EXPECT_EQ(db.text("SELECT string_agg(priority || ' ' || (claim_rank < 0), ', ' ORDER BY lower_bound) FROM regfeat.partition WHERE state = 'pending'"), "3 true, 7 true");
  ASSERT_EQ(run_once(db).exit_status, 0);
  const Finished wider = apply_text(db, players({}, "form", "l5d: { range: 5d }, l30d: { range: 30d }, g3: 3, g4: 4"));
  EXPECT_NE(wider.out.find("40 requeued"), std::string::npos) << wider.out;
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_GT(db.count("SELECT count(n_obs_g4) FROM players.form_features"), 0);
  db.exec("DELETE FROM regfeat.target");  // as if the table were somebody else's
  const Finished foreign = apply_text(db, players({}, "form", "g3: 3, g6: 6"));
  EXPECT_EQ(foreign.exit_status, 78);
  EXPECT_NE(foreign.out.find("n_obs_g6"), std::string::npos) << foreign.out;
}

TEST(FeatureSets, ADependentPartitionWaitsAndSaysForWhat) {
  const Database db;
  db.migrate();
  make_players(db);
  EXPECT_EQ(apply_text(db, players("depends_on: [form]", "second", "l5d: { range: 5d }")).exit_status, 78);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(apply_text(db, players("depends_on: [form]", "second", "l5d: { range: 5d }")).exit_status, 0);
  db.exec("UPDATE regfeat.partition SET state = 'failed', message = 'broken' FROM regfeat.feature_set f "
          " WHERE f.feature_set_id = partition.feature_set_id AND f.name = 'form' AND regfeat.order_time('time', lower_bound) = '2020-10-01 00:00+00'");
  EXPECT_NE(run_once(db).exit_status, 0);
  // The day itself, and the five days whose ranges reach into it.
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition_status WHERE feature_set = 'second' AND blocked_by LIKE '%form%league%2020-10-01%failed%broken%'"), 6);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition_status WHERE feature_set = 'second' AND state IN ('done', 'empty')"), 34);
  EXPECT_EQ(db.count("SELECT blocked FROM regfeat.status WHERE feature_set = 'second' AND blocked_reason LIKE '%form%2020-10-01%failed%broken%'"), 6);
  EXPECT_EQ(db.count("SELECT blocked FROM regfeat.status WHERE feature_set = 'form'"), 0);
  const std::string shown = db.regfeatd({"status"}).out;
  EXPECT_NE(shown.find("6 blocked"), std::string::npos) << shown;
  EXPECT_NE(shown.find("second: 6 partitions are blocked, the first waits for form, series league, 2020-10-01"), std::string::npos) << shown;
  // A reader sees that too.
  db.exec("SET ROLE regfeat_reader; SELECT * FROM regfeat.status; SELECT blocked_by FROM regfeat.partition_status");
  // The failure mended, what waited goes on by itself.
  db.exec("SELECT regfeat.requeue_failed('form')");
  EXPECT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT sum(blocked) FROM regfeat.status"), 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')"), 0);
}

TEST(FeatureSets, ForcedRequeueWritesAgainAndRemovedPartitionsStayOut) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  db.exec("UPDATE players.form_features SET prediction_g3 = -1 WHERE at::date = '2020-09-22'");  // the count is still right
  db.exec("DELETE FROM regfeat.attempt; SELECT regfeat.requeue('form', \"from\" => '2020-09-22', \"to\" => '2020-09-23')");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "unchanged"), 1);
  db.exec("SELECT regfeat.requeue('form', \"from\" => '2020-09-22', \"to\" => '2020-09-23', force => true)");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "done"), 1);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features WHERE prediction_g3 = -1"), 0);
  // Weeks take the place of days: the days that start no week are taken out, and requeue leaves them out.
  std::string weekly = players({}, "form", "g3: 3");
  weekly.replace(weekly.find("by: day, from: 2020-09-12, to: 2020-10-22"), 41, "by: week, from: 2020-09-07, to: 2020-10-26");
  const std::string before = db.checksum("players.form_features", "id, at");
  const Finished changed = apply_text(db, weekly);
  ASSERT_EQ(changed.exit_status, 0) << changed.out;
  EXPECT_NE(changed.out.find("removed     34 partitions"), std::string::npos) << changed.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.requeue('form')"), 7);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.checksum("players.form_features", "id, at"), before);
  EXPECT_EQ(db.text("SELECT partitions || ' ' || cancelled FROM regfeat.status"), "7 0");
}

TEST(FeatureSets, NumericTargetsEqualDoubleOnes) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 2);
  db.exec("CREATE TABLE bqx.numeric_eurusd (ts_utc timestamp PRIMARY KEY, prediction_w15 numeric, rmse_w15 numeric) PARTITION BY RANGE (ts_utc); "
          "CREATE TABLE bqx.any_name PARTITION OF bqx.numeric_eurusd FOR VALUES FROM ('2024-07-01') TO ('2024-08-01'); "
          "CREATE TABLE bqx.real_eurusd (ts_utc timestamptz, prediction_w15 real, rmse_w15 real)");
  const auto specification = [](const std::string& target) {
    return fmt::format("feature_set: {0}\nseries: [eurusd]\npartition: {{ by: day, from: 2024-07-01, to: 2024-07-03 }}\n"
                       "source: {{ tables: [ {{ table: \"bqx.bqx_{{series}}\", time: ts_utc }} ] }}\ninputs: {{ v: {{ column: w15_bqx_return }} }}\n"
                       "windows: {{ w15: 15 }}\nmetrics: [terms.prediction, terms.rmse]\n"
                       "targets: [ {{ input: v, table: \"bqx.{0}_{{series}}\", time: ts_utc, column: \"{{metric}}_{{window}}\" }} ]\n",
                       target);
  };
  for (const char* target : {"numeric", "real", "plain"}) ASSERT_EQ(apply_text(db, specification(target)).exit_status, 0) << target;
  ASSERT_EQ(run_once(db).exit_status, 0);
  const std::int64_t rows = db.count("SELECT count(*) FROM bqx.bqx_eurusd");
  EXPECT_EQ(db.count("SELECT count(*) FROM bqx.plain_eurusd p JOIN bqx.numeric_eurusd n ON n.ts_utc = p.ts_utc AT TIME ZONE 'UTC' "
                     "  JOIN bqx.real_eurusd r ON r.ts_utc = p.ts_utc "
                     " WHERE n.prediction_w15::float8 IS NOT DISTINCT FROM p.prediction_w15 AND n.rmse_w15::float8 IS NOT DISTINCT FROM p.rmse_w15 "
                     "   AND r.prediction_w15 IS NOT DISTINCT FROM p.prediction_w15::real"),
            rows);
}


TEST(FeatureSets, SeveralTargetsOfOneTableAreWrittenTogether) {
  for (const char* partition : {"", ", partition: \"{table}_{start:%Y%m%d}\""}) {
    const Database db;
    db.migrate();
    db.make_bars("eurusd", 2);
    const auto specification = [&](const std::string& targets) {
      return fmt::format("feature_set: both\nseries: [eurusd]\npartition: {{ by: day, from: 2024-07-01, to: 2024-07-03 }}\n"
                         "source: {{ tables: [ {{ table: \"bqx.bqx_{{series}}\", time: ts_utc }}, {{ table: \"bqx.m1_{{series}}\", time: time }} ] }}\n"
                         "inputs: {{ v: {{ column: w15_bqx_return }}, r: {{ column: rate_index }} }}\nwindows: {{ w15: 15 }}\nmetrics: [forecast]\n"
                         "targets:\n{}",
                         targets);
    };
    ASSERT_EQ(apply_text(db, specification(fmt::format("  - {{ input: v, table: \"bqx.both_{{series}}\", time: t, column: \"v_{{metric}}_{{window}}\"{0} }}\n"
                                                       "  - {{ input: r, table: \"bqx.both_{{series}}\", time: t, column: \"{{metric}}_{{window}}_of_r\"{0} }}\n",
                                                       partition)))
                  .exit_status,
              0);
    ASSERT_EQ(run_once(db).exit_status, 0);
    db.exec("SELECT regfeat.requeue('both', force => true)");
    ASSERT_EQ(run_once(db).exit_status, 0);
    const std::int64_t rows = db.count("SELECT count(*) FROM bqx.bqx_eurusd");
    EXPECT_EQ(db.count("SELECT count(*) FROM bqx.both_eurusd"), rows);
    EXPECT_EQ(db.count("SELECT count(v_forecast_w15) FROM bqx.both_eurusd"), rows - 14);
    EXPECT_EQ(db.count("SELECT count(forecast_w15_of_r) FROM bqx.both_eurusd"), rows - 14);
  }
}

TEST(FeatureSets, ATableHasOneWriter) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players()).exit_status, 0);
  std::string other = players({}, "other");
  other.replace(other.find("players.other_features"), 22, "players.form_features");
  const Finished refused = apply_text(db, other);
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("feature set form writes it"), std::string::npos) << refused.out;
  ASSERT_EQ(db.regfeatd({"remove", "form"}).exit_status, 0);
  EXPECT_EQ(apply_text(db, other).exit_status, 0);
}

TEST(FeatureSets, RemoveKeepsTablesUnlessToldOtherwise) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  ASSERT_EQ(apply_text(db, players("depends_on: [form]", "second", "g3: 3")).exit_status, 0);
  const std::int64_t rows = db.count("SELECT count(*) FROM players.form_features");
  const Finished needed = db.regfeatd({"remove", "form"});
  EXPECT_EQ(needed.exit_status, 78);
  EXPECT_NE(needed.out.find("second depends on form"), std::string::npos) << needed.out;
  EXPECT_EQ(db.regfeatd({"remove", "none"}).exit_status, 78);
  const Finished shown = db.regfeatd({"remove", "second", "--drop-tables", "--dry-run"});
  EXPECT_NE(shown.out.find("dropped     players.second_features"), std::string::npos) << shown.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.feature_set"), 2);
  ASSERT_EQ(db.regfeatd({"remove", "second", "--drop-tables"}).exit_status, 0);
  EXPECT_EQ(db.text("SELECT to_regclass('players.second_features')"), "");
  ASSERT_EQ(db.regfeatd({"remove", "form"}).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features"), rows);
  for (const char* table : {"feature_set", "specification", "partition", "attempt", "dependency", "quarantine", "target"}) {
    EXPECT_EQ(db.count(std::string("SELECT count(*) FROM regfeat.") + table), 0) << table;
  }
  // The table is now one that was there before: used as it is, and not dropped.
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features"), rows);
  const Finished again = db.regfeatd({"remove", "form", "--drop-tables"});
  EXPECT_NE(again.out.find("kept        players.form_features"), std::string::npos) << again.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features"), rows);
}

TEST(FeatureSets, RemoveFencesWhatRuns) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 3);
  const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 3));
  ASSERT_EQ(db.regfeatd({"apply", file.path()}).exit_status, 0);
  Process daemon({REGFEATD_BINARY, "run", "--workers", "2", "--conninfo", db.conninfo()});
  for (int i = 0; i < 500 && db.count("SELECT count(*) FROM regfeat.attempt") == 0; ++i) usleep(10'000);
  const Finished removed = db.regfeatd({"remove", "bars", "--drop-tables"});
  daemon.signal(SIGTERM);
  const Finished stopped = daemon.wait();
  EXPECT_EQ(stopped.exit_status, 0) << stopped.out;
  EXPECT_EQ(removed.exit_status, 0) << removed.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM pg_class WHERE relname LIKE 'reg\\_%eurusd%'"), 0) << removed.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition"), 0);
}

TEST(FeatureSets, KeysThatAreEqualAreOneKey) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec("ALTER TABLE players.games ALTER id TYPE numeric; UPDATE players.games SET id = (id || '.00')::numeric WHERE extract(day FROM at)::int % 2 = 0");
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("WITH c AS (SELECT id, at, count(*) OVER (PARTITION BY id ORDER BY at ROWS 2 PRECEDING) AS n FROM players.games) "
                     "SELECT count(*) FROM c LEFT JOIN players.form_features f USING (id, at) WHERE n_obs_g3 IS DISTINCT FROM CASE WHEN n = 3 THEN 3 END"),
            0);
  db.exec("ALTER TABLE players.games ALTER id TYPE double precision");
  const Finished refused = apply_text(db, players({}, "floats", "g3: 3"));
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("key column \"id\" is double precision"), std::string::npos) << refused.out;
}

TEST(FeatureSets, TargetsThatCannotTakeTheRowsAreFindings) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec("CREATE TABLE players.form_features (id bigint, at timestamptz, n_obs_g3 real, prediction_g3 real) PARTITION BY RANGE (at); "
          "CREATE TABLE players.half PARTITION OF players.form_features FOR VALUES FROM ('2020-09-01 00:00+00') TO ('2020-09-20 12:00+00'); "
          "CREATE TABLE players.rest PARTITION OF players.form_features FOR VALUES FROM ('2020-09-21 00:00+00') TO ('2021-01-01 00:00+00')");
  const Finished refused = apply_text(db, players({}, "form", "g3: 3"));
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("key column \"id\" is bigint, but the source's is integer"), std::string::npos) << refused.out;
  EXPECT_NE(refused.out.find("no partition holds 2020-09-20 12:00:00+00 to 2020-09-21 00:00:00+00"), std::string::npos) << refused.out;
  db.exec("ALTER TABLE players.form_features ALTER id TYPE int; "
          "CREATE TABLE players.gap PARTITION OF players.form_features FOR VALUES FROM ('2020-09-20 12:00+00') TO ('2020-09-21 00:00+00'); "
          "CREATE TABLE players.others PARTITION OF players.form_features DEFAULT");
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(run_once(db).exit_status, 0);
    EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features"), db.count("SELECT count(*) FROM players.games"));
    EXPECT_EQ(db.count("SELECT count(*) FROM players.others"), 0);
    db.exec("SELECT regfeat.requeue('form', force => true)");
  }
}

TEST(FeatureSets, ApplyRefillsATargetThatIsGone) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  const std::string before = db.checksum("players.form_features", "id, at");
  db.exec("ALTER TABLE players.form_features DROP COLUMN prediction_g3");
  EXPECT_NE(apply_text(db, players({}, "form", "g3: 3")).out.find("40 requeued"), std::string::npos);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.checksum("players.form_features", "id, at"), before);
  db.exec("DROP TABLE players.form_features");
  EXPECT_NE(apply_text(db, players({}, "form", "g3: 3")).out.find("40 requeued"), std::string::npos);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.checksum("players.form_features", "id, at"), before);
}

TEST(FeatureSets, NothingIsClaimedUnderASpecificationThatIsBeingReplaced) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  db.exec("INSERT INTO regfeat.daemon (name, host, process_id, build_id, lease, workers_configured) VALUES ('d', 'h', 1, 'b', '1 day', 1)");
  db.exec("CREATE TABLE claimed (at serial, version int)");
  const auto claimed_version = [&] {
    db.exec("TRUNCATE claimed; INSERT INTO claimed (version) SELECT specification_version FROM regfeat.claim(1, 0, NULL, 'b')");
    return db.text("SELECT version FROM claimed");
  };
  const auto session = db.session();
  pqxx::work tx(session->sql());
  populate::use_utc(tx);
  const std::string text = players({}, "form", "g3: 4");
  const spec::FeatureSetDocument document{spec::parse_feature_set(text, "spec"), text};
  const auto plan = populate::plan_apply(tx, document, {});
  ASSERT_TRUE(plan.findings.empty());
  EXPECT_EQ(claimed_version(), "1");  // between plan and apply: under the old one
  const auto counts = populate::apply(tx, document, plan);
  EXPECT_EQ(counts.requeued, 1);  // so it is computed again
  EXPECT_EQ(claimed_version(), "");  // now nothing can be claimed until apply is done
  tx.commit();
  EXPECT_EQ(claimed_version(), "2");
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'pending'"), 39);
}

}  // namespace
}  // namespace regfeatd::test
