// storage: compact: the view equals the wide table within the oracle's tolerance, in every family and at
// every edge.
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "pg_fixture.hpp"
#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/fit/oracle.hpp"

namespace regfeatd::test {
namespace {

/// Minutes of one series with all that a fit can meet: noise, a constant stretch (TSS = 0), an exact parabola
/// (RSS = 0 but for rounding), two values in turn, a line, NULLs, a jump, and a high level with a small
/// spread.
constexpr const char* kAwkwardSource = R"(
  CREATE SCHEMA s;
  CREATE TABLE s.x (t timestamptz PRIMARY KEY, v double precision);
  INSERT INTO s.x
    SELECT timestamptz '2024-07-01 00:00+00' + i * interval '1 minute',
           CASE WHEN i < 300 THEN 100 + sin(i / 17.0) + (i * 7919 % 997) / 1e4
                WHEN i < 500 THEN 42.5
                WHEN i < 700 THEN 3 + 0.25 * (i - 500) - 0.5 * (i - 500) * (i - 500)
                WHEN i < 800 THEN i % 2
                WHEN i < 950 THEN 7 - 2 * i
                WHEN i IN (1003, 1050) THEN NULL
                WHEN i < 1200 THEN 1e9 + (i * 7919 % 997) / 1e3
                WHEN i = 1300 THEN 1e8
                ELSE (i * 7919 % 997 - 500) * 1e-9 END
      FROM generate_series(0, 1439) i;
  ANALYZE s.x;)";

std::string specification(const std::string& name, const std::string& metrics, const std::string& windows,
                          const std::string& storage) {
  return fmt::format(R"(feature_set: {0}
series: [x]
partition: {{ by: day, from: 2024-07-01, to: 2024-07-02 }}
source:
  tables: [ {{ table: "s.{{series}}", time: t }} ]
inputs: {{ v: {{ column: v }} }}
windows: {1}
metrics: {2}
storage: {3}
targets: [ {{ input: v, table: "public.{0}_{{series}}", time: t, column: "{{metric}}_{{window}}", partition: "{{table}}_{{start:%Y_%m_%d}}" }} ]
)",
                     name, windows, metrics, storage);
}

