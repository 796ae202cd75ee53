// Progress rows, the views on them, and regfeatd status in a terminal.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "chaos.hpp"
#include "pg_fixture.hpp"

namespace regfeatd::test {
namespace {

using namespace std::chrono_literals;

constexpr int kDays = 12;

class Progress : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.migrate();
    for (const std::string pair : {"eurusd", "gbpusd"}) db_.make_bars(pair, kDays);
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd", "gbpusd"}, kDays));
    const Finished applied = db_.regfeatd({"apply", file.path()});
    ASSERT_EQ(applied.exit_status, 0) << applied.out;
  }
  void run_once() const {
    const TemporaryFile config("regfeatd.yaml", "progress: 200ms\n");
    const Finished run = db_.regfeatd({"run", "--once", "--workers", "2", "--config", config.path()});
    ASSERT_EQ(run.exit_status, 0) << run.out;
  }
  Database db_;
};

TEST_F(Progress, RowsSayWhatTheTablesSay) {
  run_once();
  EXPECT_EQ(
      db_.text(
          "SELECT format('%s %s %s', done + empty, pending + running + failed, percent) FROM regfeat.latest_progress"),
      fmt::format("{} 0 100", 2 * kDays));
  EXPECT_EQ(db_.count("SELECT rows_done FROM regfeat.latest_progress"),
            db_.count("SELECT sum(rows_in) FROM regfeat.partition"));
  EXPECT_EQ(db_.count("SELECT rows_total FROM regfeat.latest_progress"),
            db_.count("SELECT sum(rows_in) FROM regfeat.partition"));
  EXPECT_EQ(db_.count("SELECT bytes_done FROM regfeat.latest_progress"),
            db_.count("SELECT sum(bytes_out) FROM regfeat.partition"));
  EXPECT_EQ(db_.text("SELECT DISTINCT workers_configured FROM regfeat.progress"), "2");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.progress WHERE stalled IS NOT NULL"), 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.progress WHERE NOT (eta_low <= eta AND eta <= eta_high)"), 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.progress WHERE done + empty = 0 AND eta IS NOT NULL"), 0)
      << "before anything is done nothing is claimed";
  EXPECT_EQ(db_.count("SELECT sum(partitions) FROM regfeat.daemon_progress"), 2 * kDays);
}

TEST_F(Progress, PartitionsThatNeededNoWritingTellNothingOfThoseThatDo) {
  run_once();
  for (int i = 0; i < 3; ++i) {
    db_.exec("SELECT * FROM regfeat.requeue('bars'); DELETE FROM regfeat.progress;");
    run_once();
  }
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.attempt WHERE outcome = 'unchanged'"),
            3 * db_.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"));
  // What is known of costs is known from the written ones, to the last of the 400.
  EXPECT_EQ(db_.count("SELECT round(sum(partitions) / (SELECT sum(exp(-ln(2) * (n - 1) / 50)) FROM generate_series(1, "
                      "(SELECT count(*)::int FROM regfeat.attempt WHERE outcome = 'done')) n)) FROM regfeat.eta_curve"),
            1);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.progress WHERE rows_per_second_now > 1"), 0)
      << "nobody wrote a row";
  EXPECT_EQ(db_.text("SELECT percent FROM regfeat.latest_progress"), "100");
}

TEST_F(Progress, AnHourBetweenReportsIsFine) {
  const TemporaryFile config("regfeatd.yaml", "progress: 1h\n");
  const Finished run = db_.regfeatd({"run", "--once", "--workers", "2", "--config", config.path()});
  EXPECT_EQ(run.exit_status, 0) << run.out;
  EXPECT_EQ(run.out.find("warning"), std::string::npos) << run.out;
}

TEST_F(Progress, AttemptsHaveAllTheirPhases) {
  run_once();
  EXPECT_EQ(
      db_.count(
          "SELECT count(*) FROM regfeat.attempt WHERE outcome = 'done' AND (claim_ms IS NULL OR read_ms IS NULL OR fit_ms IS NULL OR NOT encode_ms > 0 OR send_ms IS NULL "
          "OR publish_ms IS NULL OR commit_ms IS NULL OR rows_in IS NULL OR bytes_out IS NULL OR nulls_out IS NULL)"),
      0);
  EXPECT_EQ(
      db_.count(
          "SELECT count(*) FROM regfeat.attempt WHERE outcome = 'done' AND claim_ms + read_ms + fit_ms + encode_ms + send_ms + publish_ms + commit_ms > "
          "1000 * extract(epoch FROM finished_at - started_at) + claim_ms + commit_ms + 1"),
      0)
      << "the phases are parts of the attempt";
}

