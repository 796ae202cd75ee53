#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/base/ids.hpp"
#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/spec/settings.hpp"

namespace regfeatd::queue {

/// A partition in the hands of one worker. It is the worker's for as long as the work row has this epoch.
struct Claim {
  PartitionId partition;
  AttemptId attempt;
  Epoch epoch;
  int attempt_number = 0;
  FeatureSetId feature_set;
  int specification_version = 0;
  std::string series;
  OrderRange range;
};

/// Takes the next partition, in a transaction of its own, committed on return. nullopt: nothing is claimable now. After a
/// throw a partition may have been claimed without anybody knowing: `orphans` finds it.
[[nodiscard]] std::optional<Claim> claim(pg::Session& session, DaemonId daemon, int worker);

/// Phase timings of an attempt, milliseconds.
struct Timings {
  double claim_ms = 0, read_ms = 0, fit_ms = 0, encode_ms = 0, send_ms = 0, publish_ms = 0;
  double commit_ms = 0;  ///< recorded after the fact, see record_commit_times
  double wait_ms = 0;    ///< for a turn to send rows

  Timings& operator+=(const Timings& other) noexcept {
    claim_ms += other.claim_ms;
    read_ms += other.read_ms;
    fit_ms += other.fit_ms;
    send_ms += other.send_ms;
    publish_ms += other.publish_ms;
    commit_ms += other.commit_ms;
    encode_ms += other.encode_ms;
    wait_ms += other.wait_ms;
    return *this;
  }
};

/// A key that was set aside: a row of regfeat.quarantine.
struct QuarantinedKey {
  std::string key, reason, position;
  std::int64_t rows = 0;
};

/// What a partition was when it was last done, to tell whether anything has changed since.
struct LastResult {
  std::string input_fingerprint;
  std::int64_t rows_out = 0;
};
/// nullopt: never done, or its fingerprint was cleared so that it is computed whatever its inputs.
[[nodiscard]] std::optional<LastResult> last_result(pqxx::transaction_base& tx, const Claim& claim);

/// The rows of one key of a partition: a row of regfeat.presence.
struct KeyPresence {
  std::string key;  ///< empty without keys
  std::int64_t rows = 0, present = 0, unexpected = 0;
};
/// What a calendar expects of a partition, and what there was.
struct Presence {
  std::int64_t expected = 0, closed = 0;  ///< cells, for each key
  std::vector<KeyPresence> keys;
};

/// What a finished partition amounted to.
struct Completion {
  bool empty = false;      ///< the source had no row in the range
  bool unchanged = false;  ///< the targets hold its rows already: nothing was written
  std::vector<QuarantinedKey> quarantined;
  std::optional<Presence> presence;  ///< where the feature set has a cadence
  std::int64_t rows_in = 0;
  std::int64_t rows_out = 0;
  std::int64_t bytes_out = 0;
  std::int64_t nulls_out = 0;
  std::string checksum;
  std::string input_fingerprint;
  Timings timings;
};

/// Rows of the partition's range when it was last computed, or as statistics estimated them; 0: unknown.
[[nodiscard]] std::int64_t expected_rows(pqxx::transaction_base& tx, const Claim& claim);

/// Whether the claim still holds: a look without a lock, to save work that could not be committed.
[[nodiscard]] bool still_ours(pqxx::transaction_base& tx, const Claim& claim);

/// The fence: inside the transaction that copied the rows, locks the work row, compares its epoch and writes what the
/// partition is now. `record_success` is to follow. false: somebody requeued, cancelled or took over the partition, nothing was written, roll back.
[[nodiscard]] bool complete(pqxx::transaction_base& tx, const Claim& claim, const Completion& completion);

/// The attempt's own row, the last statement before COMMIT: so its times know of all that came before.
void record_success(pqxx::transaction_base& tx, const Claim& claim, const Completion& completion);

/// Whether an attempt whose COMMIT went unanswered did commit; if so the attempt says it. Waits until the server has decided it.
[[nodiscard]] bool committed(pg::Session& session, const Claim& claim);

/// How a failed attempt was recorded.
enum class Verdict {
  retried,       ///< pending again, after a back-off
  failed,        ///< at the limit
  breaker_open,  ///< pending again, not charged: nothing of the feature set is claimed until the breaker's next probe
  fenced
};

/// Records a failed attempt and decides what becomes of the partition: pending again after a back-off, or `failed` at
/// the limit. Transient faults are not charged, but bounded by `kMaxDisturbances`. A configuration fault counts towards
/// the feature set's breaker.
[[nodiscard]] Verdict fail(pg::Session& session, const Claim& claim, const Fault& fault, const std::string& step,
                           const Timings& timings, const spec::Settings::Retry& retry);

/// Gives a partition back uncharged and at once claimable (shutdown).
void give_back(pg::Session& session, const Claim& claim, const std::string& reason);

/// Records that an attempt found itself fenced.
void record_fenced(pg::Session& session, const Claim& claim, const std::string& step);

inline constexpr int kMaxDisturbances = 100;
/// Configuration faults on this many different partitions in a row open the breaker of their feature set.
inline constexpr int kBreakerFaults = 3;

/// The delay before attempt number `attempt` + 1: base * 2^(attempt-1), at most cap, times a random factor in [0.5, 1).
[[nodiscard]] std::chrono::microseconds back_off(int attempt, const spec::Settings::Retry& retry);

/// What is left to do, as `run --once` needs to know it.
struct Outlook {
  std::int64_t claimable = 0;  ///< pending or running, in feature sets neither paused nor behind an open breaker
  std::int64_t failed = 0;
  std::int64_t blocked = 0;    ///< pending, in feature sets that are paused or behind an open breaker
  std::string blocked_reason;  ///< of one of them
};
[[nodiscard]] Outlook outlook(pg::Session& session);

}  // namespace regfeatd::queue
