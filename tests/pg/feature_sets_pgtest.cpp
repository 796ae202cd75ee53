// Keyed sets, targets that exist, what apply changes, dependencies, unchanged partitions, quarantine.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "pg_fixture.hpp"
#include "regfeatd/populate/apply.hpp"

namespace regfeatd::test {
namespace {

/// Players with matches at irregular times over `days` days from 2020-09-12, some with few, some with long gaps.
void make_players(const Database& db, int days = 40) {
  db.exec(fmt::format(
      "CREATE SCHEMA players; CREATE TABLE players.games (id int, at timestamptz, points int, PRIMARY KEY (id, at)); "
      "INSERT INTO players.games SELECT p, timestamptz '2020-09-12 15:00+00' + d * interval '1 day', (p * 7 + d * d * 3) % 13 "
      "  FROM generate_series(1, 12) p, generate_series(0, {0} - 1) d "
      " WHERE (d * 5 + p) % (1 + p % 5) = 0 AND NOT (p = 4 AND d BETWEEN 5 AND {0} - 8) AND NOT (p = 7 AND d < {0} - 3)",
      days));
}

std::string players(const std::string& extra = {}, const std::string& name = "form",
                    const std::string& windows = "l5d: { range: 5d }, l30d: { range: 30d }, g3: 3") {
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
  db.exec(
      "UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, attempts = 0; DELETE FROM regfeat.attempt");
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
    EXPECT_EQ(
        db.count(
            "WITH c AS (SELECT id, at, count(*) OVER (PARTITION BY id ORDER BY at RANGE BETWEEN interval '5 days' - interval '1 us' PRECEDING AND CURRENT ROW) AS d5, "
            "  count(*) OVER (PARTITION BY id ORDER BY at RANGE BETWEEN interval '30 days' - interval '1 us' PRECEDING AND CURRENT ROW) AS d30, "
            "  count(*) OVER (PARTITION BY id ORDER BY at ROWS 2 PRECEDING) AS g3 FROM players.games) "
            "SELECT count(*) FROM c JOIN players.form_features f USING (id, at) "
            " WHERE n_obs_l5d IS DISTINCT FROM d5 OR n_obs_l30d IS DISTINCT FROM d30 "
            "    OR n_obs_g3 IS DISTINCT FROM CASE WHEN g3 = 3 THEN 3 END"),
        0);
    // A parabola through three points meets the last one.
    EXPECT_EQ(
        db.count(
            "SELECT count(*) FROM players.games g JOIN players.form_features f USING (id, at) WHERE abs(prediction_g3 - points) > 1e-9"),
        0);
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
  db.exec(
      "DELETE FROM players.form_features WHERE at::date = '2020-09-13' AND id = 5; "
      "UPDATE regfeat.partition SET input_fingerprint = NULL WHERE regfeat.order_time('time', lower_bound) = '2020-09-20 00:00+00'");
  requeue_all(db);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "done"), 2);
}

TEST(FeatureSets, AKeyThatCannotBeUsedIsSetAside) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec(
      "ALTER TABLE players.games DROP CONSTRAINT games_pkey; ALTER TABLE players.games ALTER id DROP NOT NULL; "
      "INSERT INTO players.games SELECT * FROM players.games WHERE id = 5 AND at::date = '2020-09-22'; "
      "INSERT INTO players.games VALUES (NULL, '2020-09-23 15:00+00', 1)");
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine WHERE key = 'id=5' AND position LIKE '2020-09-22%'"), 3);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine WHERE key = 'id=NULL' AND rows_left_out = 1"), 1);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features WHERE id = 5 AND at::date = '2020-09-22'"), 0);
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM players.games g LEFT JOIN players.form_features f USING (id, at) WHERE g.id <> 5 AND f.id IS NULL"),
      0);
  ASSERT_EQ(apply_text(db, players("on_bad_key: fail", "strict", "g3: 3")).exit_status, 0);
  EXPECT_EQ(db.text("SELECT count(*) FROM regfeat.partition"), "80");
}

TEST(FeatureSets, AKeyWhoseValuesWouldOverflowIsSetAside) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec(
      "ALTER TABLE players.games ALTER points TYPE double precision; "
      "UPDATE players.games SET points = 1.7e308 * (-1) ^ extract(day FROM at)::int WHERE id = 5 AND at::date BETWEEN '2020-09-22' AND '2020-09-24'; "
      "UPDATE players.games SET points = 'Infinity' WHERE id = 10 AND at::date = '2020-09-22'");
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  // Windows of three rows: its partitions from the first such row to two behind the last.
  EXPECT_EQ(db.text("SELECT string_agg(DISTINCT key, ' ') || ' ' || count(*) FROM regfeat.quarantine"), "id=5 5");
  EXPECT_EQ(db.text("SELECT reason FROM regfeat.quarantine ORDER BY partition_id LIMIT 1"),
            "input points (column \"points\") is 1.7e+308 at 2020-09-22 15:00:00+00: magnitudes above 1e+150 cannot be "
            "fitted; correct the source, or make such values NULL");
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM players.games g LEFT JOIN players.form_features f USING (id, at) WHERE g.id <> 5 AND f.id IS NULL"),
      0);
  const Finished valid = db.regfeatd({"validate", "form"});
  EXPECT_EQ(valid.exit_status, 0) << valid.out;

  // Without keys there is nothing to set aside.
  db.exec("CREATE TABLE players.one AS SELECT at, points FROM players.games WHERE id = 5");
  std::string alone = players({}, "alone", "g3: 3");
  alone.erase(alone.find("key: [id]\n"), 10);
  alone.replace(alone.find("players.games"), 13, "players.one");
  ASSERT_EQ(apply_text(db, alone).exit_status, 0);
  const TemporaryFile settings("regfeatd.yaml", "retry: { attempts: 1, base: 10ms, cap: 20ms }\n");
  EXPECT_EQ(db.regfeatd({"run", "--once", "--config", settings.path()}).exit_status, 1);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'failed'"), 5);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'failed' AND message LIKE "
                     "'%column \"points\") is 1.7e+308 at 2020-09-22 15:00:00+00: magnitudes above 1e+150%'"),
            3);
}

