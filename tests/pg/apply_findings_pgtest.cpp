// What plan and apply refuse: mistakes that only the catalogue shows, each named before anything is changed or computed.
#include <fmt/format.h>
#include <gmock/gmock.h>

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

}  // namespace
}  // namespace regfeatd::test
