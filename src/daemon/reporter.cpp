#include "reporter.hpp"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "regfeatd/base/log.hpp"
#include "regfeatd/populate/partition_run.hpp"
#include "regfeatd/populate/publish.hpp"
#include "regfeatd/queue/limits.hpp"
#include "regfeatd/queue/migrate.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::daemon {

Reporter::Reporter(Shared& shared, queue::DaemonIdentity identity, bool once, Callbacks callbacks)
    : shared_(shared),
      identity_(std::move(identity)),
      once_(once),
      callbacks_(std::move(callbacks)),
      failover_(shared, callbacks_.writer_moved),
      lease_until_(Clock::now() + shared.settings()->lease),
      next_beat_(Clock::now() + shared.settings()->heartbeat),
      next_report_(Clock::now()),
      next_prune_(next_beat_),
      thread_([this](const std::stop_token& stop) { loop(stop); }) {}

Reporter::~Reporter() {
  thread_.request_stop();
  shared_.wake_reporter();
}

void Reporter::settings_changed(int generation, std::string message) {
  {
    const MutexLock lock(mutex_);
    generation_ = generation;
    message_ = std::move(message);
    settings_dirty_ = true;
  }
  shared_.wake_reporter();
}

void Reporter::workers_applied(int desired_generation, int settings_generation) {
  {
    const MutexLock lock(mutex_);
    desired_applied_ = desired_generation;
    generation_ = settings_generation;
    workers_dirty_ = true;
  }
  shared_.wake_reporter();
}

std::vector<queue::RunningClaim> Reporter::claims_held() const {
  std::vector<queue::RunningClaim> held;
  for (const queue::WorkerReport& w : callbacks_.workers()) {
    if (w.partition_id != 0) held.push_back({w.worker, w.partition_id, w.epoch});
  }
  return held;
}

void Reporter::hang_up() {
  const MutexLock lock(mutex_);
  if (canceller_) canceller_->hang_up();
}

/// What was decided in the database about this daemon: with every report, and at once when a notification comes.
void Reporter::look_for_orders() {
  const auto held = claims_held();
  const queue::Orders orders = queue::read_orders(*session_, DaemonId{shared_.daemon_id.load()}, held);
  for (const queue::RunningClaim& claim : orders.fenced) callbacks_.fenced(claim);
  failover_.look_for_orphans(*session_, held);
  if (orders.generation > orders_seen_) {
    orders_seen_ = orders.generation;
    callbacks_.workers_ordered(orders.workers, orders.generation);
  }
}

void Reporter::connect(const std::stop_token& stop) {
  if (session_ && !session_->broken()) return;
  const auto settings = shared_.settings();
  session_ = pg::connect_patiently(pg::connect_options(*settings, shared_.short_name() + "/reporter"),
                                   std::chrono::seconds{5}, [&, said = false](const Fault& why) mutable {
                                     if (!std::exchange(said, true))
                                       log::warning("cannot connect, trying again", {{"error", why.what()}});
                                     pulse_.beat();
                                     return stop.stop_requested();
                                   });
  {
    const MutexLock lock(mutex_);
    canceller_ = session_->canceller();
  }
  if (settings->listen && !queue::behind_pooler(*session_)) {
    pqxx::work tx(session_->sql());
    tx.exec("LISTEN regfeat_work");
    tx.commit();
  }
  failover_.look(*session_, last_good_);
  next_beat_ = Clock::now();  // the server that is behind the name now may have an old heartbeat
}

