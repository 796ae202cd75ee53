#include "chaos.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

namespace regfeatd::test {

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 4500; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  return false;
}

int chaos_size(int brief, int full) {
  const char* const mode = std::getenv("REGFEATD_CHAOS");
  return mode != nullptr && std::string(mode) == "full" ? full : brief;
}

unsigned chaos_seed() {
  const char* const given = std::getenv("REGFEATD_CHAOS_SEED");
  const unsigned seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : std::random_device{}();
  std::printf("REGFEATD_CHAOS_SEED=%u\n", seed);
  return seed;
}

namespace {

void apply_text(const Database& db, const std::string& specification) {
  const TemporaryFile file("spec.yaml", specification);
  const Finished f = db.regfeatd({"apply", file.path()});
  if (f.exit_status != 0) throw std::runtime_error(f.out);
}

}  // namespace

void apply_small_job(const Database& db, int partitions) {
  db.migrate();
  db.exec(fmt::format(
      "CREATE SCHEMA seq; CREATE TABLE seq.source (position bigint PRIMARY KEY, level double precision, flow double precision);"
      "INSERT INTO seq.source SELECT i, sin(i / 7.0) + i % 11 / 100.0, CASE WHEN i % 41 <> 7 THEN cos(i / 5.0) END "
      "  FROM generate_series(1, {}) i; ANALYZE seq.source",
      20 * partitions));
  apply_text(db, fmt::format(R"(feature_set: small
series: [only]
partition: {{ by: 20, from: 1, to: {} }}
source: {{ tables: [ {{ table: seq.source, sequence: position }} ] }}
inputs: {{ level: {{ column: level }}, flow: {{ column: flow }} }}
windows: {{ w5: 5, w12: 12 }}
metrics: coefficients
targets:
  - {{ input: level, table: seq.level_features, sequence: position, column: "{{metric}}_{{window}}" }}
  - {{ input: flow, table: seq.flow_features, sequence: position, column: "{{metric}}_{{window}}" }}
)",
                             20 * partitions + 1));
}

void apply_bars_job(const Database& db, const std::vector<std::string>& pairs, int days) {
  db.migrate();
  for (const std::string& pair : pairs) db.make_bars(pair, days);
  apply_text(db, bars_specification(pairs, days));
}

std::map<std::string, std::string> target_checksums(const Database& db) {
  std::map<std::string, std::string> sums;
  const auto session = db.session();
  pqxx::work tx(session->sql());
  for (
      const auto& row : tx.exec(
          "SELECT target::text, (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = target AND a.attnum = 1) "
          "FROM regfeat.target ORDER BY 1")) {
    const auto table = row[0].as<std::string>();
    sums[table] = tx.exec1(fmt::format(
        "SELECT count(*) || ' rows ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY {})), '') FROM {} t",
        row[1].as<std::string>(), table))[0]
                      .as<std::string>();
  }
  return sums;
}

std::map<std::string, std::string> undisturbed(const std::function<void(const Database&)>& make) {
  const Database db;
  make(db);
  const Finished f = db.regfeatd({"run", "--once", "--workers", "4"});
  EXPECT_EQ(f.exit_status, 0) << f.out;
  return target_checksums(db);
}

std::unique_ptr<Process> start_daemon(const std::string& conninfo, int workers, const std::string& settings) {
  const auto config = std::make_shared<TemporaryFile>("regfeatd.yaml", settings);
  auto process =
      std::make_unique<Process>(std::vector<std::string>{REGFEATD_BINARY, "run", "--config", config->path(),
                                                         "--workers", std::to_string(workers), "--conninfo", conninfo});
  process->keep(config);
  return process;
}

void expect_complete_and_explained(const Database& db) {
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')"), 0);
  EXPECT_EQ(
      db.text(
          "SELECT string_agg(format('%s %s %s', attempt_id, outcome, message), '; ') FROM regfeat.attempt WHERE outcome = 'running'"),
      "");
  // Published once: by the attempt that the partition names, and by no other.
  EXPECT_EQ(
      db.count("SELECT count(*) FROM (SELECT partition_id FROM regfeat.attempt WHERE outcome IN ('done', 'empty') "
               "                       GROUP BY partition_id HAVING count(*) > 1) twice"),
      0);
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.partition p JOIN regfeat.attempt a USING (attempt_id) WHERE a.outcome NOT IN ('done', 'empty')"),
      0);
  EXPECT_EQ(db.text("SELECT string_agg(format('%s %s', attempt_id, outcome), '; ') FROM regfeat.attempt "
                    " WHERE outcome NOT IN ('done', 'empty') AND (coalesce(message, '') = '' OR finished_at IS NULL)"),
            "")
      << "every attempt that was disturbed says by what";
  EXPECT_EQ(db.text("SELECT string_agg(DISTINCT message, '; ') FROM regfeat.attempt WHERE outcome = 'failed'"), "")
      << "no disturbance is charged";
  EXPECT_EQ(db.count("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"), 0);
}

}  // namespace regfeatd::test
