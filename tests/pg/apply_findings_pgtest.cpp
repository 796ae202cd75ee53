// What plan and apply refuse: mistakes that only the catalogue shows, each named before anything is changed or computed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

using testing::HasSubstr;
using testing::Not;

Finished run_text(const Database& db, const char* command, const std::string& specification,
                  std::vector<std::string> arguments = {}) {
  const TemporaryFile file("spec.yaml", specification);
  arguments.insert(arguments.begin(), {command, file.path()});
  return db.regfeatd(arguments);
}

/// Both commands end with 78 and say all of `findings`.
void expect_findings(const Database& db, const std::string& specification, const std::vector<std::string>& findings) {
  for (const char* command : {"plan", "apply"}) {
    const Finished f = run_text(db, command, specification);
    EXPECT_EQ(f.exit_status, 78) << f.out;
    for (const std::string& finding : findings) EXPECT_THAT(f.out, HasSubstr(finding)) << command;
  }
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.feature_set"), 0);
}

/// A series of 600 minutes, w.<name>(t, v), in a schema w that the search path has first.
void make_minutes(const Database& db, const std::string& name) {
  db.exec(fmt::format(
      "CREATE SCHEMA IF NOT EXISTS w; CREATE TABLE w.{} (t timestamptz PRIMARY KEY, v double precision); "
      "INSERT INTO w.{} SELECT timestamptz '2024-07-01 00:00+00' + i * interval '1 minute', sin(i) FROM generate_series(0, 599) i; "
      "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = w, public', current_database()); END$$",
      name, name));
}

/// Partitions by day from 2024-07-01, window w3; `source` and `targets` as YAML lists.
std::string minutes(const std::string& source, const std::string& targets, const std::string& series = "a") {
  return fmt::format(
      "feature_set: minutes\nseries: [{}]\npartition: {{ by: day, from: 2024-07-01, to: 2024-07-02 }}\n"
      "source: {{ tables: [ {{ table: {}, time: t }} ] }}\ninputs: {{ v: {{ column: v }}{} }}\n"
      "windows: {{ w3: 3 }}\nmetrics: [n_obs]\ntargets: [ {} ]\n",
      series, source, targets.find("input: u") == std::string::npos ? "" : ", u: { column: v }", targets);
}

std::string target(const std::string& table, const std::string& input = "v") {
  return fmt::format("{{ input: {}, table: {}, time: t, column: \"{{metric}}_{{input}}\" }}", input, table);
}

TEST(ApplyFindings, ATargetIsNoSourceHoweverItIsSpelled) {
  const Database db;
  db.migrate();
  make_minutes(db, "self");
  db.exec(
      "ALTER TABLE w.self ADD n_obs_v real; CREATE VIEW w.half AS SELECT * FROM w.self; CREATE VIEW w.seen AS SELECT * FROM half");
  const std::string ending = "what is computed would be written over what it comes from";
  expect_findings(db, minutes("w.self", target("self")), {"source w.self is target self: " + ending});
  expect_findings(db, minutes("w.seen", target("self")),
                  {"source w.seen shares rows, through views or partitions, with target self: " + ending});
  std::string query = minutes("x", target("self"));
  const std::size_t at = query.find("{ tables");
  query.replace(at, query.find('\n', at) - at,
                "{ query: \"SELECT t, v FROM seen WHERE t >= :start AND t < :end\", time: t }");
  expect_findings(db, query, {"source query: table w.self is target self: " + ending});
  // Between series too: one reads what the other writes.
  make_minutes(db, "self_out");
  expect_findings(db, minutes("\"w.{series}\"", target("\"{series}_out\""), "self, self_out"),
                  {"source w.self_out is target self_out: " + ending});
  EXPECT_EQ(db.count("SELECT count(v) FROM w.self"), 600);
}

