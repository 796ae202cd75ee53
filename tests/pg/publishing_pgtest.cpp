// The ways of publishing (docs/publishing.md): what readers see, what kills leave behind, what an exchange
// keeps.
#include <fmt/format.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <set>
#include <thread>
#include <vector>

#include "pg_fixture.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/populate/publish.hpp"
#include "regfeatd/queue/daemons.hpp"

namespace regfeatd::test {
namespace {

using populate::Step;
using populate::Strategy;
using std::chrono::milliseconds;

std::string with_publish(std::string specification, const std::string& publish) {
  const std::string end = "{start:%Y_%m_%d}\"";
  for (std::size_t at = 0; (at = specification.find(end, at)) != std::string::npos; ++at)
    specification.insert(at + end.size(), ", publish: " + publish);
  return specification;
}

/// One day of one pair, whose values stand in two tables.
class Publishing {
 public:
  explicit Publishing(int days = 1, const std::string& publish = "auto") : days_(days) { set_up(publish); }
  /// On a cluster of the test's own.
  explicit Publishing(const Cluster& cluster) : db(cluster.conninfo()), days_(1) { set_up("auto"); }

  void apply(const std::string& publish) const {
    const TemporaryFile file("spec.yaml", with_publish(bars_specification({"eurusd"}, days_), publish));
    const Finished f = db.regfeatd({"apply", file.path()});
    if (f.exit_status != 0) throw std::runtime_error(f.out);
  }

  /// Other inputs, and with them another generation of all values; the rows stay as many.
  void next_generation() const {
    db.exec(
        "UPDATE bqx.m1_eurusd SET rate_index = rate_index + 1; UPDATE bqx.bqx_eurusd SET w15_bqx_return = "
        "w15_bqx_return + 1; "
        "UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, not_before = now()");
  }

  void run_daemon() const {
    const Finished f = db.regfeatd({"run", "--once", "--workers", "2"});
    if (f.exit_status != 0) throw std::runtime_error(f.out);
  }

  std::optional<populate::RunResult> run_here(populate::RunObserver& observer) {
    const auto session = db.session();
    backend = session->backend_pid();
    const auto claim = queue::claim(*session, daemon_, 0);
    if (!claim) return std::nullopt;
    queue::Timings timings;
    return runner_.run(*session, *claim, {}, observer, {}, timings);
  }

  /// Rows and sums of both targets in one statement: one value per generation.
  static constexpr const char* kGeneration =
      "SELECT concat_ws(' ', (SELECT count(*) || ':' || coalesce(sum(hashfloat8(b_idx_w15)), 0) FROM "
      "bqx.reg_rate_eurusd), "
      "                      (SELECT count(*) || ':' || coalesce(sum(hashfloat8(b_bqx_w15)), 0) FROM "
      "bqx.reg_bqx_eurusd))";
  [[nodiscard]] std::string generation() const { return db.text(kGeneration); }
  [[nodiscard]] std::int64_t leftovers() const {
    return db.count(
        "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'regfeatd%') + (SELECT count(*) FROM "
        "regfeat.staging)");
  }

  Database db;
  DaemonId daemon_;
  populate::PartitionRunner runner_;
  int backend = 0;  ///< of `run_here`

 private:
  void set_up(const std::string& publish) {
    db.migrate();
    db.make_bars("eurusd", days_);
    apply(publish);
    const auto session = db.session();
    daemon_ = queue::register_daemon(*session, {"test", "test", 0, ""}, std::chrono::minutes{5}, 1);
  }

  int days_;
};

class Nothing : public populate::RunObserver {
 public:
  void at_step(Step) override {}
  void at_rows(std::int64_t, std::int64_t) override {}
};

class KillAt : public populate::RunObserver {
 public:
  KillAt(const Publishing& p, Step step) : p_(p), step_(step) {}
  void at_step(Step step) override {
    if (step == step_) kill();
  }
  void at_rows(std::int64_t done, std::int64_t) override {
    if (step_ == Step::write && done > 0) kill();
  }

