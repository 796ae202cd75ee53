#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "command.hpp"
#include "database_options.hpp"
#include "regfeatd/queue/migrate.hpp"
#include "regfeatd/queue/status.hpp"
#include "status_screen.hpp"
#include "status_text.hpp"
#include "status_watch.hpp"

namespace regfeatd::cli {
namespace {

struct Options {
  DatabaseOptions database;
  bool watch = false;
  bool json = false;
  int history_minutes = 0;
  double interval_s = 2;
};

int print_json(pg::Session& session, const Options& o) {
  queue::SnapshotOptions wanted;
  wanted.failures = 100;
  wanted.slow_partitions = 100;
  wanted.history_minutes = o.history_minutes;
  const std::string document = queue::to_json(queue::read_snapshot(session, wanted)) + '\n';
  std::fwrite(document.data(), 1, document.size(), stdout);
  return std::fflush(stdout) == 0 ? kExitOk : kExitFindings;
}

bool colour_wanted() {
  const char* const no = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  return (no == nullptr || *no == '\0') && !(term != nullptr && std::string_view(term) == "dumb");
}

int print_once(pg::Session& session) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  const ScreenOptions screen{terminal ? terminal_columns(STDOUT_FILENO) : 160, 0, terminal && colour_wanted()};
  std::string out;
  for (const std::string& line : status_screen(queue::read_snapshot(session, {}), screen)) out += line + '\n';
  std::fwrite(out.data(), 1, out.size(), stdout);
  return std::fflush(stdout) == 0 ? kExitOk : kExitFindings;
}

int run(const Options& o) {
  auto session = o.database.connect("status");
  queue::require_schema(*session);
  if (o.json) return print_json(*session, o);
  if (!o.watch) return print_once(*session);
  const auto interval = std::chrono::milliseconds(std::llround(1000 * o.interval_s));
  return watch_status(
      std::move(session), [&o] { return o.database.connect("status"); }, interval, colour_wanted());
}

}  // namespace

void add_status_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("status", "Progress, ETA, workers, failures");
  command->description(
      "Shows what the database says: for each feature set a bar, counts, rate, and ETA with its interval; a line per worker; the last\n"
      "failures; slow partitions; and a map of the partitions, series by range. SELECT on schema regfeat suffices (role regfeat_reader).\n"
      "docs/progress.md explains the figures.");
  options->database.add_to(*command);
  CLI::Option* const watch = command->add_flag("--watch", options->watch, "Redraw until interrupted");
  command->add_flag("--json", options->json, "One JSON document (docs/progress.md), for machines")->excludes(watch);
  command->add_option("--history", options->history_minutes, "With --json: progress rows of the last N minutes too")
      ->type_name("N")
      ->check(CLI::Range(0, 100000));
  command->add_option("--interval", options->interval_s, "Seconds between two looks with --watch")
      ->type_name("S")
      ->check(CLI::Range(0.2, 3600.0))
      ->capture_default_str();
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