TEST(FeatureSets, RowsAtInfiniteTimesAreNotRead) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec("CREATE TABLE players.one AS SELECT at, points FROM players.games WHERE id = 5");
  const auto alone = [](const std::string& name) {
    std::string text = players({}, name, "l5d: { range: 5d }, g3: 3");
    text.erase(text.find("key: [id]\n"), 10);
    return text.replace(text.find("players.games"), 13, "players.one");
  };
  const auto keyed = [](const std::string& name) { return players({}, name, "l5d: { range: 5d }, g3: 3"); };
  const auto checksums = [&](const std::string& suffix) {
    return db.checksum("players.alone" + suffix + "_features", "at") +
           db.checksum("players.keyed" + suffix + "_features", "id, at");
  };
  for (const bool infinite : {false, true}) {
    for (const bool indexed : {true, false}) {
      const std::string suffix = std::string(infinite ? "_infinite" : "") + (indexed ? "" : "_bare");
      if (!indexed) db.exec("ALTER TABLE players.games DROP CONSTRAINT games_pkey");
      ASSERT_EQ(apply_text(db, alone("alone" + suffix)).exit_status, 0);
      ASSERT_EQ(apply_text(db, keyed("keyed" + suffix)).exit_status, 0);
      const Finished run = run_once(db);
      ASSERT_EQ(run.exit_status, 0) << run.out;
      EXPECT_EQ(checksums(suffix), checksums(""));
    }
    if (infinite) break;
    db.exec(
        "INSERT INTO players.games SELECT DISTINCT id, '-infinity'::timestamptz, 99 FROM players.games; "
        "INSERT INTO players.games SELECT DISTINCT id, 'infinity'::timestamptz, 99 FROM players.games; "
        "INSERT INTO players.one VALUES ('-infinity', 99), ('infinity', 99); "
        "ALTER TABLE players.games ADD PRIMARY KEY (id, at)");
  }
}

TEST(FeatureSets, ApplyTouchesWhatChanged) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players()).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_NE(apply_text(db, players()).out.find("0 partitions added, 0 requeued, 40 unchanged"), std::string::npos);
  db.exec(
      "SELECT regfeat.requeue('form', \"from\" => '2020-10-20'); SELECT regfeat.set_priority('form', 7, \"from\" => '2020-10-21')");
  EXPECT_NE(apply_text(db, players("priority: 3\nclaim_order: newest_first")).out.find("0 requeued, 40 unchanged"),
            std::string::npos);
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(priority || ' ' || (claim_rank < 0), ', ' ORDER BY lower_bound) FROM regfeat.partition WHERE state = 'pending'"),
      "3 true, 7 true");
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
  db.exec(
      "UPDATE regfeat.partition SET state = 'failed', message = 'broken' FROM regfeat.feature_set f "
      " WHERE f.feature_set_id = partition.feature_set_id AND f.name = 'form' AND regfeat.order_time('time', lower_bound) = '2020-10-01 00:00+00'");
  EXPECT_NE(run_once(db).exit_status, 0);
  // The day itself, and the five days whose ranges reach into it.
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.partition_status WHERE feature_set = 'second' AND blocked_by LIKE '%form%league%2020-10-01%failed%broken%'"),
      6);
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.partition_status WHERE feature_set = 'second' AND state IN ('done', 'empty')"),
      34);
  EXPECT_EQ(
      db.count(
          "SELECT blocked FROM regfeat.status WHERE feature_set = 'second' AND blocked_reason LIKE '%form%2020-10-01%failed%broken%'"),
      6);
  EXPECT_EQ(db.count("SELECT blocked FROM regfeat.status WHERE feature_set = 'form'"), 0);
  const std::string shown = db.regfeatd({"status"}).out;
  EXPECT_NE(shown.find("6 blocked"), std::string::npos) << shown;
  EXPECT_NE(shown.find("the first that is blocked waits for form, series league, 2020-10-01"), std::string::npos)
      << shown;
  // A reader sees that too.
  db.exec("SET ROLE regfeat_reader; SELECT * FROM regfeat.status; SELECT blocked_by FROM regfeat.partition_status");
  // The failure mended, what waited goes on by itself.
  db.exec("SELECT regfeat.requeue_failed('form')");
  EXPECT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT sum(blocked) FROM regfeat.status"), 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')"), 0);
}