TEST(ApplyFindings, ATableIsWrittenUnderOneName) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  const std::string both = target("w.m2") + ", " + target("m2", "u");
  const std::string finding = "target m2: it is the table of target w.m2, in another spelling";
  expect_findings(db, minutes("w.m", both), {finding});
  db.exec("CREATE TABLE w.m2 (t timestamptz, n_obs_v real, n_obs_u real)");
  expect_findings(db, minutes("w.m", both), {finding});
  ASSERT_EQ(run_text(db, "apply", minutes("w.m", target("m2") + ", " + target("m2", "u"))).exit_status, 0);
  ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
  EXPECT_EQ(db.text("SELECT count(n_obs_v) || ' ' || count(n_obs_u) FROM w.m2"), "598 598");
}

TEST(ApplyFindings, APartitionOfTheSourceIsNoTarget) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec(
      "ALTER TABLE w.m ADD n_obs_v real; CREATE TABLE w.all_of_it (LIKE w.m) PARTITION BY RANGE (t); "
      "ALTER TABLE w.all_of_it ATTACH PARTITION w.m FOR VALUES FROM ('2024-07-01 00:00+00') TO ('2024-07-02 00:00+00')");
  expect_findings(db, minutes("w.all_of_it", target("w.m")),
                  {"source w.all_of_it shares rows, through views or partitions, with target w.m"});
}

TEST(ApplyFindings, AnUnknownTimeZoneIsOneFindingOfAll) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  expect_findings(
      db,
      minutes("w.gone", target("w.out")) +
          "cadence: 1min\ncalendar: { zone: \"Mars/Olympus'\", closed: [ { weekly: \"fri 17:00\", until: \"sun 17:00\" } ] }\n",
      {"calendar.zone: the server knows no time zone \"Mars/Olympus'\"", "source w.gone: no such table"});
}

TEST(ApplyFindings, ASeriesQueryIsOneSelectOfOneColumnAndChangesNothing) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec(
      "CREATE TABLE w.names (name text); INSERT INTO w.names VALUES ('m'); "
      "CREATE FUNCTION w.forget() RETURNS text LANGUAGE sql AS 'DELETE FROM w.names RETURNING name'");
  const auto with_query = [](const std::string& query) {
    std::string spec = minutes("\"w.{series}\"", target("\"w.{series}_out\""));
    return spec.replace(spec.find("series: [a]"), 11, "series_query: \"" + query + '"');
  };
  expect_findings(db, with_query("DELETE FROM w.names RETURNING name"), {"series_query: ", "syntax error"});
  expect_findings(db, with_query("WITH d AS (DELETE FROM w.names RETURNING name) SELECT name FROM d"),
                  {"series_query: ", "data-modifying statement"});
  expect_findings(db, with_query("SELECT 'm') q; DELETE FROM w.names; SELECT * FROM (SELECT 'm'"), {"series_query: "});
  expect_findings(db, with_query("SELECT w.forget()"), {"series_query: ", "read-only transaction"});
  expect_findings(db, with_query("SELECT name, 1 FROM w.names"), {"series_query: it gives 2 columns; expected one"});
  EXPECT_EQ(db.count("SELECT count(*) FROM w.names"), 1);
  const Finished applied = run_text(db, "apply", with_query("SELECT name FROM w.names -- all of them"));
  EXPECT_EQ(applied.exit_status, 0) << applied.out;
  EXPECT_EQ(db.text("SELECT string_agg(series, ',') FROM regfeat.partition"), "m");
}

TEST(ApplyFindings, KeysThatDoNotCompareAreNamedWithTheirTables) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec(
      "CREATE TABLE w.a (t timestamptz, id int, v real, PRIMARY KEY (id, t)); "
      "CREATE TABLE w.b (t timestamptz, id text, x real, PRIMARY KEY (id, t))");
  std::string spec = minutes("w.a, time: t }, { table: w.b", target("w.out")) + "key: [id]\n";
  expect_findings(db, spec, {"source w.a, w.b: the join cannot be read: ", "operator does not exist: text = integer"});
  db.exec("ALTER TABLE w.b ALTER id TYPE bigint USING id::bigint");
  EXPECT_EQ(run_text(db, "plan", spec).exit_status, 0);
}