TEST_F(Progress, WhatIfAndPreviewAnswerFromTheMeasuredCurve) {
  EXPECT_EQ(db_.text("SELECT DISTINCT basis FROM regfeat.eta_by_workers('bars')"), "nothing was measured yet");
  EXPECT_EQ(db_.count("SELECT count(seconds) FROM regfeat.eta_by_workers('bars')"), 0);
  EXPECT_EQ(db_.text("SELECT estimated_time FROM regfeat.requeue_preview('bars')"), "");
  run_once();
  EXPECT_EQ(db_.text("SELECT string_agg(DISTINCT seconds::text, ' ') FROM regfeat.eta_by_workers('bars')"), "0")
      << "nothing is left";
  db_.exec("SELECT * FROM regfeat.requeue('bars')");
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.eta_by_workers('bars')"), 8);
  // One worker: what all partitions took by the model, one after the other. More never take longer, and never more than
  // the curve's own speed allows.
  EXPECT_EQ(
      db_.text(
          "SELECT abs(e.seconds / sum(CASE WHEN p.rows_in > 0 THEN regfeat.seconds_per_row(1, 1) * (p.rows_in + m.fixed_rows) ELSE m.empty_seconds END) - 1) < 1e-9 "
          "  FROM regfeat.eta_by_workers('bars') e, regfeat.partition p, regfeat.eta_model m WHERE e.workers = 1 GROUP BY e.seconds"),
      "t");
  EXPECT_EQ(
      db_.count(
          "SELECT count(*) FROM (SELECT seconds > lag(seconds) OVER (ORDER BY workers) * 1.2 AS worse FROM regfeat.eta_by_workers('bars')) x WHERE worse"),
      0);
  EXPECT_EQ(
      db_.count(
          "SELECT count(*) FROM (SELECT rows_per_second < 0.999 * lag(rows_per_second) OVER (ORDER BY workers) AS worse FROM regfeat.eta_by_workers('bars')) x WHERE worse"),
      0);
  // The same partitions again by the rate alone: what they take with one worker. (Empty ones have no rate.)
  EXPECT_EQ(
      db_.text(
          "SELECT abs(sum(p.rows_in) / (e.seconds - count(*) FILTER (WHERE p.rows_in = 0) * m.empty_seconds) / e.rows_per_second - 1) < 0.05 "
          "  FROM regfeat.eta_by_workers('bars') e, regfeat.partition p, regfeat.eta_model m WHERE e.workers = 1 GROUP BY e.seconds, e.rows_per_second, m.empty_seconds"),
      "t");
  EXPECT_EQ(
      db_.text(
          "SELECT abs(ln(e.rows_per_second / g.rows_per_second)) < 0.5 FROM regfeat.eta_by_workers('bars') e, regfeat.progress g "
          " WHERE e.workers = 2 AND g.rows_per_second IS NOT NULL ORDER BY g.at DESC LIMIT 1"),
      "t")
      << db_.text(
             "SELECT string_agg(format('%s: %s', workers, rows_per_second), ', ') FROM regfeat.eta_by_workers('bars')")
      << " and in progress "
      << db_.text("SELECT string_agg(concat_ws('/', rows_per_second, workers_active), ', ') FROM regfeat.progress");
  EXPECT_GE(db_.count("SELECT count(*) FROM regfeat.eta_by_workers('bars') WHERE basis LIKE 'measured:%'"), 1);
  // Nobody runs: the preview counts on one worker, as the first row of the curve does.
  EXPECT_EQ(
      db_.text(
          "SELECT estimated_time = date_trunc('second', (SELECT seconds FROM regfeat.eta_by_workers('bars') WHERE workers = 1) * interval '1 second' + interval '999 ms') "
          "  FROM regfeat.requeue_preview('bars')"),
      "t");
  EXPECT_EQ(db_.text("SELECT basis FROM regfeat.requeue_preview('bars')"),
            "measured cost per row, with one worker (no daemon is alive)");
}

