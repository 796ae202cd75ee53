#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/base/log.hpp"

namespace regfeatd::spec {

/// The daemon's configuration. The defaults here are the documented ones.
struct Settings {
  std::string conninfo;                       ///< libpq conninfo or URI; empty: PG* variables and service file, as psql
  std::vector<std::string> password_command;  ///< program and arguments; prints a password for one connection
  std::chrono::microseconds password_command_timeout = std::chrono::seconds{10};
  std::chrono::microseconds statement_timeout =
      std::chrono::seconds{60};  ///< of the daemon's short statements; 0: none
  std::optional<int> workers;    ///< absent: auto, see automatic_workers
  std::optional<int> writers;    ///< of the workers, how many send rows at a time; absent: all
  std::uint64_t memory_budget_bytes = 1ull << 30;
  std::chrono::microseconds lease = std::chrono::seconds{60};
  std::chrono::microseconds heartbeat = std::chrono::seconds{10};
  std::chrono::microseconds poll = std::chrono::seconds{5};
  std::chrono::microseconds progress = std::chrono::seconds{2};        ///< between progress rows
  std::chrono::microseconds stalled_after = std::chrono::seconds{30};  ///< the shortest silence that is called a stall
  struct Retry {
    int attempts = 5;
    std::chrono::microseconds base = std::chrono::seconds{1};
    std::chrono::microseconds cap = std::chrono::minutes{5};
    friend bool operator==(const Retry&, const Retry&) = default;
  } retry;
  struct Retention {
    std::chrono::microseconds attempts = std::chrono::hours{24 * 90};
    std::chrono::microseconds progress = std::chrono::hours{24 * 14};
    friend bool operator==(const Retention&, const Retention&) = default;
  } retention;  ///< how long history is kept
  /// What holds the daemon back, so that others are not starved. Absent limits are none.
  struct Throttle {
    std::optional<std::int64_t> rows_per_second;              ///< source rows, of all workers together
    std::optional<std::chrono::microseconds> commit_latency;  ///< above it, fewer workers claim
    std::optional<std::uint64_t> replication_lag_bytes;       ///< above it, fewer workers claim
    bool automatic = false;                                   ///< limits of our own choice for those two, where absent
    friend bool operator==(const Throttle&, const Throttle&) = default;
  } throttle;
  std::chrono::microseconds shutdown_grace = std::chrono::seconds{25};
  bool listen = true;       ///< LISTEN for wake-ups; off behind a transaction pooler
  std::string daemon_name;  ///< empty: the host name
  struct Http {
    std::string address = "127.0.0.1";
    std::optional<int> port;    ///< absent: no HTTP; 0: any free port, which the log names
    bool allow_remote = false;  ///< an address that is not loopback is refused without this
    friend bool operator==(const Http&, const Http&) = default;
  } http;
  log::Level log_level = log::Level::info;
  log::Format log_format = log::Format::text;
  std::string file;  ///< where it was read from; empty: built-in defaults

  friend bool operator==(const Settings&, const Settings&) = default;
};

/// Reads a configuration document. Throws SpecError with all findings, each `file:line: ...`.
[[nodiscard]] Settings parse_settings(const std::string& text, const std::string& file);

/// Finds and reads the configuration: `path` if not empty (it must exist), else $REGFEATD_CONFIG (it must exist), else
/// /etc/regfeatd/regfeatd.yaml if it exists, else the defaults.
[[nodiscard]] Settings load_settings(const std::string& path);

/// Settings as a JSON object, with the keys and in the notation of the configuration file, for regfeat.daemons. How the
/// database is found is not among them.
[[nodiscard]] std::string settings_json(const Settings& settings);

/// Cores this process may use: the least of the affinity mask and the cgroup v2 CPU quota (rounded up), at least 1.
[[nodiscard]] int available_cores();

/// `workers: auto`: half as many again as the cores, so that some read ahead or wait for a commit while the others keep
/// the cores busy (docs/performance.md).
[[nodiscard]] int automatic_workers();

}  // namespace regfeatd::spec
