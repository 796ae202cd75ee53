#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/pg/session.hpp"

namespace regfeatd::queue {

/// An attempt that is over, as regfeat.attempt has it.
struct FinishedAttempt {
  static constexpr std::array<const char*, 7> kPhases{"claim", "read", "fit", "encode", "send", "publish", "commit"};
  std::string feature_set, outcome;
  double seconds = 0;
  std::int64_t rows_in = 0, rows_out = 0, bytes_out = 0, nulls_out = 0;
  std::array<std::optional<double>, kPhases.size()>
      phase_seconds;  ///< in the order of kPhases; absent: it did not get so far
};

/// Hands out every attempt of one daemon once, soon after it is over. Not thread-safe.
class FinishedAttempts {
 public:
  /// What has finished since the last call; the first call looks back over the last 10,000 attempts of all
  /// daemons.
  [[nodiscard]] std::vector<FinishedAttempt> next(pg::Session& session, DaemonId daemon);

 private:
  std::int64_t from_ = -1;        ///< everything before is accounted for
  std::set<std::int64_t> after_;  ///< and these behind it
};

}  // namespace regfeatd::queue
