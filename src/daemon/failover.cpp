#include "failover.hpp"

#include <algorithm>

#include "regfeatd/base/log.hpp"
#include "regfeatd/populate/stored_result.hpp"
#include "shared.hpp"

namespace regfeatd::daemon {
namespace {

// Asynchronous replicas are seconds behind; what is older than this when the writer moves has arrived, or they were
// useless for hours and validate has to look at everything.
constexpr std::chrono::minutes kRemembered{10};
constexpr std::size_t kMostRemembered = 10'000;
constexpr std::chrono::minutes kVerified{2};
constexpr int kMostVerified = 1000;

}  // namespace

void RecentCommits::add(const queue::Claim& claim) {
  const auto now = Clock::now();
  const MutexLock lock(mutex_);
  entries_.push_back({{claim.partition, claim.epoch}, now});
  while (entries_.size() > kMostRemembered || entries_.front().at < now - kRemembered) entries_.pop_front();
}

std::vector<queue::AcknowledgedCommit> RecentCommits::list() {
  const auto now = Clock::now();
  std::vector<queue::AcknowledgedCommit> out;
  const MutexLock lock(mutex_);
  for (const Entry& e : entries_) {
    if (e.at >= now - kRemembered) out.push_back(e.commit);
  }
  return out;
}

Failover::Failover(Shared& shared, std::function<void(Clock::time_point)> give_up_old_sessions)
    : shared_(shared), give_up_old_sessions_(std::move(give_up_old_sessions)) {}

Failover::~Failover() { end_verification(); }

/// Whatever its server does.
void Failover::end_verification() {
  thread_.request_stop();
  {
    const MutexLock lock(mutex_);
    if (canceller_) canceller_->hang_up();
  }
  if (thread_.joinable()) thread_.join();
}

void Failover::look(pg::Session& session, Clock::time_point last_good) {
  const queue::Writer writer = queue::note_writer(session);
  const bool moved = !identity_.empty() && writer.identity != identity_;
  if (moved) {
    log::warning("another server has become the writer",
                 {{"was", identity_}, {"is", writer.identity}, {"database", session.describe()}});
    shared_.sessions_valid_from = last_good;
    give_up_old_sessions_(last_good);
  }
  identity_ = writer.identity;
  if (!moved && writer.verified) return;
  end_verification();
  busy_ = true;
  thread_ = std::jthread([this](const std::stop_token& stop) { verify(stop); });
}

void Failover::look_for_orphans(pg::Session& session, const std::vector<queue::RunningClaim>& in_hand) {
  const auto same = [](const queue::RunningClaim& a, const queue::RunningClaim& b) {
    return a.partition_id == b.partition_id && a.epoch == b.epoch;
  };
  auto found = queue::orphans(session, DaemonId{shared_.daemon_id.load()}, in_hand);
  for (const queue::RunningClaim& orphan : found) {
    if (std::none_of(suspects_.begin(), suspects_.end(), [&](const auto& s) { return same(s, orphan); })) continue;
    if (queue::recompute(session, {orphan.partition_id}, {orphan.epoch},
                         "no worker of the daemon that claimed it has it in hand")) {
      log::warning("a partition that no worker has in hand goes back to the queue",
                   {{"partition", std::to_string(orphan.partition_id)}});
      shared_.wake_workers();
    }
  }
  suspects_ = std::move(found);
}

void Failover::verify(const std::stop_token& stop) {
  const auto settings = shared_.settings();
  while (!stop.stop_requested()) {
    try {
      const auto session =
          pg::connect_patiently(pg::connect_options(*settings, shared_.short_name() + "/failover"),
                                std::chrono::seconds{5}, [&](const Fault&) { return stop.stop_requested(); });
      {
        const MutexLock lock(mutex_);
        canceller_ = session->canceller();
        if (stop.stop_requested()) return;
      }
      verify_once(*session, stop);
      break;
    } catch (const std::exception& e) {
      if (stop.stop_requested()) return;
      log::warning("recent results are not verified yet", {{"error", e.what()}});
      for (int i = 0; i < 100 && !stop.stop_requested(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
    }
  }
  busy_ = false;
  shared_.wake_workers();
  shared_.wake_reporter();
}

void Failover::verify_once(pg::Session& session, const std::stop_token& stop) {
  const auto lost = queue::requeue_lost(session, shared_.recent_commits.list());
  for (const PartitionId p : lost) {
    log::warning("a commit that was acknowledged is missing on the new writer: the partition is computed again",
                 {{"partition", std::to_string(p.value)}});
  }
  if (!lost.empty()) shared_.wake_workers();
  std::size_t verified = 0, missing = 0;
  for (const queue::StoredResult& result : queue::recent_results(session, kVerified, kMostVerified)) {
    if (stop.stop_requested()) return;
    std::optional<std::string> different;
    try {
      different = populate::difference(session, result);
    } catch (const Fault& e) {
      if (session.broken() || e.fault_class() == FaultClass::transient) throw;
      different = e.what();
    }
    ++verified;
    if (!different) continue;
    ++missing;
    const std::string reason = "after the writer moved: " + *different;
    if (!queue::recompute(session, result.claim.partition, result.claim.epoch, reason))
      continue;  // somebody was faster
    log::warning("a finished partition is not what was recorded: it is computed again",
                 {{"partition", std::to_string(result.claim.partition.value)},
                  {"series", result.claim.series},
                  {"reason", *different}});
    shared_.wake_workers();
  }
  queue::record_writer_verified(session);
  log::info("recent results are verified on the new writer", {{"lost", std::to_string(lost.size())},
                                                              {"verified", std::to_string(verified)},
                                                              {"different", std::to_string(missing)}});
}

}  // namespace regfeatd::daemon
