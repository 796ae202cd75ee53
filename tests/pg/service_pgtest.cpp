// What a service manager is told (sd_notify), over a socket of the test's own: ready, reload, progress, stop; and that the
// watchdog is fed only while every thread lives. Threads are frozen from outside, with ptrace.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <regex>

#include "chaos.hpp"

namespace regfeatd::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// The manager's end of $NOTIFY_SOCKET.
class NotifySocket {
 public:
  NotifySocket()
      : folder_("notify", ""), path_(folder_.path() + ".socket"), fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("bind");
  }
  ~NotifySocket() { close(fd_); }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  /// The next message; empty: none within `timeout`.
  std::string next(std::chrono::milliseconds timeout) {
    pollfd p{fd_, POLLIN, 0};
    if (poll(&p, 1, static_cast<int>(timeout.count())) <= 0) return {};
    std::array<char, 4096> buffer{};
    const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
    return std::string(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  }
  /// Reads messages, for half a minute at the most, until one contains `text`; that one.
  std::string wait_for(const std::string& text) {
    for (const auto until = Clock::now() + 30s; Clock::now() < until;) {
      std::string message = next(100ms);
      if (message.find(text) != std::string::npos) return message;
    }
    return {};
  }
  /// The same with a regular expression.
  std::string wait_for_match(const std::string& pattern) {
    const std::regex expression(pattern);
    for (const auto until = Clock::now() + 30s; Clock::now() < until;) {
      std::string message = next(100ms);
      if (std::regex_search(message, expression)) return message;
    }
    return {};
  }
  /// Waits, for half a minute at the most, for `quiet` without a sign from the daemon that it lives.
  bool falls_silent(std::chrono::milliseconds quiet) {
    auto last = Clock::now();
    for (const auto until = last + 30s; Clock::now() < until;) {
      if (next(50ms).find("WATCHDOG=1") != std::string::npos) last = Clock::now();
      if (Clock::now() - last > quiet) return true;
    }
    return false;
  }

 private:
  TemporaryFile folder_;
  std::string path_;
  int fd_;
};

/// The thread of a process with a given name, stopped for as long as this lives, while the others run.
class FrozenThread {
 public:
  FrozenThread(pid_t pid, const std::string& name) {
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
      std::string comm;
      std::getline(std::ifstream(entry.path() / "comm") >> std::ws, comm);
      const pid_t id = std::stoi(entry.path().filename());
      if (comm == name && (id_ == 0 || id < id_))
        id_ = id;  // the main thread is the oldest of those that have its name
    }
    if (id_ == 0) return;
    frozen_ = ptrace(PTRACE_SEIZE, id_, nullptr, nullptr) == 0 &&
              ptrace(PTRACE_INTERRUPT, id_, nullptr, nullptr) == 0 && waitpid(id_, nullptr, __WALL) == id_;
  }
  ~FrozenThread() {
    if (frozen_) ptrace(PTRACE_DETACH, id_, nullptr, nullptr);
  }
  FrozenThread(const FrozenThread&) = delete;
  FrozenThread& operator=(const FrozenThread&) = delete;
  [[nodiscard]] bool found() const { return id_ != 0; }
  [[nodiscard]] bool frozen() const { return frozen_; }

 private:
  pid_t id_ = 0;
  bool frozen_ = false;
};

std::int64_t monotonic_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

class Service : public ::testing::Test {
 protected:
  void SetUp() override {
    db_.migrate();
    db_.make_bars("eurusd", 20);
    const TemporaryFile file("spec.yaml", bars_specification({"eurusd"}, 20));
    ASSERT_EQ(db_.regfeatd({"apply", file.path()}).exit_status, 0);
  }
  /// As systemd starts it, with WatchdogSec=1s.
  [[nodiscard]] std::vector<std::string> daemon(const std::string& config) const {
    return {"/usr/bin/env",
            "NOTIFY_SOCKET=" + socket_.path(),
            "WATCHDOG_USEC=1000000",
            REGFEATD_BINARY,
            "run",
            "--config",
            config,
            "--conninfo",
            db_.conninfo()};
  }

  Database db_;
  NotifySocket socket_;
};

