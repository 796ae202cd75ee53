// regfeatd validate: silent on an untouched job, and finds each way in which one can be damaged.
#include <fmt/format.h>

#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

/// Three pairs, four days, computed.
class Validate : public ::testing::Test {
 protected:
  void SetUp() override { make("coefficients"); }

  void make(const std::string& metrics) {
    db_.migrate();
    for (const std::string pair : {"eurusd", "gbpusd", "usdjpy"}) db_.make_bars(pair, kDays);
    apply_and_run(bars_specification({"eurusd", "gbpusd", "usdjpy"}, kDays, "rows", metrics));
  }
  void apply_and_run(const std::string& specification) const {
    const TemporaryFile file("spec.yaml", specification);
    const Finished applied = db_.regfeatd({"apply", file.path()});
    ASSERT_EQ(applied.exit_status, 0) << applied.out;
    const Finished run = db_.regfeatd({"run", "--once", "--workers", "2"});
    ASSERT_EQ(run.exit_status, 0) << run.out;
  }
  [[nodiscard]] Finished validate(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"validate", "bars", "--seed", "7"});
    return db_.regfeatd(more);
  }
  /// After `damage`: exit status 1, and a finding of this kind that names the table and matches `condition`.
  void expect_found(const std::string& damage, const std::string& what, const std::string& condition = "true") const {
    db_.exec(damage);
    const Finished f = validate();
    EXPECT_EQ(f.exit_status, 1) << f.out;
    EXPECT_NE(f.out.find(what), std::string::npos) << f.out;
    EXPECT_GT(
        db_.count(fmt::format("SELECT count(*) FROM regfeat.validation WHERE what = '{}' AND {}", what, condition)), 0)
        << f.out;
  }
  [[nodiscard]] std::string findings() const {
    return db_.text("SELECT string_agg(DISTINCT what, ' ' ORDER BY what) FROM regfeat.validation");
  }

  static constexpr int kDays = 4;
  static constexpr const char* kRow =
      "ts_utc = (SELECT ts_utc FROM bqx.reg_rate_gbpusd ORDER BY ts_utc OFFSET 2000 LIMIT 1)";
  Database db_;
};

TEST_F(Validate, IsSilentOnAnUntouchedJob) {
  const Finished f = validate({"--oracle-rows", "50"});
  EXPECT_EQ(f.exit_status, 0) << f.out;
  EXPECT_NE(f.out.find("no findings"), std::string::npos) << f.out;
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.validation"), 0);
  EXPECT_EQ(db_.text("SELECT format('%s of %s, %s findings', partitions, partitions_of, findings) FROM "
                     "regfeat.validation_run WHERE finished_at IS NOT NULL"),
            "12 of 12, 0 findings");
  EXPECT_EQ(db_.count("SELECT values_checked FROM regfeat.validation_run"),
            db_.count("SELECT sum(rows_out) * 2 * 45 FROM regfeat.partition"));
  EXPECT_GT(db_.count("SELECT oracle_values FROM regfeat.validation_run"), 12 * 2 * 40 * 45);
}

TEST_F(Validate, ASampleIsRandomAndRepeatable) {
  EXPECT_EQ(validate({"--sample", "3"}).exit_status, 0);
  EXPECT_EQ(validate({"--sample", "3"}).out, validate({"--sample", "3"}).out);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.validation_run WHERE partitions = 3 AND partitions_of = 12"), 3);
  EXPECT_NE(validate({"--series", "eurusd", "--from", "2024-07-02", "--to", "2024-07-03"}).out.find("1 of 1 finished"),
            std::string::npos);
}

TEST_F(Validate, FindsOneFlippedBit) {
  // The last bit of the mantissa of one value: float8send shows the bits, the nearest other double has one
  // more.
  db_.exec(
      "CREATE FUNCTION next_double(v float8) RETURNS float8 LANGUAGE plpgsql AS $$ DECLARE s float8 := "
      "abs(v) * 1.1e-16; BEGIN "
      "WHILE v + s = v LOOP s := s * 1.1; END LOOP; RETURN v + s; END $$");
  expect_found(fmt::format("UPDATE bqx.reg_rate_gbpusd SET rmse_idx_w30 = next_double(rmse_idx_w30) WHERE {}", kRow),
               "value",
               "series = 'gbpusd' AND target = 'bqx.reg_rate_gbpusd' AND column_name = 'rmse_idx_w30' AND position IS "
               "NOT NULL");
  EXPECT_EQ(findings(), "checksum value");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.validation WHERE what = 'value'"), 1);
}

TEST_F(Validate, FindsARowThatWasDeleted) {
  expect_found(fmt::format("DELETE FROM bqx.reg_rate_gbpusd WHERE {}", kRow), "row_missing",
               "target = 'bqx.reg_rate_gbpusd' AND position IS NOT NULL");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.validation WHERE what = 'positions_differ'"), 1)
      << "the other target still has it";
}