void apply_and_run(const Database& db, const std::vector<std::string>& specifications) {
  for (const std::string& text : specifications) {
    const TemporaryFile file("spec.yaml", text);
    const Finished f = db.regfeatd({"apply", file.path()});
    ASSERT_EQ(f.exit_status, 0) << f.out;
  }
  const Finished f = db.regfeatd({"run", "--once", "--workers", "1"});
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

/// A table or view by column, NaN for NULL, in the order of `order`.
std::map<std::string, std::vector<double>> columns_of(const Database& db, const std::string& table,
                                                      const std::string& order) {
  const auto session = db.session();
  pqxx::work tx(session->sql());
  tx.exec("SET LOCAL extra_float_digits = 3");
  const pqxx::result r = tx.exec(fmt::format("SELECT * FROM {} ORDER BY {}", table, order));
  std::map<std::string, std::vector<double>> out;
  for (pqxx::row_size_type c = 0; c < r.columns(); ++c) {
    if (r.column_type(c) != 701 && r.column_type(c) != 700) continue;
    auto& column = out[r.column_name(c)];
    for (const auto& row : r) column.push_back(row[c].is_null() ? std::nan("") : row[c].as<double>());
  }
  return out;
}

struct Scales {
  double level, spread;
};

/// Of the values in the `rows` rows that end on `end`.
Scales scales_of(const std::vector<double>& v, std::size_t end, std::size_t rows) {
  Scales s{1e-300, 1e-300};
  const std::size_t first = end + 1 >= rows ? end + 1 - rows : 0;
  for (std::size_t i = first; i <= end; ++i) {
    if (std::isnan(v[i])) continue;
    s.level = std::max(s.level, std::fabs(v[i]));
    s.spread = std::max(s.spread, std::fabs(v[i] - v[end]));
  }
  return s;
}

/// The natural scale of a metric (docs/fit.md): the level for values, the spread for slopes and residuals, 1
/// for ratios; and the sensitivity of what divides by a small number.
double scale_of(std::string_view name, std::string_view unit, double value, const Scales& s,
                const std::map<std::string, std::vector<double>>& wide, const std::string& window, std::size_t row) {
  const auto at = [&](const std::string& metric) {
    const auto it = wide.find(metric + "_" + window);
    return it == wide.end() ? std::nan("") : it->second[row];
  };
  if (name == "vertex_x" || name == "vertex_y") {
    return std::max({s.level, std::fabs(value), at("a1") * at("a1") / std::fabs(2 * at("a2") + 1e-10)}) *
           std::max(1.0, std::fabs(at("vertex_x")));
  }
  if (name == "extrapolation_error") {
    const double below = std::fabs(at("prediction")) + 1e-10;
    return s.spread / below * std::max(1.0, s.level / below);
  }
  if (name == "t_coef1") return std::fabs(value) + s.spread / at("se_coef1");
  if (name == "t_coef2" || name == "f_stat" || name == "durbin_watson" || name.starts_with("p_") || name == "n_obs")
    return std::fabs(value);
  if (name.starts_with("se_") || name == "sigma" || name == "rmse" || name == "residual_std")
    return std::max(std::fabs(value), s.spread * 1e-3);
  if (unit == "1") return 1;
  if (unit != "input" || name.find("resid") != std::string_view::npos || name == "a2" || name == "a1" ||
      name == "curvature")
    return std::max(s.spread, std::fabs(value));
  return std::max(s.level, std::fabs(value));
}

/// Compares a compact feature set with the wide one, value by value. `tolerance` is of the natural scale.
void expect_equal(const Database& db, const std::string& wide_table, const std::string& view, const std::string& source,
                  fit::Family family, const std::map<std::string, std::size_t>& windows, const std::string& order,
                  double tolerance) {
  const auto wide = columns_of(db, wide_table, order), compact = columns_of(db, view, order),
             input = columns_of(db, source, order);
  const auto& values = input.at("v");
  ASSERT_FALSE(wide.empty());
  std::size_t compared = 0;
  for (const fit::Metric m : fit::metrics_of(family)) {
    const fit::MetricInfo& info = fit::info(m);
    for (const auto& [label, rows] : windows) {
      const std::string column = fmt::format("{}_{}", info.name, label);
      const auto &a = wide.at(column), &b = compact.at(column);
      ASSERT_EQ(a.size(), values.size());
      ASSERT_EQ(b.size(), values.size());
      for (std::size_t r = 0; r < a.size(); ++r) {
        ASSERT_EQ(std::isnan(a[r]), std::isnan(b[r])) << column << " row " << r << ": " << a[r] << " but " << b[r];
        if (std::isnan(a[r])) continue;
        ++compared;
        const Scales s = scales_of(values, r, rows + 1);
        ASSERT_NEAR(a[r], b[r], tolerance * scale_of(info.name, info.unit, a[r], s, wide, label, r) + 1e-290)
            << column << " row " << r;
      }
    }
  }
  EXPECT_GT(compared, 1000u);
}

class Compact : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, Compact, testing::Values("coefficients", "terms", "legacy_terms", "inference"),
                         [](const auto& p) { return p.param; });

TEST_P(Compact, ViewEqualsTheWideTableAtEveryEdge) {
  const Database db;
  db.migrate();
  db.exec(kAwkwardSource);
  const std::string windows = "{ w3: 3, w4: 4, w15: 15, w90: 90, w150: 150, l40: { range: 40m, min_rows: 3 } }";
  apply_and_run(db, {specification("wide", GetParam(), windows, "double"),
                     specification("compact", GetParam(), windows, "compact")});
  EXPECT_EQ(db.text("SELECT relkind FROM pg_class WHERE oid = 'compact_x'::regclass"), "v");
  EXPECT_EQ(db.text("SELECT string_agg(relid::text, ' ' ORDER BY 1) FROM "
                    "pg_partition_tree('compact_x_compact') WHERE isleaf"),
            "compact_x_compact_2024_07_01");
  EXPECT_EQ(db.text("SELECT string_agg(attname::text || atttypid::regtype, ',' ORDER BY attnum) FROM "
                    "pg_attribute WHERE attrelid = 'compact_x'::regclass AND attnum > 0"),
            db.text("SELECT string_agg(attname::text || atttypid::regtype, ',' ORDER BY attnum) FROM "
                    "pg_attribute WHERE attrelid = 'wide_x'::regclass AND attnum > 0"));
  expect_equal(db, "wide_x", "compact_x", "s.x", *fit::family_from_name(GetParam()),
               {{"w3", 3}, {"w4", 4}, {"w15", 15}, {"w90", 90}, {"w150", 150}, {"l40", 40}}, "t", 1e-11);
}

