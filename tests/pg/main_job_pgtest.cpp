// The main job end to end: what the tables hold, against the oracle; the number of workers; kill and restart; preflight.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "pg_fixture.hpp"
#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/fit/oracle.hpp"

namespace regfeatd::test {
namespace {

using std::chrono::milliseconds;

void apply_spec(const Database& db, const std::string& specification) {
  const TemporaryFile file("spec.yaml", specification);
  const Finished f = db.regfeatd({"apply", file.path()});
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

void run_once(const Database& db, int workers) {
  const Finished f = db.regfeatd({"run", "--once", "--workers", std::to_string(workers)});
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

/// Everything that a run leaves in the targets of these pairs.
std::string fingerprint(const Database& db, const std::vector<std::string>& pairs) {
  std::string all;
  for (const std::string& p : pairs) all += db.checksum("bqx.reg_rate_" + p) + db.checksum("bqx.reg_bqx_" + p);
  return all;
}

/// Compares a target with the oracle, value by value, on the rows that the source holds.
void expect_oracle_values(const Database& db, const std::string& pair, const std::string& target,
                          const std::string& input, const std::string& source) {
  fit::Plan plan{{}, fit::metrics_of(fit::Family::coefficients)};
  for (const auto& [label, rows] : {std::pair{"w15", 15}, {"w30", 30}, {"agg", 90}}) {
    fit::Window& w = plan.windows.emplace_back();
    w.label = label;
    w.rows = rows;
  }
  const auto session = db.session();
  pqxx::work tx(session->sql());
  std::vector<OrderValue> order;
  std::vector<double> values;
  for (
      const auto& r : tx.exec(fmt::format(
          "SELECT (extract(epoch FROM time) * 1000000)::bigint, v FROM (SELECT m.time, {}::float8 AS v FROM bqx.m1_{} m "
          "JOIN bqx.bqx_{} b ON b.ts_utc = m.time AT TIME ZONE 'UTC') s ORDER BY 1",
          source, pair, pair))) {
    order.push_back(r[0].as<OrderValue>());
    values.push_back(r[1].is_null() ? std::nan("") : r[1].as<double>());
  }
  std::string columns;
  for (std::size_t c = 0; c < plan.column_count(); ++c) {
    const fit::Column column = plan.column(c);
    columns += fmt::format(", {}_{}_{}", fit::info(column.metric).name, input, plan.windows[column.window].label);
  }
  const pqxx::result rows =
      tx.exec(fmt::format("SELECT extract(epoch FROM ts_utc){} FROM bqx.{}_{} ORDER BY 1", columns, target, pair));
  ASSERT_EQ(rows.size(), order.size());
  const fit::Series series{order, values, 0};
  std::vector<double> expected(plan.column_count());
  for (std::size_t i = 0; i < order.size(); i += 7) {
    fit::oracle_row(plan, series, i, expected);
    // Natural scales (docs/fit.md): the level of the window for what is in units of the input, 1 for r2 and fit_quality,
    // and for vertex and extrapolation error their own sensitivity to a2 and the prediction.
    double level = 1e-300;
    for (std::size_t j = i >= 89 ? i - 89 : 0; j <= i; ++j) level = std::max(level, std::fabs(values[j]));
    for (std::size_t c = 0; c < expected.size(); ++c) {
      const auto field = rows[static_cast<pqxx::result::size_type>(i)][static_cast<pqxx::row::size_type>(c + 1)];
      ASSERT_EQ(field.is_null(), std::isnan(expected[c])) << pair << " row " << i << " column " << c;
      if (field.is_null()) continue;
      const std::string_view name = fit::info(plan.column(c).metric).name;
      const double a2 = expected[c - c % plan.metrics.size()];
      double scale = std::max(level, std::fabs(expected[c]));
      if (name == "r2" || name == "fit_quality") scale = 1;
      if (name == "vertex_x" || name == "vertex_y")
        scale *= std::max(1.0, level / std::max(std::fabs(a2), 1e-300)) * std::max(1.0, std::fabs(expected[c]) / level);
      EXPECT_NEAR(field.as<double>(), expected[c], 1e-12 * scale) << pair << " row " << i << ' ' << name;
    }
  }
}

TEST(MainJob, EveryMetricEqualsTheOracle) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 3);
  apply_spec(db, bars_specification({"eurusd"}, 3));
  run_once(db, 2);
  EXPECT_EQ(db.text("SELECT percent FROM regfeat.status"), "100");
  EXPECT_EQ(db.count("SELECT count(*) FROM bqx.reg_rate_eurusd"), db.count("SELECT count(*) FROM bqx.m1_eurusd"));
  expect_oracle_values(db, "eurusd", "reg_rate", "idx", "rate_index");
  expect_oracle_values(db, "eurusd", "reg_bqx", "bqx", "w15_bqx_return");
}

TEST(MainJob, LookbackRowsLeavesNullsOnlyBeforeTheFirstWindowIsFull) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 8);  // over a weekend
  apply_spec(db, bars_specification({"eurusd"}, 8));
  run_once(db, 4);
  const std::string numbered = "(SELECT *, row_number() OVER (ORDER BY ts_utc) AS i FROM bqx.reg_rate_eurusd) t";
  EXPECT_EQ(db.count("SELECT max(i) FROM " + numbered + " WHERE r2_idx_agg IS NULL"), 89);
  EXPECT_EQ(db.count("SELECT count(*) FROM " + numbered + " WHERE r2_idx_agg IS NULL"), 89);
  EXPECT_EQ(db.count("SELECT count(*) FROM " + numbered + " WHERE a2_idx_w15 IS NULL"), 14);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'empty'"), 2) << "Saturday and Sunday";
}