TEST(ApplyFindings, ColumnsThatTheRoleMayNotReadAreNamed) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec("ALTER TABLE w.m ADD secret int; CREATE VIEW w.through AS SELECT t, v FROM w.m");
  const std::string role = fmt::format("regfeat_test_columns_{}", getpid());
  db.exec(fmt::format(
      "CREATE ROLE {0} LOGIN IN ROLE regfeat_daemon; GRANT USAGE, CREATE ON SCHEMA w TO {0}; "
      "GRANT SELECT (secret) ON w.m TO {0}; GRANT SELECT ON w.through TO {0}; ALTER VIEW w.through OWNER TO {0}",
      role));
  const TemporaryFile table("table.yaml", minutes("w.m", target("w.out")));
  const TemporaryFile view("view.yaml", minutes("w.through", target("w.out")));
  const auto plan = [&](const TemporaryFile& file) {
    return regfeatd({"plan", file.path(), "--conninfo", db.conninfo_as(role)});
  };
  const Finished refused = plan(table);
  EXPECT_EQ(refused.exit_status, 78) << refused.out;
  for (const char* column : {"t", "v"})
    EXPECT_THAT(refused.out, HasSubstr(fmt::format("source w.m: no SELECT privilege on column \"{}\"", column)));
  // What a view may not read is seen too.
  const Finished hidden = plan(view);
  EXPECT_EQ(hidden.exit_status, 78) << hidden.out;
  EXPECT_THAT(hidden.out, HasSubstr("source w.through: it cannot be read: "));
  EXPECT_THAT(hidden.out, HasSubstr("permission denied for table m"));
  db.exec(fmt::format("GRANT SELECT (t, v) ON w.m TO {}", role));
  for (const TemporaryFile* file : {&table, &view}) {
    const Finished fine = plan(*file);
    EXPECT_EQ(fine.exit_status, 0) << fine.out;
  }
  db.exec(fmt::format("DROP OWNED BY {0}; DROP ROLE {0}", role));
}

std::string partitioned(const std::string& extra = {}) {
  return "{ input: v, table: w.out, time: t, column: \"{metric}_{input}\"" + extra + " }";
}

TEST(ApplyFindings, AllChildrenThatAreMissingAreNamed) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec(
      "CREATE TABLE w.out (t timestamptz, n_obs_v real) PARTITION BY RANGE (t); "
      "CREATE TABLE w.out_3 PARTITION OF w.out FOR VALUES FROM ('2024-07-03 00:00+00') TO ('2024-07-04 00:00+00'); "
      "CREATE TABLE w.out_5 PARTITION OF w.out FOR VALUES FROM ('2024-07-05 12:00+00') TO ('2024-07-06 00:00+00')");
  std::string spec = minutes("w.m", partitioned());
  spec.replace(spec.find("to: 2024-07-02"), 14, "to: 2024-07-08");
  expect_findings(
      db, spec,
      {"1 finding;",
       "target w.out: no partition holds 2024-07-01 00:00:00+00 to 2024-07-03 00:00:00+00, 2024-07-04 00:00:00+00 to "
       "2024-07-05 12:00:00+00, 2024-07-06 00:00:00+00 to 2024-07-08 00:00:00+00: create what is missing"});
  spec.replace(spec.find("2024-07-08"), 10, "2024-09-08");
  spec.replace(spec.find("by: day"), 7, "by: hour");
  expect_findings(db, spec, {"1 finding;", "2024-07-06 00:00:00+00 to 2024-09-08 00:00:00+00: create"});
}