TEST_P(Compact, RealHalvesTheNumbersAndTheirDigits) {
  const Database db;
  db.migrate();
  db.exec(kAwkwardSource);
  db.exec(
      "UPDATE s.x SET v = 100 + sin(extract(epoch FROM t)::float8 / 1000) + (extract(epoch FROM t)::bigint * "
      "7919 % 997) / 1e3 WHERE v IS NOT NULL");
  const std::string windows = "{ w15: 15, w90: 90 }";
  apply_and_run(db, {specification("wide", GetParam(), windows, "double"),
                     specification("compact", GetParam(), windows, "[compact, real]")});
  EXPECT_EQ(db.count("SELECT count(*) FROM pg_attribute WHERE attrelid = 'compact_x_compact'::regclass AND "
                     "atttypid = 'float8'::regtype"),
            0);
  const auto wide = columns_of(db, "wide_x", "t"), compact = columns_of(db, "compact_x", "t");
  for (const auto& [name, a] : wide) {
    const auto& b = compact.at(name);
    for (std::size_t r = 0; r < a.size(); ++r) {
      ASSERT_EQ(std::isnan(a[r]), std::isnan(b[r])) << name << " row " << r;
      // 24 bits of the level (100) and of each number: loose for what divides one by another.
      if (std::isnan(a[r]) || name.rfind("vertex", 0) == 0) continue;
      ASSERT_NEAR(a[r], b[r], 1e-5 * std::max(100.0, std::fabs(a[r]))) << name << " row " << r;
    }
  }
}

TEST(CompactStorage, KeepsFiveNumbersOfEachWindowOfCoefficients) {
  const Database db;
  db.migrate();
  db.exec(kAwkwardSource);
  apply_and_run(db, {specification("compact", "coefficients", "{ w15: 15, agg: 90 }", "compact")});
  EXPECT_EQ(db.text("SELECT string_agg(attname::text, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid "
                    "= 'compact_x_compact'::regclass AND attnum > 0"),
            "t a2_w15 a1_w15 b_w15 rss_w15 tss_w15 a2_agg a1_agg b_agg rss_agg tss_agg");
  // A condition on time reaches the partitions through the view.
  EXPECT_EQ(db.count("SELECT count(*) FROM compact_x WHERE t >= '2024-07-01 10:00+00' AND t < '2024-07-01 "
                     "11:00+00' AND r2_w15 IS NOT NULL"),
            60);
  EXPECT_EQ(db.text("EXPLAIN (COSTS OFF) SELECT r2_w15 FROM compact_x WHERE t < '2023-01-01'"),
            "Result");  // no partition is left
}

TEST(CompactStorage, KeysAndRangeWindows) {
  const Database db;
  db.migrate();
  db.exec(R"(
    CREATE SCHEMA s;
    CREATE TABLE s.x (player int, t timestamptz, v double precision, PRIMARY KEY (player, t));
    INSERT INTO s.x SELECT p, timestamptz '2024-07-01 00:00+00' + (i * (p + 1) * 3 % 1440) * interval '1 minute', sin(i) * p + i % 5
      FROM generate_series(1, 6) p, generate_series(0, 90) i ON CONFLICT DO NOTHING;
    ANALYZE s.x;)");
  const auto keyed = [&](const std::string& name, const std::string& storage) {
    std::string text =
        specification(name, "inference",
                      "{ l90: { range: 90m, min_rows: 3 }, l5: { range: 10h, min_rows: 5 }, "
                      "few: { range: 13m, min_rows: 1 }, early: { range: 13m, min_rows: 2, offset: 3 } }",
                      storage);
    return text.insert(text.find("series:"), "key: [player]\n");
  };
  apply_and_run(db, {keyed("wide", "double"), keyed("compact", "compact")});
  expect_equal(db, "wide_x", "compact_x", "s.x", fit::Family::inference,
               {{"l90", 91}, {"l5", 91}, {"few", 9}, {"early", 9}}, "player, t", 1e-11);
  EXPECT_EQ(db.text("SELECT string_agg(DISTINCT n_obs_early::text, ' ') FROM compact_x WHERE n_obs_early < 3"),
            "0 1 2");
}