TEST(MainJob, LookbackNoneStartsEveryPartitionCold) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 3);
  apply_spec(db, bars_specification({"eurusd"}, 3, "none"));
  run_once(db, 4);
  const std::string numbered =
      "(SELECT *, row_number() OVER (PARTITION BY ts_utc::date ORDER BY ts_utc) AS i FROM bqx.reg_bqx_eurusd) t";
  for (const auto& [label, nulls] : {std::pair{"w15", 14}, {"w30", 29}, {"agg", 89}}) {
    EXPECT_EQ(db.count(fmt::format("SELECT count(*) FROM {} WHERE b_bqx_{} IS NULL", numbered, label)), 3 * nulls)
        << label;
    EXPECT_EQ(db.count(fmt::format("SELECT max(i) FROM {} WHERE b_bqx_{} IS NULL", numbered, label)), nulls) << label;
  }
}

TEST(MainJob, OneWorkerAndEightLeaveTheSameBits) {
  std::string first;
  for (const int workers : {1, 8}) {
    const Database db;
    db.migrate();
    for (const char* pair : {"eurusd", "gbpusd"}) db.make_bars(pair, 5);
    apply_spec(db, bars_specification({"eurusd", "gbpusd"}, 5));
    run_once(db, workers);
    const std::string print = fingerprint(db, {"eurusd", "gbpusd"});
    if (first.empty()) first = print;
    EXPECT_EQ(print, first) << workers << " workers";
  }
}

TEST(MainJob, KilledInTheMiddleAndRunAgainLeavesTheSameBitsAndRepeatsNothing) {
  const Database undisturbed;
  const Database db;
  for (const Database* d : {&undisturbed, &db}) {
    d->migrate();
    d->make_bars("eurusd", 12);
    apply_spec(*d, bars_specification({"eurusd"}, 12));
  }
  run_once(undisturbed, 2);
  for (int kills = 0; kills < 4; ++kills) {
    Process daemon({REGFEATD_BINARY, "run", "--once", "--workers", "2", "--conninfo", db.conninfo()});
    const auto done = db.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('done', 'empty')");
    while (daemon.running() &&
           db.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('done', 'empty')") < done + 2) {
      std::this_thread::sleep_for(milliseconds{3});
    }
    daemon.signal(SIGKILL);
    daemon.wait();
  }
  run_once(db, 2);
  EXPECT_EQ(fingerprint(db, {"eurusd"}), fingerprint(undisturbed, {"eurusd"}));
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM (SELECT partition_id FROM regfeat.attempt WHERE outcome IN ('done', 'empty') GROUP BY 1 HAVING count(*) > 1) d"),
      0)
      << "a finished partition was computed again";
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'running'"), 0)
      << "every attempt is explained";
}

