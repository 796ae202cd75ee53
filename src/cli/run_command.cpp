#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>

#include "command.hpp"
#include "database_options.hpp"
#include "regfeatd/base/log.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/daemon/daemon.hpp"
#include "status_text.hpp"

namespace regfeatd::cli {
namespace {

struct Options {
  DatabaseOptions database;
  bool once = false;
  int workers = 0;
};

/// Shows progress while the daemon runs: on a terminal by lines that are redrawn in place, elsewhere by a log line per
/// feature set every ten seconds.
class ProgressDisplay {
 public:
  void show(const std::vector<queue::FeatureSetStatus>& all) {
    std::vector<queue::FeatureSetStatus> active;
    for (const auto& s : all) {
      if (s.pending + s.running > 0 || drawn_ > 0) active.push_back(s);
    }
    if (terminal_) {
      draw(active);
    } else {
      log_lines(active);
    }
  }

 private:
  void draw(const std::vector<queue::FeatureSetStatus>& sets) {
    std::string out = drawn_ > 0 ? "\033[" + std::to_string(drawn_) + "F" : "";
    const int columns = terminal_columns(STDERR_FILENO);
    for (const auto& s : sets) out += "\033[2K" + status_line(s, columns) + '\n';
    drawn_ = static_cast<int>(sets.size());
    std::fwrite(out.data(), 1, out.size(), stderr);
    std::fflush(stderr);
  }

  void log_lines(const std::vector<queue::FeatureSetStatus>& sets) {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_line_) return;
    next_line_ = now + std::chrono::seconds{10};
    for (const auto& s : sets) {
      char percent[16];
      std::snprintf(percent, sizeof percent, "%.1f", s.percent);
      log::info("progress",
                {{"feature_set", s.name},
                 {"percent", percent},
                 {"done", std::to_string(s.done + s.empty)},
                 {"partitions", std::to_string(s.partitions)},
                 {"failed", std::to_string(s.failed)},
                 {"rows_per_second",
                  s.rows_per_second ? std::to_string(static_cast<std::int64_t>(*s.rows_per_second)) : "unknown"},
                 {"eta", eta_text(s)}});
    }
  }

  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  int drawn_ = 0;
  std::chrono::steady_clock::time_point next_line_ = std::chrono::steady_clock::now() + std::chrono::seconds{10};
};

int run(const Options& o) {
  daemon::DaemonOptions options;
  options.settings = o.database.settings();
  options.config_path = o.database.config_path;
  options.once = o.once;
  if (o.workers > 0) options.workers = o.workers;
  log::configure(options.settings.log_level, options.settings.log_format);
  auto display = std::make_shared<ProgressDisplay>();
  options.on_status = [display](const std::vector<queue::FeatureSetStatus>& s) { display->show(s); };
  switch (daemon::run(options)) {
    case daemon::DaemonResult::finished:
      return kExitOk;
    case daemon::DaemonResult::failed:
      std::fprintf(stderr,
                   "regfeatd: some partitions failed: see `regfeatd status` or SELECT * FROM regfeat.failures\n");
      return kExitFindings;
    case daemon::DaemonResult::blocked:
    case daemon::DaemonResult::outgrown:
      return kExitConfiguration;
    case daemon::DaemonResult::fatal:
      return kExitInternal;
  }
  return kExitInternal;
}

}  // namespace

void add_run_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "The daemon: computes partitions until it is stopped");
  command->description(
      "Claims partitions from the work table, computes their features and writes them, until it is stopped.\n"
      "Stays in the foreground (systemd runs it so). SIGTERM or SIGINT: finish what is in hand within shutdown_grace,\n"
      "then give it back; a second one gives it back at once. SIGHUP: read the configuration again.");
  options->database.add_to(*command);
  command->add_flag(
      "--once", options->once,
      "End when nothing is left to do; exit status 1 if any partition failed, 78 if what is left is paused");
  command->add_option("--workers", options->workers, "Number of workers, over the configuration")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
