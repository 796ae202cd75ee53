#include "status_watch.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "command.hpp"
#include "regfeatd/queue/status.hpp"
#include "status_screen.hpp"
#include "terminal_text.hpp"

namespace regfeatd::cli {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Connect = std::function<std::unique_ptr<pg::Session>()>;

constexpr auto kSlow = 5s;  // a look that takes longer is told

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

/// Reads the status in a thread of its own: libpq waits for the server without bound, and connecting cannot be interrupted.
class Looker {
 public:
  struct Seen {
    queue::Snapshot snapshot;
    std::string problem;  ///< why there is no snapshot; empty: there is
  };

  Looker(std::unique_ptr<pg::Session> session, Connect connect)
      : connect_(std::move(connect)), session_(std::move(session)), done_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Looker() { close(done_fd_); }
  Looker(const Looker&) = delete;
  Looker& operator=(const Looker&) = delete;

  /// Not while a look is under way.
  void begin() {
    seen_ = std::async(std::launch::async, [this] {
      const struct Done {
        int fd;
        ~Done() { (void)eventfd_write(fd, 1); }
      } done{done_fd_};
      return look();
    });
  }
  [[nodiscard]] int done_fd() const noexcept { return done_fd_; }  ///< readable once the look is over
  [[nodiscard]] Seen take() {
    eventfd_t ignored = 0;
    (void)eventfd_read(done_fd_, &ignored);
    return seen_.get();
  }
  /// Asks the server to end the query; does not wait for it.
  void cancel() {
    const std::lock_guard lock(mutex_);
    if (canceller_) std::thread([canceller = canceller_] { canceller->cancel(); }).detach();
  }

 private:
  Seen look() {
    try {
      if (!session_ || session_->broken()) session_ = connect_();
      {
        const std::lock_guard lock(mutex_);
        canceller_ = session_->canceller();
      }
      return {queue::read_snapshot(*session_, {}), {}};
    } catch (const Fault& e) {
      if (e.fault_class() != FaultClass::transient) throw;
      session_.reset();
      return {{}, e.what()};
    }
  }

  const Connect connect_;
  std::unique_ptr<pg::Session> session_;  ///< of the look that is under way
  std::mutex mutex_;
  std::shared_ptr<pg::Canceller> canceller_;  ///< under mutex_
  const int done_fd_;
  std::future<Seen> seen_;  ///< last: waited for first
};

class Watch {
 public:
  Watch(std::unique_ptr<pg::Session> session, Connect connect, bool colour)
      : colour_(colour), looker_(std::move(session), std::move(connect)) {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT}) sigaddset(&signals, s);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~Watch() {
    restore_terminal();
    close(signal_fd_);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  int run(std::chrono::milliseconds interval) {
    for (;;) {
      looker_.begin();
      if (!await_look()) return leave();
      draw();
      const auto next = Clock::now() + interval;
      for (Event e; (e = wait(next, false)) != Event::time;) {
        if (e == Event::end) return kExitOk;
        if (terminal_) draw();
      }
    }
  }

 private:
  enum class Event { time, size, end, looked };

  /// false: a signal ends the program.
  bool await_look() {
    const auto begin = Clock::now();
    for (;;) {
      switch (wait(Clock::now() + 1s, true)) {
        case Event::end:
          return false;
        case Event::looked: {
          Looker::Seen seen = looker_.take();
          problem_ = seen.problem.empty() ? std::string() : "; database not available: " + printable(seen.problem);
          if (problem_.empty()) snapshot_ = std::move(seen.snapshot);
          return true;
        }
        case Event::time:
          if (Clock::now() - begin < kSlow) break;
          problem_ = fmt::format("; the database has not answered for {} s", (Clock::now() - begin) / 1s);
          [[fallthrough]];
        case Event::size:
          if (terminal_) draw();
          break;
      }
    }
  }

  /// Interrupted in the middle of a look.
  int leave() {
    looker_.cancel();
    const auto patience = Clock::now() + 1s;
    Event e = Event::size;
    while (e == Event::size) e = wait(patience, true);
    if (e == Event::looked) return kExitOk;
    // Its thread cannot be waited for: the server does not answer.
    restore_terminal();
    std::_Exit(kExitOk);
  }

  /// What comes first until `until`.
  Event wait(Clock::time_point until, bool looking) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    std::array<pollfd, 2> fds{{{signal_fd_, POLLIN, 0}, {looking ? looker_.done_fd() : -1, POLLIN, 0}}};
    const int ready = poll(fds.data(), fds.size(), static_cast<int>(std::max<std::int64_t>(0, left.count())));
    signalfd_siginfo signal{};
    if (fds[0].revents != 0 && read(signal_fd_, &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
      if (signal.ssi_signo != SIGWINCH && signal.ssi_signo != SIGCONT) return Event::end;
      fresh_ = true;
      return Event::size;
    }
    if (fds[1].revents != 0) return Event::looked;
    return ready < 0 ? Event::size : Event::time;
  }

  void draw() {
    winsize size{};
    if (!terminal_ || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) size = {50, 160, 0, 0};
    const ScreenOptions screen{size.ws_col, terminal_ ? std::max(1, size.ws_row - 2) : 0, terminal_ && colour_};
    std::vector<std::string> lines;
    if (!snapshot_.at.empty()) lines = status_screen(snapshot_, screen);
    lines.insert(lines.begin(), clipped(first_line(), screen.columns));
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

  [[nodiscard]] std::string first_line() const {
    return (snapshot_.at.empty() ? "nothing was seen yet" : "as of " + snapshot_.at) + problem_;
  }

  void restore_terminal() {
    if (terminal_ && drawn_) put("\033[?7h\033[?25h");
    drawn_ = false;
  }

  const bool terminal_ = isatty(STDOUT_FILENO) == 1;
  const bool colour_;
  int signal_fd_ = -1;
  queue::Snapshot snapshot_;
  std::string problem_;  ///< behind the time of the snapshot
  bool fresh_ = true, drawn_ = false;
  Looker looker_;  // last: its thread ends first
};

}  // namespace

int watch_status(std::unique_ptr<pg::Session> session, Connect connect, std::chrono::milliseconds interval,
                 bool colour) {
  return Watch(std::move(session), std::move(connect), colour).run(interval);
}

}  // namespace regfeatd::cli
