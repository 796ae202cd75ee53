#include "worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <thread>

#include "regfeatd/base/log.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::daemon {
namespace {

/// A cancel talks to the server, which may have stopped answering: whoever asks for it must not wait. One at a time for
/// each session (Canceller sees to that), so the threads are few; one that waits for a dead server ends with the process.
void cancel_in_background(std::shared_ptr<pg::Canceller> canceller) {
  try {
    std::thread([canceller] { canceller->cancel(); }).detach();
  } catch (const std::system_error&) {  // no more threads
    canceller->cancel();
  }
}

/// What the server says of where it happened, table and column, comes first; the statement that follows may be long.
std::string beginning_of(const std::string& context) {
  constexpr std::size_t kMostBytes = 300;
  if (context.size() <= kMostBytes) return context;
  std::size_t end = kMostBytes;
  while (end > 0 && (static_cast<unsigned char>(context[end]) & 0xC0) == 0x80) --end;  // not within a character
  return context.substr(0, end) + "...";
}

const char* in_words(queue::Verdict verdict) {
  switch (verdict) {
    case queue::Verdict::retried:
      return "attempt failed; the partition will be tried again";
    case queue::Verdict::failed:
      return "partition failed for good";
    case queue::Verdict::breaker_open:
      return "attempt failed; the breaker of the feature set is open: one partition at a time will be tried until one succeeds";
    case queue::Verdict::fenced:
      return "partition fenced: it was requeued, cancelled or taken over";
  }
  return "attempt failed";
}

}  // namespace

Worker::Worker(Shared& shared, int number) : shared_(shared), number_(number), thread_([this] { loop(); }) {}

Worker::~Worker() = default;  // joins

bool Worker::wanted() const noexcept {
  return number_ < shared_.workers_wanted.load() && !shared_.draining.load() && !shared_.aborting.load();
}

void Worker::loop() {
  pulse_.begin("worker " + std::to_string(number_));
  while (wanted()) {
    pulse_.beat();
    try {
      serve_one();
    } catch (const Fault& e) {
      // Outside a run: claiming or connecting failed. Nothing is in hand.
      if (e.fault_class() == FaultClass::fatal) shared_.fatal = true;
      log::warning("worker cannot claim", {{"worker", std::to_string(number_)}, {"error", e.what()}});
      drop_useless_session(e);
      idle();
    } catch (const std::exception& e) {
      log::error("worker failed", {{"worker", std::to_string(number_)}, {"error", e.what()}});
      session_.reset();
      idle();
    }
  }
  set_step("stopped");
  pulse_.end();
  finished_ = true;
  shared_.wake_workers();
}

bool Worker::ensure_session() {
  if (session_ && !session_->broken() && session_since_.load() >= shared_.sessions_valid_from.load()) return true;
  set_step("connect");
  {
    const MutexLock lock(mutex_);
    canceller_.reset();
  }
  session_.reset();
  const auto settings = shared_.settings();
  const pg::ConnectOptions options =
      pg::connect_options(*settings, fmt::format("{}/{}", shared_.short_name(), number_));
  try {
    session_since_ = std::chrono::steady_clock::now();
    session_ = pg::connect_patiently(options, std::chrono::seconds{5}, [&](const Fault&) {
      pulse_.beat();
      return shared_.aborting.load() || (!wanted() && partition_id_.load() == 0);
    });
  } catch (const Fault& e) {
    if (e.fault_class() != FaultClass::transient)
      log::error("worker cannot connect", {{"worker", std::to_string(number_)}, {"error", e.what()}});
    return false;
  }
  backend_pid_ = session_->backend_pid();
  const MutexLock lock(mutex_);
  canceller_ = session_->canceller();
  return true;
}

/// A broken one, and one to a server that became a reader: the connection may outlive the move of the writer.
void Worker::drop_useless_session(const Fault& fault) {
  if (session_ && (session_->broken() || fault.sqlstate() == "25006")) session_.reset();  // read-only
}

void Worker::idle() {
  set_step("idle");
  ++shared_.idle_workers;
  shared_.wake_reporter();
  const auto poll = shared_.settings()->poll;
  pulse_.sleeps_for(poll);
  wakeups_seen_ = shared_.wait_for_work(wakeups_seen_, poll);
  --shared_.idle_workers;
}

/// Between two tries at something that must be done: a second, or until there is news.
void Worker::pause() {
  pulse_.sleeps_for(std::chrono::seconds{1});
  wakeups_seen_ = shared_.wait_for_work(wakeups_seen_, std::chrono::seconds{1});
}