TEST(FeatureSets, AChainOfSetsNamesTheFailureAtItsEnd) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "a", "g3: 3")).exit_status, 0);
  for (const auto& [name, required] : {std::pair{"b", "a"}, {"c", "b"}, {"d", "c"}})
    ASSERT_EQ(apply_text(db, players(fmt::format("depends_on: [{}]", required), name, "g3: 3")).exit_status, 0);
  const auto reason = [&](const char* name) {
    return db.text(fmt::format(
        "SELECT blocked_by FROM regfeat.partition_status WHERE feature_set = '{}' AND \"from\" LIKE '2020-10-02%'",
        name));
  };
  EXPECT_TRUE(reason("d").ends_with(": pending")) << reason("d");
  EXPECT_EQ(reason("d").find("which"), std::string::npos) << "nothing failed: " << reason("d");
  db.exec(
      "UPDATE regfeat.partition SET state = 'failed', message = 'broken' WHERE feature_set_id = (SELECT feature_set_id FROM "
      "regfeat.feature_set WHERE name = 'a') AND regfeat.order_time('time', lower_bound) = '2020-10-01 00:00+00'");
  const std::string failed = "waits for a, series league, 2020-10-01 00:00:00+00: failed (broken)";
  EXPECT_EQ(reason("b"), failed);
  for (const char* name : {"c", "d"}) {
    EXPECT_TRUE(reason(name).ends_with(": pending, which " + failed)) << reason(name);
    EXPECT_TRUE(reason(name).starts_with(fmt::format("waits for {}, series league, ", name[0] == 'c' ? "b" : "c")))
        << reason(name);
  }
}

TEST(FeatureSets, KeysThatAreSetAsideHaveRowsInTheCompleteness) {
  const Database db;
  db.migrate();
  make_players(db, 10);
  // Player 5 is there twice every day, player 10 once twice; a key of the text NULL reads like a key that is NULL.
  db.exec(
      "ALTER TABLE players.games DROP CONSTRAINT games_pkey; ALTER TABLE players.games ALTER id DROP NOT NULL; "
      "INSERT INTO players.games SELECT * FROM players.games WHERE id = 5; "
      "INSERT INTO players.games SELECT * FROM players.games WHERE id = 10 AND at::date = '2020-09-13'; "
      "ALTER TABLE players.games ALTER id TYPE text; "
      "INSERT INTO players.games VALUES (NULL, '2020-09-14 15:00+00', 1), ('NULL', '2020-09-14 15:00+00', 1)");
  std::string text = players("cadence: 1d", "form", "g3: 3");
  text.replace(text.find("to: 2020-10-22"), 14, "to: 2020-09-22");
  ASSERT_EQ(apply_text(db, text).exit_status, 0);
  const Finished run = run_once(db);
  ASSERT_EQ(run.exit_status, 0) << run.out;
  EXPECT_EQ(db.text("SELECT count(*) || ' ' || string_agg(DISTINCT format('%s %s %s', rows, present, state), ', ') "
                    "FROM regfeat.completeness WHERE key = 'id=5'"),
            "10 2 0 quarantined");
  EXPECT_EQ(
      db.text("SELECT format('%s %s %s', rows, present, state) FROM regfeat.completeness WHERE key = 'id=NULL' AND "
              "\"from\" LIKE '2020-09-14%'"),
      "2 1 quarantined");
  EXPECT_EQ(db.count("SELECT sum(rows) FROM regfeat.completeness"), db.count("SELECT count(*) FROM players.games"));
}

