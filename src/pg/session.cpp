#include "regfeatd/pg/session.hpp"

#include <libpq-fe.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>
#include <random>
#include <thread>
#include <utility>
#include <vector>

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

struct OptionsFree {
  void operator()(PQconninfoOption* o) const noexcept { PQconninfoFree(o); }
};
using OptionList = std::unique_ptr<PQconninfoOption, OptionsFree>;

std::string escaped(const std::string& value) {
  std::string out = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out += '\'';
}

/// The given conninfo with our defaults added where it is silent: a dead network is noticed within a minute.
std::string complete_conninfo(const ConnectOptions& options) {
  char* error = nullptr;
  const OptionList given(PQconninfoParse(options.conninfo.c_str(), &error));
  if (!given) {
    // libpq's message may quote the string, and with it a password: it is not passed on.
    PQfreemem(error);
    throw Fault(FaultClass::configuration, "the connection string cannot be read: expected libpq keywords (host=... dbname=...) or a URI");
  }
  std::string out;
  const auto add = [&](const std::string& key, const std::string& value) { out += key + '=' + escaped(value) + ' '; };
  std::vector<std::string> present;
  for (const PQconninfoOption* o = given.get(); o->keyword != nullptr; ++o) {
    if (o->val == nullptr || (!options.database.empty() && std::string_view(o->keyword) == "dbname")) continue;
    add(o->keyword, o->val);
    present.emplace_back(o->keyword);
  }
  if (!options.database.empty()) add("dbname", options.database);
  static constexpr std::array<std::pair<const char*, const char*>, 6> kDefaults{{{"connect_timeout", "10"},
                                                                                {"keepalives", "1"},
                                                                                {"keepalives_idle", "30"},
                                                                                {"keepalives_interval", "10"},
                                                                                {"keepalives_count", "3"},
                                                                                {"tcp_user_timeout", "60000"}}};
  for (const auto& [key, value] : kDefaults) {
    const bool from_environment = std::string_view(key) == "connect_timeout" && std::getenv("PGCONNECT_TIMEOUT") != nullptr;
    if (!from_environment && std::find(present.begin(), present.end(), key) == present.end()) add(key, value);
  }
  if (!options.application_name.empty() && std::find(present.begin(), present.end(), "application_name") == present.end()) {
    add("application_name", options.application_name);
  }
  return out;
}

std::string trimmed(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

/// A failed connection has no SQLSTATE in libpq: PQerrorMessage is all there is. Authentication and a missing database
/// are configuration; everything else may pass.
FaultClass classify_connect_failure(const std::string& message) {
  for (const char* sign : {"authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist",
                           "password retrieved from file", "certificate", "definition of service", "invalid sslmode",
                           "permission denied for database", "not permitted to log in", "server does not support SSL",
                           "fe_sendauth"}) {
    if (message.find(sign) != std::string::npos) {
      // A missing socket file "does not exist" only because the server is down.
      if (message.find("No such file or directory") != std::string::npos) continue;
      return FaultClass::configuration;
    }
  }
  return FaultClass::transient;
}

}  // namespace

struct Session::Connection : pqxx::connection_base {
  explicit Connection(const std::string& conninfo) : connection_base(policy), options(conninfo), policy(options) { init(); }
  ~Connection() noexcept { close(); }
  std::string options;
  TappedPolicy policy;
};

void Canceller::cancel() noexcept {
  const std::lock_guard lock(mutex_);
  if (handle_ == nullptr) return;
  std::array<char, 256> error{};
  (void)PQcancel(handle_, error.data(), static_cast<int>(error.size()));
}

Session::Session(const ConnectOptions& options) : canceller_(std::make_shared<Canceller>()) {
  const std::string conninfo = complete_conninfo(options);
  try {
    connection_ = std::make_unique<Connection>(conninfo);
    connection_->set_verbosity(pqxx::connection_base::normal);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    connection_->inhibit_reactivation(true);  // a lost connection must be seen, never replaced behind our back
#pragma GCC diagnostic pop
  } catch (const pqxx::broken_connection& e) {
    const std::string message = trimmed(e.what());
    throw Fault(classify_connect_failure(message), "cannot connect to the database: " + message, "08001");
  }
  PQsetNoticeProcessor(raw(), [](void*, const char*) {}, nullptr);
  canceller_->handle_ = PQgetCancel(raw());
}

Session::~Session() {
  const std::lock_guard lock(canceller_->mutex_);
  PQfreeCancel(canceller_->handle_);
  canceller_->handle_ = nullptr;
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
  if (PQconsumeInput(raw()) == 0) throw Fault(FaultClass::transient, "the connection was lost: " + trimmed(PQerrorMessage(raw())), "08006");
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
