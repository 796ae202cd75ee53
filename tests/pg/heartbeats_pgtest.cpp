// The heartbeat against whatever else its thread does.
#include <signal.h>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

TEST(Heartbeats, GoOnWhileAReportIsHeldUp) {
  const Database db;
  apply_small_job(db, 20);
  const auto daemon = start_daemon(db.conninfo(), 1, "lease: 8s\nheartbeat: 300ms\nprogress: 200ms\npoll: 200ms\n");
  ASSERT_TRUE(eventually([&] { return db.count("SELECT count(*) FROM regfeat.daemon_progress") > 0; }))
      << daemon->output();
  const auto holder = db.session();
  pqxx::work lock(holder->sql());
  lock.exec("LOCK TABLE regfeat.daemon_progress IN SHARE MODE");  // no row can be added
  db.exec("CREATE TABLE since AS SELECT clock_timestamp() AS at");
  // The daemon writes a row only while it works.
  db.exec("SELECT regfeat.requeue('small', force => true)");
  EXPECT_TRUE(eventually([&] {
    return db.count(
               "SELECT count(*) FROM regfeat.daemon, since WHERE heartbeat_at > since.at + interval '12 seconds'") == 1;
  })) << daemon->output();
  EXPECT_NE(daemon->output().find("a report was given up"), std::string::npos) << daemon->output();
  EXPECT_EQ(daemon->output().find("no heartbeat was acknowledged"), std::string::npos) << daemon->output();
  EXPECT_EQ(db.text("SELECT string_agg(state, ' ') FROM regfeat.daemon"), "running");
  lock.abort();
  daemon->signal(SIGTERM);
  EXPECT_EQ(daemon->wait().exit_status, 0);
}

}  // namespace
}  // namespace regfeatd::test