/// The throttle lets fewer workers claim.
void Worker::rest() {
  set_step("throttled");
  const auto poll = shared_.settings()->poll;
  pulse_.sleeps_for(poll);
  wakeups_seen_ = shared_.wait_for_work(wakeups_seen_, poll);
}

/// Holds the worker to throttle.rows_per_second, having taken `rows` more. Without a partition in hand the wait is a step
/// of its own (else it would pass for a slow commit), and it ends when the worker is not wanted any more.
void Worker::pace(std::int64_t rows) {
  constexpr std::chrono::milliseconds kLook{50};  // a new bound, or the end, is noticed so soon
  const bool between_partitions = partition_id_.load() == 0;
  bool waits = false;
  while (!shared_.aborting.load() && !shared_.draining.load() && (!between_partitions || wanted())) {
    const auto limit = shared_.settings()->throttle.rows_per_second;
    if (!limit) return;
    const auto now = std::chrono::steady_clock::now();
    const auto until = shared_.rate.book(rows, *limit, now);
    if (until <= now) return;
    {
      const MutexLock lock(mutex_);
      if (running_ && run_stop_.stop_requested()) return;
    }
    if (between_partitions && !waits) set_step("throttled");
    waits = true;
    pulse_.beat();
    std::this_thread::sleep_for(std::min<std::chrono::steady_clock::duration>(until - now, kLook));
    rows = 0;
  }
}

void Worker::serve_one() {
  if (!shared_.lease_held.load()) return idle();
  if (number_ >= shared_.workers_allowed.load()) return rest();
  pace(0);
  if (!wanted()) return;
  if (!ensure_session()) return idle();
  if (!wanted()) return;  // both may have taken long: stopped or surplus meanwhile, it claims nothing more
  set_step("claim");
  timings_ = {};
  const auto start = std::chrono::steady_clock::now();
  const auto claim = queue::claim(*session_, DaemonId{shared_.daemon_id.load()}, number_);
  if (!claim) return idle();
  timings_.claim_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  run(*claim);
}

void Worker::run(const queue::Claim& claim) {
  std::stop_token stop;
  {
    const MutexLock lock(mutex_);
    run_stop_ = std::stop_source{};
    stop = run_stop_.get_token();
    running_ = true;
  }
  rows_done_ = 0;
  rows_total_ = 0;
  epoch_ = claim.epoch.value;
  partition_id_ = claim.partition.value;
  // Cancels are for the run, not for the statements that record what became of it.
  const auto run_over = [this] {
    const MutexLock lock(mutex_);
    running_ = false;
  };
  try {
    const auto settings = shared_.settings();
    MemoryPool::Reservation memory;
    populate::RunOptions options;
    options.input_budget_bytes = shared_.memory.share_bytes();
    options.lease = settings->lease;
    options.turns = &shared_.write_turns;
    options.reserve = [&](std::size_t wanted) {
      memory = shared_.memory.reserve(wanted);
      return memory.bytes();
    };
    rows_paced_ = 0;
    const auto start = std::chrono::steady_clock::now();
    const auto result = runner_.run(*session_, claim, options, *this, stop, timings_);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
    run_over();
    if (result == populate::RunResult::fenced) {
      log::info("partition fenced: it was requeued, cancelled or taken over",
                {{"partition", std::to_string(claim.partition.value)}, {"series", claim.series}});
      queue::record_fenced(*session_, claim, "complete");
    } else {
      shared_.commit_times.add({claim.attempt, timings_.commit_ms});
      shared_.recent_commits.add(claim);
      log::debug("partition done", {{"partition", std::to_string(claim.partition.value)},
                                    {"series", claim.series},
                                    {"rows", std::to_string(rows_total_.load())},
                                    {"took", format_duration(took)}});
    }
  } catch (const pg::CommitInDoubt& e) {
    run_over();
    settle_doubt(claim, e);
  } catch (const Fault& e) {
    run_over();
    conclude(claim, e);
  }
  partition_id_ = 0;
}

/// The answer to COMMIT was lost: the attempt's own row says whether it happened.
void Worker::settle_doubt(const queue::Claim& claim, const Fault& fault) {
  set_step("settle");
  while (!shared_.aborting.load()) {
    if (!ensure_session()) {
      pause();
      continue;
    }
    try {
      if (queue::committed(*session_, claim)) {
        shared_.recent_commits.add(claim);
        log::info("the answer to COMMIT was lost, but it happened",
                  {{"partition", std::to_string(claim.partition.value)}});
        return;
      }
      return conclude(claim, fault);
    } catch (const Fault& e) {
      log::warning("cannot read the outcome of a commit yet", {{"error", e.what()}});
      session_.reset();
    }
  }
}