TEST(MainJob, ApplyTwiceChangesNothing) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 2);
  apply_spec(db, bars_specification({"eurusd"}, 2));
  run_once(db, 1);
  const std::string before =
      db.text("SELECT md5(string_agg(p::text, '' ORDER BY partition_id)) FROM regfeat.partition p");
  const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 2));
  const Finished again = db.regfeatd({"apply", file.path()});
  EXPECT_EQ(again.exit_status, 0);
  EXPECT_NE(again.out.find("applied: 0 partitions added, 0 requeued, 2 unchanged"), std::string::npos) << again.out;
  EXPECT_EQ(db.text("SELECT md5(string_agg(p::text, '' ORDER BY partition_id)) FROM regfeat.partition p"), before);
}

TEST(MainJob, RequeuedPartitionsAreReplacedNotDoubled) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 3);
  apply_spec(db, bars_specification({"eurusd"}, 3));
  run_once(db, 2);
  const std::string before = fingerprint(db, {"eurusd"});
  db.exec("UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, input_fingerprint = NULL");
  run_once(db, 2);
  EXPECT_EQ(fingerprint(db, {"eurusd"}), before);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'done'"), 6);
}

TEST(Preflight, FourMistakesAreReportedInOneGoAndNothingChanges) {
  const Database db;
  db.migrate();
  for (const char* pair : {"aaa", "bbb", "ccc", "ddd"}) db.make_bars(pair, 2);
  const std::string four = bars_specification({"aaa", "bbb", "ccc", "ddd"}, 2);
  // A role that may do everything but insert into one target.
  const std::string role = "r" + std::to_string(getpid());
  db.exec(fmt::format(
      "CREATE ROLE {0} LOGIN; GRANT ALL ON SCHEMA bqx, regfeat TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA bqx, regfeat TO {0}; "
      "GRANT ALL ON ALL SEQUENCES IN SCHEMA regfeat TO {0}",
      role));
  db.exec("ALTER TABLE bqx.m1_aaa DROP COLUMN rate_index");
  db.exec("ALTER TABLE bqx.bqx_bbb ALTER COLUMN w15_bqx_return TYPE text");
  // Targets as a first generation would have left them, one without two of its columns, one not to be written to.
  std::string columns;
  for (const char* w : {"w15", "w30", "agg"}) {
    for (const fit::Metric m : fit::metrics_of(fit::Family::coefficients))
      columns += fmt::format(", {}_idx_{} double precision", fit::info(m).name, w);
  }
  db.exec("CREATE TABLE bqx.reg_rate_ccc (ts_utc timestamptz PRIMARY KEY" + columns + ")");
  db.exec("ALTER TABLE bqx.reg_rate_ccc DROP COLUMN r2_idx_w30, DROP COLUMN rmse_idx_agg");
  db.exec("CREATE TABLE bqx.reg_rate_ddd (ts_utc timestamptz PRIMARY KEY" + columns + ")");
  db.exec(fmt::format("GRANT ALL ON bqx.reg_rate_ccc TO {0}; GRANT SELECT, DELETE ON bqx.reg_rate_ddd TO {0}", role));

  const std::string dump = "SELECT count(*) || ' ' || (SELECT count(*) FROM pg_class) FROM regfeat.feature_set";
  const std::string before = db.text(dump);
  const TemporaryFile file("spec.yaml", four);
  for (const char* command : {"plan", "apply"}) {
    const Finished f = regfeatd({command, file.path(), "--conninfo", db.conninfo_as(role)});
    EXPECT_EQ(f.exit_status, 78) << f.out;
    for (const char* finding :
         {"no column \"rate_index\" (input idx)", "column \"w15_bqx_return\" (input bqx) is text; expected a number",
          "target bqx.reg_rate_ccc: 2 feature columns are missing: \"r2_idx_w30\", \"rmse_idx_agg\"",
          "target bqx.reg_rate_ddd: no INSERT privilege"}) {
      EXPECT_NE(f.out.find(finding), std::string::npos) << "missing: " << finding << "\nin:\n" << f.out;
    }
    EXPECT_NE(f.out.find("4 findings; nothing was changed"), std::string::npos) << f.out;
  }
  EXPECT_EQ(db.text(dump), before);
  db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", role));
}

