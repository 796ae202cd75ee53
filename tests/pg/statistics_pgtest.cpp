// `statistics:` of a specification: which columns of a loaded partition have planner statistics, whichever
// way it was published; what holds autovacuum off; and that changing it computes nothing anew.
#include <fmt/format.h>

#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

constexpr const char* kChild = "bqx.reg_rate_eurusd_2024_07_01";

/// The day's partition of one pair, in two tables of 45 feature columns.
class Bars {
 public:
  Bars() {
    db.migrate();
    db.make_bars("eurusd", 1);
  }

  /// `options` goes into both targets, after a comma.
  [[nodiscard]] static std::string specification(const std::string& options) {
    std::string text = bars_specification({"eurusd"}, 1);
    const std::string end = "{start:%Y_%m_%d}\"";
    for (std::size_t at = 0; (at = text.find(end, at)) != std::string::npos; ++at)
      text.insert(at + end.size(), ", " + options);
    return text;
  }

  Finished regfeatd(const std::string& command, const std::string& specification) const {
    const TemporaryFile file("spec.yaml", specification);
    Finished f = db.regfeatd({command, file.path()});
    EXPECT_EQ(f.exit_status, 0) << f.out;
    return f;
  }

  void run() const {
    const Finished f = db.regfeatd({"run", "--once", "--workers", "1"});
    ASSERT_EQ(f.exit_status, 0) << f.out;
  }

  void load(const std::string& options) const {
    (void)regfeatd("apply", specification(options));
    run();
  }

  /// Writes the partition again, the way that `options` asks for.
  void reload(const std::string& options) const {
    (void)regfeatd("apply", specification(options));
    db.exec("SELECT regfeat.requeue('bars', force => true)");
    run();
    ASSERT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 1);
  }

  [[nodiscard]] std::string oid(const std::string& table = kChild) const {
    return db.text(fmt::format("SELECT '{}'::regclass::oid", table));
  }

  Database db;
};

/// The columns of a table that have a row in pg_statistic.
std::string columns_with_statistics(const Database& db, const std::string& table = kChild) {
  return db.text(
      fmt::format("SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_statistic s "
                  "JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum WHERE s.starelid = "
                  "'{}'::regclass",
                  table));
}

std::string all_columns(const Database& db, const std::string& table = kChild) {
  return db.text(
      fmt::format("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = "
                  "'{}'::regclass AND attnum > 0",
                  table));
}

class EveryWay : public ::testing::TestWithParam<const char*> {
 protected:
  /// Has the partition loaded the way of the parameter, and by nothing else since its statistics were made.
  static void load(const Bars& bars, const std::string& statistics) {
    const std::string way = GetParam();
    const std::string options = fmt::format("publish: {}, statistics: {}", way, statistics);
    if (way == "create") {
      bars.load(options);
      return;
    }
    bars.load("publish: create");
    if (way == "truncate") bars.db.exec("TRUNCATE bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd");
    const std::string before = bars.oid();
    bars.reload(options);
    EXPECT_EQ(bars.oid() == before, way != "swap");
  }
};

TEST_P(EveryWay, OrderAnalysesTheOrderColumnAlone) {
  const Bars bars;
  load(bars, "order");
  EXPECT_EQ(columns_with_statistics(bars.db), "ts_utc");
}

TEST_P(EveryWay, AllAnalysesTheFeatureColumnsTooAndAutovacuumStillKeepsAway) {
  const Bars bars;
  load(bars, "all");
  EXPECT_EQ(columns_with_statistics(bars.db), all_columns(bars.db));
  EXPECT_EQ(columns_with_statistics(bars.db, "bqx.reg_bqx_eurusd_2024_07_01"),
            all_columns(bars.db, "bqx.reg_bqx_eurusd_2024_07_01"));
  EXPECT_EQ(bars.db.text(fmt::format("SELECT reloptions FROM pg_class WHERE oid = '{}'::regclass", kChild)),
            "{autovacuum_analyze_threshold=2147483647,autovacuum_vacuum_insert_threshold=-1}");
  // What the planner knows is what is there: the rows, and the share of NULLs before the first whole window.
  const std::string rows = bars.db.text("SELECT count(*) FROM bqx.m1_eurusd");
  EXPECT_EQ(bars.db.text(fmt::format("SELECT reltuples::bigint FROM pg_class WHERE oid = '{}'::regclass", kChild)),
            rows);
  EXPECT_EQ(bars.db.text(fmt::format("SELECT round(null_frac * {}) FROM pg_stats WHERE tablename = "
                                     "'reg_rate_eurusd_2024_07_01' AND attname = 'r2_idx_agg'",
                                     rows)),
            "89");
}