TEST_F(Validate, FindsARowThatIsThereTwice) {
  expect_found(fmt::format("ALTER TABLE bqx.reg_rate_gbpusd DROP CONSTRAINT reg_rate_gbpusd_pkey;"
                           "INSERT INTO bqx.reg_rate_gbpusd SELECT * FROM bqx.reg_rate_gbpusd WHERE {}",
                           kRow),
               "row_doubled", "target = 'bqx.reg_rate_gbpusd'");
}

TEST_F(Validate, FindsOneNullTooMany) {
  expect_found(fmt::format("UPDATE bqx.reg_rate_gbpusd SET r2_idx_agg = NULL WHERE {}", kRow), "null_count",
               "column_name = 'r2_idx_agg'");
}

TEST_F(Validate, FindsADroppedIndex) {
  expect_found("ALTER TABLE bqx.reg_rate_gbpusd DROP CONSTRAINT reg_rate_gbpusd_pkey", "index_missing",
               "target LIKE 'bqx.reg_rate_gbpusd%' AND partition_id IS NULL");
  EXPECT_EQ(findings(), "index_missing");
}

TEST_F(Validate, FindsADroppedIndexOfASingleTable) {
  db_.exec("CREATE INDEX r2_index ON bqx.reg_bqx_usdjpy (r2_bqx_agg) WHERE r2_bqx_agg > 0.5");
  EXPECT_EQ(validate().exit_status, 0);
  const TemporaryFile file("spec.yaml", bars_specification({"eurusd", "gbpusd", "usdjpy"}, kDays));
  ASSERT_EQ(db_.regfeatd({"apply", file.path()}).exit_status, 0);
  EXPECT_EQ(validate().exit_status, 0);
  expect_found(
      "DROP INDEX bqx.r2_index", "index_missing",
      "series = 'usdjpy' AND target = 'bqx.reg_bqx_usdjpy' AND message LIKE '%(r2_bqx_agg) WHERE r2_bqx_agg > %is gone%'");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.validation"), 1);
  // Whoever does not want it any more says so.
  ASSERT_EQ(db_.regfeatd({"apply", file.path()}).exit_status, 0);
  EXPECT_EQ(validate().exit_status, 0);
}

TEST_F(Validate, FindsAnIndexThatOneTableLacks) {
  for (const std::string pair : {"eurusd", "gbpusd", "usdjpy"})
    db_.exec(fmt::format("CREATE INDEX ON bqx.reg_bqx_{} (r2_bqx_agg)", pair));
  EXPECT_EQ(validate().exit_status, 0);
  expect_found("DROP INDEX bqx.reg_bqx_usdjpy_r2_bqx_agg_idx", "index_missing",
               "series = 'usdjpy' AND target = 'bqx.reg_bqx_usdjpy'");
}

TEST_F(Validate, FindsAPartitionOfAnOlderSpecification) {
  // Recorded as such ...
  apply_and_run(bars_specification({"eurusd", "gbpusd", "usdjpy"}, kDays, "none"));
  expect_found(
      "UPDATE regfeat.partition SET specification_version = 1 WHERE series = 'gbpusd' AND partition_id = "
      "(SELECT max(partition_id) FROM regfeat.partition WHERE series = 'gbpusd')",
      "specification", "series = 'gbpusd'");
  EXPECT_EQ(findings(), "specification");
  // ... and when only the values are.
  apply_and_run(bars_specification({"eurusd", "gbpusd", "usdjpy"}, kDays, "rows"));
  db_.exec("CREATE TABLE kept AS SELECT * FROM bqx.reg_rate_gbpusd");
  apply_and_run(bars_specification({"eurusd", "gbpusd", "usdjpy"}, kDays, "none"));
  expect_found(
      "DELETE FROM bqx.reg_rate_gbpusd WHERE ts_utc >= '2024-07-03' AND ts_utc < '2024-07-04';"
      "INSERT INTO bqx.reg_rate_gbpusd SELECT * FROM kept WHERE ts_utc >= '2024-07-03' AND ts_utc < "
      "'2024-07-04'",
      "value", "series = 'gbpusd'");
}

TEST_F(Validate, FindsASourceThatChangedSince) {
  expect_found("DELETE FROM bqx.m1_eurusd WHERE time = (SELECT max(time) FROM bqx.m1_eurusd)", "source_changed",
               "series = 'eurusd'");
}

