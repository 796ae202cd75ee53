// Many daemons, as processes, on one work table.
#include <fmt/format.h>
#include <signal.h>

#include <cstdio>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

TEST(ManyDaemons, TenTimesFourWorkersComputeEachPartitionExactlyOnce) {
  const int partitions = chaos_size(1000, 5000);
  const Database db;
  apply_small_job(db, partitions);
  db.exec("SELECT regfeat.pause('small', 'until all are there')");
  std::vector<std::unique_ptr<Process>> daemons;
  for (int i = 0; i < 10; ++i)
    daemons.push_back(start_daemon(db.conninfo(), 4, fmt::format("daemon_name: many{}\n", i)));
  ASSERT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.worker WHERE step = 'idle'") == 40; }));
  db.exec("SELECT regfeat.resume('small')");
  EXPECT_TRUE(
      eventually([&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state <> 'done'") == 0; }));
  for (const auto& d : daemons) d->signal(SIGTERM);
  for (const auto& d : daemons) {
    const Finished f = d->wait();
    EXPECT_EQ(f.exit_status, 0) << f.out;
  }
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt"), partitions) << "nothing was tried twice";
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'done'"), partitions);
  EXPECT_EQ(db.count("SELECT count(DISTINCT partition_id) FROM regfeat.attempt"), partitions);
  // On a busy machine most may wake up when the others are through.
  EXPECT_GE(db.count("SELECT count(DISTINCT daemon_id) FROM regfeat.attempt"), 2) << "they shared the work";
  EXPECT_EQ(db.count("SELECT count(*) FROM seq.level_features"), 20 * partitions);
  EXPECT_EQ(db.count("SELECT count(*) FROM seq.flow_features"), 20 * partitions);
  expect_complete_and_explained(db);
  // A claim that waits for locks would take as long as others hold them; a poll, 5 s, is what a worker may be late anyway.
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE claim_ms IS NULL OR claim_ms >= 5000"), 0);
  const std::string report = db.text(
      "SELECT format('%s claims by 40 workers: %s a second; claim and its commit, ms: median %s, 99th percentile %s, longest %s', count(*), "
      "  round(count(*) / extract(epoch FROM max(finished_at) - min(started_at))), "
      "  round(percentile_cont(0.5) WITHIN GROUP (ORDER BY claim_ms)::numeric, 1), round(percentile_cont(0.99) WITHIN GROUP (ORDER BY claim_ms)::numeric, 1), "
      "  round(max(claim_ms)::numeric, 1)) FROM regfeat.attempt");
  std::printf("%s\n", report.c_str());
  RecordProperty("claims", report);
}

}  // namespace
}  // namespace regfeatd::test
