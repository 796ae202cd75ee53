#include "regfeatd/daemon/daemon.hpp"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <optional>

#include "regfeatd/base/build_info.hpp"
#include "regfeatd/base/log.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/populate/apply.hpp"
#include "regfeatd/queue/migrate.hpp"
#include "reporter.hpp"
#include "service_manager.hpp"
#include "worker.hpp"

namespace regfeatd::daemon {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

/// The composition root: the control thread with its signals and timers, the workers, the reporter.
class Daemon {
 public:
  explicit Daemon(const DaemonOptions& options)
      : options_(options), shared_(options.settings), signals_(io_, SIGTERM, SIGINT, SIGHUP), tick_(io_), grace_(io_) {}

  DaemonResult run();

 private:
  void start();
  void wait_for_signal();
  void on_signal(int signal);
  void reload();
  void apply_worker_count();
  void show(const std::vector<queue::FeatureSetStatus>& sets);
  void watch();
  void feed_watchdog();
  void watch_lease();
  [[nodiscard]] std::string hung_thread(std::chrono::microseconds limit);
  void drain(DaemonResult result, const std::string& why);
  void abort_runs(const std::string& why);
  void cancel_all();
  void cancel_sessions_before(std::chrono::steady_clock::time_point t);
  void cancel_fenced(const queue::RunningClaim& claim);
  void order_workers(std::optional<int> workers, int generation);
  [[nodiscard]] int worker_count(const spec::Settings& s) const;
  int plan_workers(const spec::Settings& s);
  [[nodiscard]] std::vector<queue::WorkerReport> reports();

