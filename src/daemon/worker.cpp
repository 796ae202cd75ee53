#include "worker.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "regfeatd/base/log.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::daemon {
namespace {

std::string daemon_name(const spec::Settings& s) { return s.daemon_name.empty() ? "regfeatd" : s.daemon_name; }

}  // namespace

std::size_t input_budget_bytes(std::uint64_t memory_budget_bytes, int workers) {
  constexpr std::uint64_t kProcess = 24u << 20;    // program, libraries, heap
  constexpr std::uint64_t kPerWorker = 12u << 20;  // column blocks, encoders, connection, stack
  const std::uint64_t fixed = kProcess + kPerWorker * static_cast<std::uint64_t>(workers);
  const std::uint64_t least = 8u << 20;
  if (memory_budget_bytes <= fixed + least * static_cast<std::uint64_t>(workers)) return least;
  return static_cast<std::size_t>((memory_budget_bytes - fixed) / static_cast<std::uint64_t>(workers));
}

Worker::Worker(Shared& shared, int number) : shared_(shared), number_(number), thread_([this] { loop(); }) {}

Worker::~Worker() = default;  // joins

bool Worker::wanted() const noexcept { return number_ < shared_.workers_wanted.load() && !shared_.draining.load() && !shared_.aborting.load(); }

void Worker::loop() {
  while (wanted()) {
    try {
      serve_one();
    } catch (const Fault& e) {
      // Outside a run: claiming or connecting failed. Nothing is in hand.
      if (e.fault_class() == FaultClass::fatal) shared_.fatal = true;
      log::warning("worker cannot claim", {{"worker", std::to_string(number_)}, {"error", e.what()}});
      if (session_ && session_->broken()) session_.reset();
      idle();
    } catch (const std::exception& e) {
      log::error("worker failed", {{"worker", std::to_string(number_)}, {"error", e.what()}});
      session_.reset();
      idle();
    }
  }
  set_step("stopped");
  finished_ = true;
  shared_.wake_workers();
}

bool Worker::ensure_session() {
  if (session_ && !session_->broken()) return true;
  set_step("connect");
  {
    const MutexLock lock(mutex_);
    canceller_.reset();
  }
  session_.reset();
  const auto settings = shared_.settings();
  const pg::ConnectOptions options{settings->conninfo, fmt::format("regfeatd/{}/{}", daemon_name(*settings).substr(0, 45), number_)};
  try {
    session_ = pg::connect_patiently(options, std::chrono::seconds{15}, [&](const Fault&) { return !wanted() && !shared_.draining.load(); });
  } catch (const Fault& e) {
    if (e.fault_class() != FaultClass::transient) log::error("worker cannot connect", {{"worker", std::to_string(number_)}, {"error", e.what()}});
    return false;
  }
  backend_pid_ = session_->backend_pid();
  const MutexLock lock(mutex_);
  canceller_ = session_->canceller();
  return true;
}

void Worker::idle() {
  set_step("idle");
  ++shared_.idle_workers;
  shared_.wake_reporter();
  wakeups_seen_ = shared_.wait_for_work(wakeups_seen_, shared_.settings()->poll);
  --shared_.idle_workers;
}

void Worker::serve_one() {
  if (!shared_.lease_held.load()) return idle();
  if (!ensure_session()) return idle();
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
    const populate::RunOptions options{input_budget_bytes(settings->memory_budget_bytes, std::max(1, shared_.workers_wanted.load()))};
    const auto start = std::chrono::steady_clock::now();
    const auto result = runner_.run(*session_, claim, options, *this, stop, timings_);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
    run_over();
    if (result == populate::RunResult::fenced) {
      log::info("partition fenced: it was requeued, cancelled or taken over",
                {{"partition", std::to_string(claim.partition.value)}, {"series", claim.series}});
      queue::record_fenced(*session_, claim, "complete");
    } else {
      shared_.commit_took({claim.attempt, timings_.commit_ms});
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
  while (!shared_.aborting.load() && ensure_session()) {
    try {
      if (queue::committed(*session_, claim)) {
        log::info("the answer to COMMIT was lost, but it happened", {{"partition", std::to_string(claim.partition.value)}});
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
    log::error("fatal", {{"partition", std::to_string(claim.partition.value)}, {"series", claim.series}, {"error", fault.what()}});
    shared_.fatal = true;
  }
  if (fault.fault_class() != FaultClass::partition) runner_.forget_catalogue();
  // Until it is recorded the partition is ours: nobody else can take it while this daemon's lease lasts. At shutdown it
  // is tried a few times, as a cancel that was sent to the run may arrive late and hit the recording; then the lease runs out.
  constexpr int kTriesAtShutdown = 5;
  for (int tries = 0;; ++tries) {
    if (tries >= kTriesAtShutdown && shared_.aborting.load()) return;
    if (!ensure_session()) {
      if (shared_.aborting.load() || shared_.draining.load()) return;
      continue;
    }
    try {
      return record(claim, fault);
    } catch (const Fault& e) {
      log::warning("cannot record the outcome of an attempt yet", {{"partition", std::to_string(claim.partition.value)}, {"error", e.what()}});
      if (session_->broken()) session_.reset();
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
  const char* const outcome = verdict == queue::Verdict::failed   ? "partition failed for good"
                              : verdict == queue::Verdict::fenced ? "partition fenced: it was requeued, cancelled or taken over"
                                                                  : "attempt failed; the partition will be tried again";
  log::write(verdict == queue::Verdict::failed ? log::Level::error : log::Level::warning, outcome,
             {{"partition", id},
              {"series", claim.series},
              {"class", std::string(to_string(fault.fault_class()))},
              {"sqlstate", fault.sqlstate()},
              {"error", what}});
}

void Worker::cancel_run() {
  std::shared_ptr<pg::Canceller> canceller;
  {
    const MutexLock lock(mutex_);
    if (!running_) return;
    run_stop_.request_stop();
    canceller = canceller_;
  }
  if (canceller) canceller->cancel();  // outside the lock: it talks to the server
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
  step_ = step;
  step_since_ = std::chrono::steady_clock::now();
}

void Worker::at_step(populate::Step step) { set_step(populate::to_string(step)); }

void Worker::at_rows(std::int64_t done, std::int64_t total) {
  rows_done_.store(done, std::memory_order_relaxed);
  rows_total_.store(total, std::memory_order_relaxed);
}

}  // namespace regfeatd::daemon