TEST(ValidateLeak, FindsASourceThatLooksAhead) {
  // The query gives every row the value of the row behind it: what stands on a row changes when what follows
  // is gone.
  Database db;
  db.migrate();
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.points AS SELECT n::bigint AS n, sin(n)::float8 AS v FROM "
      "generate_series(0, 999) n");
  const std::string specification = R"(feature_set: ahead
series: [one]
partition: {{ by: 500, from: 0, to: 1000 }}
source: {{ query: "SELECT n, {} AS v FROM s.points WHERE n >= :start AND n < :end", sequence: n }}
inputs: {{ v: {{ column: v }} }}
windows: {{ w5: 5 }}
metrics: terms
targets: [ {{ input: v, table: s.features, sequence: n, column: "{{metric}}_{{window}}" }} ]
)";
  for (const bool ahead : {false, true}) {
    const TemporaryFile file(
        "spec.yaml", fmt::format(fmt::runtime(specification), ahead ? "coalesce(lead(v) OVER (ORDER BY n), 0)" : "v"));
    const Finished applied = db.regfeatd({"apply", file.path()});
    ASSERT_EQ(applied.exit_status, 0) << applied.out;
    ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
    const Finished f = db.regfeatd({"validate", "ahead"});
    EXPECT_EQ(f.exit_status, ahead ? 1 : 0) << f.out;
    EXPECT_EQ(f.out.find("leak") != std::string::npos, ahead) << f.out;
  }
}

TEST_F(Validate, DoesNotCallItSuccessWhenNothingWasLookedAt) {
  const Finished unknown = validate({"--series", "eurusd,nosuch,noother"});
  EXPECT_EQ(unknown.exit_status, 78) << unknown.out;
  EXPECT_NE(unknown.out.find("--series nosuch, noother: feature set bars has no such series"), std::string::npos)
      << unknown.out;
  const Finished never = validate({"--from", "2031-01-01"});
  EXPECT_EQ(never.exit_status, 1) << never.out;
  EXPECT_NE(never.out.find("nothing was looked at: none of its 12 partitions is between --from and --to"),
            std::string::npos)
      << never.out;
  db_.exec("SELECT regfeat.requeue('bars', series => 'gbpusd')");
  const Finished part = validate({"--sample", "2"});
  EXPECT_EQ(part.exit_status, 0) << part.out;
  EXPECT_NE(part.out.find("4 partitions are not finished and were not looked at"), std::string::npos) << part.out;
  db_.exec("SELECT regfeat.requeue('bars')");
  const Finished none = validate();
  EXPECT_EQ(none.exit_status, 1) << none.out;
  EXPECT_NE(none.out.find("nothing was looked at: no partition that was asked for is finished: 12 pending"),
            std::string::npos)
      << none.out;
  EXPECT_EQ(none.out.find("no findings"), std::string::npos) << none.out;
}

TEST_F(Validate, NamesWhatIsNotThere) {
  const Finished f = db_.regfeatd({"validate", "nothing"});
  EXPECT_EQ(f.exit_status, 78) << f.out;
  EXPECT_NE(f.out.find("there is no feature set nothing"), std::string::npos) << f.out;
  db_.exec("ALTER TABLE bqx.reg_rate_gbpusd RENAME COLUMN r2_idx_agg TO gone");
  EXPECT_EQ(validate().exit_status, 1);
  EXPECT_EQ(findings(), "table");
}

TEST(ValidateFamilies, AreSilentOnUntouchedJobs) {
  for (const std::string metrics : {"terms", "legacy_terms", "inference"}) {
    Database db;
    db.migrate();
    db.make_bars("eurusd", 3);
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 3, "rows", metrics));
    ASSERT_EQ(db.regfeatd({"apply", file.path()}).exit_status, 0);
    ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
    const Finished f = db.regfeatd({"validate", "bars", "--oracle-rows", "200", "--seed", "3"});
    EXPECT_EQ(f.exit_status, 0) << metrics << '\n' << f.out;
  }
}

TEST(ValidateCompact, ComparesTheNumbersThatAreKept) {
  for (const std::string storage : {"compact", "[compact, real]"}) {
    Database db;
    db.migrate();
    db.make_bars("eurusd", 3);
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 3) + "\nstorage: " + storage + "\n");
    const Finished applied = db.regfeatd({"apply", file.path()});
    ASSERT_EQ(applied.exit_status, 0) << applied.out;
    ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
    const Finished silent = db.regfeatd({"validate", "bars", "--oracle-rows", "100", "--seed", "3"});
    EXPECT_EQ(silent.exit_status, 0) << silent.out;
    db.exec(
        "DELETE FROM bqx.reg_rate_eurusd_compact WHERE ts_utc = (SELECT max(ts_utc) FROM bqx.reg_rate_eurusd_compact)");
    EXPECT_EQ(db.regfeatd({"validate", "bars"}).exit_status, 1);
    EXPECT_EQ(db.text("SELECT string_agg(DISTINCT what, ' ' ORDER BY what) FROM regfeat.validation"),
              "positions_differ row_missing");
  }
}