TEST_F(Service, ReadyProgressReloadStop) {
  // Somebody holds a table of the job, so that there is something left to do until the test has seen enough.
  auto blocker = db_.session();
  std::optional<pqxx::work> lock(std::in_place, blocker->sql());
  lock->exec("LOCK TABLE bqx.m1_eurusd IN ACCESS EXCLUSIVE MODE");
  const TemporaryFile config("regfeatd.yaml",
                             "workers: 1\nprogress: 100ms\nretry: { base: 50ms, cap: 100ms }\nshutdown_grace: 7s\n");
  Process process(daemon(config.path()));
  EXPECT_EQ(socket_.wait_for("READY=1"), "READY=1");
  EXPECT_NE(socket_.wait_for("STATUS=bars 0.0 %, ETA"), "");

  // A worker that waits for the server (here for a lock) is not a hung one: the watchdog is fed for several intervals.
  ASSERT_TRUE(
      eventually([&] { return db_.count("SELECT count(*) FROM regfeat.partition WHERE state = 'running'") == 1; }));
  for (int i = 0; i < 12; ++i) EXPECT_EQ(socket_.wait_for("WATCHDOG=1"), "WATCHDOG=1");

  std::ofstream(config.path())  // slow enough to be watched
      << "workers: 3\nprogress: 100ms\nretry: { base: 50ms, cap: 100ms }\nshutdown_grace: 7s\n"
         "throttle: { rows_per_second: 15000 }\n";
  const auto before = monotonic_us();
  process.signal(SIGHUP);
  const std::string reloading = socket_.wait_for("RELOADING=1");
  const auto after = monotonic_us();
  const auto at = reloading.find("MONOTONIC_USEC=");
  ASSERT_NE(at, std::string::npos) << reloading;
  const auto said = std::stoll(reloading.substr(at + std::strlen("MONOTONIC_USEC=")));
  EXPECT_GE(said, before);
  EXPECT_LE(said, after);
  EXPECT_EQ(socket_.wait_for("READY=1"), "READY=1");
  EXPECT_TRUE(eventually([&] { return db_.text("SELECT workers_configured FROM regfeat.daemons") == "3"; }));

  lock.reset();
  EXPECT_NE(socket_.wait_for_match(R"(STATUS=bars ([1-9]\d?\.\d|0\.[1-9]) %, ETA \d+)"), "");
  EXPECT_NE(socket_.wait_for("STATUS=idle"), "");
  process.signal(SIGTERM);
  const std::string stopping = socket_.wait_for("STOPPING=1");
  EXPECT_NE(stopping.find("EXTEND_TIMEOUT_USEC=22000000"), std::string::npos) << stopping;
  EXPECT_EQ(process.wait().exit_status, 0);
  EXPECT_EQ(db_.count("SELECT count(*) FROM regfeat.partition WHERE state IN ('done', 'empty')"), 20);
}

TEST_F(Service, WhateverThreadHangsTheWatchdogIsNotFed) {
  const TemporaryFile config("regfeatd.yaml", "workers: 2\npoll: 100ms\nprogress: 100ms\nheartbeat: 200ms\n");
  Process process(daemon(config.path()));
  ASSERT_EQ(socket_.wait_for("READY=1"), "READY=1");
  ASSERT_NE(socket_.wait_for("STATUS=idle"), "");
  for (const char* name : {"worker 1", "reporter", "regfeatd"}) {  // the control thread has the program's name
    ASSERT_EQ(socket_.wait_for("WATCHDOG=1"), "WATCHDOG=1") << "before " << name;
    {
      const FrozenThread thread(process.pid(), name);
      ASSERT_TRUE(thread.found()) << name;
      if (!thread.frozen()) GTEST_SKIP() << "threads cannot be traced here (ptrace): " << std::strerror(errno);
      EXPECT_TRUE(socket_.falls_silent(1s)) << name;
    }
    EXPECT_EQ(socket_.wait_for("WATCHDOG=1"), "WATCHDOG=1") << "after " << name;
  }
  process.signal(SIGTERM);
  const Finished f = process.wait();
  EXPECT_EQ(f.exit_status, 0);
  EXPECT_NE(f.out.find("a thread hangs: the watchdog is not fed any more thread=\"worker 1\""), std::string::npos)
      << f.out;
  EXPECT_NE(f.out.find("a thread hangs: the watchdog is not fed any more thread=reporter"), std::string::npos) << f.out;
}

TEST_F(Service, AConfigurationThatCannotWorkEndsWith78AndIsNeverReady) {
  const TemporaryFile config("regfeatd.yaml", "worker: 5\n");
  Process process(daemon(config.path()));
  EXPECT_EQ(process.wait().exit_status, 78);
  EXPECT_EQ(socket_.next(0ms), "");
}

}  // namespace
}  // namespace regfeatd::test