INSTANTIATE_TEST_SUITE_P(Statistics, EveryWay, ::testing::Values("create", "truncate", "swap", "delete"),
                         [](const auto& way) { return "by_" + std::string(way.param); });

TEST(Statistics, ATargetMayDifferFromItsFeatureSet) {
  const Bars bars;
  std::string text = bars_specification({"eurusd"}, 1);
  text.insert(text.find("targets:"), "statistics: all\n");
  text.insert(text.find("{start:%Y_%m_%d}\"") + 17, ", statistics: order");
  (void)bars.regfeatd("apply", text);
  bars.run();
  EXPECT_EQ(columns_with_statistics(bars.db), "ts_utc");
  EXPECT_EQ(columns_with_statistics(bars.db, "bqx.reg_bqx_eurusd_2024_07_01"),
            all_columns(bars.db, "bqx.reg_bqx_eurusd_2024_07_01"));
}

TEST(Statistics, AChangeRequeuesNothingAndHoldsForWhatIsWrittenFromThenOn) {
  const Bars bars;
  bars.load("statistics: order");
  const std::string state =
      "SELECT partition_id || ' ' || state || ' ' || epoch || ' ' || attempts FROM regfeat.partition";
  const std::string before = bars.db.text(state);
  const Finished plan = bars.regfeatd("plan", Bars::specification("statistics: all"));
  EXPECT_NE(plan.out.find("feature set bars: changed, its output not\n"), std::string::npos) << plan.out;
  EXPECT_NE(plan.out.find("0 new, 0 to be computed anew, 1 unchanged"), std::string::npos) << plan.out;
  bars.load("statistics: all");
  EXPECT_EQ(bars.db.text(state), before);
  EXPECT_EQ(bars.db.count("SELECT count(*) FROM regfeat.attempt"), 1);
  EXPECT_EQ(columns_with_statistics(bars.db), "ts_utc");
  bars.reload("statistics: all");
  EXPECT_EQ(columns_with_statistics(bars.db), all_columns(bars.db));
  bars.reload("statistics: order");
  EXPECT_EQ(columns_with_statistics(bars.db), "ts_utc") << "a table that takes another's place begins anew";
}

TEST(Statistics, KeysAreAmongWhatOrderAnalyses) {
  const Database db;
  db.migrate();
  db.exec(R"(
    CREATE SCHEMA s;
    CREATE TABLE s.x (player int, team text, t timestamptz, v double precision, PRIMARY KEY (player, team, t));
    INSERT INTO s.x SELECT p, 'team ' || p % 3, timestamptz '2024-07-01 00:00+00' + i * interval '1 minute', sin(i) * p
      FROM generate_series(1, 20) p, generate_series(0, 90) i;
    ANALYZE s.x;)");
  const TemporaryFile file("spec.yaml", R"(feature_set: form
series: [x]
partition: { by: day, from: 2024-07-01, to: 2024-07-02 }
source: { tables: [ { table: "s.{series}", time: t } ] }
key: [player, team]
inputs: { v: { column: v } }
windows: { w15: 15 }
metrics: coefficients
targets: [ { input: v, table: "public.form_{series}", time: t, column: "{metric}_{window}", partition: "{table}_{start:%Y_%m_%d}" } ]
)");
  ASSERT_EQ(db.regfeatd({"apply", file.path()}).exit_status, 0);
  ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
  EXPECT_EQ(columns_with_statistics(db, "form_x_2024_07_01"), "t player team");
}

TEST(Statistics, CompactStorageHasThemOfTheNumbersThatItKeeps) {
  const Bars bars;
  bars.load("storage: compact, statistics: all");
  const std::string child = "bqx.reg_rate_eurusd_compact_2024_07_01";
  EXPECT_EQ(columns_with_statistics(bars.db, child), all_columns(bars.db, child));
  EXPECT_EQ(all_columns(bars.db, child).substr(0, 30), "ts_utc a2_idx_w15 a1_idx_w15 b");
}

