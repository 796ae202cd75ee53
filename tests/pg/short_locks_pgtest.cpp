// Locks for an exchange: what all of them together may wait, and that nothing is held between tries.
#include <fmt/format.h>

#include <chrono>
#include <vector>

#include "pg_fixture.hpp"
#include "regfeatd/populate/short_locks.hpp"

namespace regfeatd::test {
namespace {

using populate::WaitBudget;
using std::chrono::milliseconds;

constexpr int kTables = 6;

std::vector<std::string> make_tables(const Database& db) {
  std::vector<std::string> tables;
  for (int t = 0; t < kTables; ++t) {
    tables.push_back(fmt::format("public.t{}", t));
    db.exec(fmt::format("CREATE TABLE {} (x int)", tables.back()));
  }
  return tables;
}

/// A clock that goes on by the same time whenever it is looked at.
WaitBudget::Now ticking(milliseconds tick) {
  return [tick, now = std::chrono::steady_clock::time_point{}]() mutable {
    now += tick;
    return now - tick;
  };
}

TEST(ShortLocks, AllLocksTogetherWaitForTheBudgetAndNotEachOfThem) {
  const Database db;
  const auto tables = make_tables(db);
  const auto session = db.session();
  for (const auto& [tick, last] : {std::pair{milliseconds{6}, "4ms"}, {milliseconds{9}, "1ms"}}) {
    pqxx::work tx(session->sql());
    populate::lock_exclusively(tx, tables, WaitBudget(milliseconds{40}, ticking(tick)));
    EXPECT_EQ(tx.exec1("SHOW lock_timeout")[0].as<std::string>(), last);
    EXPECT_EQ(
        db.count("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname ~ '^t[0-5]$' "
                 "AND l.mode = 'AccessExclusiveLock' AND l.granted"),
        kTables);
  }
}

TEST(ShortLocks, WithNothingLeftATableInUseIsNotWaitedForAndTheOthersAreGivenBack) {
  const Database db;
  const auto tables = make_tables(db);
  const auto reader = db.session(), session = db.session();
  pqxx::work reading(reader->sql());
  reading.exec("SELECT FROM public.t5");
  pqxx::work tx(session->sql());
  std::string said;
  try {
    pqxx::subtransaction attempt(tx, "attempt");
    populate::lock_exclusively(attempt, tables, WaitBudget(milliseconds{40}, ticking(milliseconds{10})));
    ADD_FAILURE() << "it got a lock that another holds";
  } catch (const pqxx::sql_error& e) {
    EXPECT_EQ(e.sqlstate(), "55P03");
    said = e.what();
  }
  // The server says this of NOWAIT, and something else of a timeout.
  EXPECT_NE(said.find("could not obtain lock on relation \"public.t5\""), std::string::npos) << said;
  const auto other = db.session();
  pqxx::work free(other->sql());
  EXPECT_NO_THROW(free.exec("LOCK TABLE public.t0, public.t4 IN ACCESS EXCLUSIVE MODE NOWAIT"));
}

TEST(ShortLocks, MaintenanceByHandIsWaitedForWithinBoundsAndNothingIsHeldAfterwards) {
  const Database db;
  const auto tables = make_tables(db);
  const auto maintenance = db.session(), session = db.session();
  auto held = std::make_unique<pqxx::work>(maintenance->sql());
  held->exec("LOCK TABLE public.t1 IN SHARE UPDATE EXCLUSIVE MODE");
  pqxx::work tx(session->sql());
  tx.exec("SET LOCAL lock_timeout = '10s'");
  EXPECT_NO_THROW(populate::wait_for_maintenance(tx, {"public.t0", "public.t1"}));
  EXPECT_EQ(tx.exec1("SHOW lock_timeout")[0].as<std::string>(), "10s");
  EXPECT_EQ(
      tx.exec1("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname ~ '^t[0-5]$' AND "
               "l.pid = pg_backend_pid()")[0]
          .as<int>(),
      0);
}

}  // namespace
}  // namespace regfeatd::test