void Reporter::loop(const std::stop_token& stop) {
  constexpr std::chrono::milliseconds kFirstPause{200}, kLongestPause{5000};
  auto pause = kFirstPause;
  pthread_setname_np(pthread_self(), "reporter");  // for top -H and scripts/bench-progress
  pulse_.begin("reporter");
  while (!stop.stop_requested()) {
    pulse_.beat();
    try {
      connect(stop);
      const auto now = Clock::now();
      if (now >= next_beat_) beat();
      if (now >= next_report_) report();
      pause = kFirstPause;
      last_good_ = Clock::now();
      write_settings();
      if (now >= next_prune_) prune();
      if (once_ && shared_.idle_workers.load() > 0 && !shared_.draining.load()) look_for_end();
      auto next = std::min(next_beat_, next_report_);
      if (callbacks_.site != nullptr) next = std::min(next, callbacks_.site->refresh(*session_));
      const auto sleep = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now());
      pulse_.sleeps_for(sleep);
      if (session_->wait_for_notification(std::max(sleep, std::chrono::milliseconds{1}), shared_.reporter_fd())) {
        shared_.wake_workers();
        look_for_orders();
      }
    } catch (const std::exception& e) {
      if (stop.stop_requested()) return;
      log::warning("heartbeat or progress failed", {{"error", e.what()}});
      session_.reset();
      for (auto slept = std::chrono::milliseconds{0}; slept < pause && !stop.stop_requested();
           slept += std::chrono::milliseconds{50}) {
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
      }
      pause = std::min(kLongestPause, pause * 2);
    }
  }
}

void Reporter::beat() {
  const std::string objection = queue::schema_objection(queue::schema_state(*session_));
  if (!objection.empty())
    callbacks_.schema_outgrown(objection);  // what is in hand may still be finished, so the heartbeat goes on
  const auto sent = Clock::now();
  const bool ours = queue::heartbeat(*session_, DaemonId{shared_.daemon_id.load()});
  if (!ours) {
    log::error("this daemon was declared lost by another one: its work is given up, and it registers anew");
    callbacks_.lease_lost();
    const auto settings = shared_.settings();
    orders_seen_ = 0;
    limits_written_.clear();
    shared_.daemon_id =
        queue::register_daemon(*session_, identity_, settings->lease, shared_.workers_wanted.load()).value;
    const MutexLock lock(mutex_);
    settings_dirty_ = true;
  }
  lease_until_ = sent + shared_.settings()->lease;
  next_beat_ = sent + shared_.settings()->heartbeat;
  if (callbacks_.site != nullptr) callbacks_.site->heartbeat();
  if (!shared_.lease_held.exchange(true)) shared_.wake_workers();
}

void Reporter::report() {
  const auto settings = shared_.settings();
  const auto start = Clock::now();
  if (shared_.draining.load() && !drain_written_) {
    queue::record_draining(*session_, DaemonId{shared_.daemon_id.load()});
    drain_written_ = true;
  }
  look_for_orders();
  const auto commits = shared_.commit_times.take();
  throttle(median_ms(commits));
  queue::record_commit_times(*session_, commits);
  write_progress(std::max(settings->progress, long_reports_));
  if (callbacks_.on_status || callbacks_.site != nullptr) {
    const auto status = queue::read_status(*session_);
    if (callbacks_.on_status) callbacks_.on_status(status);
    if (callbacks_.site != nullptr) callbacks_.site->reported(*session_, status);
  }
  // However large the work table: reports never take more than a tenth of this thread's time.
  const auto took = Clock::now() - start;
  long_reports_ = std::chrono::duration_cast<std::chrono::microseconds>(10 * took);
  next_report_ = start + std::max(settings->progress, long_reports_);
}

void Reporter::write_progress(std::chrono::microseconds interval) {
  const DaemonId self{shared_.daemon_id.load()};
  queue::report(*session_, self, callbacks_.workers());
  progress_.write(*session_, self, interval, shared_.settings()->stalled_after);
}

/// With every report: how many workers may claim, and why not all.
void Reporter::throttle(std::optional<double> commit_ms) {
  const auto settings = shared_.settings();
  const auto& limits = settings->throttle;
  Throttle::Sample sample;
  sample.commit_ms = commit_ms;
  for (const queue::WorkerReport& w : callbacks_.workers()) {
    sample.busy |= w.partition_id != 0;
    if (std::string_view(w.step) == populate::to_string(populate::Step::commit))
      sample.waiting_ms = std::max(sample.waiting_ms.value_or(0), 1000 * w.step_seconds);
  }
  if (limits.automatic || limits.replication_lag_bytes) sample.lag_bytes = queue::replication_lag_bytes(*session_);
  sample.held_to_rate = shared_.rate.held_up();
  const Throttle::Decision decision = throttle_.decide(limits, shared_.workers_wanted.load(), sample);
  if (shared_.workers_allowed.exchange(decision.workers) != decision.workers) shared_.wake_workers();
  const std::string workers_reason = shared_.workers_reason();
  const std::string now = workers_reason + '\n' + decision.reason;
  if (now == limits_written_ || (limits_written_.empty() && now == "\n")) return;
  queue::record_limits(*session_, DaemonId{shared_.daemon_id.load()}, workers_reason, decision.reason);
  if (!decision.reason.empty()) log::info("throttled", {{"reason", decision.reason}});
  limits_written_ = now;
}