TEST_F(Progress, ASlowPartitionShowsUpByItselfWithItsPhase) {
  run_once();
  db_.exec(
      "UPDATE regfeat.attempt SET read_ms = read_ms + 60000, started_at = started_at - interval '60 seconds' WHERE attempt_id = "
      "(SELECT attempt_id FROM regfeat.partition WHERE state = 'done' ORDER BY partition_id OFFSET 3 LIMIT 1)");
  EXPECT_EQ(db_.text("SELECT phase FROM regfeat.slow_partitions LIMIT 1"), "read");
  EXPECT_EQ(
      db_.text("SELECT times_median > 2 AND excess_seconds BETWEEN 59 AND 61 FROM regfeat.slow_partitions LIMIT 1"),
      "t");
  db_.exec(
      "UPDATE regfeat.attempt SET encode_ms = encode_ms + 90000, started_at = started_at - interval '90 seconds' WHERE attempt_id = "
      "(SELECT attempt_id FROM regfeat.partition WHERE state = 'done' ORDER BY partition_id OFFSET 1 LIMIT 1)");
  EXPECT_EQ(db_.text("SELECT string_agg(phase, ' ') FROM (SELECT phase FROM regfeat.slow_partitions LIMIT 2) x"),
            "encode read");
  const auto status = nlohmann::json::parse(db_.regfeatd({"status", "--json"}).out);
  EXPECT_EQ(status["slow_partitions"][1]["phase"], "read");
  std::size_t slow = 0;
  for (const auto& row : status["heat_maps"][0]["states"])
    slow += static_cast<std::size_t>(
        std::count(row.get_ref<const std::string&>().begin(), row.get_ref<const std::string&>().end(), 's'));
  EXPECT_EQ(slow, status["slow_partitions"].size());
}

TEST_F(Progress, TheTimeOfCommitIsATimeOfThePartition) {
  // A deferred trigger, as a check at COMMIT has it: one second each, six for one of them.
  run_once();
  db_.exec(
      "CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
      "  PERFORM pg_sleep(CASE WHEN NEW.partition_id = (SELECT min(partition_id) FROM regfeat.partition WHERE rows_in > 0) THEN 6 ELSE 1 END); RETURN NULL; END $$;"
      "CREATE CONSTRAINT TRIGGER slow_commit AFTER UPDATE ON regfeat.partition DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
      "  WHEN (NEW.state = 'done' AND OLD.state = 'running') EXECUTE FUNCTION slow_commit();"
      "DELETE FROM regfeat.eta_model; DELETE FROM regfeat.attempt; UPDATE regfeat.partition SET input_fingerprint = NULL;"
      "SELECT * FROM regfeat.requeue('bars')");
  run_once();
  EXPECT_EQ(
      db_.text("SELECT min(commit_ms) >= 1000 AND max(commit_ms) >= 6000 FROM regfeat.attempt WHERE outcome = 'done'"),
      "t");
  const double seconds = std::stod(db_.text(
      "SELECT avg(extract(epoch FROM finished_at - started_at) + commit_ms / 1000) FROM regfeat.attempt WHERE outcome = 'done'"));
  const double model = std::stod(db_.text(
      "SELECT avg(regfeat.seconds_per_row(1, 2) * (p.rows_in + m.fixed_rows)) FROM regfeat.partition p, regfeat.eta_model m WHERE p.rows_in > 0"));
  EXPECT_NEAR(model / seconds, 1, 0.25);
  EXPECT_EQ(db_.text("SELECT phase || ' ' || (seconds > 6) FROM regfeat.slow_partitions LIMIT 1"), "commit true");
  EXPECT_EQ(
      db_.count(
          "SELECT sum(partitions) FROM regfeat.daemon_progress JOIN regfeat.attempt USING (daemon_id) WHERE attempt_id = "
          "(SELECT max(attempt_id) FROM regfeat.attempt)"),
      2 * kDays);
}

