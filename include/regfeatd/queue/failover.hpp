#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "regfeatd/base/ids.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/queue/daemons.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::queue {

/// Which server writes now.
struct Writer {
  std::string identity;
  bool verified = true;  ///< since it became the writer, recent results were held against their targets
};
/// Records the present writer when it is a new one.
[[nodiscard]] Writer note_writer(pg::Session& session);
void record_writer_verified(pg::Session& session);

/// A commit that a server acknowledged to this daemon.
struct AcknowledgedCommit {
  PartitionId partition;
  Epoch epoch;
};
/// Puts those that this server does not have back into the queue; these.
std::vector<PartitionId> requeue_lost(pg::Session& session, const std::vector<AcknowledgedCommit>& acknowledged);

/// Partitions that the work table says this daemon runs, but that are not among `in_hand`. A claim of this very moment
/// may be among them: ask twice.
[[nodiscard]] std::vector<RunningClaim> orphans(pg::Session& session, DaemonId self,
                                                const std::vector<RunningClaim>& in_hand);

/// Puts a running or finished partition, if it still has that epoch, back into the queue, uncharged, to be computed
/// whatever its inputs. false: somebody else came first.
bool recompute(pg::Session& session, PartitionId partition, Epoch epoch, const std::string& reason);

/// A finished partition as the work table describes it.
struct StoredResult {
  Claim claim;  ///< without attempt
  std::int64_t rows_out = 0;
  std::string checksum;
};
/// The partitions that were done within `window` before the last one that was; newest first, at most `limit`.
[[nodiscard]] std::vector<StoredResult> recent_results(pg::Session& session, std::chrono::microseconds window,
                                                       int limit);

}  // namespace regfeatd::queue
