#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>

#include "command.hpp"
#include "database_options.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/queue/migrate.hpp"
#include "regfeatd/queue/status.hpp"
#include "status_text.hpp"

namespace regfeatd::cli {
namespace {

struct Options {
  DatabaseOptions database;
  bool watch = false;
  bool json = false;
  int history_minutes = 0;
  double interval_s = 2;
};

std::string fitted(const std::string& line, int columns) {
  return static_cast<int>(line.size()) < columns ? line : line.substr(0, static_cast<std::size_t>(columns) - 1);
}

std::vector<std::string> screen(const queue::Snapshot& snapshot, int columns) {
  std::vector<std::string> lines;
  if (snapshot.feature_sets.empty()) lines.emplace_back("no feature sets: register one with `regfeatd apply SPEC.yaml`");
  for (const auto& s : snapshot.feature_sets) lines.push_back(status_line(s, columns));
  for (const auto& s : snapshot.feature_sets) {
    if (s.blocked == 0) continue;
    lines.push_back(fitted(fmt::format("{}: {} partition{} blocked, the first {}", s.name, s.blocked, s.blocked == 1 ? " is" : "s are", s.blocked_reason), columns));
  }
  if (!snapshot.workers.empty()) lines.emplace_back("");
  for (const auto& w : snapshot.workers) {
    const std::string what = w.series.empty() ? "" : fmt::format("  {} {} {}  {}/{} rows", w.feature_set, w.series, w.from, format_count(w.rows_done), format_count(w.rows_total));
    lines.push_back(fitted(fmt::format("{}/{:<3} {:<9}{}", w.daemon, w.worker, w.step, what), columns));
  }
  if (!snapshot.failures.empty()) {
    lines.emplace_back("");
    lines.emplace_back("last attempts that did not succeed:");
  }
  for (const auto& f : snapshot.failures) lines.push_back(fitted(fmt::format("  {} {} {} {}: {}: {}", f.at, f.series, f.from, f.outcome, f.step, f.message), columns));
  return lines;
}

int print_json(pg::Session& session, const Options& o) {
  queue::SnapshotOptions wanted;
  wanted.failures = 100;
  wanted.slow_partitions = 100;
  wanted.history_minutes = o.history_minutes;
  const std::string document = queue::to_json(queue::read_snapshot(session, wanted)) + '\n';
  std::fwrite(document.data(), 1, document.size(), stdout);
  return std::fflush(stdout) == 0 ? kExitOk : kExitFindings;
}

int run(const Options& o) {
  const auto session = o.database.connect("status");
  queue::require_schema(*session);
  if (o.json) return print_json(*session, o);
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  for (;;) {
    const int columns = terminal ? terminal_columns(STDOUT_FILENO) : 160;
    std::string out = o.watch && terminal ? "\033[H" : "";
    for (const std::string& line : screen(queue::read_snapshot(*session, {}), columns)) out += line + (terminal && o.watch ? "\033[K\n" : "\n");
    if (o.watch && terminal) out += "\033[J";
    std::fwrite(out.data(), 1, out.size(), stdout);
    std::fflush(stdout);
    if (!o.watch) return kExitOk;
    std::this_thread::sleep_for(std::chrono::duration<double>(o.interval_s));
  }
}

}  // namespace

void add_status_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("status", "Progress, ETA, workers, failures");
  command->description("Shows what the database says: a line per feature set with progress, rate and ETA, a line per worker, the last failures.");
  options->database.add_to(*command);
  command->add_flag("--watch", options->watch, "Redraw until interrupted");
  command->add_flag("--json", options->json, "One JSON document (docs/progress.md), for machines");
  command->add_option("--history", options->history_minutes, "With --json: progress rows of the last N minutes too")->type_name("N")->check(CLI::Range(0, 100000));
  command->add_option("--interval", options->interval_s, "Seconds between two looks with --watch")->type_name("S")->check(CLI::Range(0.2, 3600.0))->capture_default_str();
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
