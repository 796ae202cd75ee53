// The shipped feature sets on real data: players, probes, foreign exchange.
#include <fmt/format.h>

#include <fstream>
#include <regex>

#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

namespace fs = std::filesystem;

/// The most that a partition's values may differ from what SQL computes: sums in another order.
constexpr double kRounding = 1e-9;

std::string shipped(const std::string& name) { return fmt::format(SOURCE_DIR "/config/feature_sets/{}.yaml", name); }

std::string read(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// `text` with the first match of each expression replaced; every expression must match.
std::string changed(std::string text, const std::vector<std::pair<std::string, std::string>>& edits) {
  for (const auto& [what, with] : edits) {
    const std::regex expression(what);
    if (!std::regex_search(text, expression)) ADD_FAILURE() << what << " is not in the specification";
    text = std::regex_replace(text, expression, with, std::regex_constants::format_first_only);
  }
  return text;
}

void load(const Database& db, const std::string& script, const std::vector<std::string>& arguments) {
  std::vector<std::string> command{SOURCE_DIR "/scripts/" + script, "--conninfo", db.conninfo()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const Finished f = Process(command).wait();
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

void apply_text(const Database& db, const std::string& specification, const std::string& expected = {}) {
  const TemporaryFile file("spec.yaml", specification);
  const Finished f = db.regfeatd({"apply", file.path()});
  ASSERT_EQ(f.exit_status, 0) << f.out;
  EXPECT_NE(f.out.find(expected), std::string::npos) << f.out;
}

void run_once(const Database& db) {
  const Finished f = db.regfeatd({"run", "--once", "--workers", "4"});
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

std::int64_t attempts(const Database& db, const std::string& outcome) {
  return db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = '" + outcome + "'");
}

/// `sum of w[j] * value, oldest first`: the fitted parabola of n equidistant values at its newest one (`ahead` = 0) or
/// ahead of it. The weights of least squares in orthogonal polynomials, rows through lag().
std::string parabola_sql(const std::string& column, int n, int ahead) {
  const double m = n, n1 = m * (m * m - 1) / 3, n2 = 4 * m * (m * m - 1) * (m * m - 4) / 5;
  const auto p1 = [&](int j) { return 2.0 * j - (m - 1); };
  const auto p2 = [&](int j) { return 3 * p1(j) * p1(j) - (m * m - 1); };
  std::string out;
  for (int j = 0; j < n; ++j) {
    const int at = n - 1 + ahead;
    const double weight = 1 / m + p1(j) * p1(at) / n1 + p2(j) * p2(at) / n2;
    out += fmt::format("{}({:.17g}) * lag({}, {}) OVER w", j == 0 ? "" : " + ", weight, column, n - 1 - j);
  }
  return out;
}

TEST(RealFeatureSets, PlayerFormOfTwoSeasons) {
  const auto data = real_data();
  if (!data) GTEST_SKIP() << "real data not found (REGFEATD_DATA_DIR)";
  const Database db;
  db.migrate();
  load(db, "load-player-games",
       {*data / "player_games/player_games_2020_21.csv.gz", *data / "player_games/player_games_2021_22.csv.gz"});
  const Finished applied = db.regfeatd({"apply", shipped("player_form")});
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  const std::string name = db.text("SELECT current_database()");
  db.exec("ALTER DATABASE " + name + " SET log_statement = 'all'");
  run_once(db);
  db.exec("ALTER DATABASE " + name + " RESET log_statement");
  EXPECT_EQ(db.text("SELECT done || ' ' || empty || ' ' || failed FROM regfeat.status"), "258 360 0");
  EXPECT_EQ(db.count("SELECT count(DISTINCT (kickoff_utc AT TIME ZONE 'UTC')::date) FROM players.player_games"), 258);
  EXPECT_EQ(db.count("SELECT count(*) FROM players.player_form"), 49812);

  // One query for each date, whatever the number of players.
  std::ifstream log(fs::path(TEST_CLUSTER) / "cluster" / "server.log");
  std::int64_t reads = 0, others = 0;
  for (std::string line; std::getline(log, line);) {
    if (line.find('@' + name + " regfeatd/") == std::string::npos || line.find("player_games\"") == std::string::npos)
      continue;
    (line.find("COPY (WITH here") != std::string::npos ? reads : others) += 1;
  }
  EXPECT_EQ(reads, 618);
  EXPECT_LT(others, 100) << "the catalogue is looked at, and the query explained, at the start and once by each worker";

  // Counts of the last days, written without window functions.
  for (const auto& [label, days] : {std::pair{"l5d", 5}, {"l7d", 7}, {"l10d", 10}, {"l14d", 14}, {"l30d", 30}}) {
    EXPECT_EQ(
        db.count(fmt::format(
            "SELECT count(*) FROM players.player_form f "
            "  CROSS JOIN LATERAL (SELECT count(*) AS n FROM players.player_games g WHERE g.season = f.season AND g.player_id = f.player_id "
            "    AND g.kickoff_utc > f.kickoff_utc - interval '{1} days' AND g.kickoff_utc <= f.kickoff_utc) c "
            " WHERE f.points_{0}_n_obs IS DISTINCT FROM n OR f.minutes_{0}_n_obs IS DISTINCT FROM n",
            label, days)),
        0)
        << label;
  }
  // The last matches, however long ago and across dates; NULL for players with fewer.
  for (const int n : {5, 10}) {
    for (const auto& [input, column] : {std::pair{"points", "total_points"}, {"minutes", "minutes"}}) {
      const std::string wrong = db.text(fmt::format(
          "WITH s AS (SELECT season, player_id, kickoff_utc, row_number() OVER w AS matches, {3} AS fitted, {4} AS next "
          "             FROM players.player_games WINDOW w AS (PARTITION BY season, player_id ORDER BY kickoff_utc)) "
          "SELECT count(*) FILTER (WHERE matches < {0} AND num_nonnulls({1}_g{0}_prediction, {1}_g{0}_forecast, {1}_g{0}_n_obs) > 0) || ' ' || "
          "       count(*) FILTER (WHERE matches >= {0} AND ({1}_g{0}_n_obs IS DISTINCT FROM {0} OR abs({1}_g{0}_prediction - fitted) > {5} "
          "                                                  OR abs({1}_g{0}_forecast - next) > {5})) || ' ' || "
          "       (count(*) FILTER (WHERE matches < {0}) > 1000) || ' ' || (max(matches) > 30) "
          "  FROM s JOIN players.player_form USING (season, player_id, kickoff_utc)",
          n, input, column, parabola_sql(column, n, 0), parabola_sql(column, n, 1), kRounding));
      EXPECT_EQ(wrong, "0 0 true true") << n << ' ' << input;
    }
  }
  // The seasons' ids are different players: nobody's first row of the second season looks back into the first.
  EXPECT_EQ(
      db.count(
          "SELECT count(points_g5_n_obs) FROM (SELECT DISTINCT ON (player_id) * FROM players.player_form WHERE season = '2021-22' "
          "ORDER BY player_id, kickoff_utc) f"),
      0);
}

/// The probes of the first sources, all slices.
void load_probes(const Database& db, const fs::path& data, int sources) {
  const std::string rows = fmt::format(
      "gzip -dc '{}' | awk -F, 'NR == 1 || $2 <= {}' | " SOURCE_DIR "/scripts/load-latency --conninfo '{}' -",
      (data / "net_latency" / "seattle_src01_20.csv.gz").string(), sources, db.conninfo());
  const Finished f = Process({"/bin/bash", "-c", "set -o pipefail; " + rows}).wait();
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

TEST(RealFeatureSets, ProbeLatency) {
  const auto data = real_data();
  if (!data) GTEST_SKIP() << "real data not found (REGFEATD_DATA_DIR)";
  const Database db;
  db.migrate();
  load_probes(db, *data, 3);
  const std::int64_t rows = db.count("SELECT count(*) FROM net.latency");
  ASSERT_EQ(rows, 3 * 98 * 688);
  const Finished applied = db.regfeatd({"apply", shipped("probe_latency")});
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  run_once(db);
  EXPECT_EQ(db.text("SELECT done || ' ' || rows_done FROM regfeat.status"), fmt::format("8 {}", rows));
  EXPECT_EQ(db.count("SELECT count(*) FROM pg_inherits WHERE inhparent = 'net.latency_trend'::regclass"), 8);
  for (const int n : {10, 30, 60}) {
    EXPECT_EQ(
        db.text(fmt::format(
            "WITH s AS (SELECT src, dst, slice, row_number() OVER w AS i, {1} AS fitted, {2} AS next "
            "             FROM net.latency WINDOW w AS (PARTITION BY src, dst ORDER BY slice)) "
            "SELECT count(*) FILTER (WHERE i < {0} AND rtt_prediction_w{0} IS NOT NULL) || ' ' || "
            "       count(*) FILTER (WHERE i >= {0} AND (abs(rtt_prediction_w{0} - fitted) > {3}) IS NOT FALSE) || ' ' || "
            "       count(*) FILTER (WHERE i >= {0} AND (abs(rtt_forecast_w{0} - next) > {3}) IS NOT FALSE) || ' ' || count(*) "
            "  FROM s JOIN net.latency_trend USING (src, dst, slice)",
            n, parabola_sql("rtt", n, 0), parabola_sql("rtt", n, 1), kRounding)),
        fmt::format("0 0 0 {}", rows))
        << n;
  }
  // Every slice of every probe is there.
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(DISTINCT state, ',') || ' ' || count(*) || ' ' || sum(present) FROM regfeat.completeness"),
      fmt::format("complete {} {}", 8 * 3 * 98, rows));
  // Without some, it is known which: probe (1, 2) lacks 10 slices, probe (1, 3) begins late, probe (1, 4) ends early.
  db.exec(
      "DELETE FROM net.latency WHERE src = 1 AND (dst = 2 AND slice BETWEEN 100 AND 109 OR dst = 3 AND slice < 200 OR dst = 4 AND slice >= 500); "
      "SELECT regfeat.requeue('probe_latency')");
  run_once(db);
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(key || ' ' || \"from\" || ' ' || missing || ' ' || state, ', ' ORDER BY partition_id, key) FROM regfeat.completeness WHERE state <> 'complete'"),
      "src=1, dst=3 1 86 not yet there, src=1, dst=2 87 10 gap, src=1, dst=3 87 86 not yet there, src=1, dst=3 173 27 gap, "
      "src=1, dst=4 431 17 gap, src=1, dst=4 517 86 no longer there, src=1, dst=4 603 86 no longer there");
}

const std::vector<std::string> kPairs{"eurusd", "gbpusd", "usdjpy"};

/// Three pairs, October to December 2018.
void load_pairs(const Database& db, const fs::path& data, std::size_t pairs = 3) {
  for (std::size_t i = 0; i < pairs; ++i) {
    const auto file = [&](const char* month) {
      return (data / "fx_m1" / fmt::format("{}_{}.csv.gz", kPairs[i], month)).string();
    };
    load(db, "load-bars", {kPairs[i], file("201810"), file("201811"), file("201812")});
  }
}

/// A shipped specification of bars for what `load_pairs` loaded.
std::string of_2018(const std::string& name, const std::string& pairs,
                    const std::string& range = "from: 2018-10-01, to: 2019-01-01") {
  return changed(read(shipped(name)), {{"series: \\[[^\\]]*\\]", "series: [" + pairs + "]"},
                                       {"partition: \\{ by[^}]*\\}", "partition: { by: month, " + range + " }"}});
}

TEST(RealFeatureSets, AChangedRowRecomputesThePartitionsThatReadIt) {
  const auto data = real_data();
  if (!data) GTEST_SKIP() << "real data not found (REGFEATD_DATA_DIR)";
  const Database db;
  db.migrate();
  load_pairs(db, *data);
  const std::string narrow = changed(of_2018("bqx_regression", "eurusd, gbpusd, usdjpy"),
                                     {{"metrics: coefficients", "metrics: [terms.prediction]"}});
  apply_text(db, narrow, "9 partitions added");
  run_once(db);
  ASSERT_EQ(attempts(db, "done"), 9);
  const auto changes = [&](const std::string& sql) {
    db.exec(sql + "; DELETE FROM regfeat.attempt; SELECT regfeat.requeue('bqx_regression')");
    run_once(db);
    EXPECT_EQ(attempts(db, "done") + attempts(db, "unchanged"), 9);
    return db.text(
        "SELECT string_agg(p.series || to_char(regfeat.order_time('time', p.lower_bound), ' YYYY-MM'), ', ' ORDER BY p.partition_id) "
        "  FROM regfeat.attempt a JOIN regfeat.partition p USING (partition_id) WHERE a.outcome = 'done'");
  };
  EXPECT_EQ(changes("SELECT 1"), "");
  // 89 rows of look-back: the last of October are read by November too, the 90th from the end is not.
  EXPECT_EQ(changes("UPDATE bqx.m1_eurusd SET rate_index = rate_index + 0.5 WHERE time = '2018-10-31 23:50'"),
            "eurusd 2018-10, eurusd 2018-11");
  const std::string row =
      "(SELECT time FROM bqx.m1_gbpusd WHERE time < '2018-11-01' ORDER BY time DESC OFFSET {} LIMIT 1)";
  EXPECT_EQ(changes("UPDATE bqx.m1_gbpusd SET rate_index = rate_index + 0.5 WHERE time = " +
                    fmt::format(fmt::runtime(row), 88)),
            "gbpusd 2018-10, gbpusd 2018-11");
  EXPECT_EQ(changes("UPDATE bqx.m1_gbpusd SET rate_index = rate_index + 0.5 WHERE time = " +
                    fmt::format(fmt::runtime(row), 89)),
            "gbpusd 2018-10");
  // What was skipped and what was written again together are what a computation from nothing gives.
  const auto all = [&] {
    return db.checksum("bqx.reg_rate_eurusd") + db.checksum("bqx.reg_rate_gbpusd") + db.checksum("bqx.reg_bqx_usdjpy");
  };
  const std::string before = all();
  db.exec("SELECT regfeat.requeue('bqx_regression', force => true)");
  run_once(db);
  EXPECT_EQ(all(), before);
}

TEST(RealFeatureSets, ApplyRequeuesWhatChanges) {
  const auto data = real_data();
  if (!data) GTEST_SKIP() << "real data not found (REGFEATD_DATA_DIR)";
  const Database db;
  db.migrate();
  load_pairs(db, *data, 2);
  const std::string one = of_2018("bqx_terms", "eurusd");
  apply_text(db, one, "3 partitions added, 0 requeued, 0 unchanged");
  run_once(db);
  const std::string state =
      "SELECT (SELECT md5(string_agg(p::text, '' ORDER BY partition_id)) FROM regfeat.partition p) || "
      "       (SELECT md5(string_agg(s::text, '')) FROM regfeat.specification s) || (SELECT md5(string_agg(f::text, '')) FROM regfeat.feature_set f)";
  const std::string before = db.text(state);
  apply_text(db, one, "0 partitions added, 0 requeued, 3 unchanged");
  EXPECT_EQ(db.text(state), before) << "a second apply touches no row";
  // Another pair: its own partitions.
  apply_text(db, of_2018("bqx_terms", "eurusd, gbpusd"), "3 partitions added, 0 requeued, 3 unchanged");
  db.exec("DELETE FROM regfeat.attempt");
  run_once(db);
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(DISTINCT p.series, ',') || ' ' || count(*) FROM regfeat.attempt a JOIN regfeat.partition p USING (partition_id)"),
      "gbpusd 3");
  // Another window: all of them, with its columns filled.
  const std::string wider =
      changed(of_2018("bqx_terms", "eurusd, gbpusd"), {{"windows: \\{ w60: 60,", "windows: { w60: 60, w1000: 1000,"}});
  const std::string others = db.text(
      "SELECT md5(string_agg((ts_utc, prediction_idx_w60, rmse_bqx_w630)::text, '' ORDER BY ts_utc)) FROM bqx.reg_terms_eurusd");
  apply_text(db, wider, "0 partitions added, 6 requeued, 0 unchanged");
  run_once(db);
  EXPECT_EQ(
      db.text(
          "SELECT count(*) - count(prediction_idx_w1000) || ' ' || count(*) - count(rmse_bqx_w1000) FROM bqx.reg_terms_eurusd"),
      "999 999");
  EXPECT_EQ(
      db.text(
          "SELECT md5(string_agg((ts_utc, prediction_idx_w60, rmse_bqx_w630)::text, '' ORDER BY ts_utc)) FROM bqx.reg_terms_eurusd"),
      others);
}

/// The first generation's tables as its users made them, children by month.
void make_first_generation(const Database& db, const std::string& pair, const std::string& input) {
  std::string columns;
  for (const char* metric :
       {"a2", "a1", "b", "r2", "rmse", "residual_mean", "residual_std", "prediction", "pred_interval_lower",
        "pred_interval_upper", "vertex_x", "vertex_y", "curvature", "fit_quality", "extrapolation_error"}) {
    for (const char* window : {"w15", "w30", "w45", "w60", "w75", "agg"})
      columns += fmt::format(", {}_{}_{} numeric", metric, input, window);
  }
  const std::string table = fmt::format("bqx.reg_{}_{}", input == "idx" ? "rate" : "bqx", pair);
  db.exec(fmt::format(
      "CREATE TABLE {0} (ts_utc timestamp without time zone NOT NULL{1}, PRIMARY KEY (ts_utc)) PARTITION BY RANGE (ts_utc); "
      "CREATE TABLE {0}_2018_10 PARTITION OF {0} FOR VALUES FROM ('2018-10-01') TO ('2018-11-01'); "
      "CREATE TABLE {0}_2018_11 PARTITION OF {0} FOR VALUES FROM ('2018-11-01') TO ('2018-12-01'); "
      "CREATE TABLE {0}_2018_12 PARTITION OF {0} FOR VALUES FROM ('2018-12-01') TO ('2019-01-01')",
      table, columns));
}

TEST(RealFeatureSets, NumericTablesOfTheFirstGeneration) {
  const auto data = real_data();
  if (!data) GTEST_SKIP() << "real data not found (REGFEATD_DATA_DIR)";
  const Database db;
  db.migrate();
  load_pairs(db, *data, 1);
  make_first_generation(db, "eurusd", "idx");
  make_first_generation(db, "eurusd", "bqx");
  const std::string november = "from: 2018-11-01, to: 2018-12-01";
  apply_text(db, of_2018("bqx_regression", "eurusd", november), "1 partitions added");
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.target WHERE created"), 0);
  std::string doubles = changed(
      of_2018("bqx_regression", "eurusd", november),
      {{"feature_set: bqx_regression", "feature_set: doubles"}, {"reg_rate_", "dbl_rate_"}, {"reg_bqx_", "dbl_bqx_"}});
  apply_text(db, doubles, "1 partitions added");
  run_once(db);
  for (const char* input : {"rate", "bqx"}) {
    // Every column of every row, cast.
    const std::string same = db.text(fmt::format(
        "SELECT string_agg(format('n.%1$I::float8 IS NOT DISTINCT FROM d.%1$I', attname), ' AND ') || ' ' FROM pg_attribute "
        " WHERE attrelid = 'bqx.reg_{}_eurusd'::regclass AND attnum > 0 AND attname <> 'ts_utc'",
        input));
    EXPECT_EQ(std::count(same.begin(), same.end(), '='), 0);
    EXPECT_EQ(
        db.text(fmt::format(
            "SELECT count(*) FILTER (WHERE {1}) || ' ' || count(*) || ' ' || count(n.a2_{2}_agg) "
            "  FROM bqx.reg_{0}_eurusd n FULL JOIN bqx.dbl_{0}_eurusd d ON d.ts_utc = n.ts_utc AT TIME ZONE 'UTC'",
            input, same, input == std::string("rate") ? "idx" : "bqx")),
        "31419 31419 31419")
        << input;
  }
}

TEST(RealFeatureSets, WeekendsAreClosuresAndMissingMinutesAreGaps) {
  const auto data = real_data();
  if (!data) GTEST_SKIP() << "real data not found (REGFEATD_DATA_DIR)";
  const Database db;
  db.migrate();
  load_pairs(db, *data, 1);
  const auto specification = [](const std::string& closed) {
    return "feature_set: fx\nseries: [eurusd]\npartition: { by: day, from: 2018-10-01, to: 2019-01-01 }\n"
           "source: { tables: [ { table: \"bqx.m1_{series}\", time: time } ] }\ninputs: { idx: { column: rate_index } }\nwindows: { w15: 15 }\nmetrics: [forecast]\n"
           "targets: [ { input: idx, table: \"bqx.fx_{series}\", time: t, column: \"{metric}_{window}\" } ]\n"
           "cadence: 1min\ncalendar:\n  zone: America/New_York\n  closed:\n    - { weekly: \"fri 17:00\", until: \"sun 17:00\" }\n" +
           closed;
  };
  apply_text(db, specification({}));
  run_once(db);
  // The same, said in SQL: minutes of the day that are not in a New York weekend, and those of them that have a bar.
  const std::string independent =
      "WITH m AS (SELECT t, t::date AS day, extract(isodow FROM z) + extract(epoch FROM z::time) / 86400 AS into_week, b.time IS NOT NULL AS has_bar "
      "             FROM generate_series(timestamp '2018-10-01', '2018-12-31 23:59', '1 minute') t "
      "             CROSS JOIN LATERAL (SELECT t AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York') n(z) LEFT JOIN bqx.m1_eurusd b ON b.time = t), "
      "d AS (SELECT day, count(*) FILTER (WHERE open) AS expected, count(*) FILTER (WHERE open AND has_bar) AS present, count(*) FILTER (WHERE NOT open) AS closed, "
      "             count(*) FILTER (WHERE NOT open AND has_bar) AS unexpected, count(*) FILTER (WHERE has_bar) AS rows "
      "        FROM (SELECT *, NOT (into_week >= 5 + 17 / 24.0 AND into_week < 7 + 17 / 24.0) AS open FROM m) o GROUP BY day) ";
  EXPECT_EQ(
      db.count(
          independent +
          "SELECT count(*) FROM d FULL JOIN regfeat.completeness c ON c.\"from\" = d.day || ' 00:00:00+00' "
          " WHERE (d.expected, d.present, d.closed, d.unexpected, d.rows) IS DISTINCT FROM (c.expected, c.present, c.closed, c.unexpected, c.rows)"),
      0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.completeness"), 92);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.completeness WHERE state = 'closed'"), 13) << "Saturdays";
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.completeness WHERE state = 'gap' AND expected = missing AND \"from\" LIKE '2018-12-25%'"),
      0);
  const std::int64_t missing = db.count("SELECT sum(missing) FROM regfeat.completeness");
  // A closure that was not told is a gap of 24 hours and an hour; told, it is none, and nothing is computed again for it.
  db.exec("DELETE FROM regfeat.attempt");
  apply_text(db, specification("    - { from: \"2018-12-24 17:00\", until: \"2018-12-25 17:00\" }\n"), "92 requeued");
  run_once(db);
  EXPECT_EQ(attempts(db, "done"), 0);
  EXPECT_EQ(
      missing - db.count("SELECT sum(missing) FROM regfeat.completeness"),
      1440 - db.count(
                 "SELECT count(*) FROM bqx.m1_eurusd WHERE time >= '2018-12-24 22:00' AND time < '2018-12-25 22:00'"));
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.completeness WHERE rows <> present + unexpected"), 0);
}

}  // namespace
}  // namespace regfeatd::test