 private:
  void kill() {
    if (killed_) return;
    killed_ = true;
    p_.db.exec(fmt::format("SELECT pg_terminate_backend({}, 5000)", p_.backend));
  }
  const Publishing& p_;
  Step step_;
  bool killed_ = false;
};

class EveryStrategy : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryStrategy, AKillAtAnyStepShowsTheOldRowsAndLeavesNothingAfterTheNextRun) {
  Publishing p(1, "auto");
  Nothing nothing;
  const bool fresh = std::string(GetParam()) == "create";
  if (!fresh) {
    ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
    p.apply(GetParam());
  }
  for (const Step step : {Step::begin, Step::read, Step::write, Step::publish, Step::complete, Step::commit}) {
    const std::string old = p.generation();
    p.next_generation();
    if (fresh) p.db.exec("DROP TABLE IF EXISTS bqx.reg_rate_eurusd_2024_07_01, bqx.reg_bqx_eurusd_2024_07_01");
    const std::string before = fresh ? p.generation() : old;
    KillAt killer(p, step);
    EXPECT_THROW((void)p.run_here(killer), Fault) << populate::to_string(step);
    EXPECT_EQ(p.generation(), before) << populate::to_string(step);
    p.db.exec("UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1, not_before = now()");
    EXPECT_EQ(p.run_here(nothing), populate::RunResult::done);
    const std::string now = p.generation();
    EXPECT_NE(now, old) << populate::to_string(step);
    EXPECT_EQ(now.substr(0, now.find(':')), std::to_string(p.db.count("SELECT count(*) FROM bqx.m1_eurusd")))
        << populate::to_string(step);
    EXPECT_EQ(p.leftovers(), 0) << populate::to_string(step);
  }
}

TEST_P(EveryStrategy, KilledDaemonsShowCompleteGenerationsOnlyAndLeaveNothingBehind) {
  const int days = 3;
  Publishing p(days, "auto");
  if (std::string(GetParam()) != "create") {
    p.run_daemon();
    p.apply(GetParam());
  }
  std::set<std::string> whole;  // of one day in both tables
  const std::string day = std::string(
      "SELECT r.d || ' ' || r.n || ' ' || b.n FROM (SELECT ts_utc::date AS d, count(*) AS n FROM "
      "bqx.reg_rate_eurusd GROUP BY 1) r "
      "FULL JOIN (SELECT ts_utc::date AS d, count(*) AS n FROM bqx.reg_bqx_eurusd GROUP BY 1) b USING (d)");
  for (int kills = 0; kills < 5; ++kills) {
    p.next_generation();
    Process daemon({REGFEATD_BINARY, "run", "--once", "--workers", "2", "--conninfo", p.db.conninfo()});
    while (daemon.running() && p.db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'") == 0) {
      std::this_thread::sleep_for(milliseconds{2});
    }
    std::this_thread::sleep_for(
        milliseconds{8 * kills});  // somewhere inside; whichever step it hits, the same must hold
    daemon.signal(SIGKILL);
    (void)daemon.wait();
    EXPECT_EQ(p.db.count("SELECT count(*) FROM (" + day + ") x WHERE x IS NULL"), 0) << "a day in one table only";
  }
  p.run_daemon();
  EXPECT_EQ(p.db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'done'"), days);
  EXPECT_EQ(p.leftovers(), 0);
  EXPECT_EQ(p.db.count("SELECT count(*) FROM bqx.reg_bqx_eurusd"), p.db.count("SELECT count(*) FROM bqx.m1_eurusd"));
  Publishing undisturbed(days, "auto");
  for (int i = 0; i < 5; ++i) undisturbed.next_generation();
  undisturbed.run_daemon();
  EXPECT_EQ(p.db.checksum("bqx.reg_rate_eurusd"), undisturbed.db.checksum("bqx.reg_rate_eurusd"));
}

INSTANTIATE_TEST_SUITE_P(Publishing, EveryStrategy, ::testing::Values("create", "truncate", "swap", "delete"),
                         [](const auto& how) {
                           return std::string(how.param) == "create" ? std::string("create_")
                                                                     : std::string(how.param) + "_";
                         });

/// Reads in a loop until it is told to stop; keeps what it saw, in order, and how long the longest read took.
class Reader {
 public:
  enum class Snapshot { fresh, old };
  Reader(const Database& db, const char* name, std::string query, Snapshot snapshot)
      : name_(name),
        query_(std::move(query)),
        snapshot_(snapshot),
        session_(db.session()),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  /// Waits until it has read once more, from begin to end.
  void wait_for_a_read() const {
    const int begun = reads_;
    while (!failed_ && reads_ < begun + 2) std::this_thread::sleep_for(milliseconds{1});
  }
  /// What it saw, each repeated value once. "" was added by a read that failed, which has failed the test
  /// too.
  std::vector<std::string> finish() {
    thread_.request_stop();
    thread_.join();
    std::printf("%s: %d reads, %zu generations seen, longest read %.1f ms, %d reads over 100 ms\n", name_,
                reads_.load(), seen_.size(), longest_ms_, longer_than_100_ms_);
    return seen_;
  }

 private:
  void run(const std::stop_token& stop) {
    try {
      while (!stop.stop_requested()) read();
    } catch (const std::exception& e) {
      ADD_FAILURE() << name_ << ": " << e.what();
      seen_.emplace_back();
      failed_ = true;
    }
  }

  void read() {
    pqxx::work tx(session_->sql());
    if (snapshot_ == Snapshot::old) {
      // A snapshot from before the exchange, of a transaction that has not touched the targets.
      tx.exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
      tx.exec("SELECT FROM regfeat.feature_set");
      std::this_thread::sleep_for(milliseconds{15});
    }
    const auto start = std::chrono::steady_clock::now();
    auto value = tx.exec1(query_)[0].as<std::string>();
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    tx.commit();
    if (seen_.empty() || seen_.back() != value) seen_.push_back(std::move(value));
    longest_ms_ = std::max(longest_ms_, ms);
    longer_than_100_ms_ += ms > 100 ? 1 : 0;
    ++reads_;
  }

  const char* name_;
  const std::string query_;
  const Snapshot snapshot_;
  std::unique_ptr<pg::Session> session_;
  std::vector<std::string> seen_;
  double longest_ms_ = 0;
  int longer_than_100_ms_ = 0;
  std::atomic<int> reads_ = 0;
  std::atomic<bool> failed_ = false;
  std::jthread thread_;
};

/// `kGeneration`, from the day's tables by their own names.
std::string generation_of_children() {
  std::string query = Publishing::kGeneration;
  for (const std::string table : {"bqx.reg_rate_eurusd", "bqx.reg_bqx_eurusd"})
    query.insert(query.find(table) + table.size(), "_2024_07_01");
  return query;
}

TEST(Swap, ReadersSeeCompleteGenerationsInOrderAndEachOfThem) {
  Publishing p;
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  std::vector<std::string> generations{p.generation()};
  Reader fresh(p.db, "fresh snapshots", Publishing::kGeneration, Reader::Snapshot::fresh);
  Reader old(p.db, "older snapshots", Publishing::kGeneration, Reader::Snapshot::old);
  Reader child(p.db, "the child by its name", generation_of_children(), Reader::Snapshot::fresh);
  const std::array readers{&fresh, &old, &child};
  for (const Reader* r : readers) r->wait_for_a_read();
  for (int g = 0; g < 20; ++g) {
    const std::string table = p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid");
    p.next_generation();
    ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
    EXPECT_NE(p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid"), table) << "no exchange";
    generations.push_back(p.generation());
    for (const Reader* r : readers) r->wait_for_a_read();
  }
  // All rows of both tables, and other values every time; so that nothing else is taken for a generation.
  const std::string rows = p.db.text("SELECT count(*) FROM bqx.m1_eurusd") + ":";
  for (const std::string& g : generations) {
    EXPECT_TRUE(g.starts_with(rows)) << g;
    EXPECT_NE(g.find(" " + rows), std::string::npos) << g;
  }
  EXPECT_EQ(std::set<std::string>(generations.begin(), generations.end()).size(), 21u);
  for (Reader* r : readers) EXPECT_EQ(r->finish(), generations);
  EXPECT_EQ(p.leftovers(), 0);
}

TEST(Swap, ALongReaderHoldsUpTheExchangeButNoOtherReader) {
  Publishing p;
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  const std::string old = p.generation();
  p.next_generation();
  const auto long_reader = p.db.session();
  auto reading = std::make_unique<pqxx::work>(long_reader->sql());
  reading->exec("SELECT count(*) FROM bqx.reg_rate_eurusd");
  std::jthread run([&] { EXPECT_EQ(p.run_here(nothing), populate::RunResult::done); });
  while (p.db.count("SELECT count(*) FROM regfeat.staging") == 0) std::this_thread::sleep_for(milliseconds{2});
  // The load is committed, the exchange is being tried. Others are held up for one try at most: far less than
  // their limit.
  const auto other = p.db.session();
  for (int i = 0; i < 30; ++i) {
    pqxx::work tx(other->sql());
    tx.exec("SET LOCAL lock_timeout = '5s'");
    EXPECT_EQ(tx.exec1(Publishing::kGeneration)[0].as<std::string>(), old);
    tx.commit();
    std::this_thread::sleep_for(milliseconds{10});
  }
  EXPECT_EQ(p.db.count("SELECT count(*) FROM regfeat.staging"), 2) << "the exchange still waits";
  EXPECT_EQ(p.db.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'"), 1);
  reading->commit();
  reading.reset();
  run.join();
  EXPECT_NE(p.generation(), old);
  EXPECT_EQ(p.leftovers(), 0);
}

TEST(Swap, HoldsNothingBetweenItsTries) {
  Publishing p;
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  const std::string old = p.generation();
  p.next_generation();
  const auto long_reader = p.db.session();
  auto reading = std::make_unique<pqxx::work>(long_reader->sql());
  reading->exec("SELECT count(*) FROM bqx.reg_rate_eurusd");
  std::jthread run([&] { EXPECT_EQ(p.run_here(nothing), populate::RunResult::done); });
  while (p.db.count("SELECT count(*) FROM regfeat.staging") == 0) std::this_thread::sleep_for(milliseconds{2});
  // DDL takes the parent, then its children: with one of them held all the time it would wait, and with it every reader of the
  // parent, until the exchange gives up. The limit is less than that, and far more than a try and a wait for maintenance.
  const auto ddl = p.db.session();
  pqxx::work tx(ddl->sql());
  tx.exec("SET LOCAL lock_timeout = '15s'");
  EXPECT_NO_THROW(tx.exec("LOCK TABLE bqx.reg_bqx_eurusd IN ACCESS EXCLUSIVE MODE"));
  EXPECT_EQ(p.db.count("SELECT count(*) FROM regfeat.staging"), 2)
      << "the exchange is over, and this test shows nothing";
  tx.commit();
  reading->commit();
  reading.reset();
  run.join();
  EXPECT_NE(p.generation(), old);
  EXPECT_EQ(p.leftovers(), 0);
}

TEST(Swap, HasAnAutovacuumOfTheChildCancelled) {
  const Cluster cluster({"--set", "autovacuum_naptime=1"});
  Publishing p(cluster);
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  // Enough dead rows for a vacuum that outlasts all tries by far.
  for (int i = 0; i < 8; ++i) p.db.exec("UPDATE bqx.reg_rate_eurusd_2024_07_01 SET b_idx_w15 = b_idx_w15");
  p.db.exec(
      "ALTER TABLE bqx.reg_rate_eurusd_2024_07_01 SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, "
      "  autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_cost_delay = 100)");
  const std::string vacuum =
      "SELECT count(*) FROM pg_locks WHERE mode = 'ShareUpdateExclusiveLock' AND granted AND relation = ";
  const std::string oid = p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid");
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds{90};
  while (p.db.count(vacuum + oid) == 0 && std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(milliseconds{20});
  ASSERT_EQ(p.db.count(vacuum + oid), 1) << "autovacuum never came";
  const std::string old = p.generation();
  p.next_generation();
  EXPECT_EQ(p.run_here(nothing), populate::RunResult::done);
  EXPECT_NE(p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid"), oid) << "it was not exchanged";
  EXPECT_NE(p.generation(), old);
}

TEST(Swap, ARequeueBetweenLoadAndExchangeFencesAndTheLeftoverGoes) {
  Publishing p;
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  const std::string old = p.generation();
  p.next_generation();
  class Requeue : public populate::RunObserver {
   public:
    explicit Requeue(const Database& db) : db_(db) {}
    void at_step(Step step) override {
      if (step == Step::complete) db_.exec("UPDATE regfeat.partition SET state = 'pending', epoch = epoch + 1");
    }
    void at_rows(std::int64_t, std::int64_t) override {}

   private:
    const Database& db_;
  } requeue(p.db);
  EXPECT_EQ(p.run_here(requeue), populate::RunResult::fenced);
  EXPECT_EQ(p.generation(), old);
  EXPECT_EQ(p.db.count("SELECT count(*) FROM regfeat.staging"), 2);
  p.db.exec("SELECT regfeat.drop_leftovers()");
  EXPECT_EQ(p.leftovers(), 0);
}

TEST(Swap, KeepsKeysIndexesGrantsAndOptionsUnderTheirNames) {
  Publishing p;
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  p.db.exec(
      "CREATE INDEX \"by the value\" ON bqx.reg_rate_eurusd_2024_07_01 (b_idx_w15) WHERE b_idx_w15 > 0; "
      "CREATE INDEX by_level ON bqx.reg_rate_eurusd ((-b_idx_w30)); "
      "GRANT SELECT ON bqx.reg_rate_eurusd_2024_07_01 TO pg_monitor; "
      "ALTER TABLE bqx.reg_rate_eurusd_2024_07_01 SET (fillfactor = 90)");
  const std::string described =
      "SELECT concat_ws(E'\\n', c.relname, c.relacl, c.reloptions, pg_get_expr(c.relpartbound, c.oid), "
      "  (SELECT string_agg(pg_get_indexdef(i.indexrelid), E'\\n' ORDER BY 1) FROM pg_index i WHERE "
      "i.indrelid = c.oid), "
      "  (SELECT string_agg(conname || pg_get_constraintdef(k.oid), E'\\n' ORDER BY conname) FROM "
      "pg_constraint k WHERE k.conrelid = c.oid), "
      "  (SELECT count(*) FROM pg_inherits h JOIN pg_index i ON h.inhrelid = i.indexrelid WHERE i.indrelid = "
      "c.oid)) "
      "FROM pg_class c WHERE c.relname = 'reg_rate_eurusd_2024_07_01'";
  const std::string before = p.db.text(described),
                    oid = p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid");
  p.next_generation();
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  EXPECT_NE(p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid"), oid) << "it was not exchanged";
  EXPECT_EQ(p.db.text(described), before);
  EXPECT_NE(before.find("fillfactor=90"), std::string::npos);
  EXPECT_EQ(p.db.text("SELECT string_agg(attname, ' ') FROM pg_stats WHERE tablename = 'reg_rate_eurusd_2024_07_01'"),
            "ts_utc");
}

TEST(Swap, IsNotChosenWhereSomethingWouldBeLostAndRefusedWhereItIsAskedFor) {
  Publishing p;
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  p.db.exec("CREATE VIEW bqx.direct AS SELECT ts_utc FROM bqx.reg_rate_eurusd_2024_07_01");
  const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 1));
  const std::string plan = p.db.regfeatd({"plan", file.path()}).out;
  EXPECT_NE(plan.find("1 × delete"), std::string::npos) << plan;
  EXPECT_NE(plan.find("a view reads it by its own name"), std::string::npos) << plan;
  EXPECT_NE(plan.find("1 × swap"), std::string::npos) << plan;
  const std::string old = p.generation();
  p.next_generation();
  EXPECT_EQ(p.run_here(nothing), populate::RunResult::done) << "one target by delete, one by swap";
  EXPECT_NE(p.generation(), old);
  EXPECT_EQ(p.leftovers(), 0);
  const TemporaryFile asked("spec.yaml", with_publish(bars_specification({"eurusd"}, 1), "swap"));
  const Finished refused = p.db.regfeatd({"plan", asked.path()});
  EXPECT_EQ(refused.exit_status, 78);
  EXPECT_NE(refused.out.find("target bqx.reg_rate_eurusd: publish: swap is not possible: partition "
                             "bqx.reg_rate_eurusd_2024_07_01: a view reads it by its own name"),
            std::string::npos)
      << refused.out;
}

TEST(Create, BuildsKeysAndStatisticsBeforeItAsksForTheParentsLock) {
  Publishing p;
  Nothing nothing;
  p.db.exec("CREATE INDEX by_level ON bqx.reg_rate_eurusd (b_idx_w15)");
  const auto other = p.db.session();
  auto attaching = std::make_unique<pqxx::work>(other->sql());
  attaching->exec("LOCK TABLE ONLY bqx.reg_rate_eurusd IN SHARE UPDATE EXCLUSIVE MODE");
  std::jthread run([&] { EXPECT_EQ(p.run_here(nothing), populate::RunResult::done); });
  const std::string waits =
      "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'bqx.reg_rate_eurusd'::regclass";
  while (p.db.count(waits) == 0) std::this_thread::sleep_for(milliseconds{2});
  // What it has made, nobody else can see yet; its locks everybody can: on two tables and their three indexes. On the parents it
  // has none that another ATTACH would meet.
  const std::string held = fmt::format(
      "SELECT count(DISTINCT l.relation) FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation "
      " WHERE l.pid = {} AND l.granted AND l.locktype = 'relation' AND l.mode ",
      p.backend);
  EXPECT_EQ(p.db.count(held + "= 'AccessExclusiveLock' AND c.oid IS NULL"), 5);
  EXPECT_EQ(p.db.count(held + "IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock') AND c.relkind = 'p'"), 0);
  attaching->commit();
  attaching.reset();
  run.join();
  EXPECT_EQ(p.db.count("SELECT count(*) FROM bqx.reg_rate_eurusd"), p.db.count("SELECT count(*) FROM bqx.m1_eurusd"));
  EXPECT_EQ(p.db.text("SELECT string_agg(attname, ' ') FROM pg_stats WHERE tablename = 'reg_rate_eurusd_2024_07_01'"),
            "ts_utc");
}

TEST(Create, KeysAndIndexesAreThoseThatAttachWouldHaveBuilt) {
  Publishing p;
  Nothing nothing;
  p.db.exec(
      "CREATE INDEX \"by the value\" ON bqx.reg_rate_eurusd (b_idx_w15 DESC) WHERE b_idx_w15 > 0; "
      "CREATE INDEX by_level ON bqx.reg_rate_eurusd (abs(b_idx_w30)) INCLUDE (b_idx_w15) WITH (fillfactor = 70); "
      "CREATE UNIQUE INDEX twice ON bqx.reg_rate_eurusd (ts_utc, b_idx_w15) NULLS NOT DISTINCT; "
      "CREATE INDEX ON ONLY bqx.reg_rate_eurusd (b_idx_agg); "
      "ALTER TABLE bqx.reg_rate_eurusd ADD CONSTRAINT packed UNIQUE (ts_utc, b_idx_w30) WITH (fillfactor = 60); "
      "ALTER TABLE bqx.reg_rate_eurusd ADD CONSTRAINT later UNIQUE (b_idx_agg, ts_utc) DEFERRABLE INITIALLY DEFERRED");
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  p.db.exec(
      "CREATE TABLE bqx.reg_rate_eurusd_2030_01_01 (LIKE bqx.reg_rate_eurusd); "
      "ALTER TABLE bqx.reg_rate_eurusd ATTACH PARTITION bqx.reg_rate_eurusd_2030_01_01 FOR VALUES FROM ('2030-01-01') TO ('2030-01-02')");
  const auto keys_of = [&](const std::string& day) {
    return p.db.text(fmt::format(
        "SELECT string_agg(replace(concat_ws(' ', i.indexrelid::regclass, pg_get_indexdef(i.indexrelid), h.inhparent::regclass, "
        "                                    k.conname, pg_get_constraintdef(k.oid), c.reloptions), '{0}', 'DAY'), E'\\n' ORDER BY h.inhparent) "
        "  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid "
        "  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid WHERE i.indrelid = 'bqx.reg_rate_eurusd_{0}'::regclass",
        day));
  };
  EXPECT_EQ(keys_of("2024_07_01"), keys_of("2030_01_01"));
  EXPECT_EQ(p.db.count("SELECT count(*) FROM pg_index WHERE indrelid = 'bqx.reg_rate_eurusd_2024_07_01'::regclass"), 7);
}

TEST(Truncate, IsTheDefaultForAnEmptyChild) {
  Publishing p;
  Nothing nothing;
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  p.db.exec("TRUNCATE bqx.reg_rate_eurusd, bqx.reg_bqx_eurusd");
  const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 1));
  const std::string plan = p.db.regfeatd({"plan", file.path()}).out;
  EXPECT_NE(plan.find("2 × truncate"), std::string::npos) << plan;
  const bool minimal = p.db.text("SHOW wal_level") == "minimal";
  EXPECT_NE(plan.find(minimal ? "WAL         skipped" : "WAL         logged"), std::string::npos) << plan;
  const std::string oid = p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid");
  p.next_generation();
  ASSERT_EQ(p.run_here(nothing), populate::RunResult::done);
  EXPECT_EQ(p.db.text("SELECT 'bqx.reg_rate_eurusd_2024_07_01'::regclass::oid"), oid);
  EXPECT_EQ(p.db.count("SELECT count(*) FROM bqx.reg_rate_eurusd"), p.db.count("SELECT count(*) FROM bqx.m1_eurusd"));
}

}  // namespace
}  // namespace regfeatd::test
