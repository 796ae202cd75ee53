#include "spec/cores.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#include "regfeatd/spec/settings.hpp"

namespace regfeatd::spec {
namespace {

/// The path of the v2 hierarchy: the line `0::/path`.
std::optional<std::string> v2_path(const std::string& membership) {
  std::istringstream in(membership);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("0::/")) return line.substr(4);
  }
  return std::nullopt;
}

/// `max 100000` or `150000 100000`: microseconds of CPU per microseconds.
std::optional<int> quota(const std::filesystem::path& cgroup) {
  std::ifstream in(cgroup / "cpu.max");
  std::string most;
  long long period = 0;
  if (!(in >> most >> period) || most == "max" || period <= 0) return std::nullopt;
  std::istringstream number(most);
  long long us = 0;
  if (!(number >> us) || us <= 0) return std::nullopt;
  return static_cast<int>(std::clamp((us - 1) / period + 1, 1LL, 1'000'000LL));
}

std::optional<int> affinity_cores() {
  // The kernel refuses a mask smaller than its own; machines with more than 1024 processors need a larger
  // one.
  for (int most = 1024; most <= 1 << 20; most *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(static_cast<std::size_t>(most)),
                                                               [](cpu_set_t* s) { CPU_FREE(s); });
    if (!set) return std::nullopt;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(most));
    if (sched_getaffinity(0, bytes, set.get()) == 0) return CPU_COUNT_S(bytes, set.get());
    if (errno != EINVAL) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::optional<int> cgroup_cores(const std::filesystem::path& root, const std::string& membership) {
  const auto path = v2_path(membership);
  if (!path) return std::nullopt;
  std::optional<int> least;
  std::filesystem::path at = root;
  const auto look = [&] {
    if (const auto cores = quota(at)) least = std::min(least.value_or(*cores), *cores);
  };
  look();
  for (const std::filesystem::path& part : std::filesystem::path(*path)) {
    if (part.empty() || part == "." || part == "..") continue;
    at /= part;
    look();
  }
  return least;
}

int available_cores() {
  int cores = affinity_cores().value_or(static_cast<int>(std::thread::hardware_concurrency()));
  std::ifstream in("/proc/self/cgroup");
  std::ostringstream membership;
  membership << in.rdbuf();
  if (const auto quota = cgroup_cores("/sys/fs/cgroup", membership.str())) cores = std::min(cores, *quota);
  return std::max(cores, 1);
}

int automatic_workers() {
  const int cores = available_cores();
  return cores + (cores + 1) / 2;
}

}  // namespace regfeatd::spec
