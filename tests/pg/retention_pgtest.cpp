// What a running daemon deletes of its history, and what it never does.
#include <fmt/format.h>
#include <signal.h>

#include "chaos.hpp"
#include "regfeatd/queue/daemons.hpp"

namespace regfeatd::test {
namespace {

TEST(Retention, ADaemonPrunesInBatchesWhatIsOlderThanItsSettingsSay) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 2);
  ASSERT_EQ(db.regfeatd({"run", "--once", "--workers", "1"}).exit_status, 0);
  // 2,500 old attempts of the first partition, one of which is that of today's result, and as many young ones; a batch is 1,000.
  db.exec(
      "INSERT INTO regfeat.attempt (partition_id, feature_set_id, epoch, daemon_id, worker, build_id, specification_version, started_at, finished_at, outcome) "
      "  SELECT 1, 1, 0, 1, 0, 'old', 1, now() - interval '3 days', now() - interval '3 days', 'failed' FROM generate_series(1, 2500);"
      "UPDATE regfeat.partition SET attempt_id = (SELECT min(attempt_id) FROM regfeat.attempt WHERE build_id = 'old') WHERE partition_id = 1;"
      "INSERT INTO regfeat.attempt (partition_id, feature_set_id, epoch, daemon_id, worker, build_id, specification_version, started_at, finished_at, outcome) "
      "  SELECT 1, 1, 0, 1, 0, 'young', 1, now(), now(), 'failed' FROM generate_series(1, 2500);"
      "INSERT INTO regfeat.progress (at, feature_set_id, pending, running, done, empty, failed, cancelled, rows_done, workers_active) "
      "  SELECT now() - interval '2 hours' * i, 1, 0, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(1, 24) i;"
      "INSERT INTO regfeat.daemon (name, host, process_id, build_id, lease, workers_configured, state, stopped_at) "
      "  SELECT 'old', 'h', 1, 'b', '1min', 1, 'stopped', now() - interval '3 days' FROM generate_series(1, 5);"
      "INSERT INTO regfeat.daemon (name, host, process_id, build_id, lease, workers_configured, state, stopped_at) "
      "  VALUES ('young', 'h', 1, 'b', '1min', 1, 'lost', now() - interval '1 hour')");
  const auto daemon =
      start_daemon(db.conninfo(), 1, "heartbeat: 200ms\nlease: 10s\nretention: { attempts: 2d, progress: 23h }\n");
  EXPECT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.attempt WHERE build_id = 'old'") == 1; }))
      << db.count("SELECT count(*) FROM regfeat.attempt WHERE build_id = 'old'");
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition p JOIN regfeat.attempt a USING (attempt_id)"), 2)
      << "the latest of each partition stays";
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE build_id = 'young'"), 2500);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.progress WHERE at < now() - interval '23 hours'"), 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.progress WHERE at < now() - interval '1 hour'"), 11);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.daemon WHERE name = 'old'"), 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.daemon WHERE name = 'young'"), 1);
  daemon->signal(SIGTERM);
  EXPECT_EQ(daemon->wait().exit_status, 0) << daemon->output();
}

TEST(Retention, ProgressIsPrunedToTheEndHoweverFewAttemptsThereAre) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 2);
  db.exec(
      "INSERT INTO regfeat.progress (at, feature_set_id, pending, running, done, empty, failed, cancelled, rows_done, workers_active) "
      "  SELECT now() - interval '30 days', 1, 0, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(1, 2500)");
  const auto session = db.session();
  int batches = 1;
  for (std::optional<std::int64_t> next = 0; (next = queue::prune(*session, {}, *next)); ++batches)
    ASSERT_LT(batches, 10);
  EXPECT_EQ(batches, 3);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.progress"), 0);
}

TEST(Retention, OneDaemonPrunesAtATime) {
  const Database db;
  db.migrate();
  const auto one = db.session(), two = db.session();
  pqxx::work first(one->sql());
  first.exec("SELECT pg_advisory_xact_lock(hashtextextended('regfeat.prune', 0))");
  EXPECT_FALSE(queue::prune(*two, {}, 0));
  EXPECT_EQ(db.count("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"), 0);
}

}  // namespace
}  // namespace regfeatd::test