TEST(Preflight, RunReportsABrokenTargetBeforeItComputesAnything) {
  const Database db;
  db.migrate();
  db.make_bars("eurusd", 2);
  apply_spec(db, bars_specification({"eurusd"}, 2));
  db.exec("ALTER TABLE bqx.reg_bqx_eurusd DROP COLUMN a2_bqx_w15");
  const Finished f = db.regfeatd({"run", "--once"});
  EXPECT_EQ(f.exit_status, 78) << f.out;
  EXPECT_NE(f.out.find("\"a2_bqx_w15\""), std::string::npos) << f.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt"), 0);
}

TEST(RealData, NinePartitionsOfForeignExchange) {
  const auto data = real_data();
  if (!data) GTEST_SKIP() << "real data not found (REGFEATD_DATA_DIR)";
  const Database db;
  db.migrate();
  const std::vector<std::string> pairs{"eurusd", "gbpusd", "usdjpy"};
  for (const std::string& p : pairs) {
    const auto file = [&](const char* month) {
      return (*data / "fx_m1" / fmt::format("{}_{}.csv.gz", p, month)).string();
    };
    const Finished f = Process({SOURCE_DIR "/scripts/load-bars", "--conninfo", db.conninfo(), p, file("201810"),
                                file("201811"), file("201812")})
                           .wait();
    ASSERT_EQ(f.exit_status, 0) << f.out;
  }
  std::string spec = bars_specification(pairs, 1);
  spec.replace(spec.find("partition: {"), spec.find("source:") - spec.find("partition: {"),
               "partition: { by: month, from: 2018-10-01, to: 2019-01-01 }\n");
  spec.replace(spec.find("windows: {"), spec.find("metrics:") - spec.find("windows: {"),
               "windows: { w15: 15, w30: 30, w45: 45, w60: 60, w75: 75, agg: 90 }\n");
  for (std::size_t at = 0; (at = spec.find("%Y_%m_%d", at)) != std::string::npos;) spec.replace(at, 8, "%Y_%m");
  apply_spec(db, spec);
  run_once(db, 4);
  EXPECT_EQ(db.text("SELECT percent || ' ' || partitions || ' ' || done || ' ' || rows_done FROM regfeat.status"),
            "100 9 9 281218");
  for (const std::string& p : pairs) {
    for (const char* input : {"rate", "bqx"}) {
      const std::string column = std::string("a2_") + (input == std::string("rate") ? "idx" : "bqx");
      const std::string table =
          fmt::format("(SELECT *, row_number() OVER (ORDER BY ts_utc) AS i FROM bqx.reg_{}_{}) t", input, p);
      EXPECT_EQ(db.count("SELECT count(*) FROM " + table), db.count("SELECT count(*) FROM bqx.m1_" + p));
      EXPECT_EQ(db.count(fmt::format("SELECT count(*) FROM {} WHERE {}_agg IS NULL", table, column)), 89)
          << p << ' ' << input;
      EXPECT_EQ(db.count(fmt::format("SELECT max(i) FROM {} WHERE {}_agg IS NULL", table, column)), 89)
          << p << ' ' << input;
      EXPECT_EQ(db.count(fmt::format("SELECT count(*) FROM {} WHERE {}_w15 IS NULL", table, column)), 14)
          << p << ' ' << input;
    }
  }
}

}  // namespace
}  // namespace regfeatd::test
