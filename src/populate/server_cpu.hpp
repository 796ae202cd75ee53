#pragma once

#include <optional>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::populate {

/// CPU time of a PostgreSQL server on this machine, all of its processes together, from /proc.
class ServerCpu {
 public:
  explicit ServerCpu(pg::Session& session);

  /// Seconds since the server started; nullopt when it runs elsewhere or its processes cannot be seen.
  [[nodiscard]] std::optional<double> seconds() const;

 private:
  int postmaster_ = 0;  ///< 0: unknown
};

/// User and system time of this process.
[[nodiscard]] double client_cpu_seconds();

}  // namespace regfeatd::populate