TEST(Statistics, TargetsOfColumnsThatSomebodyHasSetAreKept) {
  const Bars bars;
  (void)bars.regfeatd("apply", Bars::specification("statistics: all"));
  // Without ONLY it reaches the children that are there, and those alone.
  bars.db.exec(
      "ALTER TABLE bqx.reg_rate_eurusd ALTER COLUMN ts_utc SET STATISTICS 7, ALTER COLUMN r2_idx_w15 SET "
      "STATISTICS 0; "
      "ALTER TABLE bqx.reg_bqx_eurusd ALTER COLUMN r2_bqx_w15 SET STATISTICS 20");
  const std::string targets =
      "SELECT string_agg(attrelid::regclass || '.' || attname || ' ' || attstattarget, E'\\n' ORDER BY "
      "attrelid::regclass::text, attnum) FROM "
      "pg_attribute WHERE attrelid IN ('bqx.reg_rate_eurusd_2024_07_01'::regclass, "
      "'bqx.reg_bqx_eurusd_2024_07_01'::regclass) "
      "AND attstattarget >= 0 AND attnum > 0";
  const std::string expected =
      "bqx.reg_bqx_eurusd_2024_07_01.ts_utc 1\nbqx.reg_bqx_eurusd_2024_07_01.r2_bqx_w15 20\n"
      "bqx.reg_rate_eurusd_2024_07_01.ts_utc 7\nbqx.reg_rate_eurusd_2024_07_01.r2_idx_w15 0";
  bars.run();
  EXPECT_EQ(bars.db.text(targets), expected);
  EXPECT_EQ((columns_with_statistics(bars.db) + " ").find(" r2_idx_w15 "), std::string::npos);
  const std::string created = bars.oid();
  bars.reload("statistics: all");
  EXPECT_NE(bars.oid(), created) << "it was not exchanged";
  EXPECT_EQ(bars.db.text(targets), expected);
}

TEST(Statistics, DeleteWaitsForNobodyNotEvenForThem) {
  const Bars bars;
  bars.load("publish: create");
  // What CREATE INDEX CONCURRENTLY holds.
  const auto other = bars.db.session();
  pqxx::work holding(other->sql());
  holding.exec("SET LOCAL idle_in_transaction_session_timeout = '1min'");  // who waits finds out, and fails below
  holding.exec(fmt::format("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE", kChild));
  bars.reload("publish: delete, statistics: all");
  EXPECT_EQ(columns_with_statistics(bars.db), "ts_utc");
  EXPECT_EQ(columns_with_statistics(bars.db, "bqx.reg_bqx_eurusd_2024_07_01"),
            all_columns(bars.db, "bqx.reg_bqx_eurusd_2024_07_01"));
  EXPECT_EQ(bars.db.count("SELECT count(*) FROM regfeat.attempt"), 2);
}

TEST(Statistics, TablesThatHoldMoreThanThePartitionAreLeftToAutovacuum) {
  const Bars bars;
  (void)bars.regfeatd("apply", Bars::specification("statistics: all"));
  // A child of two days and a plain table, both made by hand.
  bars.db.exec(
      "CREATE TABLE bqx.two_days PARTITION OF bqx.reg_rate_eurusd FOR VALUES FROM ('2024-07-01 00:00+00') TO "
      "('2024-07-03 00:00+00'); "
      "CREATE TABLE bqx.plain (LIKE bqx.reg_bqx_eurusd); ALTER TABLE bqx.plain ADD PRIMARY KEY (ts_utc); "
      "DROP TABLE bqx.reg_bqx_eurusd; ALTER TABLE bqx.plain RENAME TO reg_bqx_eurusd");
  bars.run();
  EXPECT_GT(bars.db.count("SELECT count(*) FROM ONLY bqx.two_days"), 0);
  EXPECT_GT(bars.db.count("SELECT count(*) FROM ONLY bqx.reg_bqx_eurusd"), 0);
  EXPECT_EQ(bars.db.count("SELECT coalesce(sum(analyze_count), 0) FROM pg_stat_user_tables WHERE relname IN "
                          "('two_days', 'reg_bqx_eurusd')"),
            0);
  EXPECT_EQ(bars.db.count("SELECT count(reloptions) FROM pg_class WHERE relname IN ('two_days', 'reg_bqx_eurusd')"), 0);
}

}  // namespace
}  // namespace regfeatd::test