TEST_F(Progress, WaitingForAnotherAtTheEndIsAPartOfPublishing) {
  // Somebody holds the work row of a partition, so that its completion waits for it.
  run_once();
  db_.exec("UPDATE regfeat.partition SET input_fingerprint = NULL; SELECT * FROM regfeat.requeue('bars')");
  const TemporaryFile config("regfeatd.yaml", "progress: 200ms\n");
  Process daemon(
      {REGFEATD_BINARY, "run", "--once", "--workers", "1", "--config", config.path(), "--conninfo", db_.conninfo()});
  std::int64_t held = 0;
  const auto holder = db_.session();
  for (int i = 0; i < 2000 && held == 0; ++i) {
    pqxx::work tx(holder->sql());
    const auto row = tx.exec(
        "SELECT partition_id FROM regfeat.partition WHERE state = 'running' LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED");
    if (row.empty()) {
      std::this_thread::sleep_for(1ms);
      continue;
    }
    held = row[0][0].as<std::int64_t>();
    std::this_thread::sleep_for(3s);
    tx.commit();
  }
  EXPECT_EQ(daemon.wait().exit_status, 0);
  ASSERT_GT(held, 0);
  EXPECT_GE(db_.count(fmt::format(
                "SELECT coalesce(max(publish_ms), 0)::bigint FROM regfeat.attempt WHERE partition_id = {}", held)),
            2000);
  EXPECT_EQ(db_.text(fmt::format("SELECT phase FROM regfeat.slow_partitions WHERE partition_id = {}", held)),
            "publish");
}