TEST(ApplyFindings, ColumnsOfAChildThatCannotTakeTheRowsAreNamed) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec(
      "CREATE TABLE w.out (t timestamptz, n_obs_v real, origin text) PARTITION BY RANGE (t); "
      "CREATE TABLE w.out_1 PARTITION OF w.out FOR VALUES FROM ('2024-07-01 00:00+00') TO ('2024-07-02 00:00+00'); "
      "ALTER TABLE w.out_1 ALTER n_obs_v SET NOT NULL, ALTER origin SET NOT NULL");
  expect_findings(db, minutes("w.m", partitioned()),
                  {"target w.out: partition w.out_1: column \"n_obs_v\" is NOT NULL, but features are NULL",
                   "column \"origin\" is NOT NULL without a default, and no feature is written to it"});
  db.exec("ALTER TABLE w.out_1 ALTER n_obs_v DROP NOT NULL, ALTER origin SET DEFAULT 'here'");
  ASSERT_EQ(run_text(db, "apply", minutes("w.m", partitioned())).exit_status, 0);
  ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM w.out_1 WHERE origin = 'here'"), 600);
}

TEST(ApplyFindings, AChildWithoutTheParentsDefaultIsLoadedThroughTheParent) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec(
      "CREATE TABLE w.out (t timestamptz, id bigint GENERATED ALWAYS AS IDENTITY, n_obs_v real, origin text DEFAULT 'there', "
      "                    PRIMARY KEY (id, t)) PARTITION BY RANGE (t); "
      "CREATE TABLE w.out_1 (t timestamptz NOT NULL, id bigint NOT NULL, n_obs_v real, origin text); "
      "ALTER TABLE w.out ATTACH PARTITION w.out_1 FOR VALUES FROM ('2024-07-01 00:00+00') TO ('2024-07-02 00:00+00')");
  const Finished plan = run_text(db, "plan", minutes("w.m", partitioned(", publish: swap")));
  EXPECT_EQ(plan.exit_status, 78);
  EXPECT_THAT(plan.out,
              HasSubstr("swap is not possible: partition w.out_1: its column \"origin\" lacks the parent's default"));
  const Finished applied = run_text(db, "apply", minutes("w.m", partitioned()));
  ASSERT_EQ(applied.exit_status, 0) << applied.out;
  EXPECT_THAT(applied.out, HasSubstr("lacks the parent's default"));
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(db.regfeatd({"run", "--once"}).exit_status, 0);
    EXPECT_EQ(
        db.text(
            "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || count(DISTINCT t) FROM w.out_1 WHERE origin = 'there'"),
        "600 600 600");
    db.exec("SELECT regfeat.requeue('minutes', force => true)");
  }
}

TEST(ApplyFindings, ChildrenOfAnIdentityAreNumberedByOneSequence) {
  const Database db;
  db.migrate();
  make_minutes(db, "m");
  db.exec(
      "INSERT INTO w.m SELECT t + interval '1 day', v FROM w.m; "
      "CREATE TABLE w.out (t timestamptz, \"the Id\" bigint GENERATED ALWAYS AS IDENTITY, n_obs_v real, "
      "                    PRIMARY KEY (\"the Id\", t)) PARTITION BY RANGE (t)");
  std::string spec = minutes("w.m", partitioned(", partition: \"{table}_{start:%d}\""));
  spec.replace(spec.find("to: 2024-07-02"), 14, "to: 2024-07-03");
  ASSERT_EQ(run_text(db, "apply", spec).exit_status, 0);
  for (const char* strategy : {"create", "swap"}) {
    const Finished plan = run_text(db, "plan", spec);
    EXPECT_THAT(plan.out, HasSubstr(fmt::format("2 × {}", strategy)));
    const Finished run = db.regfeatd({"run", "--once"});
    ASSERT_EQ(run.exit_status, 0) << run.out;
    EXPECT_EQ(db.text("SELECT count(*) || ' ' || count(DISTINCT \"the Id\") || ' ' || count(DISTINCT t) FROM w.out"),
              "1200 1200 1200");
    db.exec("SELECT regfeat.requeue('minutes', force => true)");
  }
  db.exec("INSERT INTO w.out (t) VALUES ('2024-07-02 23:00+00'); DROP TABLE w.out");
}

}  // namespace
}  // namespace regfeatd::test
