#include "service_manager.hpp"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <cstdint>
#include <ctime>

#include "regfeatd/base/quantity.hpp"

namespace regfeatd::daemon {

ServiceManager::ServiceManager() {
  std::uint64_t us = 0;
  if (sd_watchdog_enabled(0, &us) > 0 && us > 0) watchdog_interval_ = std::chrono::microseconds{us};
}

void ServiceManager::ready() const { sd_notify(0, "READY=1"); }

void ServiceManager::reloading() const {
  // Type=notify-reload (systemd 253) tells reloads apart by the time; older ones ignore it.
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto us = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
  sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", us).c_str());
}

void ServiceManager::stopping(std::chrono::microseconds grace) const {
  constexpr std::chrono::microseconds kToGiveBack = std::chrono::seconds{15};
  sd_notify(0, fmt::format("STOPPING=1\nSTATUS=finishing what is in hand, for at most {}\nEXTEND_TIMEOUT_USEC={}",
                           format_duration(grace), (grace + kToGiveBack).count())
                   .c_str());
}

void ServiceManager::status(const std::string& line) const { sd_notify(0, ("STATUS=" + line).c_str()); }

void ServiceManager::feed_watchdog() const { sd_notify(0, "WATCHDOG=1"); }

std::string status_line(const std::vector<queue::FeatureSetStatus>& sets) {
  constexpr std::size_t kMostShown = 3;
  std::string out;
  std::size_t active = 0;
  std::int64_t failed = 0;
  for (const queue::FeatureSetStatus& s : sets) {
    failed += s.failed;
    if (s.pending + s.running == 0 || ++active > kMostShown) continue;
    out += fmt::format("{}{} {:.1f} %", out.empty() ? "" : "; ", s.name, s.percent);
    if (!s.paused_reason.empty()) {
      out += ", paused";
    } else if (s.eta_s) {
      out += ", ETA " + format_seconds(*s.eta_s);
    } else {
      out += s.stalled.empty() ? ", ETA unknown yet" : ", stalled";
    }
  }
  if (active > kMostShown) out += fmt::format("; and {} more", active - kMostShown);
  if (active == 0) out = "idle: nothing to do";
  if (failed > 0) out += fmt::format("; {} failed", failed);
  return out;
}

}  // namespace regfeatd::daemon