TEST_F(Progress, AWorkerThatWaitsIsNotStalledBeforeItsTime) {
  // A lock that does not go away: every partition waits before its first row is read.
  run_once();
  db_.exec("UPDATE regfeat.partition SET input_fingerprint = NULL; SELECT * FROM regfeat.requeue('bars');");
  const TemporaryFile config("regfeatd.yaml", "progress: 200ms\n");
  const auto blocker = db_.session();
  pqxx::work tx(blocker->sql());
  tx.exec("LOCK TABLE bqx.m1_eurusd, bqx.m1_gbpusd IN ACCESS EXCLUSIVE MODE");
  Process daemon({REGFEATD_BINARY, "run", "--workers", "2", "--config", config.path(), "--conninfo", db_.conninfo()});
  for (int i = 0; i < 400 && db_.count("SELECT count(*) FROM regfeat.worker WHERE step IN ('begin', 'read')") == 0; ++i)
    std::this_thread::sleep_for(50ms);
  EXPECT_GT(db_.count("SELECT count(*) FROM regfeat.worker WHERE step IN ('begin', 'read')"), 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.latest_progress WHERE stalled IS NOT NULL"), 0)
      << "not before its time";
  tx.abort();
  daemon.signal(SIGTERM);
  daemon.wait();
}

TEST_F(Progress, AReaderSeesTheStatus) {
  run_once();
  db_.exec("DROP ROLE IF EXISTS regfeat_test_reader; CREATE ROLE regfeat_test_reader LOGIN IN ROLE regfeat_reader");
  const Finished text = regfeatd({"status", "--conninfo", db_.conninfo_as("regfeat_test_reader")});
  EXPECT_EQ(text.exit_status, 0) << text.out;
  EXPECT_NE(text.out.find("100.0 %  24/24 partitions"), std::string::npos) << text.out;
  EXPECT_EQ(text.out.find('\033'), std::string::npos) << "plain text, as this is no terminal";
  const Finished json =
      regfeatd({"status", "--json", "--history", "10", "--conninfo", db_.conninfo_as("regfeat_test_reader")});
  const auto document = nlohmann::json::parse(json.out);
  EXPECT_EQ(document["version"], 1);
  EXPECT_EQ(document["feature_sets"][0]["partitions"]["done"],
            db_.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"));
  EXPECT_EQ(document["feature_sets"][0]["rows"]["done"], db_.count("SELECT sum(rows_in) FROM regfeat.partition"));
  EXPECT_EQ(document["heat_maps"][0]["states"].size(), 2u);
  EXPECT_EQ(document["heat_maps"][0]["states"][0].get<std::string>().size(), static_cast<std::size_t>(kDays));
  EXPECT_FALSE(document["history"].empty());
  db_.exec(
      "SET ROLE regfeat_reader; SELECT * FROM regfeat.eta_by_workers('bars'); SELECT * FROM regfeat.slow_partitions; SELECT * FROM regfeat.latest_progress; "
      "SELECT * FROM regfeat.validation_run");
  db_.exec("DROP ROLE regfeat_test_reader");
}

TEST_F(Progress, ADaemonThatIsGoneIsTold) {
  Process daemon({REGFEATD_BINARY, "run", "--conninfo", db_.conninfo(), "--workers", "2"});
  ASSERT_TRUE(eventually([&] { return db_.count("SELECT count(*) FROM regfeat.worker WHERE step <> ''") == 2; }));
  EXPECT_EQ(db_.regfeatd({"status"}).out.find("not alive"), std::string::npos);
  EXPECT_NE(db_.regfeatd({"status"}).out.find("/1"), std::string::npos) << "a line for each worker";
  daemon.signal(SIGKILL);
  (void)daemon.wait();
  db_.exec("UPDATE regfeat.daemon SET heartbeat_at = now() - interval '125 seconds'");  // its lease runs out
  const std::string status = db_.regfeatd({"status"}).out;
  EXPECT_EQ(status.find("no daemon is alive"), 0u) << status;
  EXPECT_NE(status.find("is not alive: no heartbeat for 2 min 05 s"), std::string::npos) << status;
  EXPECT_EQ(status.find("/1  "), std::string::npos) << "its workers do not work: " << status;
  EXPECT_EQ(nlohmann::json::parse(db_.regfeatd({"status", "--json"}).out)["workers"].size(), 0u);
}

/// A program in a terminal of its own.
class Terminal {
 public:
  Terminal(const std::vector<std::string>& arguments, unsigned short columns, unsigned short rows) {
    winsize size{rows, columns, 0, 0};
    pid_ = forkpty(&master_, nullptr, nullptr, &size);
    if (pid_ == 0) {
      std::vector<char*> argv;
      for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
      argv.push_back(nullptr);
      setenv("TERM", "xterm-256color", 1);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Terminal() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(master_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void resize(unsigned short columns, unsigned short rows) const {
    winsize size{rows, columns, 0, 0};
    ioctl(master_, TIOCSWINSZ, &size);
  }
  /// What comes until a frame ends with these bytes; "" when nothing does.
  std::string frame() {
    const std::string end = "\033[?2026l";
    for (int i = 0; i < 300; ++i) {
      const auto at = pending_.find(end);
      if (at != std::string::npos) {
        std::string out = pending_.substr(0, at + end.size());
        pending_.erase(0, at + end.size());
        return out;
      }
      pollfd p{master_, POLLIN, 0};
      if (poll(&p, 1, 100) <= 0) continue;
      std::array<char, 8192> buffer{};
      const ssize_t n = read(master_, buffer.data(), buffer.size());
      if (n > 0) pending_.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return {};
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Its exit status once it has ended by itself, -signal when a signal ended it; nullopt: it does not end.
  std::optional<int> ended() {
    int status = 0;
    if (!eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; })) return std::nullopt;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string rest() {
    std::string out = pending_;
    std::array<char, 8192> buffer{};
    for (ssize_t n = 0; (n = read(master_, buffer.data(), buffer.size())) > 0;)
      out.append(buffer.data(), static_cast<std::size_t>(n));
    return out;
  }

 private:
  pid_t pid_ = -1;
  int master_ = -1;
  std::string pending_;
};

/// Lines of a frame as a terminal shows them.
std::vector<std::string> lines_of(const std::string& frame) {
  std::vector<std::string> lines(1);
  for (std::size_t i = 0; i < frame.size(); ++i) {
    if (frame[i] == '\033') {
      while (i + 1 < frame.size() && !(frame[i] >= 'A' && frame[i] <= 'z' && frame[i] != '[')) ++i;
    } else if (frame[i] == '\n') {
      lines.emplace_back();
    } else if (frame[i] != '\r' && (static_cast<unsigned char>(frame[i]) & 0xc0) != 0x80) {
      lines.back() += frame[i];  // one for each character, whatever its bytes
    }
  }
  return lines;
}

std::size_t widest(const std::string& frame) {
  std::size_t most = 0;
  for (const std::string& l : lines_of(frame)) most = std::max(most, l.size());
  return most;
}

TEST_F(Progress, TheWatchedScreenIsRedrawnInPlaceAndFollowsTheTerminal) {
  run_once();
  Terminal terminal({REGFEATD_BINARY, "status", "--watch", "--interval", "0.2", "--conninfo", db_.conninfo()}, 80, 20);
  const std::string first = terminal.frame();
  ASSERT_NE(first.find("24/24 partitions"), std::string::npos) << first;
  EXPECT_NE(first.find("\033[?25l"), std::string::npos) << "the cursor is hidden";
  for (int i = 0; i < 3; ++i) {
    const std::string frame = terminal.frame();
    EXPECT_EQ(frame.find("\033[2J"), std::string::npos) << "nothing is erased before it is written again: no flicker";
    EXPECT_EQ(frame.find("\033[?2026h\033[H"), 0u);
    EXPECT_LE(widest(frame), 80u);
    EXPECT_LE(lines_of(frame).size(), 20u);
  }
  for (const auto& [columns, rows] : {std::pair<unsigned short, unsigned short>{200, 50}, {40, 8}, {80, 24}}) {
    terminal.resize(columns, rows);
    std::string frame = terminal.frame();
    for (int i = 0; i < 20 && frame.find("\033[2J") == std::string::npos; ++i) frame = terminal.frame();
    EXPECT_NE(frame.find("\033[2J"), std::string::npos) << "a new size is a new picture";
    EXPECT_LE(widest(frame), columns);
    EXPECT_LE(lines_of(frame).size(), rows);
    EXPECT_GT(widest(frame), columns == 200 ? 70u : 20u);
  }
  kill(terminal.pid(), SIGINT);
  EXPECT_NE(terminal.rest().find("\033[?25h"), std::string::npos) << "the cursor is back";
}

TEST_F(Progress, TheWatchedScreenOutlivesTheDatabaseConnection) {
  run_once();
  Terminal terminal({REGFEATD_BINARY, "status", "--watch", "--interval", "0.2", "--conninfo", db_.conninfo()}, 100, 30);
  ASSERT_FALSE(terminal.frame().empty());
  db_.exec(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%status%'");
  for (int i = 0; i < 10; ++i) ASSERT_NE(terminal.frame().find("24/24 partitions"), std::string::npos);
}

/// A frame that has this text; "" when none comes.
std::string frame_with(Terminal& terminal, const std::string& text) {
  for (int i = 0; i < 100; ++i) {
    const std::string frame = terminal.frame();
    if (frame.empty() || frame.find(text) != std::string::npos) return frame;
  }
  return {};
}

TEST_F(Progress, TheWatchedScreenFollowsAndEndsWhileItsQueryWaits) {
  run_once();
  Terminal terminal({REGFEATD_BINARY, "status", "--watch", "--interval", "0.2", "--conninfo", db_.conninfo()}, 100, 30);
  ASSERT_FALSE(terminal.frame().empty());
  const auto session = db_.session();
  pqxx::work lock(session->sql());
  lock.exec("LOCK TABLE regfeat.partition IN ACCESS EXCLUSIVE MODE");
  EXPECT_NE(frame_with(terminal, "the database has not answered for"), "") << "what is on the screen is old";
  terminal.resize(60, 20);
  const std::string frame = frame_with(terminal, "\033[2J");
  ASSERT_NE(frame, "") << "a new size is a new picture";
  EXPECT_LE(widest(frame), 60u);
  kill(terminal.pid(), SIGINT);
  EXPECT_EQ(terminal.ended(), 0);
  EXPECT_NE(terminal.rest().find("\033[?25h"), std::string::npos) << "the cursor is back";
  EXPECT_TRUE(eventually([&] {
    return db_.count(
               "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%status%'") ==
           0;
  })) << "the server does not go on with a query that nobody waits for";
}

TEST_F(Progress, TheWatchedScreenEndsWhileTheServerHangs) {
  run_once();
  for (const int signals : {1, 2}) {
    Terminal terminal({REGFEATD_BINARY, "status", "--watch", "--interval", "0.2", "--conninfo", db_.conninfo()}, 100,
                      30);
    ASSERT_FALSE(terminal.frame().empty());
    const auto backend = static_cast<pid_t>(db_.count(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%status%'"));
    ASSERT_EQ(kill(backend, SIGSTOP), 0);
    EXPECT_NE(frame_with(terminal, "the database has not answered for"), "");
    for (int i = 0; i < signals; ++i) kill(terminal.pid(), SIGINT);
    EXPECT_EQ(terminal.ended(), 0);
    EXPECT_NE(terminal.rest().find("\033[?25h"), std::string::npos) << "the cursor is back";
    kill(backend, SIGCONT);
    EXPECT_TRUE(eventually([&] { return kill(backend, 0) != 0; }));
  }
}

}  // namespace
}  // namespace regfeatd::test
