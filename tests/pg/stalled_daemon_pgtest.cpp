// A daemon that is stopped (SIGSTOP) past its lease in the middle of a COPY, and then goes on.
#include <signal.h>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

/// One partition of five days in plain targets, more than a socket holds; from a quarter of the first day on the first COPY waits for a lock that the
/// test holds.
class StalledDaemon : public ::testing::Test {
 protected:
  static void make(const Database& db) {
    db.migrate();
    db.make_bars("eurusd", 5);
    std::string plain = bars_specification({"eurusd"}, 1);
    for (std::size_t at = 0; (at = plain.find(", partition: \"{table}", at)) != std::string::npos;)
      plain.erase(at, plain.find('}', plain.find("%d", at)) + 2 - at);
    const std::string day = "by: day, from: 2024-07-01, to: 2024-07-02";
    plain.replace(plain.find(day), day.size(), "by: month, from: 2024-07-01, to: 2024-08-01");
    const TemporaryFile file("spec.yaml", plain);
    const Finished f = db.regfeatd({"apply", file.path()});
    ASSERT_EQ(f.exit_status, 0) << f.out;
  }

  /// Leaves the first daemon stopped while the server waits for more of its COPY.
  void stop_in_the_middle_of_copy() {
    db_.exec(
        "CREATE FUNCTION public.halt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END $$;"
        "CREATE TRIGGER halt BEFORE INSERT ON bqx.reg_rate_eurusd FOR EACH ROW WHEN (NEW.ts_utc = '2024-07-01 06:00+00') EXECUTE FUNCTION public.halt()");
    const auto holder = db_.session();
    pqxx::work lock(holder->sql());
    lock.exec("SELECT pg_advisory_xact_lock(4711)");
    stalled_ = start_daemon(db_.conninfo(), 1);
    const std::string copying =
        "SELECT count(*) FROM pg_stat_activity a JOIN pg_stat_progress_copy c USING (pid) WHERE a.datname = current_database() "
        "AND c.command = 'COPY FROM' AND a.wait_event = ";
    ASSERT_TRUE(eventually([&] { return db_.count(copying + "'advisory'") == 1; }));
    stalled_->signal(SIGSTOP);
    lock.abort();
    ASSERT_TRUE(eventually([&] { return db_.count(copying + "'ClientRead'") == 1; }))
        << "the server wants more rows, and the daemon stands";
    ASSERT_LT(db_.count("SELECT tuples_processed FROM pg_stat_progress_copy WHERE datname = current_database()"),
              db_.count("SELECT count(*) FROM bqx.m1_eurusd"));
  }

  void another_daemon_finishes() {
    other_ = start_daemon(db_.conninfo(), 1);
    ASSERT_TRUE(eventually([&] { return db_.text("SELECT state FROM regfeat.partition") == "done"; }))
        << other_->output();
    EXPECT_EQ(db_.text("SELECT string_agg(outcome, ' ' ORDER BY attempt_id) FROM regfeat.attempt"), "lost done");
  }

  void the_first_goes_on_and_is_fenced() {
    EXPECT_EQ(target_checksums(db_), expected_);
    stalled_->signal(SIGCONT);
    EXPECT_TRUE(eventually([&] {
      return db_.text("SELECT outcome FROM regfeat.attempt ORDER BY attempt_id LIMIT 1") == "fenced";
    })) << stalled_->output();
    EXPECT_TRUE(eventually([&] { return db_.count("SELECT count(*) FROM regfeat.daemons WHERE alive") == 2; }))
        << "it registers anew and serves on";
    for (Process* p : {stalled_.get(), other_.get()}) {
      p->signal(SIGTERM);
      EXPECT_EQ(p->wait().exit_status, 0);
    }
    EXPECT_EQ(target_checksums(db_), expected_) << "its rows went nowhere";
    expect_complete_and_explained(db_);
    EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt"), 2);
  }

  void SetUp() override {
    expected_ = undisturbed(make);
    make(db_);
  }

  Database db_;
  std::map<std::string, std::string> expected_;
  std::unique_ptr<Process> stalled_, other_;
};

TEST_F(StalledDaemon, ItsBackendIsEndedAndItsPartitionTakenOver) {
  stop_in_the_middle_of_copy();
  another_daemon_finishes();
  EXPECT_EQ(db_.count("SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database()"), 0)
      << "nothing of the first is left on the server";
  the_first_goes_on_and_is_fenced();
}

/// Nobody may or can end its backend, and no unique key makes the other daemon wait: its COPY goes on to the end, and then
/// only the epoch stands between it and a second set of rows.
TEST_F(StalledDaemon, TheEpochAloneKeepsItFromCommitting) {
  db_.exec(
      "ALTER TABLE bqx.reg_rate_eurusd DROP CONSTRAINT reg_rate_eurusd_pkey; ALTER TABLE bqx.reg_bqx_eurusd DROP CONSTRAINT reg_bqx_eurusd_pkey");
  stop_in_the_middle_of_copy();
  db_.exec("UPDATE regfeat.partition SET backend_pid = NULL");
  another_daemon_finishes();
  EXPECT_EQ(db_.count("SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database()"), 1)
      << "the first is still at its COPY";
  the_first_goes_on_and_is_fenced();
}

}  // namespace
}  // namespace regfeatd::test
