// Memory: partitions larger than their share go through the disk in chunks, with the same bits; the daemon
// stays within its budget; workers are lowered to fit.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "pg_fixture.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/queue/daemons.hpp"

namespace regfeatd::test {
namespace {

class Silent : public populate::RunObserver {
  void at_step(populate::Step) override {}
  void at_rows(std::int64_t, std::int64_t) override {}
};

void apply_spec(const Database& db, const std::string& text) {
  const TemporaryFile file("spec.yaml", text);
  const Finished f = db.regfeatd({"apply", file.path()});
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

/// Computes the partition of a database with one, within so much memory for its rows, anew.
void compute(const Database& db, std::size_t budget_bytes) {
  db.exec(
      "UPDATE regfeat.partition SET input_fingerprint = NULL, state = 'pending', epoch = epoch + 1, "
      "not_before = '-infinity'");
  const auto session = db.session();
  const DaemonId daemon = queue::register_daemon(*session, {"test", "nowhere", 1, "none"}, std::chrono::minutes{10}, 1);
  const auto claim = queue::claim(*session, daemon, 0);
  ASSERT_TRUE(claim);
  populate::PartitionRunner runner;
  Silent observer;
  queue::Timings timings;
  std::size_t asked = 0;
  populate::RunOptions options;
  options.input_budget_bytes = budget_bytes;
  options.reserve = [&](std::size_t wanted) {
    asked = wanted;
    return budget_bytes;
  };
  ASSERT_EQ(runner.run(*session, *claim, options, observer, {}, timings), populate::RunResult::done);
  EXPECT_GT(asked, 0u);
}

std::string result(const Database& db, const std::string& table, const std::string& order) {
  return db.checksum(table, order) + db.text(
                                         "SELECT checksum || ' ' || input_fingerprint || ' ' || rows_in || ' "
                                         "' || rows_out || ' ' || nulls_out FROM regfeat.partition");
}

constexpr std::size_t kPlenty = 64u << 20;

TEST(Chunks, GiveTheSameBitsAsTheWhole) {
  const Database db;
  db.migrate();
  // Windows of every method: direct, by blocks (their bits depend on row numbers), by range, with an offset;
  // NULLs.
  db.exec(R"(CREATE SCHEMA s; CREATE TABLE s.x (t timestamptz PRIMARY KEY, v double precision);
    INSERT INTO s.x SELECT timestamptz '2024-06-30' + i * interval '1 minute', CASE WHEN i % 1001 = 7 THEN NULL ELSE sin(i / 31.0) + i % 13 END
      FROM generate_series(0, 11519) i;
    ANALYZE s.x;)");
  for (const std::string lookback : {"rows", "none"}) {
    apply_spec(db, fmt::format(R"(feature_set: chunked
series: [x]
partition: {{ by: week, from: 2024-07-01, to: 2024-07-08 }}
source: {{ tables: [ {{ table: "s.{{series}}", time: t }} ] }}
inputs: {{ v: {{ column: v }} }}
windows: {{ w15: 15, w200: 200, o30: {{ rows: 30, offset: 7 }}, h2: {{ range: 2h, min_rows: 3, offset: 3 }} }}
metrics: coefficients
lookback: {}
targets: [ {{ input: v, table: "public.f_{{series}}", time: t, column: "{{metric}}_{{window}}", partition: "{{table}}_{{start:%Y_%m_%d}}" }} ]
)",
                               lookback));
    compute(db, kPlenty);
    const std::string whole = result(db, "f_x", "t");
    for (const std::size_t budget : {20'000u, 33'333u, 150'000u}) {  // 600 to 4,700 rows a chunk
      compute(db, budget);
      EXPECT_EQ(result(db, "f_x", "t"), whole) << lookback << ' ' << budget;
    }
  }
}

TEST(Chunks, OfKeysAndOfABadKeyThatSpansThem) {
  const Database db;
  db.migrate();
  // Key 4 has most of the rows, so that it is cut, and a position given twice near its end; key 6 has one
  // row.
  db.exec(R"(CREATE SCHEMA s; CREATE TABLE s.x (player int, t timestamptz, v double precision);
    INSERT INTO s.x SELECT p, timestamptz '2024-06-30' + i * interval '1 minute', sin(i) * p FROM generate_series(1, 5) p, generate_series(0, 2600) i
      WHERE p = 4 OR i % (p * 3) = 0;
    INSERT INTO s.x VALUES (4, '2024-07-01 18:00+00', 1), (6, '2024-07-01 03:00+00', 2);
    CREATE INDEX ON s.x (player, t); ANALYZE s.x;)");
  apply_spec(db, R"(feature_set: chunked
series: [x]
partition: { by: day, from: 2024-07-01, to: 2024-07-02 }
key: [player]
source: { tables: [ { table: "s.{series}", time: t } ] }
inputs: { v: { column: v } }
windows: { w15: 15, h1: { range: 1h, min_rows: 3 } }
metrics: terms
targets: [ { input: v, table: "public.f_{series}", time: t, column: "{metric}_{window}" } ]
)");
  compute(db, kPlenty);
  const std::string whole = result(db, "f_x", "player, t");
  const std::string quarantined =
      db.text("SELECT string_agg(key || ' ' || rows_left_out, ', ') FROM regfeat.quarantine");
  EXPECT_EQ(db.count("SELECT count(DISTINCT player) FROM f_x"), 5);
  for (const std::size_t budget : {11'000u, 25'000u, 60'000u}) {
    compute(db, budget);
    EXPECT_EQ(result(db, "f_x", "player, t"), whole) << budget;
    EXPECT_EQ(db.text("SELECT string_agg(key || ' ' || rows_left_out, ', ') FROM regfeat.quarantine"), quarantined)
        << budget;
  }
}

/// VmHWM of a process, in bytes: the most of its memory that was ever resident.
std::int64_t peak_memory_bytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return -1;
}

/// Two workers compute everything, and the daemon never has more than 64 MiB resident.
void expect_within_64_mib(const Database& db) {
  const TemporaryFile config("regfeatd.yaml", "memory_budget: 64MiB\nworkers: 2\npoll: 100ms\n");
  Process daemon({REGFEATD_BINARY, "run", "--config", config.path(), "--conninfo", db.conninfo()});
  while (daemon.running() &&
         db.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('pending', 'running')") > 0)
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  const std::int64_t peak = peak_memory_bytes(daemon.pid());
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state <> 'done'"), 0)
      << db.text("SELECT message FROM regfeat.failures LIMIT 1");
  std::printf("peak memory %.1f MiB\n", static_cast<double>(peak) / (1 << 20));
  EXPECT_GT(peak, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(peak, 64 << 20);
#endif
}

// In memory as a whole the rows of this partition would take 96 MB: the daemon must stay below 64 MiB with
// it. The large form of this, 20 million rows in 1 GiB, is scripts/check-memory.
TEST(MemoryBudget, BoundsTheDaemonWhateverThePartition) {
  const Database db;
  db.migrate();
  constexpr std::int64_t kRows = 2'400'000;
  db.exec(fmt::format(
      R"(CREATE SCHEMA s; CREATE UNLOGGED TABLE s.x AS SELECT i AS n, sin(i)::float8 AS v, cos(i)::float8 AS w FROM generate_series(1, {}) i;
    ALTER TABLE s.x ADD PRIMARY KEY (n); ANALYZE s.x;)",
      kRows));
  apply_spec(db, fmt::format(R"(feature_set: large
series: [x]
partition: {{ by: 10000000, from: 0, to: 10000000 }}
source: {{ tables: [ {{ table: "s.{{series}}", sequence: n }} ] }}
inputs: {{ v: {{ column: v }}, w: {{ column: w }} }}
windows: {{ w15: 15 }}
metrics: [ terms.rmse ]
storage: real
targets: [ {{ inputs: [v, w], table: "public.f_{{series}}", sequence: n, column: "{{metric}}_{{input}}", partition: "{{table}}_{{start}}" }} ]
)"));
  expect_within_64_mib(db);
  EXPECT_EQ(db.text("SELECT state || ' ' || rows_out FROM regfeat.partition"), fmt::format("done {}", kRows));
}

// What a worker keeps of feature sets for their next partition is within the budget as well.
TEST(MemoryBudget, BoundsTheDaemonHoweverManyFeatureSets) {
  const Database db;
  db.migrate();
  db.exec(
      "CREATE SCHEMA s; CREATE TABLE s.x AS SELECT i AS n, sin(i)::float8 AS v, cos(i)::float8 AS w FROM generate_series(1, 100) i;"
      "ALTER TABLE s.x ADD PRIMARY KEY (n); ANALYZE s.x");
  constexpr int kSets = 40;
  for (int k = 0; k < kSets; ++k) {
    apply_spec(db, fmt::format(R"(feature_set: set{0}
series: [x]
partition: {{ by: 50, from: 0, to: 100 }}
source: {{ tables: [ {{ table: "s.{{series}}", sequence: n }} ] }}
inputs: {{ v: {{ column: v }}, w: {{ column: w }} }}
windows: {{ w15: 15, w30: 30, w45: 45, w60: 60, w75: 75, w90: 90 }}
metrics: coefficients
targets:
  - {{ input: v, table: "public.v{0}", sequence: n, column: "{{metric}}_{{window}}" }}
  - {{ input: w, table: "public.w{0}", sequence: n, column: "{{metric}}_{{window}}" }}
)",
                               k));
  }
  expect_within_64_mib(db);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 2 * kSets);
}

// Nor do columns come on top: of a wide target fewer rows are in hand at a time, with the same bits.
TEST(MemoryBudget, BoundsTheDaemonHoweverManyColumns) {
  const Database db;
  db.migrate();
  constexpr std::int64_t kRows = 3'000;
  db.exec(fmt::format(
      "CREATE SCHEMA s; CREATE TABLE s.x AS SELECT i AS n, sin(i)::float8 AS v, cos(i)::float8 AS w FROM generate_series(1, {}) i;"
      "ALTER TABLE s.x ADD PRIMARY KEY (n); ANALYZE s.x",
      kRows));
  const auto apply = [&](const std::string& name, const std::string& inputs, const std::string& targets, int windows) {
    std::string all;
    for (int w = 5; w < 5 + windows; ++w) all += fmt::format("w{0}: {0}, ", w);
    apply_spec(db, fmt::format(R"(feature_set: {}
series: [x]
partition: {{ by: {}, from: 0, to: {} }}
source: {{ tables: [ {{ table: "s.{{series}}", sequence: n }} ] }}
inputs: {{ {} }}
windows: {{ {} }}
metrics: coefficients
storage: real
targets: [ {} ]
)",
                               name, kRows + 1, kRows + 1, inputs, all, targets));
  };
  apply("wide", "v: { column: v }, w: { column: w }",
        R"({ inputs: [v, w], table: public.wide, sequence: n, column: "{metric}_{input}_{window}" })", 50);
  std::string inputs, targets;  // 20 targets of 225 columns
  for (int i = 0; i < 20; ++i) {
    inputs += fmt::format("{}v{}: {{ column: v }}", i == 0 ? "" : ", ", i);
    targets += fmt::format(R"({}{{ input: v{}, table: public.t{}, sequence: n, column: "{{metric}}_{{window}}" }})",
                           i == 0 ? "" : ", ", i, i);
  }
  apply("many", inputs, targets, 15);
  expect_within_64_mib(db);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done' AND rows_out = 3000"), 2);
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM wide JOIN t0 USING (n) WHERE wide.prediction_v_w19 IS DISTINCT FROM t0.prediction_w19"),
      0);
  EXPECT_EQ(db.count("SELECT count(*) FROM t0 JOIN t19 USING (n) WHERE t0 IS DISTINCT FROM t19"), 0);
}

TEST(MemoryBudget, LowersTheWorkersAndSaysWhy) {
  const Database db;
  db.migrate();
  const TemporaryFile config("regfeatd.yaml", "memory_budget: 64MiB\nworkers: 8\nprogress: 100ms\npoll: 100ms\n");
  Process daemon({REGFEATD_BINARY, "run", "--config", config.path(), "--conninfo", db.conninfo()});
  const char* const reason = "SELECT workers_configured || ': ' || workers_reason FROM regfeat.daemons";
  while (daemon.running() && db.text(reason).empty()) std::this_thread::sleep_for(std::chrono::milliseconds{50});
  EXPECT_NE(db.text(reason).find("2: 2 of 8 workers: memory_budget "), std::string::npos) << db.text(reason);
  // With more memory, or with fewer workers, the reason goes away.
  std::ofstream(config.path()) << "memory_budget: 512MiB\nworkers: 8\nprogress: 100ms\npoll: 100ms\n";
  daemon.signal(SIGHUP);
  while (daemon.running() &&
         db.count("SELECT count(*) FROM regfeat.daemons WHERE workers_reason IS NULL AND workers_configured = 8") ==
             0) {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().exit_status, 0);
}

}  // namespace
}  // namespace regfeatd::test