  const DaemonOptions& options_;
  const ServiceManager manager_;
  std::chrono::steady_clock::time_point next_feed_{}, next_hang_up_{};
  std::string hung_;  ///< the thread that was found hung; empty: none
  Shared shared_;
  boost::asio::io_context io_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer tick_, grace_;
  queue::DaemonIdentity identity_;
  int generation_ = 1;
  std::optional<int> ordered_;  ///< by regfeat.set_workers
  DaemonResult result_ = DaemonResult::finished;
  std::string stop_reason_ = "stopped";
  Mutex workers_mutex_;
  std::vector<std::unique_ptr<Worker>> workers_ REGFEATD_GUARDED_BY(workers_mutex_);
  std::unique_ptr<Site> site_;  ///< absent: no HTTP
  std::unique_ptr<Reporter> reporter_;
};

int Daemon::worker_count(const spec::Settings& s) const {
  if (ordered_) return *ordered_;
  if (options_.workers) return *options_.workers;
  return s.workers ? *s.workers : spec::automatic_workers();
}

/// The number of workers that the memory budget carries, and the division of the budget among them.
int Daemon::plan_workers(const spec::Settings& s) {
  const MemoryPlan plan = plan_memory(s.memory_budget_bytes, worker_count(s));
  shared_.memory.configure(plan);
  shared_.write_turns.set_limit(s.writers);
  shared_.set_workers_reason(plan.reason);
  if (!plan.reason.empty()) log::warning("fewer workers than asked for", {{"reason", plan.reason}});
  return plan.workers;
}

void Daemon::start() {
  const auto settings = shared_.settings();
  const std::string name = settings->daemon_name.empty() ? host_name() : settings->daemon_name;
  identity_ = {name, host_name(), getpid(), queue::process_identity(getpid())};
  shared_.name = name;
  pg::ConnectOptions connect = pg::connect_options(*settings, shared_.short_name() + "/start");
  connect.statement_timeout = {};  // the preflight looks at every target
  pg::Session session(connect);
  queue::require_schema(session);
  {
    pqxx::work tx(session.sql());
    populate::use_utc(tx);
    const auto findings = pg::guarded("preflight", [&] { return populate::preflight(tx); });
    if (!findings.empty()) throw spec::SpecError(findings);
  }
  const int workers = plan_workers(*settings);
  shared_.workers_wanted = workers;
  shared_.daemon_id = queue::register_daemon(session, identity_, settings->lease, workers).value;
  const auto released = queue::release_dead_neighbours(session, DaemonId{shared_.daemon_id.load()});
  if (released > 0)
    log::info("took back the partitions of a daemon whose process is gone", {{"partitions", std::to_string(released)}});
  log::info("started", {{"build", std::string(build_id())},
                        {"database", session.describe()},
                        {"daemon", name + '/' + std::to_string(shared_.daemon_id.load())},
                        {"workers", std::to_string(workers)},
                        {"kernel", std::string(fit::kernel_name())},
                        {"configuration", settings->file.empty() ? "defaults" : settings->file}});
}

DaemonResult Daemon::run() {
  // Large buffers come from the kernel and go back to it: a threshold that adapts would keep them in the heap.
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
  start();
  if (shared_.settings()->http.port) site_ = std::make_unique<Site>(io_, shared_, identity_.name);
  reporter_ = std::make_unique<Reporter>(
      shared_, identity_, options_.once,
      Reporter::Callbacks{
          [this] { return reports(); }, [this](const queue::RunningClaim& c) { cancel_fenced(c); },
          [this](std::optional<int> n, int g) { boost::asio::post(io_, [this, n, g] { order_workers(n, g); }); },
          [this](std::chrono::steady_clock::time_point t) { cancel_sessions_before(t); }, [this] { cancel_all(); },
          [this](const std::string& why) {
            boost::asio::post(io_, [this, why] { drain(DaemonResult::outgrown, why); });
          },
          [this](DaemonResult r) { boost::asio::post(io_, [this, r] { drain(r, "the queue is empty"); }); },
          [this](const std::vector<queue::FeatureSetStatus>& s) { show(s); }, site_.get()});
  apply_worker_count();
  wait_for_signal();
  watch();
  manager_.ready();
  io_.run();
  reporter_->stop(stop_reason_);
  log::info("stopped", {{"reason", stop_reason_}});
  return shared_.fatal.load() ? DaemonResult::fatal : result_;
}

std::vector<queue::WorkerReport> Daemon::reports() {
  const MutexLock lock(workers_mutex_);
  std::vector<queue::WorkerReport> out;
  for (const auto& w : workers_) {
    if (!w->finished()) out.push_back(w->report());
  }
  return out;
}

void Daemon::cancel_all() {
  const MutexLock lock(workers_mutex_);
  for (const auto& w : workers_) w->cancel_run();
}

void Daemon::cancel_sessions_before(std::chrono::steady_clock::time_point t) {
  const MutexLock lock(workers_mutex_);
  for (const auto& w : workers_) w->cancel_run_over_session_before(t);
}

void Daemon::cancel_fenced(const queue::RunningClaim& claim) {
  const MutexLock lock(workers_mutex_);
  for (const auto& w : workers_) w->cancel_run(claim);
}

/// What regfeat.set_workers asked for; it outlasts reloads, not the process.
void Daemon::order_workers(std::optional<int> workers, int generation) {
  ordered_ = workers;
  shared_.workers_wanted = plan_workers(*shared_.settings());
  if (!shared_.draining.load()) apply_worker_count();
  shared_.wake_workers();
  reporter_->workers_applied(generation, ++generation_);
  log::info("number of workers set from the database", {{"workers", std::to_string(shared_.workers_wanted.load())}});
}

/// Starts workers that are wanted and not there; those that are surplus end by themselves after their partition.
void Daemon::apply_worker_count() {
  const MutexLock lock(workers_mutex_);
  const auto wanted = static_cast<std::size_t>(shared_.workers_wanted.load());
  while (!workers_.empty() && workers_.size() > wanted && workers_.back()->finished()) workers_.pop_back();
  for (std::size_t i = 0; i < wanted; ++i) {
    if (i == workers_.size()) {
      workers_.push_back(std::make_unique<Worker>(shared_, static_cast<int>(i)));
    } else if (workers_[i]->finished()) {
      workers_[i] = std::make_unique<Worker>(shared_, static_cast<int>(i));
    }
  }
}

void Daemon::wait_for_signal() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    on_signal(signal);
    wait_for_signal();
  });
}

void Daemon::on_signal(int signal) {
  if (signal == SIGHUP) return reload();
  if (shared_.draining.load()) return abort_runs("second signal");
  log::info("stopping: running partitions are finished first",
            {{"grace", format_duration(shared_.settings()->shutdown_grace)}});
  manager_.stopping(shared_.settings()->shutdown_grace);
  drain(DaemonResult::finished, signal == SIGTERM ? "SIGTERM" : "SIGINT");
  grace_.expires_after(shared_.settings()->shutdown_grace);
  grace_.async_wait([this](const boost::system::error_code& error) {
    if (!error) abort_runs("shutdown_grace is over");
  });
}

void Daemon::drain(DaemonResult result, const std::string& why) {
  if (shared_.draining.exchange(true)) return;
  if (result == DaemonResult::outgrown) log::error("stopping: the schema was migrated", {{"reason", why}});
  result_ = result;
  stop_reason_ = why;
  shared_.wake_workers();
}

void Daemon::abort_runs(const std::string& why) {
  if (shared_.aborting.exchange(true)) return;
  log::warning("giving back the partitions in hand", {{"reason", why}});
  cancel_all();
  shared_.wake_workers();
}

