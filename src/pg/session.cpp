#include "regfeatd/pg/session.hpp"

#include <fcntl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "pg/connect_failure.hpp"
#include "pg/conninfo.hpp"
#include "pg/password_command.hpp"
#include "regfeatd/pg/sqlstate.hpp"

#if PQXX_VERSION_MAJOR != 6
#error "This file knows libpqxx 6.4; see docs/development.md for what another version needs"
#endif

namespace regfeatd::pg {
namespace {

/// libpqxx hides its PGconn; a connection policy of our own sees it pass by.
class TappedPolicy : public pqxx::connect_direct {
 public:
  explicit TappedPolicy(const std::string& options) : connect_direct(options) {}
  handle do_startconnect(handle original) override { return handle_ = connect_direct::do_startconnect(original); }
  handle do_disconnect(handle original) noexcept override {
    handle_ = nullptr;
    return connect_direct::do_disconnect(original);
  }
  [[nodiscard]] handle get() const noexcept { return handle_; }

 private:
  handle handle_ = nullptr;
};

std::string trimmed(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace

struct Session::Connection : pqxx::connection_base {
  explicit Connection(const std::string& conninfo) : connection_base(policy), options(conninfo), policy(options) {
    init();
  }
  ~Connection() noexcept { close(); }
  std::string options;
  TappedPolicy policy;
};

void Canceller::cancel() noexcept {
  std::shared_ptr<pg_cancel> handle;
  {
    const std::lock_guard lock(mutex_);
    handle = handle_;
  }
  // Not under the lock: the session's own thread must be able to give it up meanwhile.
  if (!handle || cancelling_.exchange(true)) return;
  std::array<char, 256> error{};
  (void)PQcancel(handle.get(), error.data(), static_cast<int>(error.size()));
  cancelling_ = false;
}

void Canceller::hang_up() noexcept {
  const std::lock_guard lock(mutex_);
  if (socket_ >= 0) (void)shutdown(socket_, SHUT_RDWR);
}

namespace {

/// A Unix socket lets its writer go on when three quarters of the buffer have been read; what is left has to keep the server
/// busy until the next rows are fitted and encoded. The kernel bounds this by net.core.wmem_max (TCP grows by itself).
void widen_socket(int socket) noexcept {
  constexpr int kBytes = 1 << 20;
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0 || address.ss_family != AF_UNIX) return;
  (void)setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kBytes, sizeof kBytes);
}

}  // namespace

Session::Session(const ConnectOptions& options) : canceller_(std::make_shared<Canceller>()) {
  const std::string password = options.password_command.empty()
                                   ? std::string{}
                                   : run_password_command(options.password_command, options.password_command_timeout);
  try {
    connection_ = std::make_unique<Connection>(complete_conninfo(options, password));
    connection_->set_verbosity(pqxx::connection_base::normal);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    connection_->inhibit_reactivation(true);  // a lost connection must be seen, never replaced behind our back
#pragma GCC diagnostic pop
  } catch (const pqxx::broken_connection& e) {
    throw connect_failure(trimmed(e.what()));
  }
  PQsetNoticeProcessor(
      raw(), [](void*, const char*) {}, nullptr);
  widen_socket(PQsocket(raw()));
  canceller_->handle_ = std::shared_ptr<pg_cancel>(PQgetCancel(raw()), PQfreeCancel);
  // A descriptor of our own: libpq may close its own at any time, and the number would soon be somebody else's.
  canceller_->socket_ = fcntl(PQsocket(raw()), F_DUPFD_CLOEXEC, 0);
  if (options.statement_timeout.count() > 0) limit_statements(options.statement_timeout);
}

/// One statement, so that behind a transaction pooler, whose server connections are anybody's, nothing is changed.
void Session::limit_statements(std::chrono::milliseconds timeout) {
  const std::string statement = "SELECT set_config('statement_timeout', '" + std::to_string(timeout.count()) +
                                "', false) WHERE pg_backend_pid() = " + std::to_string(backend_pid());
  PGresult* const result = PQexec(raw(), statement.c_str());
  const bool done = PQresultStatus(result) == PGRES_TUPLES_OK;
  PQclear(result);
  if (!done)
    throw Fault(FaultClass::transient, "cannot set up the session: " + trimmed(PQerrorMessage(raw())), "08006");
}

ConnectOptions connect_options(const spec::Settings& settings, const std::string& part) {
  const auto ms = [](std::chrono::microseconds t) { return std::chrono::duration_cast<std::chrono::milliseconds>(t); };
  return {settings.conninfo,
          "regfeatd/" + part,
          {},
          settings.password_command,
          ms(settings.password_command_timeout),
          ms(settings.statement_timeout)};
}

Session::~Session() {
  const std::lock_guard lock(canceller_->mutex_);
  canceller_->handle_.reset();
  if (canceller_->socket_ >= 0) close(canceller_->socket_);
  canceller_->socket_ = -1;
}

pqxx::connection_base& Session::sql() noexcept { return *connection_; }
pg_conn* Session::raw() const noexcept { return connection_->policy.get(); }
int Session::backend_pid() const { return PQbackendPID(raw()); }
int Session::server_version() const { return PQserverVersion(raw()); }
bool Session::broken() const noexcept { return raw() == nullptr || PQstatus(raw()) != CONNECTION_OK; }

bool Session::wait_for_notification(std::chrono::milliseconds timeout, int wake_fd) {
  std::array<pollfd, 2> fds{{{PQsocket(raw()), POLLIN, 0}, {wake_fd, POLLIN, 0}}};
  (void)poll(fds.data(), fds.size(), static_cast<int>(timeout.count()));
  if (fds[1].revents != 0) {
    std::uint64_t ignored = 0;
    (void)!read(wake_fd, &ignored, sizeof ignored);
  }
  if (PQconsumeInput(raw()) == 0)
    throw Fault(FaultClass::transient, "the connection was lost: " + trimmed(PQerrorMessage(raw())), "08006");
  bool any = false;
  while (PGnotify* n = PQnotifies(raw())) {
    any = true;
    PQfreemem(n);
  }
  return any;
}

std::string Session::describe() const {
  const auto text = [](const char* s) { return std::string(s == nullptr ? "" : s); };
  return text(PQhost(raw())) + ':' + text(PQport(raw())) + '/' + text(PQdb(raw())) + " as " + text(PQuser(raw()));
}

Fault to_fault(const std::exception_ptr& error, const std::string& step) {
  const auto said = [&](const std::string& message) { return step.empty() ? message : step + ": " + message; };
  try {
    std::rethrow_exception(error);
  } catch (const CommitInDoubt&) {
    throw;  // decided by the caller, who reads the work row
  } catch (const Fault& e) {
    return Fault(e.fault_class(), said(e.what()), e.sqlstate(), e.context());
  } catch (const pqxx::in_doubt_error& e) {
    throw CommitInDoubt(said(trimmed(e.what())));
  } catch (const pqxx::broken_connection& e) {
    return Fault(FaultClass::transient, said("the connection was lost: " + trimmed(e.what())), "08006");
  } catch (const pqxx::insufficient_privilege& e) {
    // The one exception that libpqxx 6.4 throws without its SQLSTATE.
    return Fault(classify("42501"), said(trimmed(e.what())), "42501", "statement: " + e.query().substr(0, 2000));
  } catch (const pqxx::sql_error& e) {
    const std::string state = e.sqlstate();
    return Fault(classify(state), said(trimmed(e.what())), state, "statement: " + e.query().substr(0, 2000));
  } catch (const pqxx::failure& e) {
    return Fault(FaultClass::transient, said(trimmed(e.what())));
  } catch (const std::bad_alloc&) {
    return Fault(FaultClass::fatal, said("out of memory"));
  } catch (const std::exception& e) {
    return Fault(FaultClass::partition, said(e.what()));
  } catch (...) {
    return Fault(FaultClass::fatal, said("unknown exception"));
  }
}

std::unique_ptr<Session> connect_patiently(const ConnectOptions& options, std::chrono::milliseconds cap,
                                           const std::function<bool(const Fault&)>& give_up) {
  using std::chrono::milliseconds;
  std::mt19937_64 random{std::random_device{}()};
  milliseconds wait{200};
  for (;;) {
    try {
      return std::make_unique<Session>(options);
    } catch (const Fault& fault) {
      if (fault.fault_class() != FaultClass::transient || give_up(fault)) throw;
    }
    const auto jittered = milliseconds{std::uniform_int_distribution<long>(wait.count() / 2, wait.count())(random)};
    // In slices, so that a shutdown is not held up.
    for (milliseconds slept{0}; slept < jittered; slept += milliseconds{50}) {
      std::this_thread::sleep_for(std::min(milliseconds{50}, jittered - slept));
      if (give_up(Fault(FaultClass::transient, "interrupted while waiting for the database"))) {
        throw Fault(FaultClass::transient, "interrupted while waiting for the database");
      }
    }
    wait = std::min(cap, wait * 2);
  }
}

}  // namespace regfeatd::pg
