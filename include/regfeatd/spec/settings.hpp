#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "regfeatd/base/log.hpp"

namespace regfeatd::spec {

/// The daemon's configuration. The defaults here are the documented ones.
struct Settings {
  std::string conninfo;               ///< libpq conninfo or URI; empty: PG* variables and service file, as psql
  std::optional<int> workers;         ///< absent: auto, the cores that cgroup and affinity allow
  std::uint64_t memory_budget_bytes = 1ull << 30;
  std::chrono::microseconds lease = std::chrono::seconds{60};
  std::chrono::microseconds heartbeat = std::chrono::seconds{10};
  std::chrono::microseconds poll = std::chrono::seconds{5};
  std::chrono::microseconds progress = std::chrono::seconds{2};  ///< between progress rows
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
  } retention;                        ///< how long history is kept
  std::chrono::microseconds shutdown_grace = std::chrono::seconds{25};
  bool listen = true;                 ///< LISTEN for wake-ups; off behind a transaction pooler
  std::string daemon_name;            ///< empty: the host name
  struct Http {
    std::string address = "127.0.0.1";
    std::optional<int> port;          ///< absent: no HTTP; 0: any free port, which the log names
    bool allow_remote = false;        ///< an address that is not loopback is refused without this
    friend bool operator==(const Http&, const Http&) = default;
  } http;
  log::Level log_level = log::Level::info;
  log::Format log_format = log::Format::text;
  std::string file;                   ///< where it was read from; empty: built-in defaults

  friend bool operator==(const Settings&, const Settings&) = default;
};

/// Reads a configuration document. Throws SpecError with all findings, each `file:line: ...`.
[[nodiscard]] Settings parse_settings(const std::string& text, const std::string& file);

/// Finds and reads the configuration: `path` if not empty (it must exist), else $REGFEATD_CONFIG (it must exist), else
/// /etc/regfeatd/regfeatd.yaml if it exists, else the defaults.
[[nodiscard]] Settings load_settings(const std::string& path);

/// Cores this process may use: the least of the affinity mask and the cgroup v2 CPU quota (rounded up), at least 1.
[[nodiscard]] int available_cores();

}  // namespace regfeatd::spec
