#include "regfeatd/populate/short_locks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <thread>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::populate {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTry{40};
constexpr milliseconds kLongestPause{1000};
constexpr std::chrono::seconds kPatience{30};
constexpr const char* kLockNotAvailable = "55P03";

/// Whether `body` got its locks; otherwise everything is as before and `said` is the server's message.
bool try_once(pqxx::transaction_base& tx, const std::function<void(pqxx::transaction_base&)>& body, std::string& said) {
  try {
    pqxx::subtransaction attempt(static_cast<pqxx::dbtransaction&>(tx), "publish");
    body(attempt);
    attempt.commit();
    return true;
  } catch (const pqxx::sql_error& e) {
    if (e.sqlstate() != kLockNotAvailable) throw;
    said = e.what();
    return false;
  } catch (const Fault& e) {
    if (e.sqlstate() != kLockNotAvailable) throw;
    said = e.what();
    return false;
  }
}

}  // namespace

milliseconds WaitBudget::left() const {
  return std::max(milliseconds{0}, std::chrono::duration_cast<milliseconds>(end_ - now_()));
}

void lock_exclusively(pqxx::transaction_base& tx, const std::vector<std::string>& tables, const WaitBudget& budget) {
  for (const std::string& table : tables) {
    const auto left = budget.left().count();  // as a lock_timeout, 0 would mean for ever
    tx.exec(fmt::format("SET LOCAL lock_timeout = {}; LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE{}",
                        std::max<milliseconds::rep>(1, left), table, left > 0 ? "" : " NOWAIT"));
  }
}

void wait_for_maintenance(pqxx::transaction_base& tx, const std::vector<std::string>& tables) {
  for (const std::string& table : tables) {
    try {
      // Whoever waits for deadlock_timeout in a mode that maintenance conflicts with has autovacuum cancelled.
      pqxx::subtransaction wait(static_cast<pqxx::dbtransaction&>(tx), "maintenance");
      wait.exec(
          "SELECT set_config('lock_timeout', (setting::bigint + 1000)::text, true) FROM pg_settings "
          " WHERE name = 'deadlock_timeout'");
      wait.exec(fmt::format("LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE", table));
      wait.abort();
    } catch (const pqxx::sql_error& e) {
      if (e.sqlstate() != kLockNotAvailable) throw;
    }
  }
}

void patiently(pqxx::transaction_base& tx, const std::stop_token& stop,
               const std::function<void(pqxx::transaction_base&, const WaitBudget&)>& body,
               const std::function<void()>& between_tries) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  thread_local std::mt19937 random{std::random_device{}()};
  for (milliseconds pause{20};; pause = std::min(kLongestPause, 2 * pause)) {
    std::string said;
    const bool done = try_once(
        tx,
        [&](pqxx::transaction_base& attempt) {
          attempt.exec(fmt::format("SET LOCAL lock_timeout = {}", kTry.count()));
          body(attempt, WaitBudget(kTry));
        },
        said);
    if (done) return;
    if (stop.stop_requested()) throw Fault(FaultClass::transient, "stopped", "57014");
    if (std::chrono::steady_clock::now() > give_up) {
      throw Fault(FaultClass::transient,
                  "the target's table is in use all the time, for half a minute now (pg_locks shows by "
                  "whom); it is tried again later: " +
                      said,
                  kLockNotAvailable);
    }
    std::this_thread::sleep_for(
        milliseconds{std::uniform_int_distribution<long>(pause.count() / 2, pause.count())(random)});
    between_tries();
  }
}

}  // namespace regfeatd::populate