TEST(FeatureSets, ForcedRequeueWritesAgainAndRemovedPartitionsStayOut) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  db.exec(
      "UPDATE players.form_features SET prediction_g3 = -1 WHERE at::date = '2020-09-22'");  // the count is still right
  db.exec(
      "DELETE FROM regfeat.attempt; SELECT regfeat.requeue('form', \"from\" => '2020-09-22', \"to\" => '2020-09-23')");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "unchanged"), 1);
  db.exec("SELECT regfeat.requeue('form', \"from\" => '2020-09-22', \"to\" => '2020-09-23', force => true)");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(attempts(db, "done"), 1);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features WHERE prediction_g3 = -1"), 0);
  // Weeks take the place of days: the days that start no week are taken out, and requeue leaves them out.
  std::string weekly = players({}, "form", "g3: 3");
  weekly.replace(weekly.find("by: day, from: 2020-09-12, to: 2020-10-22"), 41,
                 "by: week, from: 2020-09-07, to: 2020-10-26");
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
  db.exec(
      "CREATE TABLE bqx.numeric_eurusd (ts_utc timestamp PRIMARY KEY, prediction_w15 numeric, rmse_w15 numeric) PARTITION BY RANGE (ts_utc); "
      "CREATE TABLE bqx.any_name PARTITION OF bqx.numeric_eurusd FOR VALUES FROM ('2024-07-01') TO ('2024-08-01'); "
      "CREATE TABLE bqx.real_eurusd (ts_utc timestamptz, prediction_w15 real, rmse_w15 real)");
  const auto specification = [](const std::string& target) {
    return fmt::format(
        "feature_set: {0}\nseries: [eurusd]\npartition: {{ by: day, from: 2024-07-01, to: 2024-07-03 }}\n"
        "source: {{ tables: [ {{ table: \"bqx.bqx_{{series}}\", time: ts_utc }} ] }}\ninputs: {{ v: {{ column: w15_bqx_return }} }}\n"
        "windows: {{ w15: 15 }}\nmetrics: [terms.prediction, terms.rmse]\n"
        "targets: [ {{ input: v, table: \"bqx.{0}_{{series}}\", time: ts_utc, column: \"{{metric}}_{{window}}\" }} ]\n",
        target);
  };
  for (const char* target : {"numeric", "real", "plain"})
    ASSERT_EQ(apply_text(db, specification(target)).exit_status, 0) << target;
  ASSERT_EQ(run_once(db).exit_status, 0);
  const std::int64_t rows = db.count("SELECT count(*) FROM bqx.bqx_eurusd");
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM bqx.plain_eurusd p JOIN bqx.numeric_eurusd n ON n.ts_utc = p.ts_utc AT TIME ZONE 'UTC' "
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
      return fmt::format(
          "feature_set: both\nseries: [eurusd]\npartition: {{ by: day, from: 2024-07-01, to: 2024-07-03 }}\n"
          "source: {{ tables: [ {{ table: \"bqx.bqx_{{series}}\", time: ts_utc }}, {{ table: \"bqx.m1_{{series}}\", time: time }} ] }}\n"
          "inputs: {{ v: {{ column: w15_bqx_return }}, r: {{ column: rate_index }} }}\nwindows: {{ w15: 15 }}\nmetrics: [forecast]\n"
          "targets:\n{}",
          targets);
    };
    ASSERT_EQ(
        apply_text(
            db,
            specification(fmt::format(
                "  - {{ input: v, table: \"bqx.both_{{series}}\", time: t, column: \"v_{{metric}}_{{window}}\"{0} }}\n"
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
  for (const char* table :
       {"feature_set", "specification", "partition", "attempt", "dependency", "quarantine", "target"}) {
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
  db.exec(
      "ALTER TABLE players.games ALTER id TYPE numeric; UPDATE players.games SET id = (id || '.00')::numeric WHERE extract(day FROM at)::int % 2 = 0");
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(
      db.count(
          "WITH c AS (SELECT id, at, count(*) OVER (PARTITION BY id ORDER BY at ROWS 2 PRECEDING) AS n FROM players.games) "
          "SELECT count(*) FROM c LEFT JOIN players.form_features f USING (id, at) WHERE n_obs_g3 IS DISTINCT FROM CASE WHEN n = 3 THEN 3 END"),
      0);
  db.exec("ALTER TABLE players.games ALTER id TYPE double precision");
  const Finished refused = apply_text(db, players({}, "floats", "g3: 3"));
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("key column \"id\" is double precision"), std::string::npos) << refused.out;
}

TEST(FeatureSets, AKeyOfADomainIsOneOfTheTypeBelowIt) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec(
      "CREATE DOMAIN players.number AS numeric(8, 2); CREATE DOMAIN players.id AS players.number CHECK (value > 0); "
      "CREATE DOMAIN players.size AS double precision; ALTER TABLE players.games ALTER id TYPE players.number; "
      "ALTER TABLE players.games ALTER points TYPE players.size; ALTER TABLE players.games DROP CONSTRAINT games_pkey; "
      "ALTER TABLE players.games ADD id2 numeric; UPDATE players.games SET id2 = CASE WHEN extract(day FROM at)::int % 2 = 0 "
      "  THEN id ELSE trim_scale(id) END; ALTER TABLE players.games DROP id; "
      "CREATE DOMAIN players.any AS numeric; ALTER TABLE players.games ALTER id2 TYPE players.any; ALTER TABLE players.games RENAME id2 TO id");
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(
      db.count(
          "WITH c AS (SELECT id, at, count(*) OVER (PARTITION BY id ORDER BY at ROWS 2 PRECEDING) AS n FROM players.games) "
          "SELECT count(*) FROM c LEFT JOIN players.form_features f USING (id, at) WHERE n_obs_g3 IS DISTINCT FROM CASE WHEN n = 3 THEN 3 END"),
      0);
  EXPECT_GT(db.count("SELECT count(n_obs_g3) FROM players.form_features"), 0);
  const Finished valid = db.regfeatd({"validate", "form"});
  EXPECT_EQ(valid.exit_status, 0) << valid.out;
  db.exec("CREATE DOMAIN players.real_id AS real; ALTER TABLE players.games ALTER id TYPE players.real_id");
  const Finished refused = apply_text(db, players({}, "floats", "g3: 3"));
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("key column \"id\" is real"), std::string::npos) << refused.out;
}

TEST(FeatureSets, TextKeysWhoseEqualValuesDifferAreFindings) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec(
      "CREATE COLLATION public.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false); "
      "ALTER TABLE players.games ALTER id TYPE bpchar; UPDATE players.games SET id = id || repeat(' ', extract(day FROM at)::int % 2)");
  const Finished blanks = apply_text(db, players({}, "form", "g3: 3"));
  EXPECT_EQ(blanks.exit_status, 78) << blanks.out;
  EXPECT_NE(blanks.out.find("key column \"id\" is bpchar"), std::string::npos) << blanks.out;
  const auto with_query = [](const std::string& id) {
    std::string text = players({}, "form", "g3: 3");
    const std::string tables = "source: { tables: [ { table: players.games, time: at } ] }";
    const std::size_t at = text.find(tables);
    EXPECT_NE(at, std::string::npos) << text;
    return at == std::string::npos
               ? text
               : text.replace(
                     at, tables.size(),
                     "source: { query: 'SELECT " + id +
                         " AS id, at, points FROM players.games WHERE at >= :start AND at < :end', time: at }");
  };
  const Finished bare = apply_text(db, with_query("id"));
  EXPECT_EQ(bare.exit_status, 78) << bare.out;
  EXPECT_NE(bare.out.find("key column \"id\" is character"), std::string::npos) << bare.out;
  const Finished collated = apply_text(db, with_query("id::text COLLATE public.any_case"));
  EXPECT_EQ(collated.exit_status, 78) << collated.out;
  EXPECT_NE(collated.out.find("key column \"id\" has a collation that is not deterministic"), std::string::npos)
      << collated.out;
  ASSERT_EQ(apply_text(db, with_query("id::text")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(
      db.count(
          "WITH c AS (SELECT id::text, at, count(*) OVER (PARTITION BY id ORDER BY at ROWS 2 PRECEDING) AS n FROM players.games) "
          "SELECT count(*) FROM c LEFT JOIN players.form_features f USING (id, at) WHERE n_obs_g3 IS DISTINCT FROM CASE WHEN n = 3 THEN 3 END"),
      0);
}

TEST(FeatureSets, TargetsThatCannotTakeTheRowsAreFindings) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec(
      "CREATE TABLE players.form_features (id bigint, at timestamptz, n_obs_g3 real, prediction_g3 real) PARTITION BY RANGE (at); "
      "CREATE TABLE players.half PARTITION OF players.form_features FOR VALUES FROM ('2020-09-01 00:00+00') TO ('2020-09-20 12:00+00'); "
      "CREATE TABLE players.rest PARTITION OF players.form_features FOR VALUES FROM ('2020-09-21 00:00+00') TO ('2021-01-01 00:00+00')");
  const Finished refused = apply_text(db, players({}, "form", "g3: 3"));
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("key column \"id\" is bigint, but the source's is integer"), std::string::npos)
      << refused.out;
  EXPECT_NE(refused.out.find("no partition holds 2020-09-20 12:00:00+00 to 2020-09-21 00:00:00+00"), std::string::npos)
      << refused.out;
  db.exec(
      "ALTER TABLE players.form_features ALTER id TYPE int; "
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

TEST(FeatureSets, WhatAnOperatorCancelledStaysCancelledThoughColumnsAreAdded) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  db.exec(
      "SELECT regfeat.requeue('form', \"from\" => '2020-10-18'); SELECT regfeat.cancel('form', \"from\" => '2020-10-18')");
  const std::string cancelled = "SELECT count(*) FROM regfeat.partition WHERE state = 'cancelled'";
  ASSERT_EQ(db.count(cancelled), 4);
  const Finished wider = apply_text(db, players({}, "form", "g3: 3, g4: 4"));
  EXPECT_NE(wider.out.find("36 requeued, 4 unchanged"), std::string::npos) << wider.out;
  EXPECT_EQ(db.count(cancelled), 4);
  const auto cancel_again = [&] {
    db.exec("SELECT regfeat.requeue('form', \"from\" => '2020-10-18')");
    ASSERT_EQ(run_once(db).exit_status, 0);
    db.exec(
        "SELECT regfeat.requeue('form', \"from\" => '2020-10-18'); SELECT regfeat.cancel('form', \"from\" => '2020-10-18')");
  };
  cancel_again();
  // A column of the same specification that was lost: who wants the partition after all gets it written, though it has not changed.
  db.exec("ALTER TABLE players.form_features DROP COLUMN n_obs_g4");
  const Finished again = apply_text(db, players({}, "form", "g3: 3, g4: 4"));
  EXPECT_NE(again.out.find("36 requeued, 4 unchanged"), std::string::npos) << again.out;
  db.exec("SELECT regfeat.requeue('form', \"from\" => '2020-10-18')");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features WHERE (n_obs_g4 IS NULL) <> (id IN (SELECT id FROM ("
                     "  SELECT id, at a, count(*) OVER (PARTITION BY id ORDER BY at) n FROM players.games) g "
                     "  WHERE g.id = form_features.id AND g.a = form_features.at AND n < 4))"),
            0);
}

TEST(FeatureSets, NothingIsClaimedUnderASpecificationThatIsBeingReplaced) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players({}, "form", "g3: 3")).exit_status, 0);
  db.exec(
      "INSERT INTO regfeat.daemon (name, host, process_id, build_id, lease, workers_configured) VALUES ('d', 'h', 1, 'b', '1 day', 1)");
  db.exec("CREATE TABLE claimed (at serial, version int)");
  const auto claimed_version = [&] {
    db.exec(
        "TRUNCATE claimed; INSERT INTO claimed (version) SELECT specification_version FROM regfeat.claim(1, 0, NULL, 'b')");
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
  EXPECT_EQ(counts.requeued, 1);     // so it is computed again
  EXPECT_EQ(claimed_version(), "");  // now nothing can be claimed until apply is done
  tx.commit();
  EXPECT_EQ(claimed_version(), "2");
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'pending'"), 39);
}