void Daemon::reload() {
  const auto old = shared_.settings();
  manager_.reloading();
  try {
    spec::Settings next = spec::load_settings(options_.config_path);
    next.conninfo = old->conninfo;  // sessions in hand are to it; another database takes a restart
    next.http = old->http;          // connections in hand are to it
    if (next.daemon_name != old->daemon_name)
      log::warning("daemon_name takes a restart, the old one stays", {{"daemon_name", identity_.name}});
    next.daemon_name = old->daemon_name;
    log::configure(next.log_level, next.log_format);
    shared_.workers_wanted = plan_workers(next);
    shared_.replace_settings(next);
    apply_worker_count();
    shared_.wake_workers();
    ++generation_;
    reporter_->settings_changed(generation_, "");
    log::info("settings reloaded", {{"workers", std::to_string(shared_.workers_wanted.load())},
                                    {"generation", std::to_string(generation_)}});
  } catch (const spec::SpecError& e) {
    log::error("the settings are not reloaded, the old ones stay", {{"error", e.what()}});
    reporter_->settings_changed(generation_, std::string("reload refused: ") + e.what());
  }
  manager_.ready();
}

/// On the reporting thread.
void Daemon::show(const std::vector<queue::FeatureSetStatus>& sets) {
  if (!shared_.draining.load()) manager_.status(status_line(sets));
  if (options_.on_status) options_.on_status(sets);
}

/// The first worker, or the reporter, that shows no sign of life; empty: none.
std::string Daemon::hung_thread(std::chrono::microseconds limit) {
  if (reporter_->hung(limit)) return "reporter";
  const MutexLock lock(workers_mutex_);
  for (const auto& w : workers_) {
    if (w->hung(limit)) return "worker " + std::to_string(w->number());
  }
  return {};
}

/// Only while every thread lives: whoever hangs keeps its partition for as long as this daemon sends heartbeats, so that
/// the cure is to be started anew. That this thread lives, shows in being here.
void Daemon::feed_watchdog() {
  const auto interval = manager_.watchdog_interval();
  const auto now = std::chrono::steady_clock::now();
  if (!interval || now < next_feed_) return;
  next_feed_ = now + *interval / 4;
  const std::string hung = hung_thread(*interval / 2);
  if (hung.empty()) {
    manager_.feed_watchdog();
  } else if (hung != hung_) {
    log::error("a thread hangs: the watchdog is not fed any more", {{"thread", hung}});
  }
  hung_ = hung;
}

/// Without an acknowledged heartbeat for longer than the lease, others have the work in hand. The server may have stopped
/// answering without its connections breaking (a frozen host, a stalled disk): they are ended from this side, again and
/// again, so that the next host of the connection string gets its turn.
void Daemon::watch_lease() {
  const auto now = std::chrono::steady_clock::now();
  if (now <= reporter_->lease_until()) return;
  const bool just_lost = shared_.lease_held.exchange(false);
  if (!just_lost && now < next_hang_up_) return;
  next_hang_up_ = now + shared_.settings()->lease;
  if (just_lost)
    log::error(
        "no heartbeat was acknowledged for longer than the lease: work in hand is given up, connections are made anew");
  reporter_->hang_up();
  const MutexLock lock(workers_mutex_);
  for (const auto& w : workers_) w->hang_up();
}

/// A few times a second: restarts workers, watches the lease, feeds the watchdog, ends the loop when all workers have ended.
void Daemon::watch() {
  feed_watchdog();
  if (shared_.fatal.load()) {
    drain(DaemonResult::fatal, "fatal fault");
    abort_runs("fatal fault");
  }
  watch_lease();
  bool all_finished = true;
  {
    const MutexLock lock(workers_mutex_);
    for (const auto& w : workers_) all_finished = all_finished && w->finished();
    if (shared_.aborting.load()) {
      for (const auto& w : workers_) w->cancel_run();  // whoever started something since
    }
  }
  if (shared_.draining.load() && all_finished) {
    signals_.cancel();
    grace_.cancel();
    if (site_) site_->close();
    return;
  }
  if (!shared_.draining.load()) apply_worker_count();
  tick_.expires_after(shared_.draining.load() ? std::chrono::milliseconds{20} : std::chrono::milliseconds{200});
  tick_.async_wait([this](const boost::system::error_code& error) {
    if (!error) watch();
  });
}

}  // namespace

DaemonResult run(const DaemonOptions& options) {
  Daemon daemon(options);
  return daemon.run();
}

}  // namespace regfeatd::daemon
