#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "regfeatd/spec/settings.hpp"

namespace regfeatd::spec {
namespace {

/// As the configuration file has it: in the largest unit that divides it.
std::string exact(std::chrono::microseconds d) {
  static constexpr std::array<std::pair<std::int64_t, const char*>, 6> kUnits{
      {{86'400'000'000, "d"}, {3'600'000'000, "h"}, {60'000'000, "min"}, {1'000'000, "s"}, {1'000, "ms"}, {1, "us"}}};
  for (const auto& [size, name] : kUnits) {
    if (d.count() != 0 && d.count() % size == 0) return std::to_string(d.count() / size) + name;
  }
  return "0s";
}

std::string exact(std::uint64_t bytes) {
  static constexpr std::array<std::pair<std::uint64_t, const char*>, 3> kUnits{
      {{1ull << 30, "GiB"}, {1ull << 20, "MiB"}, {1ull << 10, "KiB"}}};
  for (const auto& [size, name] : kUnits) {
    if (bytes != 0 && bytes % size == 0) return std::to_string(bytes / size) + name;
  }
  return std::to_string(bytes);
}

const char* name_of(log::Level level) {
  switch (level) {
    case log::Level::debug:
      return "debug";
    case log::Level::info:
      return "info";
    case log::Level::warning:
      return "warning";
    case log::Level::error:
      return "error";
  }
  return "";
}

}  // namespace

std::string settings_json(const Settings& s) {
  nlohmann::json out{
      {"workers", s.workers ? nlohmann::json(*s.workers) : nlohmann::json("auto")},
      {"writers", s.writers ? nlohmann::json(*s.writers) : nlohmann::json("all")},
      {"memory_budget", exact(s.memory_budget_bytes)},
      {"lease", exact(s.lease)},
      {"heartbeat", exact(s.heartbeat)},
      {"poll", exact(s.poll)},
      {"listen", s.listen},
      {"progress", exact(s.progress)},
      {"stalled_after", exact(s.stalled_after)},
      {"retry", {{"attempts", s.retry.attempts}, {"base", exact(s.retry.base)}, {"cap", exact(s.retry.cap)}}},
      {"retention", {{"attempts", exact(s.retention.attempts)}, {"progress", exact(s.retention.progress)}}},
      {"shutdown_grace", exact(s.shutdown_grace)},
      {"log", {{"level", name_of(s.log_level)}, {"format", s.log_format == log::Format::json ? "json" : "text"}}},
      {"file", s.file}};
  nlohmann::json& throttle = out["throttle"] = nlohmann::json::object();
  if (s.throttle.automatic) throttle["automatic"] = true;
  if (s.throttle.rows_per_second) throttle["rows_per_second"] = *s.throttle.rows_per_second;
  if (s.throttle.commit_latency) throttle["commit_latency"] = exact(*s.throttle.commit_latency);
  if (s.throttle.replication_lag_bytes) throttle["replication_lag"] = exact(*s.throttle.replication_lag_bytes);
  nlohmann::json& http = out["http"] = nlohmann::json::object();
  if (s.http.port) http = {{"address", s.http.address}, {"port", *s.http.port}};
  if (!s.daemon_name.empty()) out["daemon_name"] = s.daemon_name;
  return out.dump();
}

}  // namespace regfeatd::spec