/// Every unit gives the same rows: look-back crosses each boundary, partitioned targets are cut at it.
TEST(FeatureSets, EveryUnitGivesTheSameRows) {
  const Database db;
  db.migrate();
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.t (at timestamptz PRIMARY KEY, day date, n bigint UNIQUE, v double precision); "
      // Sparse around the turn of a year, dense on one of its days.
      "INSERT INTO s.t SELECT at, at::date, row_number() OVER (ORDER BY at), sin(extract(epoch FROM at) / 70000) FROM ("
      "  SELECT timestamptz '2023-11-20 00:00+00' + i * interval '11 hours 7 minutes' AS at FROM generate_series(0, 160) i UNION "
      "  SELECT timestamptz '2024-01-01 00:00+00' + i * interval '13 minutes' FROM generate_series(0, 200) i) x");
  const auto specification = [](const std::string& name, const std::string& partition, const std::string& order,
                                const std::string& target) {
    return fmt::format(
        "feature_set: {0}\nseries: [a]\npartition: {{ {1} }}\nsource: {{ tables: [ {{ table: s.t, {2} }} ] }}\ninputs: {{ v: {{ column: v }} }}\n"
        "windows: {{ w7: 7, w20: {{ rows: 20, offset: 2 }} }}\nmetrics: [forecast, sigma]\n"
        "targets: [ {{ input: v, table: s.by_{0}, {2}, column: \"{{metric}}_{{window}}\"{3} }} ]\n",
        name, partition, order, target);
  };
  const std::vector<std::array<std::string, 3>> units{
      {"hour", "by: hour, from: 2023-12-31, to: 2024-01-03", "%Y%m%d%H"},
      {"day", "by: day, from: 2023-11-20, to: 2024-02-05", "%Y%m%d"},
      {"week", "by: week, from: 2023-11-20, to: 2024-02-05", "%Y%m%d"},
      {"month", "by: month, from: 2023-11-01, to: 2024-03-01", "%Y_%m"},
      {"year", "by: year, from: 2023-01-01, to: 2025-01-01", "%Y"}};
  for (const auto& [unit, partition, format] : units) {
    ASSERT_EQ(
        apply_text(db, specification(unit, partition, "time: at", ", partition: \"{table}_{start:" + format + "}\""))
            .exit_status,
        0)
        << unit;
  }
  ASSERT_EQ(apply_text(db, specification("step", "by: 50, from: 1, to: 451", "sequence: n",
                                         ", partition: \"{table}_{start}\""))
                .exit_status,
            0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(
      db.text("SELECT string_agg(feature_set || ' ' || partitions, ', ' ORDER BY partitions) FROM regfeat.status"),
      "year 2, month 4, step 9, week 11, hour 72, day 77");
  const std::int64_t rows = db.count("SELECT count(*) FROM s.t");
  for (const char* unit : {"day", "week", "month"}) {
    EXPECT_EQ(
        db.count(fmt::format(
            "SELECT count(*) FROM s.by_{} u JOIN s.by_year y USING (at) WHERE (u.forecast_w7, u.sigma_w7, u.forecast_w20, u.sigma_w20) "
            "IS NOT DISTINCT FROM (y.forecast_w7, y.sigma_w7, y.forecast_w20, y.sigma_w20)",
            unit)),
        rows)
        << unit;
  }
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM s.by_step u JOIN s.t USING (n) JOIN s.by_year y USING (at) WHERE (u.forecast_w7, u.sigma_w20) IS NOT DISTINCT FROM (y.forecast_w7, y.sigma_w20)"),
      rows);
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM s.by_hour u JOIN s.by_year y USING (at) WHERE (u.forecast_w7, u.sigma_w20) IS NOT DISTINCT FROM (y.forecast_w7, y.sigma_w20)"),
      db.count("SELECT count(*) FROM s.t WHERE at >= '2023-12-31 00:00+00' AND at < '2024-01-03 00:00+00'"));
  EXPECT_EQ(db.count("SELECT count(*) - count(sigma_w20) FROM s.by_year"), 21);  // 19 and the offset
}

