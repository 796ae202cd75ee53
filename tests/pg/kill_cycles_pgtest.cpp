// The daemon killed with SIGKILL at random moments and started again, over and over, until its job is done.
#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <random>
#include <thread>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

TEST(KillCycles, TheTablesAreThoseOfAnUndisturbedRun) {
  const int cycles = chaos_size(20, 500);
  const int workers = 2;
  const auto make = [](const Database& db) { apply_bars_job(db, {"eurusd", "gbpusd"}, 15); };
  const auto expected = undisturbed(make);
  const Database db;
  make(db);
  const auto partitions = db.count("SELECT count(*) FROM regfeat.partition");
  std::mt19937 random(chaos_seed());
  std::int64_t requeued = 0;
  double longest_ms =
      300;  // grows until kills meet work in hand, shrinks where all of it was done before the kill came
  for (int i = 0; i < cycles; ++i) {
    // Enough work for all cycles: what is done is computed anew, whatever its fingerprint says.
    if (db.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('pending', 'running')") < 8) {
      const auto session = db.session();
      pqxx::work tx(session->sql());
      requeued += static_cast<std::int64_t>(
          tx.exec("UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, input_fingerprint = NULL "
                  " WHERE state IN ('done', 'empty')")
              .affected_rows());
      tx.commit();
    }
    const auto daemon = start_daemon(db.conninfo(), workers);
    std::this_thread::sleep_for(
        std::chrono::milliseconds{std::uniform_int_distribution<int>(0, static_cast<int>(longest_ms))(random)});
    daemon->signal(SIGKILL);
    EXPECT_EQ(daemon->wait().exit_status, -SIGKILL);
    const auto in_state = [&](const std::string& state) {
      return db.count("SELECT count(*) FROM regfeat.partition WHERE state = '" + state + "'");
    };
    if (in_state("running") == 0) longest_ms *= in_state("pending") > 0 ? 1.2 : 0.8;
  }
  const Finished f = db.regfeatd({"run", "--once", "--workers", std::to_string(workers)});
  EXPECT_EQ(f.exit_status, 0) << f.out;
  EXPECT_EQ(target_checksums(db), expected);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')"), 0);
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome IN ('done', 'empty')"), partitions + requeued)
      << "nothing done was done again";
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome NOT IN ('done', 'empty', 'lost')"), 0);
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.attempt WHERE outcome = 'lost' AND (finished_at IS NULL OR message NOT LIKE '%is gone%')"),
      0);
  EXPECT_EQ(
      db.count(fmt::format(
          "SELECT count(*) FROM (SELECT FROM regfeat.attempt WHERE outcome = 'lost' GROUP BY daemon_id HAVING count(*) > {}) more",
          workers)),
      0)
      << "a kill repeats no more than what was in flight";
  EXPECT_GT(db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'lost'"), 0) << "no kill hit anything";
  std::printf(
      "%d kills; attempts: %s\n", cycles,
      db.text(
            "SELECT string_agg(outcome || ' ' || n, ', ') FROM (SELECT outcome, count(*) n FROM regfeat.attempt GROUP BY 1 ORDER BY 1) x")
          .c_str());
}

}  // namespace
}  // namespace regfeatd::test
