// A source breaks under a running daemon: what fails, what the breaker keeps, and what the log says of each.
#include <fmt/format.h>
#include <signal.h>

#include "chaos.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::test {
namespace {

std::int64_t lines_with(const std::string& log, const std::string& words) {
  std::int64_t n = 0;
  for (std::size_t at = 0; (at = log.find(words, at)) != std::string::npos; at += words.size()) ++n;
  return n;
}

TEST(Breaker, TheLogSaysFailedForGoodOfThoseOnlyThatAre) {
  const Database db;
  apply_bars_job(db, {"eurusd"}, 10);
  const auto session = db.session();
  pqxx::work tx(session->sql());
  db.exec("SELECT regfeat.pause('bars')");
  const auto daemon = start_daemon(db.conninfo(), 1, "poll: 100ms\nretry: { attempts: 1 }\n");
  ASSERT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.worker WHERE step = 'idle'") == 1; }))
      << daemon->output();
  tx.exec("LOCK TABLE bqx.m1_eurusd IN ACCESS EXCLUSIVE MODE");
  db.exec("SELECT regfeat.resume('bars')");
  ASSERT_TRUE(
      eventually([&] { return db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'") == 1; }));
  tx.exec("ALTER TABLE bqx.m1_eurusd RENAME TO no_longer_there");
  tx.commit();
  ASSERT_TRUE(eventually(
      [&] { return db.count("SELECT count(*) FROM regfeat.feature_set WHERE breaker_until IS NOT NULL") == 1; }));
  EXPECT_EQ(
      db.count(
          "SELECT count(*) FROM regfeat.attempt WHERE fault_class = 'configuration' AND sqlstate LIKE '42%' "
          "   AND (context LIKE 'looking up the tables of feature set %, series eurusd%' OR context LIKE 'statement: %')"),
      db.count("SELECT count(*) FROM regfeat.attempt WHERE fault_class = 'configuration'"))
      << db.text("SELECT string_agg(format('%s %s: %s', step, sqlstate, context), '; ') FROM regfeat.attempt");
  EXPECT_GT(db.count("SELECT count(*) FROM regfeat.attempt WHERE step = 'begin' AND sqlstate = '42P01'"), 0);
  daemon->signal(SIGTERM);
  const Finished f = daemon->wait();
  EXPECT_EQ(f.exit_status, 0) << f.out;
  const std::int64_t failed = db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'failed'");
  EXPECT_EQ(failed, queue::kBreakerFaults - 1) << f.out;
  EXPECT_EQ(lines_with(f.out, "partition failed for good"), failed) << f.out;
  EXPECT_EQ(lines_with(f.out, "the breaker of the feature set is open"),
            db.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'failed'") - failed)
      << f.out;
  EXPECT_EQ(db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'pending'"), 10 - failed)
      << "the breaker keeps the rest";
}

}  // namespace
}  // namespace regfeatd::test