TEST(FeatureSets, AQueryIsASource) {
  const Database db;
  db.migrate();
  make_players(db);
  ASSERT_EQ(apply_text(db, players()).exit_status, 0);
  std::string query = players({}, "query");
  query.replace(
      query.find("source: { tables: [ { table: players.games, time: at } ] }"), 58,
      "source:\n  query: |\n    SELECT g.id, g.at AS at, g.points::numeric AS points FROM players.games g -- of :series, they say\n"
      "     WHERE g.at >= :start AND g.at < :end AND ':end' <> :series\n  time: at");
  const Finished applied = apply_text(db, query);
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.form_features"), db.count("SELECT count(*) FROM players.games"));
  EXPECT_EQ(db.checksum("players.query_features", "id, at"), db.checksum("players.form_features", "id, at"));

  // Without a key, several series, a sequence.
  db.exec(
      "CREATE TABLE players.points AS SELECT id::text AS who, row_number() OVER (PARTITION BY id ORDER BY at) AS n, points FROM players.games");
  ASSERT_EQ(
      apply_text(
          db,
          "feature_set: sequences\nseries_query: SELECT who FROM players.points\npartition: { by: 5, from: 1, to: 41 }\n"
          "source:\n  query: \"SELECT n, points FROM players.points WHERE who = :series AND n >= :start AND n < :end\"\n  sequence: n\n"
          "inputs: { p: { column: points } }\nwindows: { w3: 3 }\nmetrics: [terms.prediction]\n"
          "targets: [ { input: p, table: \"players.s_{series}\", sequence: n, column: \"{metric}_{window}\" } ]\n")
          .exit_status,
      0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_GT(db.count("SELECT count(DISTINCT who) FROM players.points"), 8);
  for (int id = 1; id <= 12; ++id) {
    if (db.count(fmt::format("SELECT count(*) FROM players.points WHERE who = '{}'", id)) == 0) continue;
    EXPECT_EQ(
        db.text(fmt::format(
            "SELECT (count(*) = (SELECT count(*) FROM players.points WHERE who = '{0}')) || ' ' || "
            "       count(*) FILTER (WHERE (n < 3) <> (prediction_w3 IS NULL) OR abs(prediction_w3 - points) > 1e-9) "
            "  FROM players.s_{0} JOIN players.points USING (n) WHERE who = '{0}'",
            id)),
        "true 0")
        << id;
  }
  std::string floats = query;
  floats.replace(floats.find("SELECT g.id,"), 12, "SELECT g.id::real AS id,");
  const Finished inexact = apply_text(db, floats);
  EXPECT_EQ(inexact.exit_status, 78);
  EXPECT_NE(inexact.out.find("source query: key column \"id\" is real"), std::string::npos) << inexact.out;
  std::string broken = query;
  broken.replace(broken.find("g.points::numeric"), 17, "g.pionts");
  const Finished refused = apply_text(db, broken);
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("source query: ERROR:  column g.pionts does not exist"), std::string::npos) << refused.out;
}

