#include "reporter.hpp"

#include <pthread.h>

#include <algorithm>

#include "regfeatd/base/log.hpp"
#include "regfeatd/populate/publish.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::daemon {

Reporter::Reporter(Shared& shared, queue::DaemonIdentity identity, bool once, Callbacks callbacks)
    : shared_(shared),
      identity_(std::move(identity)),
      once_(once),
      callbacks_(std::move(callbacks)),
      lease_until_(Clock::now() + shared.settings()->lease),
      next_beat_(Clock::now() + shared.settings()->heartbeat),
      next_report_(Clock::now()),
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

/// What was decided in the database about this daemon: with every report, and at once when a notification comes.
void Reporter::look_for_orders() {
  std::vector<queue::RunningClaim> running;
  for (const queue::WorkerReport& w : callbacks_.workers()) {
    if (w.partition_id != 0) running.push_back({w.worker, w.partition_id, w.epoch});
  }
  const queue::Orders orders = queue::read_orders(*session_, DaemonId{shared_.daemon_id.load()}, running);
  for (const queue::RunningClaim& claim : orders.fenced) callbacks_.fenced(claim);
  if (orders.generation > orders_seen_) {
    orders_seen_ = orders.generation;
    callbacks_.workers_ordered(orders.workers, orders.generation);
  }
}

void Reporter::connect(const std::stop_token& stop) {
  if (session_ && !session_->broken()) return;
  const auto settings = shared_.settings();
  session_ = pg::connect_patiently({settings->conninfo, "regfeatd/" + identity_.name.substr(0, 45) + "/reporter"}, std::chrono::seconds{5},
                                   [&](const Fault&) { return stop.stop_requested(); });
  if (settings->listen && !queue::behind_pooler(*session_)) {
    pqxx::work tx(session_->sql());
    tx.exec("LISTEN regfeat_work");
    tx.commit();
  }
}

void Reporter::loop(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "reporter");  // for top -H and scripts/bench-progress
  while (!stop.stop_requested()) {
    try {
      connect(stop);
      const auto now = Clock::now();
      if (now >= next_beat_) beat();
      if (now >= next_report_) report();
      write_settings();
      if (now >= next_prune_) prune();
      if (once_ && shared_.idle_workers.load() > 0 && !shared_.draining.load()) look_for_end();
      auto next = std::min(next_beat_, next_report_);
      if (callbacks_.site != nullptr) next = std::min(next, callbacks_.site->refresh(*session_));
      const auto sleep = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now());
      if (session_->wait_for_notification(std::max(sleep, std::chrono::milliseconds{1}), shared_.reporter_fd())) {
        shared_.wake_workers();
        look_for_orders();
      }
    } catch (const std::exception& e) {
      if (stop.stop_requested()) return;
      log::warning("heartbeat or progress failed", {{"error", e.what()}});
      session_.reset();
      std::this_thread::sleep_for(std::chrono::milliseconds{200});
    }
  }
}

void Reporter::beat() {
  const auto sent = Clock::now();
  const bool ours = queue::heartbeat(*session_, DaemonId{shared_.daemon_id.load()});
  if (!ours) {
    log::error("this daemon was declared lost by another one: its work is given up, and it registers anew");
    callbacks_.lease_lost();
    const auto settings = shared_.settings();
    orders_seen_ = 0;
    shared_.daemon_id = queue::register_daemon(*session_, identity_, settings->lease, shared_.workers_wanted.load()).value;
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
  write_progress(settings->progress);
  if (callbacks_.on_status || callbacks_.site != nullptr) {
    const auto status = queue::read_status(*session_);
    if (callbacks_.on_status) callbacks_.on_status(status);
    if (callbacks_.site != nullptr) callbacks_.site->reported(*session_, status);
  }
  // However large the work table: reports never take more than a tenth of this thread's time.
  const auto took = Clock::now() - start;
  next_report_ = start + std::max<Clock::duration>(settings->progress, 10 * took);
}

void Reporter::write_progress(std::chrono::microseconds interval) {
  const DaemonId self{shared_.daemon_id.load()};
  queue::record_commit_times(*session_, shared_.take_commit_times());
  queue::report(*session_, self, callbacks_.workers());
  progress_.write(*session_, self, interval);
}

/// A batch at a time, with a pause between batches; an hour between two walks over the history.
void Reporter::prune() {
  const auto kept = shared_.settings()->retention;
  drop_leftovers();
  pruned_up_to_ = queue::prune(*session_, kept.attempts, kept.progress, pruned_up_to_);
  next_prune_ = Clock::now() + (pruned_up_to_ == 0 ? Clock::duration(std::chrono::hours{1}) : Clock::duration(std::chrono::seconds{2}));
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
  const queue::Outlook left = queue::outlook(*session_);
  if (left.claimable > 0) return;
  drop_leftovers();
  if (left.blocked > 0) log::error("what is left cannot be claimed", {{"partitions", std::to_string(left.blocked)}, {"reason", left.blocked_reason}});
  callbacks_.queue_empty(left.failed > 0 ? DaemonResult::failed : left.blocked > 0 ? DaemonResult::blocked : DaemonResult::finished);
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
  if (applied) queue::record_workers(*session_, DaemonId{shared_.daemon_id.load()}, shared_.workers_wanted.load(), *applied, generation);
  {
    const MutexLock lock(mutex_);
    if (!settings_dirty_) return;
    settings_dirty_ = false;
    generation = generation_;
    message = message_;
  }
  // A shorter lease must not find an old heartbeat, and a longer heartbeat interval not an old appointment.
  beat();
  queue::record_settings(*session_, DaemonId{shared_.daemon_id.load()}, shared_.workers_wanted.load(), shared_.settings()->lease, generation, message);
}

void Reporter::stop(const std::string& message) {
  thread_.request_stop();
  shared_.wake_reporter();
  thread_.join();
  try {
    if (!session_ || session_->broken()) {
      session_ = std::make_unique<pg::Session>(pg::ConnectOptions{shared_.settings()->conninfo, "regfeatd/" + identity_.name.substr(0, 45) + "/reporter"});
    }
    write_progress(std::chrono::microseconds{0});
    if (callbacks_.on_status) callbacks_.on_status(queue::read_status(*session_));
    queue::record_stopped(*session_, DaemonId{shared_.daemon_id.load()}, message);
  } catch (const std::exception& e) {
    log::warning("cannot record the stop; the lease will run out instead", {{"error", e.what()}});
  }
}

}  // namespace regfeatd::daemon
