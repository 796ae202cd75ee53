#include "pulse.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>

namespace regfeatd::daemon {
namespace {

std::string task_file(int thread_id, const char* name) {
  return "/proc/self/task/" + std::to_string(thread_id) + '/' + name;
}

struct TaskStatus {
  char state = '?';  ///< S sleeping, R running, T and t stopped (proc(5))
  std::int64_t voluntary_switches = -1;
};

std::optional<TaskStatus> task_status(int thread_id) {
  std::ifstream file(task_file(thread_id, "status"));
  TaskStatus status;
  std::string key;
  while (file >> key) {
    if (key == "State:") file >> status.state;
    if (key == "voluntary_ctxt_switches:") {
      file >> status.voluntary_switches;
      return status;
    }
  }
  return std::nullopt;
}

/// Is the thread, asleep, in a call that waits for a peer? nullopt: the kernel does not tell.
std::optional<bool> waits_for_network(int thread_id) {
  static constexpr std::array kCalls{
#ifdef SYS_poll
      SYS_poll,  SYS_select,
#endif
      SYS_ppoll, SYS_pselect6, SYS_connect, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_clock_nanosleep};
  std::ifstream file(task_file(thread_id, "syscall"));
  long call = -1;
  if (!(file >> call)) return std::nullopt;
  return std::find(kCalls.begin(), kCalls.end(), call) != kCalls.end();
}

}  // namespace

void Pulse::begin(const std::string& thread_name) {
  (void)pthread_setname_np(pthread_self(), thread_name.substr(0, 15).c_str());
  beat();
  thread_id_.store(static_cast<int>(syscall(SYS_gettid)));
}

bool PulseWatch::hung(const Pulse& pulse, Pulse::Clock::duration limit) {
  const int thread_id = pulse.thread_id_.load();
  if (thread_id == 0 || Pulse::Clock::now() < pulse.due_.load(std::memory_order_relaxed) + limit) {
    thread_id_ = 0;
    return false;
  }
  const auto status = task_status(thread_id);
  if (!status) return false;  // it ended just now, or there is no /proc: nothing can be told
  const bool first_look = thread_id_ != thread_id;
  const bool switched = status->voluntary_switches != switches_;
  thread_id_ = thread_id;
  switches_ = status->voluntary_switches;
  if (first_look || switched) return false;
  return status->state != 'S' || !waits_for_network(thread_id).value_or(true);
}

}  // namespace regfeatd::daemon
