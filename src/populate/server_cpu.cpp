#include "server_cpu.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace regfeatd::populate {
namespace {

struct ProcessTimes {
  std::string name;
  int parent = 0;
  double own_s = 0, children_s = 0;
};

/// proc(5): the fields of /proc/PID/stat, after the name in parentheses.
std::optional<ProcessTimes> read_process(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  const std::size_t open = line.find('('), close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  ProcessTimes p;
  p.name = line.substr(open + 1, close - open - 1);
  std::istringstream rest(line.substr(close + 1));
  std::string skipped;
  double user = 0, system = 0, children_user = 0, children_system = 0;
  rest >> skipped >> p.parent;
  for (int i = 0; i < 9; ++i) rest >> skipped;
  rest >> user >> system >> children_user >> children_system;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  p.own_s = (user + system) / ticks;
  p.children_s = (children_user + children_system) / ticks;
  return p;
}

}  // namespace

ServerCpu::ServerCpu(pg::Session& session) {
  pqxx::work tx(session.sql());
  if (!tx.exec1("SELECT inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()")[0].as<bool>()) return;
  const auto backend = read_process(std::to_string(session.backend_pid()));
  if (!backend || backend->name.find("postgres") == std::string::npos) return;
  const auto parent = read_process(std::to_string(backend->parent));
  if (parent && parent->name.find("postgres") != std::string::npos) postmaster_ = backend->parent;
}

std::optional<double> ServerCpu::seconds() const {
  if (postmaster_ == 0) return std::nullopt;
  const auto server = read_process(std::to_string(postmaster_));
  if (!server) return std::nullopt;
  double total = server->own_s + server->children_s;  // the latter: of connections that ended
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(opendir("/proc"), closedir);
  if (!proc) return std::nullopt;
  while (const dirent* entry = readdir(proc.get())) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    const auto process = read_process(entry->d_name);
    if (process && process->parent == postmaster_) total += process->own_s;
  }
  return total;
}

double client_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace regfeatd::populate