TEST(CompactStorage, RealDataWithinTheOracleTolerance) {
  const auto folder = real_data();
  if (!folder) GTEST_SKIP() << "no real data: set REGFEATD_DATA_DIR";
  const Database db;
  db.migrate();
  std::filesystem::path csv;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*folder / "fx_m1")) {
    if (entry.path().extension() == ".csv" || entry.path().extension() == ".gz") csv = std::max(csv, entry.path());
  }
  const Finished loaded = Process({SOURCE_DIR "/scripts/load-bars", "--conninfo", db.conninfo(), "--schema", "bars",
                                   "eurusd", csv.string()})
                              .wait();
  ASSERT_EQ(loaded.exit_status, 0) << loaded.out;
  // The first trading days of the file, moved to the first of July so that they are one partition.
  db.exec(R"(
    CREATE SCHEMA s;
    CREATE TABLE s.x AS SELECT timestamptz '2024-07-01 00:00+00' + (row_number() OVER (ORDER BY time) - 1) * interval '1 minute' AS t, close::float8 AS v
      FROM bars.m1_eurusd ORDER BY 1 LIMIT 1440;
    ALTER TABLE s.x ADD PRIMARY KEY (t); ANALYZE s.x;)");
  for (const std::string family : {"coefficients", "terms", "legacy_terms", "inference"}) {
    apply_and_run(db, {specification("w_" + family, family, "{ w15: 15, agg: 90 }", "double"),
                       specification("c_" + family, family, "{ w15: 15, agg: 90 }", "compact")});
    expect_equal(db, "w_" + family + "_x", "c_" + family + "_x", "s.x", *fit::family_from_name(family),
                 {{"w15", 15}, {"agg", 90}}, "t", 1e-12);
  }
}

TEST(CompactStorage, AWideTableOfTheNameIsAClearError) {
  const Database db;
  db.migrate();
  db.exec(kAwkwardSource);
  apply_and_run(db, {specification("f", "terms", "{ w15: 15 }", "double")});
  const TemporaryFile file("spec.yaml", specification("f", "terms", "{ w15: 15 }", "compact"));
  const Finished f = db.regfeatd({"apply", file.path()});
  EXPECT_EQ(f.exit_status, 78);
  EXPECT_NE(f.out.find("target public.f_x: it is a table, and storage: compact makes a view of that name: "
                       "rename or drop the table"),
            std::string::npos)
      << f.out;
  EXPECT_EQ(db.text("SELECT to_regclass('f_x_compact')"), "");
}

// docs/compact-storage.md, "How equal": what lies outside of what is kept.
TEST(CompactStorage, SmallValuesAreKeptAsZeroWithTheNullsThatComeOfIt) {
  const Database db;
  db.migrate();
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.x (t timestamptz PRIMARY KEY, v double precision);"
      "INSERT INTO s.x SELECT timestamptz '2024-07-01 00:00+00' + i * interval '1 minute', (i * 7919 % 997) * 1e-70 FROM generate_series(0, 99) i");
  apply_and_run(db, {specification("wide", "inference", "{ w15: 15 }", "double"),
                     specification("compact", "inference", "{ w15: 15 }", "compact")});
  for (const std::string metric : {"t_coef2", "t_coef1", "f_stat", "durbin_watson", "r2_adj"}) {
    EXPECT_EQ(db.count(fmt::format("SELECT count({}_w15) FROM wide_x", metric)), 86) << metric;
    EXPECT_EQ(db.count(fmt::format("SELECT count({}_w15) FROM compact_x", metric)), 0) << metric;
  }
  for (const std::string metric : {"p_coef2", "p_coef1", "sigma", "coef2", "n_obs", "forecast"})
    EXPECT_EQ(db.count(fmt::format("SELECT count({}_w15) FROM compact_x", metric)), 86) << metric;
}

