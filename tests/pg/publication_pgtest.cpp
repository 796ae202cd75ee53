// Logical replication: a publication of all tables takes in schema regfeat, and refuses UPDATE and DELETE where rows cannot be told apart.
#include <fmt/format.h>
#include <signal.h>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

TEST(Publication, EveryTableOfSchemaRegfeatHasAPrimaryKey) {
  const Database db;
  db.migrate();
  EXPECT_EQ(
      db.text("SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c "
              " WHERE c.relnamespace = 'regfeat'::regnamespace AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' "
              "   AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"),
      "");
}

/// A table with two usable keys and one with two rows of one time, so that partitions have something to put into quarantine.
void apply_keyed_job(const Database& db) {
  db.migrate();
  db.exec(
      "CREATE TABLE public.readings (id int, at timestamptz, level double precision);"
      "INSERT INTO public.readings SELECT k, timestamptz '2024-07-01 00:00+00' + i * interval '1 hour', sin(i / 3.0) + k "
      "  FROM generate_series(1, 3) k, generate_series(0, 95) i;"
      "INSERT INTO public.readings SELECT 3, timestamptz '2024-07-01 00:00+00' + d * interval '1 day', 0 FROM generate_series(0, 3) d");
  const TemporaryFile file("spec.yaml", R"(feature_set: bars
series: [all]
partition: { by: day, from: 2024-07-01, to: 2024-07-05 }
key: [id]
source: { tables: [ { table: public.readings, time: at } ] }
inputs: { level: { column: level } }
windows: { w5: 5 }
metrics: coefficients
targets: [ { input: level, table: public.readings_features, time: at, column: "{metric}_{window}" } ]
)");
  const Finished f = db.regfeatd({"apply", file.path()});
  ASSERT_EQ(f.exit_status, 0) << f.out;
}

void run_once(const Database& db) {
  const Finished f = db.regfeatd({"run", "--once", "--workers", "2"});
  EXPECT_EQ(f.exit_status, 0) << f.out;
}

TEST(Publication, OfAllTablesHindersNothing) {
  const Database db;
  db.exec("CREATE PUBLICATION everything FOR ALL TABLES");
  apply_keyed_job(db);
  run_once(db);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), 4);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine"), 4);

  db.exec("SELECT regfeat.requeue('bars', force => true)");
  run_once(db);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'done'"), 8);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.quarantine"), 4);

  db.exec("UPDATE public.readings_features SET a2_w5 = a2_w5 + 1 WHERE id = 1");
  const Finished found = db.regfeatd({"validate", "bars", "--seed", "7"});
  EXPECT_EQ(found.exit_status, 1) << found.out;
  EXPECT_GT(db.count("SELECT count(*) FROM regfeat.validation"), 0) << found.out;

  db.exec(
      "UPDATE regfeat.progress SET at = at - interval '3 days'; UPDATE regfeat.daemon_progress SET at = at - interval '3 days';"
      "UPDATE regfeat.attempt SET started_at = started_at - interval '3 days', finished_at = finished_at - interval '3 days';"
      "UPDATE regfeat.daemon SET stopped_at = stopped_at - interval '3 days'");
  const auto daemon =
      start_daemon(db.conninfo(), 1, "heartbeat: 200ms\nlease: 10s\nretention: { attempts: 2d, progress: 2d }\n");
  for (const std::string old :
       {"regfeat.progress WHERE at < now() - interval '2 days'",
        "regfeat.daemon_progress WHERE at < now() - interval '2 days'",
        "regfeat.attempt a WHERE NOT EXISTS (SELECT FROM regfeat.partition p WHERE p.attempt_id = a.attempt_id)",
        "regfeat.daemon WHERE stopped_at < now() - interval '2 days'"})
    EXPECT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM " + old) == 0; })) << old;
  daemon->signal(SIGTERM);
  EXPECT_EQ(daemon->wait().exit_status, 0) << daemon->output();

  const Finished removed = db.regfeatd({"remove", "bars", "--drop-tables"});
  EXPECT_EQ(removed.exit_status, 0) << removed.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.validation_run"), 1);
  db.exec("DELETE FROM regfeat.validation_run");
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.validation"), 0);
}

}  // namespace
}  // namespace regfeatd::test