/// A batch at a time, with a pause between batches; an hour between two walks over the history.
void Reporter::prune() {
  if (pruned_up_to_ == 0) drop_leftovers();
  const auto next = queue::prune(*session_, shared_.settings()->retention, pruned_up_to_);
  pruned_up_to_ = next.value_or(0);
  next_prune_ =
      Clock::now() + (next ? Clock::duration(std::chrono::seconds{2}) : Clock::duration(std::chrono::hours{1}));
}

/// Staging tables of attempts that were killed; an attempt that is done has taken its own away.
void Reporter::drop_leftovers() {
  const auto dropped = pg::guarded("dropping staging tables", [&] {
    pqxx::work tx(session_->sql());
    const auto n = populate::drop_leftovers(tx);
    tx.commit();
    return n;
  });
  if (dropped > 0) log::info("staging tables of killed attempts dropped", {{"tables", std::to_string(dropped)}});
}

void Reporter::look_for_end() {
  if (failover_.busy()) return;
  const queue::Outlook left = queue::outlook(*session_);
  if (left.claimable > 0) return;
  drop_leftovers();
  if (left.blocked > 0)
    log::error("what is left cannot be claimed",
               {{"partitions", std::to_string(left.blocked)}, {"reason", left.blocked_reason}});
  callbacks_.queue_empty(left.failed > 0    ? DaemonResult::failed
                         : left.blocked > 0 ? DaemonResult::blocked
                                            : DaemonResult::finished);
}

void Reporter::write_settings() {
  int generation = 0;
  std::string message;
  std::optional<int> applied;
  {
    const MutexLock lock(mutex_);
    if (workers_dirty_) applied = desired_applied_;
    workers_dirty_ = false;
    generation = generation_;
  }
  if (applied)
    queue::record_workers(*session_, DaemonId{shared_.daemon_id.load()}, shared_.workers_wanted.load(), *applied,
                          generation);
  {
    const MutexLock lock(mutex_);
    if (!settings_dirty_) return;
    settings_dirty_ = false;
    generation = generation_;
    message = message_;
  }
  // A shorter lease must not find an old heartbeat, and a longer heartbeat interval not an old appointment.
  beat();
  queue::record_settings(*session_, DaemonId{shared_.daemon_id.load()}, shared_.workers_wanted.load(),
                         *shared_.settings(), generation, message);
}

void Reporter::stop(const std::string& message) {
  // The server may have stopped answering; then its connections are ended from this side, so that the process can end.
  const std::jthread patience([this](const std::stop_token& done) {
    for (int slices = 1; !done.stop_requested(); ++slices) {
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
      if (slices % 250 == 0) hang_up();  // every five seconds
    }
  });
  thread_.request_stop();
  shared_.wake_reporter();
  thread_.join();
  pulse_.end();
  try {
    if (!session_ || session_->broken()) {
      session_ =
          std::make_unique<pg::Session>(pg::connect_options(*shared_.settings(), shared_.short_name() + "/reporter"));
      const MutexLock lock(mutex_);
      canceller_ = session_->canceller();
    }
    queue::record_commit_times(*session_, shared_.commit_times.take());
    write_progress(std::chrono::microseconds{0});
    if (callbacks_.on_status) callbacks_.on_status(queue::read_status(*session_));
    queue::record_stopped(*session_, DaemonId{shared_.daemon_id.load()}, message);
  } catch (const std::exception& e) {
    log::warning("cannot record the stop; the lease will run out instead", {{"error", e.what()}});
  }
}

}  // namespace regfeatd::daemon