TEST(CompactStorage, LargeValuesFailWithTheColumnAndTheBound) {
  const Database db;
  db.migrate();
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.x (t timestamptz PRIMARY KEY, v double precision);"
      "INSERT INTO s.x SELECT timestamptz '2024-07-01 00:00+00' + i * interval '1 minute', (i * 7919 % 997) * 1e65 FROM generate_series(0, 99) i");
  const TemporaryFile file("spec.yaml", specification("compact", "coefficients", "{ w15: 15 }", "compact"));
  ASSERT_EQ(db.regfeatd({"apply", file.path()}).exit_status, 0);
  const TemporaryFile config("regfeatd.yaml", "retry: { attempts: 1 }\n");
  EXPECT_EQ(db.regfeatd({"run", "--once", "--config", config.path()}).exit_status, 1);
  EXPECT_EQ(
      db.text("SELECT substring(message FROM 'target .*') FROM regfeat.failures"),
      "target public.compact_x_compact: column \"a2_w15\" has 100 NULLs where row counts and input NULLs give 14; a value "
      "beyond what storage: compact keeps, 1e60 (squares: 1e120) or the largest real, is the usual cause");
}

TEST(CompactStorage, PlanShowsTheDdlAndTheViewFollowsTheSpecification) {
  const Database db;
  db.migrate();
  db.exec(kAwkwardSource);
  const TemporaryFile first("spec.yaml", specification("f", "[coefficients.r2]", "{ w15: 15 }", "compact"));
  const Finished plan = db.regfeatd({"plan", "--ddl", first.path()});
  EXPECT_EQ(plan.exit_status, 0) << plan.out;
  EXPECT_NE(plan.out.find("CREATE TABLE \"public\".\"f_x_compact\""), std::string::npos) << plan.out;
  EXPECT_NE(plan.out.find("CREATE VIEW \"public\".\"f_x\" AS\nSELECT \"t\",\n       (1 - \"rss_w15\"::float8 "
                          "/ (\"tss_w15\"::float8 + 1e-10)) AS \"r2_w15\""),
            std::string::npos)
      << plan.out;
  apply_and_run(db, {specification("f", "[coefficients.r2]", "{ w15: 15 }", "compact")});
  // Applied again: nothing to do. A metric more: a column more in both. A metric less: the view is made anew.
  const Finished again = db.regfeatd({"plan", first.path()});
  EXPECT_NE(again.out.find("DDL         0 statements"), std::string::npos) << again.out;
  apply_and_run(db, {specification("f", "[coefficients.r2, coefficients.prediction]", "{ w15: 15 }", "compact")});
  EXPECT_EQ(db.count("SELECT count(prediction_w15) FROM f_x"), db.count("SELECT count(r2_w15) FROM f_x"));
  apply_and_run(db, {specification("f", "[coefficients.rmse]", "{ w15: 15 }", "compact")});
  EXPECT_EQ(db.text("SELECT string_agg(attname::text, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid "
                    "= 'f_x'::regclass AND attnum > 0"),
            "t rmse_w15");
  EXPECT_GT(db.count("SELECT count(rmse_w15) FROM f_x"), 1000);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.target t WHERE NOT EXISTS (SELECT FROM pg_class c WHERE "
                     "c.oid = t.target)"),
            0);
  const Finished removed = db.regfeatd({"remove", "f", "--drop-tables"});
  EXPECT_EQ(removed.exit_status, 0) << removed.out;
  EXPECT_EQ(db.text("SELECT to_regclass('f_x')"), "");
  EXPECT_EQ(db.text("SELECT to_regclass('f_x_compact')"), "");
}

}  // namespace
}  // namespace regfeatd::test
