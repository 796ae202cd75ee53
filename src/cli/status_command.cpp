#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "command.hpp"
#include "database_options.hpp"
#include "regfeatd/queue/migrate.hpp"
#include "regfeatd/queue/status.hpp"
#include "status_screen.hpp"
#include "status_text.hpp"
#include "terminal_text.hpp"

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

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int print_once(pg::Session& session) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  const ScreenOptions screen{terminal ? terminal_columns(STDOUT_FILENO) : 160, 0, terminal && colour_wanted()};
  std::string out;
  for (const std::string& line : status_screen(queue::read_snapshot(session, {}), screen)) out += line + '\n';
  put(out);
  return kExitOk;
}

/// A frame after the other until SIGINT or SIGTERM. On a terminal each is written over the last one in one go, so that
/// nothing flickers; a change of its size is followed at once. Elsewhere the frames follow each other as plain text.
class Watch {
 public:
  explicit Watch(const Options& options) : options_(options) {
    sigemptyset(&signals_);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&signals_, s);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  ~Watch() {
    if (terminal_ && drawn_) put("\033[?7h\033[?25h");
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  int run(std::unique_ptr<pg::Session> session) {
    session_ = std::move(session);
    look();
    draw();
    for (;;) {
      switch (wait()) {
        case SIGWINCH:
          fresh_ = true;
          break;
        case 0:
          look();
          break;
        default:
          return kExitOk;
      }
      draw();
    }
  }

 private:
  /// A lost connection is a line on the screen, not the end.
  void look() {
    try {
      if (!session_ || session_->broken()) session_ = options_.database.connect("status");
      snapshot_ = queue::read_snapshot(*session_, {});
      problem_.clear();
    } catch (const Fault& e) {
      if (e.fault_class() != FaultClass::transient) throw;
      problem_ = e.what();
      session_.reset();
    }
  }

  void draw() {
    winsize size{};
    if (!terminal_ || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) size = {50, 160, 0, 0};
    const ScreenOptions screen{size.ws_col, terminal_ ? std::max(1, size.ws_row - 2) : 0, terminal_ && colour_wanted()};
    std::vector<std::string> lines = status_screen(snapshot_, screen);
    lines.insert(lines.begin(),
                 clipped(problem_.empty() ? "as of " + snapshot_.at
                                          : "as of " + snapshot_.at + "; database not available: " + problem_,
                         screen.columns));
    std::string out;
    if (!terminal_) {
      for (const std::string& line : lines) out += line + '\n';
      return put(out + '\n');
    }
    // Synchronised where the terminal knows that; no wrapping, so that a line cannot break while the size changes.
    out = drawn_ ? "\033[?2026h" : "\033[?2026h\033[?25l\033[?7l";
    out += fresh_ ? "\033[H\033[2J" : "\033[H";
    for (std::size_t i = 0; i < lines.size(); ++i) out += (i > 0 ? "\r\n" : "") + lines[i] + "\033[K";
    put(out + "\r\n\033[J\033[?2026l");
    fresh_ = false;
    drawn_ = true;
  }

  /// The signal that came within the interval; 0: none did.
  int wait() {
    const double whole = std::floor(options_.interval_s);
    const timespec interval{static_cast<time_t>(whole), static_cast<long>((options_.interval_s - whole) * 1e9)};
    const int signal = sigtimedwait(&signals_, nullptr, &interval);
    return signal > 0 ? signal : errno == EINTR ? SIGWINCH : 0;
  }

  const Options& options_;
  const bool terminal_ = isatty(STDOUT_FILENO) == 1;
  sigset_t signals_{};
  std::unique_ptr<pg::Session> session_;
  queue::Snapshot snapshot_;
  std::string problem_;
  bool fresh_ = true, drawn_ = false;
};

int run(const Options& o) {
  auto session = o.database.connect("status");
  queue::require_schema(*session);
  if (o.json) return print_json(*session, o);
  if (!o.watch) return print_once(*session);
  return Watch(o).run(std::move(session));
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
