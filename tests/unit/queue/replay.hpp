#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "regfeatd/queue/eta.hpp"

namespace regfeatd::queue::test {

struct TracePartition {
  double seconds = 0;  ///< with the number of workers that the trace was recorded with
  double rows = 0;
};

/// tests/unit/queue/traces/NAME.csv: `seconds,rows` in the order of claims.
[[nodiscard]] std::vector<TracePartition> read_trace(const std::string& name);

/// What happens to a job while it runs.
struct Scenario {
  std::vector<TracePartition> partitions;
  std::vector<std::pair<double, int>> workers{{0, 1}};        ///< after this share of the rows, so many
  std::function<double(int)> cost = [](int) { return 1.0; };  ///< of a row with so many workers, against the recording
  double outage_after = 2;                                    ///< a share of the rows; above 1: none
  double outage_s = 0;
  bool outage_breaks_attempts = true;  ///< false: they hang and go on
};

/// One answer of the model beside what came true; had nothing changed that nobody could know of.
struct Answer {
  double rows_share = 0;
  bool known = false;
  Eta eta;
  double truth_s = 0;
  bool judged = true;  ///< false within 5 % of the rows after a resize or outage, during it, and before a
                       ///< first partition is done
};

struct Replay {
  std::vector<Answer> answers;           ///< at every hundredth of the rows from 10 % on
  std::vector<double> stalls_outside_s;  ///< verdicts "stalled" at times without an outage
  bool outage_noticed = false;
  double total_s = 0;
};
[[nodiscard]] Replay replay(const Scenario& scenario);

/// |median - truth| / truth of the judged answers: their median.
[[nodiscard]] double median_error(const std::vector<Answer>& answers);
/// The share of judged answers whose interval holds the truth.
[[nodiscard]] double coverage(const std::vector<Answer>& answers);

}  // namespace regfeatd::queue::test