TEST(FeatureSets, TheDaemonsRoleMayAllOfIt) {
  const Database db;
  db.migrate();
  for (const char* table :
       {"partition", "feature_set", "dependency", "target", "quarantine", "expectation", "presence"}) {
    EXPECT_EQ(
        db.text(fmt::format(
            "SELECT has_table_privilege('regfeat_daemon', 'regfeat.{0}', 'INSERT') AND has_table_privilege('regfeat_daemon', 'regfeat.{0}', 'DELETE')",
            table)),
        "t")
        << table;
  }
  EXPECT_EQ(db.text("SELECT has_table_privilege('regfeat_daemon', 'regfeat.migration', 'DELETE')"), "f");
  // Without being a superuser or the owner of schema regfeat: apply, run with quarantine and completeness, remove.
  make_players(db);
  const std::string name = db.text("SELECT current_database()");
  db.exec("DO $$ BEGIN CREATE ROLE feature_runner LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  db.exec(
      "GRANT regfeat_daemon TO feature_runner; GRANT USAGE, CREATE ON SCHEMA players TO feature_runner; "
      "ALTER TABLE players.games DROP CONSTRAINT games_pkey; ALTER TABLE players.games ALTER id DROP NOT NULL; INSERT INTO players.games VALUES (NULL, '2020-09-23 15:00+00', 1); GRANT SELECT ON players.games TO feature_runner");
  const auto as_runner = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--conninfo", db.conninfo_as("feature_runner")});
    return regfeatd(arguments);
  };
  const TemporaryFile file("spec.yaml", players("cadence: 1d", "form", "g3: 3"));
  const Finished applied = as_runner({"apply", file.path()});
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  const Finished ran = as_runner({"run", "--once"});
  ASSERT_EQ(ran.exit_status, 0) << ran.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine"), 1);
  EXPECT_GT(db.count("SELECT count(*) FROM regfeat.completeness WHERE state = 'gap'"), 0);
  const Finished removed = as_runner({"remove", "form", "--drop-tables"});
  EXPECT_EQ(removed.exit_status, 0) << removed.out;
  EXPECT_EQ(db.text("SELECT to_regclass('players.form_features')"), "");
}

TEST(FeatureSets, ABadKeyFailsThePartitionWhereThatIsAskedFor) {
  const Database db;
  db.migrate();
  make_players(db);
  db.exec(
      "ALTER TABLE players.games DROP CONSTRAINT games_pkey; INSERT INTO players.games SELECT * FROM players.games WHERE id = 5 AND at::date = '2020-09-22'");
  ASSERT_EQ(apply_text(db, players("on_bad_key: fail", "strict", "g3: 3")).exit_status, 0);
  const TemporaryFile settings("regfeatd.yaml", "retry: { attempts: 2, base: 10ms, cap: 20ms }\n");
  EXPECT_EQ(db.regfeatd({"run", "--once", "--config", settings.path()}).exit_status, 1);
  // The day with the two rows, and the two days that read it, as player 5 plays every day; the rest is complete.
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(to_char(regfeat.order_time('time', lower_bound), 'MM-DD'), ' ' ORDER BY lower_bound) FROM regfeat.partition WHERE state = 'failed'"),
      "09-22 09-23 09-24");
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.partition WHERE state = 'failed' AND message LIKE '%key (id=5): the source has more than one row at 2020-09-22 15:00:00+00%'"),
      3);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('done', 'empty')"), 37);
  EXPECT_EQ(
      db.count("SELECT count(*) FROM players.strict_features WHERE at::date BETWEEN '2020-09-22' AND '2020-09-24'"), 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine"), 0);
  // Mended, they are done.
  db.exec(
      "DELETE FROM players.games g USING players.games h WHERE g.id = h.id AND g.at = h.at AND g.ctid > h.ctid; SELECT regfeat.requeue_failed('strict')");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.strict_features"), db.count("SELECT count(*) FROM players.games"));
}

