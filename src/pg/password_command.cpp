#include "pg/password_command.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <thread>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::pg {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMostBytes = 64u << 10;  // a token of RDS has about 2 KiB

/// A running program with its standard output and error; killed, with its process group, at the end of the scope.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Reads both outputs until the program closes them. false: the time is up.
  [[nodiscard]] bool read_all(Clock::time_point until);
  /// Its wait status, or nullopt when the time is up.
  [[nodiscard]] bool wait(Clock::time_point until, int& status);
  std::string out, error;

 private:
  pid_t pid_ = -1;
  std::array<int, 2> outputs_{-1, -1};
};

Child::Child(const std::vector<std::string>& command) {
  std::array<int, 2> out_ends{}, error_ends{};
  if (pipe2(out_ends.data(), O_CLOEXEC) != 0)
    throw Fault(FaultClass::transient, "database.password_command: cannot make a pipe");
  if (pipe2(error_ends.data(), O_CLOEXEC) != 0) {
    for (const int fd : out_ends) close(fd);
    throw Fault(FaultClass::transient, "database.password_command: cannot make a pipe");
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, error_ends[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int failure = posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(out_ends[1]);
  close(error_ends[1]);
  outputs_ = {out_ends[0], error_ends[0]};
  if (failure != 0) {
    pid_ = -1;
    for (const int fd : outputs_) close(fd);
    throw Fault(FaultClass::configuration,
                fmt::format("database.password_command: cannot run \"{}\": {}", command[0], std::strerror(failure)));
  }
}

Child::~Child() {
  for (const int fd : outputs_) close(fd);
  if (pid_ == -1) return;
  kill(-pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) == -1 && errno == EINTR) {
  }
}

bool Child::read_all(Clock::time_point until) {
  std::array<pollfd, 2> fds{{{outputs_[0], POLLIN, 0}, {outputs_[1], POLLIN, 0}}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return false;
    if (poll(fds.data(), fds.size(), static_cast<int>(left)) < 0 && errno != EINTR) return false;
    for (std::size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      std::array<char, 4096> buffer{};
      const ssize_t n = read(fds[i].fd, buffer.data(), buffer.size());
      std::string& text = i == 0 ? out : error;
      if (n > 0 && text.size() < kMostBytes) text.append(buffer.data(), static_cast<std::size_t>(n));
      if (n == 0 || (n < 0 && errno != EINTR)) fds[i].fd = -1;
    }
  }
  return true;
}

bool Child::wait(Clock::time_point until, int& status) {
  for (;;) {
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return true;
    }
    if (Clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{2});
  }
}

std::string first_line(const std::string& text) { return text.substr(0, text.find_first_of("\r\n")); }

/// What may be a password in what the program printed: its lines, and words that are long enough for one. Longest
/// first, so that none is taken apart by a part of it.
std::vector<std::string_view> secrets(std::string_view printed) {
  std::vector<std::string_view> out;
  const auto cut = [&](std::string_view separators, std::size_t least) {
    for (std::size_t at = 0; (at = printed.find_first_not_of(separators, at)) != printed.npos;) {
      const std::size_t end = std::min(printed.find_first_of(separators, at), printed.size());
      if (end - at >= least) out.push_back(printed.substr(at, end - at));
      at = end;
    }
  };
  cut("\r\n", 1);
  cut("\r\n\t '\"", 8);
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  return out;
}

/// The last line of what the program complained, shortened, without anything that it printed as a password.
std::string complaint(std::string error, std::string_view printed) {
  error.erase(error.find_last_not_of("\r\n ") + 1);
  error.erase(0, error.find_last_of("\r\n") + 1);
  for (const std::string_view secret : secrets(printed)) {
    for (std::size_t at = 0; (at = error.find(secret, at)) != std::string::npos; at += 3)
      error.replace(at, secret.size(), "***");
  }
  return error.empty() ? std::string{} : ": " + error.substr(0, 300);
}

}  // namespace

std::string run_password_command(const std::vector<std::string>& command, std::chrono::milliseconds timeout) {
  const auto until = Clock::now() + timeout;
  Child child(command);
  int status = 0;
  if (!child.read_all(until) || !child.wait(until, status)) {
    throw Fault(FaultClass::transient,
                fmt::format("database.password_command: \"{}\" did not end within {} ms and was killed; the limit is "
                            "database.password_command_timeout",
                            command[0], timeout.count()));
  }
  const std::string password = first_line(child.out);
  if (status != 0) {
    const std::string how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                                : fmt::format("failed with status {}", WEXITSTATUS(status));
    throw Fault(FaultClass::transient, fmt::format("database.password_command: \"{}\" {}{}", command[0], how,
                                                   complaint(child.error, child.out)));
  }
  if (password.empty())
    throw Fault(FaultClass::transient, fmt::format("database.password_command: \"{}\" printed nothing", command[0]));
  return password;
}

}  // namespace regfeatd::pg
