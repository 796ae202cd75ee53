#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/spec/settings.hpp"

struct pg_conn;
struct pg_cancel;

namespace regfeatd::pg {

struct ConnectOptions {
  std::string conninfo;          ///< libpq keywords or URI; empty: as psql finds it (PG* variables, service file)
  std::string application_name;  ///< shown in pg_stat_activity
  std::string database = {};     ///< instead of the one that `conninfo` names; empty: that one
  std::vector<std::string>
      password_command{};  ///< run anew for each session, prints its password; empty: as psql finds it
  std::chrono::milliseconds password_command_timeout{10'000};
  std::chrono::milliseconds statement_timeout{0};  ///< for every statement that sets none of its own; 0: the server's
};

/// What the settings say, with the application name `regfeatd/<part>`; of a daemon's worker `part` is `<daemon>/<worker>`.
[[nodiscard]] ConnectOptions connect_options(const spec::Settings& settings, const std::string& part);

/// Our defaults for target_session_attrs and connect_timeout go into the environment, where it is silent: there libpq lets
/// connection string and service file go before them. Once, before threads are started.
void set_environment_defaults() noexcept;

/// Ends, from any thread, what a session is doing. Harmless when nothing runs. It may outlive the session.
class Canceller {
 public:
  /// Asks the server to end the statement. Talks to the server: with one that does not answer it lasts minutes, so not
  /// for threads that have something else to do. At once while another thread is at it.
  void cancel() noexcept;
  /// Ends the connection from this side, without the server: the session finds itself broken. At once.
  void hang_up() noexcept;

 private:
  friend class Session;
  std::mutex mutex_;
  std::shared_ptr<pg_cancel> handle_;  // under mutex_; null once the session is gone
  int socket_ = -1;                    // under mutex_; a duplicate
  std::atomic<bool> cancelling_{false};
};

/// One connection. SQL through libpqxx and binary COPY through libpq share it, and so a transaction. A connection that
/// breaks stays broken: the session is then thrown away and a new one opened, so no session state can be lost
/// silently. Not thread-safe; `canceller()` is.
///
/// All of libpqxx's version-dependent interface is in session.cpp.
class Session {
 public:
  /// Runs the password command, then connects: call it without a lock. Throws Fault: transient when the server cannot be
  /// reached, configuration when it refuses the user or the database.
  explicit Session(const ConnectOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// For pqxx::work and the like.
  [[nodiscard]] pqxx::connection_base& sql() noexcept;
  /// libpq's handle, for COPY. Never to be closed by the caller.
  [[nodiscard]] pg_conn* raw() const noexcept;
  [[nodiscard]] int backend_pid() const;
  [[nodiscard]] int server_version() const;
  [[nodiscard]] bool broken() const noexcept;
  [[nodiscard]] std::shared_ptr<Canceller> canceller() const noexcept { return canceller_; }
  /// Sleeps until a notification arrives, `wake_fd` becomes readable (it is then read empty) or `timeout` has passed.
  /// true: there were notifications. Throws Fault when the connection is lost. Not inside a transaction.
  bool wait_for_notification(std::chrono::milliseconds timeout, int wake_fd);
  /// `host:port/database as user`, for messages; no password.
  [[nodiscard]] std::string describe() const;

 private:
  struct Connection;
  void limit_statements(std::chrono::milliseconds timeout);
  std::unique_ptr<Connection> connection_;
  std::shared_ptr<Canceller> canceller_;
};

/// The fault that a caught exception stands for: Faults as they are, libpqxx's errors classified by SQLSTATE,
/// std::bad_alloc as fatal, everything else as a fault of the partition. `step` is put in front of the message.
[[nodiscard]] Fault to_fault(const std::exception_ptr& error, const std::string& step = {});

/// Runs `body` and rethrows whatever it throws as the Fault that it stands for.
template <class Body>
auto guarded(const std::string& step, Body&& body) {
  try {
    return body();
  } catch (...) {
    throw to_fault(std::current_exception(), step);
  }
}

/// The outcome of a COMMIT whose acknowledgement never came: it may or may not have happened.
class CommitInDoubt : public Fault {
 public:
  explicit CommitInDoubt(const std::string& message) : Fault(FaultClass::transient, message) {}
};

/// Opens a session like `options` says, or keeps trying while the fault is transient: jittered back-off between 0.2 s
/// and `cap`, until `give_up` returns true (then rethrows the last fault).
[[nodiscard]] std::unique_ptr<Session> connect_patiently(const ConnectOptions& options, std::chrono::milliseconds cap,
                                                         const std::function<bool(const Fault&)>& give_up);

}  // namespace regfeatd::pg