/// However the range is cut, and whichever way look-back is read, a row's windows hold the same rows: the bits are equal.
TEST(FeatureSets, KeyedPartitionsOfAnySizeGiveTheSameBits) {
  const Database db;
  db.migrate();
  // Keys that come late, pause for months, have bursts, or a single row; two tables joined on key and time, one with holes.
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.a (k text, j int, at timestamptz, v double precision, PRIMARY KEY (k, j, at)); "
      "CREATE TABLE s.b (j int, k text, t timestamp, w numeric, PRIMARY KEY (j, k, t)); "
      "INSERT INTO s.a SELECT 'key ' || k, j, timestamptz '2024-01-01 00:00+00' + i * (1 + (k * j) % 5) * interval '5 hours 3 minutes' "
      "       + CASE WHEN i > 20 THEN k * 3 ELSE 0 END * interval '1 day', sin(i * k) + j FROM generate_series(1, 6) k, generate_series(1, 3) j, "
      "       generate_series(0, 10 + k * 20) i WHERE NOT (k = 6 AND j = 3 AND i > 0) AND (i * 7 + k) % 5 <> 0; "
      "INSERT INTO s.b SELECT j, k, at AT TIME ZONE 'UTC', v * 3 FROM s.a WHERE extract(minute FROM at)::int % 7 <> 0; "
      "CREATE TABLE s.a_bare AS TABLE s.a; CREATE TABLE s.b_bare AS TABLE s.b");
  const auto specification = [](const std::string& name, const std::string& unit, const std::string& suffix,
                                const std::string& windows) {
    return fmt::format(
        "feature_set: {0}\nseries: [a]\npartition: {{ by: {1}, from: {2} }}\n"
        "source: {{ tables: [ {{ table: s.a{3}, time: at }}, {{ table: s.b{3}, time: t }} ] }}\nkey: [k, j]\n"
        "inputs: {{ v: {{ column: v }}, w: {{ column: w }} }}\nwindows: {4}\nmetrics: [n_obs, forecast, sigma]\n"
        "targets: [ {{ inputs: [v, w], table: s.{0}, time: at, column: \"{{input}}_{{metric}}_{{window}}\" }} ]\n",
        name, unit, unit == "year" ? "2024-01-01, to: 2025-01-01" : "2024-01-01, to: 2024-07-01", suffix, windows);
  };
  const std::vector<std::string> windows{
      "{ w4: 4, w9: 9 }", "{ r3: { range: 3d }, late: { range: 40h, min_rows: 4, offset: 3, x: time, unit: 1h } }",
      "{ w5: { rows: 5, offset: 2 }, r1: { range: 30h, x: time, unit: 1h }, w3: 3 }", "{ r2: { range: 11h } }"};
  std::vector<std::string> names;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    for (const char* unit : {"year", "month", "day"}) {
      for (const char* suffix : {"", "_bare"}) {
        if (unit == std::string("year") && suffix == std::string("_bare")) continue;
        names.push_back(fmt::format("f{}_{}{}", w, unit, suffix));
        const Finished f = apply_text(db, specification(names.back(), unit, suffix, windows[w]));
        ASSERT_EQ(f.exit_status, 0) << f.out;
      }
    }
  }
  ASSERT_EQ(run_once(db).exit_status, 0);
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const std::string whole = db.checksum(fmt::format("s.f{}_year", w), "k, j, at");
    EXPECT_EQ(db.count(fmt::format("SELECT count(*) FROM s.f{}_year", w)), db.count("SELECT count(*) FROM s.b")) << w;
    for (const char* other : {"month", "day", "month_bare", "day_bare"}) {
      EXPECT_EQ(db.checksum(fmt::format("s.f{}_{}", w, other), "k, j, at"), whole) << windows[w] << ' ' << other;
    }
  }
  // And the counts are those of SQL.
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM s.f1_year f CROSS JOIN LATERAL (SELECT count(*) AS n FROM s.b WHERE b.k = f.k AND b.j = f.j "
          "   AND t <= f.at AT TIME ZONE 'UTC' AND t > f.at AT TIME ZONE 'UTC' - interval '3 days') c WHERE v_n_obs_r3 IS DISTINCT FROM n"),
      0);
}

TEST(FeatureSets, AnotherUnitForAPartOfTheRangeLeavesNoOverlap) {
  const Database db;
  db.migrate();
  make_players(db);
  std::string monthly = players({}, "form", "g3: 3");
  monthly.replace(monthly.find("by: day, from: 2020-09-12, to: 2020-10-22"), 41,
                  "by: month, from: 2020-09-01, to: 2020-11-01");
  ASSERT_EQ(apply_text(db, monthly).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  const std::string before = db.checksum("players.form_features", "id, at");
  std::string daily = players({}, "form", "g3: 3");
  daily.replace(daily.find("from: 2020-09-12, to: 2020-10-22"), 32, "from: 2020-09-01, to: 2020-10-22");
  const TemporaryFile file("spec.yaml", daily);
  const Finished part = db.regfeatd({"apply", file.path(), "--from", "2020-09-05"});
  ASSERT_EQ(part.exit_status, 0) << part.out;
  const std::string overlaps =
      "SELECT count(*) FROM regfeat.partition a JOIN regfeat.partition b ON a.lower_bound < b.upper_bound AND b.lower_bound < a.upper_bound "
      " AND a.partition_id < b.partition_id WHERE NOT a.removed AND NOT b.removed";
  EXPECT_EQ(db.count(overlaps), 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  ASSERT_EQ(apply_text(db, daily).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.count(overlaps), 0);
  EXPECT_EQ(db.checksum("players.form_features", "id, at"), before);
}

TEST(FeatureSets, WidenedRequeueReachesARangeThatBeginsSomeRowsBack) {
  const Database db;
  db.migrate();
  // One row a day; a window of three days that ends two rows back holds rows five days old.
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.t (at timestamptz PRIMARY KEY, v double precision); "
      "INSERT INTO s.t SELECT timestamptz '2024-01-01 12:00+00' + i * interval '1 day', sin(i) FROM generate_series(0, 30) i");
  const std::string specification =
      "feature_set: f\nseries: [a]\npartition: { by: day, from: 2024-01-01, to: 2024-02-01 }\nsource: { tables: [ { table: s.t, time: at } ] }\n"
      "inputs: { v: { column: v } }\nwindows: { late: { range: 3d, offset: 2 } }\nmetrics: [forecast]\n"
      "targets: [ { input: v, table: s.f, time: at, column: \"{metric}_{window}\" } ]\n";
  ASSERT_EQ(apply_text(db, specification).exit_status, 0);
  ASSERT_EQ(run_once(db).exit_status, 0);
  db.exec(
      "UPDATE s.t SET v = 7 WHERE at::date = '2024-01-10'; DELETE FROM regfeat.attempt; "
      "SELECT regfeat.requeue('f', \"from\" => '2024-01-10', \"to\" => '2024-01-11', widen => true)");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(to_char(regfeat.order_time('time', lower_bound), 'DD'), ' ' ORDER BY lower_bound) FROM regfeat.attempt JOIN regfeat.partition USING (partition_id) "
          "WHERE outcome = 'done'"),
      "10 11 12 13 14");
  const std::string after = db.checksum("s.f", "at");
  db.exec("SELECT regfeat.requeue('f', force => true)");
  ASSERT_EQ(run_once(db).exit_status, 0);
  EXPECT_EQ(db.checksum("s.f", "at"), after);
}

}  // namespace
}  // namespace regfeatd::test
