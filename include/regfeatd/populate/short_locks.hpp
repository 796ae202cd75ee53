#pragma once

#include <chrono>
#include <functional>
#include <pqxx/pqxx>
#include <stop_token>
#include <string>
#include <vector>

namespace regfeatd::populate {

// Exclusive locks for an exchange of tables. Whoever waits for one makes every later reader of the table wait too, and
// holds those that it has got already: so all waits of a try together are short, and nothing is held between tries.

/// What a try may still wait, for all of its locks together. Not thread-safe.
class WaitBudget {
 public:
  using Now = std::function<std::chrono::steady_clock::time_point()>;
  explicit WaitBudget(std::chrono::milliseconds total, Now now = std::chrono::steady_clock::now)
      : now_(std::move(now)), end_(now_() + total) {}
  /// Not negative.
  [[nodiscard]] std::chrono::milliseconds left() const;

 private:
  Now now_;
  std::chrono::steady_clock::time_point end_;
};

/// Takes ACCESS EXCLUSIVE on quoted tables (not on their children), one after the other, each for as long as the budget
/// leaves; when nothing is left, only those that are free. Throws pqxx::sql_error (55P03) for the first that is not.
/// Further locks of the transaction may wait as long as the last of these might.
void lock_exclusively(pqxx::transaction_base& tx, const std::vector<std::string>& tables, const WaitBudget& budget);

/// Waits until no maintenance holds one of the quoted tables, and holds nothing itself, neither afterwards nor while it
/// waits. Its wait lasts long enough for the server to cancel an autovacuum; readers and writers pass by. Gives up
/// quietly on what cannot be cancelled (a VACUUM or CREATE INDEX CONCURRENTLY by hand).
void wait_for_maintenance(pqxx::transaction_base& tx, const std::vector<std::string>& tables);

/// Runs `body` in a subtransaction with the budget of a try, 40 ms; where it meets a lock that it does not get in that
/// time, takes all of it back, lets the others pass, runs `between_tries` and tries again, for half a minute at most.
/// Throws Fault (transient) when the time or `stop` ends it.
void patiently(pqxx::transaction_base& tx, const std::stop_token& stop,
               const std::function<void(pqxx::transaction_base&, const WaitBudget&)>& body,
               const std::function<void()>& between_tries);

}  // namespace regfeatd::populate