/// Decides what a fault means; the only place that does. The partition is in the queue again afterwards, or failed.
void Worker::conclude(const queue::Claim& claim, const Fault& fault) {
  set_step("record");
  if (fault.fault_class() == FaultClass::fatal) {
    log::error(
        "fatal",
        {{"partition", std::to_string(claim.partition.value)}, {"series", claim.series}, {"error", fault.what()}});
    shared_.fatal = true;
  }
  if (fault.fault_class() != FaultClass::partition) runner_.forget_catalogue();
  drop_useless_session(fault);
  // Until it is recorded the partition is ours: nobody else can take it while this daemon's lease lasts. At shutdown it
  // is tried a few times, as a cancel that was sent to the run may arrive late and hit the recording; then the lease runs out.
  constexpr int kTriesAtShutdown = 5;
  for (int tries = 0;; ++tries) {
    if (tries >= kTriesAtShutdown && shared_.aborting.load()) return;
    if (!ensure_session()) {
      if (shared_.aborting.load()) return;
      pause();
      continue;
    }
    try {
      return record(claim, fault);
    } catch (const Fault& e) {
      log::warning("cannot record the outcome of an attempt yet",
                   {{"partition", std::to_string(claim.partition.value)}, {"error", e.what()}});
      drop_useless_session(e);
      if (tries >= 2) pause();
    }
  }
}

void Worker::record(const queue::Claim& claim, const Fault& fault) {
  const auto settings = shared_.settings();
  const std::string id = std::to_string(claim.partition.value);
  bool stopped = false;
  {
    const MutexLock lock(mutex_);
    stopped = run_stop_.stop_requested();
  }
  if (stopped && shared_.aborting.load()) {
    queue::give_back(*session_, claim, "given back at shutdown");
    log::info("partition given back", {{"partition", id}, {"series", claim.series}});
    return;
  }
  const std::string what = fault.what();
  const std::string step = what.substr(0, what.find(':'));
  const auto verdict = queue::fail(*session_, claim, fault, step, timings_, settings->retry);
  const bool needs_somebody = verdict == queue::Verdict::failed || verdict == queue::Verdict::breaker_open;
  log::write(needs_somebody ? log::Level::error : log::Level::warning, in_words(verdict),
             {{"partition", id},
              {"series", claim.series},
              {"class", std::string(to_string(fault.fault_class()))},
              {"sqlstate", fault.sqlstate()},
              {"error", what},
              {"context", beginning_of(fault.context())}});
}

void Worker::cancel_run() {
  std::shared_ptr<pg::Canceller> canceller;
  {
    const MutexLock lock(mutex_);
    if (!running_) return;
    run_stop_.request_stop();
    canceller = canceller_;
  }
  if (canceller) cancel_in_background(std::move(canceller));
}

void Worker::hang_up() {
  const MutexLock lock(mutex_);
  run_stop_.request_stop();
  if (canceller_) canceller_->hang_up();
}

void Worker::cancel_run_over_session_before(std::chrono::steady_clock::time_point t) {
  if (session_since_.load() < t) cancel_run();
}

void Worker::cancel_run(const queue::RunningClaim& claim) {
  if (partition_id_.load() == claim.partition_id && epoch_.load() == claim.epoch) cancel_run();
}

queue::WorkerReport Worker::report() const {
  queue::WorkerReport r;
  r.worker = number_;
  r.backend_pid = backend_pid_;
  r.partition_id = partition_id_;
  r.epoch = epoch_;
  r.step = step_;
  r.rows_done = rows_done_;
  r.rows_total = rows_total_;
  r.step_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - step_since_.load()).count();
  return r;
}

void Worker::set_step(const char* step) {
  pulse_.beat();
  step_ = step;
  step_since_ = std::chrono::steady_clock::now();
}

void Worker::at_step(populate::Step step) { set_step(populate::to_string(step)); }

void Worker::at_rows(std::int64_t done, std::int64_t total) {
  pulse_.beat();
  rows_done_.store(done, std::memory_order_relaxed);
  rows_total_.store(total, std::memory_order_relaxed);
  pace(done - rows_paced_);
  rows_paced_ = done;
}

}  // namespace regfeatd::daemon