TEST(ValidateKeys, KeyedSetsWithRangesAreComparedRowByRow) {
  Database db;
  db.migrate();
  db.exec(
      "CREATE SCHEMA players; CREATE TABLE players.games (id int, at timestamptz, points int, PRIMARY KEY "
      "(id, at)); "
      "INSERT INTO players.games SELECT p, timestamptz '2020-09-12 15:00+00' + d * interval '1 day', (p * 7 "
      "+ d * d * 3) % 13 "
      "  FROM generate_series(1, 12) p, generate_series(0, 19) d WHERE (d * 5 + p) % (1 + p % 5) = 0");
  const TemporaryFile file("spec.yaml", R"(feature_set: form
series: [league]
partition: { by: day, from: 2020-09-12, to: 2020-10-02 }
source: { tables: [ { table: players.games, time: at } ] }
key: [id]
inputs: { points: { column: points } }
windows: { l5d: { range: 5d }, l30d: { range: 30d }, g3: 3 }
metrics: [n_obs, terms.prediction, terms.r2]
storage: real
targets: [ { input: points, table: players.form, time: at, column: "{metric}_{window}" } ]
)");
  const Finished applied = db.regfeatd({"apply", file.path()});
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
  const Finished silent = db.regfeatd({"validate", "form", "--oracle-rows", "100", "--seed", "5"});
  EXPECT_EQ(silent.exit_status, 0) << silent.out;
  db.exec(
      "UPDATE players.form SET id = 99 WHERE id = 3 AND at = (SELECT max(at) FROM players.form WHERE id = "
      "3)");
  const Finished f = db.regfeatd({"validate", "form"});
  EXPECT_EQ(f.exit_status, 1);
  EXPECT_EQ(db.text("SELECT string_agg(DISTINCT what, ' ' ORDER BY what) FROM regfeat.validation"),
            "row_extra row_missing")
      << f.out;
}

TEST(ValidateKeys, AKeySetAsideForALaterRowIsNoLeak) {
  Database db;
  db.migrate();
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.hours AS SELECT k AS id, timestamptz '2024-01-01 00:00+00' + h * interval '1 hour' AS at, "
      "  sin(h * k)::float8 AS v FROM generate_series(1, 3) k, generate_series(0, 9) h; "
      "INSERT INTO s.hours SELECT * FROM s.hours WHERE id = 2 AND at = '2024-01-01 05:00+00'");
  const TemporaryFile file("spec.yaml", R"(feature_set: hours
series: [one]
partition: { by: day, from: 2024-01-01, to: 2024-01-02 }
source: { tables: [ { table: s.hours, time: at } ] }
key: [id]
inputs: { v: { column: v } }
windows: { w3: 3 }
metrics: terms
targets: [ { input: v, table: s.features, time: at, column: "{metric}_{window}" } ]
)");
  ASSERT_EQ(db.regfeatd({"apply", file.path()}).exit_status, 0);
  ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
  ASSERT_EQ(db.text("SELECT string_agg(key, ' ') FROM regfeat.quarantine"), "id=2");
  for (int seed = 1; seed <= 12; ++seed) {  // cuts before and behind the row that is there twice
    const Finished f = db.regfeatd({"validate", "hours", "--seed", std::to_string(seed)});
    EXPECT_EQ(f.exit_status, 0) << "seed " << seed << '\n' << f.out;
  }
}

TEST(ValidateIndexes, ATableThatWasThereBeforeNeedsNoPrimaryKey) {
  Database db;
  db.migrate();
  db.make_bars("eurusd", 2);
  db.exec("CREATE TABLE bqx.mine (ts_utc timestamptz, r2_w15 float8)");
  const TemporaryFile file("spec.yaml", R"(feature_set: mine
series: [eurusd]
partition: { by: day, from: 2024-07-01, to: 2024-07-03 }
source: { tables: [ { table: "bqx.m1_{series}", time: time } ] }
inputs: { idx: { column: rate_index } }
windows: { w15: 15 }
metrics: [coefficients.r2]
targets: [ { input: idx, table: bqx.mine, time: ts_utc, column: "{metric}_{window}" } ]
)");
  const Finished applied = db.regfeatd({"apply", file.path()});
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
  ASSERT_EQ(db.text("SELECT created FROM regfeat.target"), "f");
  const Finished f = db.regfeatd({"validate", "mine"});
  EXPECT_EQ(f.exit_status, 0) << f.out;
  EXPECT_GT(db.count("SELECT values_checked FROM regfeat.validation_run"), 0);
}

}  // namespace
}  // namespace regfeatd::test
