#include <nlohmann/json.hpp>

#include "regfeatd/base/build_info.hpp"
#include "regfeatd/queue/status.hpp"

namespace regfeatd::queue {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json value_of(const std::optional<T>& v) {
  return v ? Json(*v) : Json(nullptr);
}

Json value_of(const std::string& s) { return s.empty() ? Json(nullptr) : Json(s); }

Json eta_of(const std::optional<double>& median, const std::optional<double>& low, const std::optional<double>& high) {
  if (!median) return nullptr;
  return {{"seconds", *median}, {"low_seconds", value_of(low)}, {"high_seconds", value_of(high)}};
}

Json json_of(const FeatureSetStatus& s) {
  return {{"name", s.name},
          {"partitions",
           {{"total", s.partitions},
            {"pending", s.pending},
            {"running", s.running},
            {"done", s.done},
            {"empty", s.empty},
            {"failed", s.failed},
            {"cancelled", s.cancelled}}},
          {"percent", s.percent},
          {"rows", {{"done", s.rows_done}, {"total", value_of(s.rows_total)}}},
          {"bytes", {{"done", s.bytes_done}, {"total", value_of(s.bytes_total)}}},
          {"rows_per_second", {{"smoothed", value_of(s.rows_per_second)}, {"now", value_of(s.rows_per_second_now)}}},
          {"eta", eta_of(s.eta_s, s.eta_low_s, s.eta_high_s)},
          {"workers", {{"active", s.workers}, {"configured", s.workers_configured}}},
          {"stalled", value_of(s.stalled)},
          {"limited_by", value_of(s.limited_by)},
          {"slow_partitions", s.slow_partitions},
          {"paused", value_of(s.paused_reason)},
          {"blocked", s.blocked},
          {"blocked_reason", value_of(s.blocked_reason)}};
}

Json json_of(const DaemonStatus& d) {
  return {{"id", d.id},
          {"name", d.name},
          {"host", d.host},
          {"state", d.state},
          {"alive", d.alive},
          {"heartbeat_age_seconds", d.heartbeat_age_s},
          {"workers", {{"active", d.workers_active}, {"configured", d.workers_configured}}},
          {"build", d.build_id},
          {"started_at", d.started_at},
          {"message", value_of(d.message)}};
}

Json json_of(const WorkerStatus& w) {
  return {{"daemon", w.daemon},
          {"worker", w.worker},
          {"step", w.step},
          {"step_seconds", w.step_seconds},
          {"feature_set", value_of(w.feature_set)},
          {"series", value_of(w.series)},
          {"from", value_of(w.from)},
          {"rows", {{"done", w.rows_done}, {"total", w.rows_total}}}};
}

Json json_of(const FailureStatus& f) {
  return {{"at", value_of(f.at)},
          {"feature_set", f.feature_set},
          {"series", f.series},
          {"from", f.from},
          {"outcome", f.outcome},
          {"step", value_of(f.step)},
          {"message", value_of(f.message)}};
}

Json json_of(const SlowPartition& s) {
  return {{"feature_set", s.feature_set},   {"series", s.series}, {"from", s.from}, {"seconds", s.seconds},
          {"times_median", s.times_median}, {"phase", s.phase}};
}

Json json_of(const HeatMap& m) {
  return {{"feature_set", m.feature_set}, {"series", m.series}, {"from", m.from}, {"to", m.to}, {"states", m.rows}};
}

Json json_of(const ProgressPoint& p) {
  return {{"feature_set", p.feature_set},
          {"at", p.at},
          {"percent", p.percent},
          {"rows_done", p.rows_done},
          {"rows_per_second", {{"smoothed", value_of(p.rows_per_second)}, {"now", value_of(p.rows_per_second_now)}}},
          {"workers", {{"active", p.workers_active}, {"configured", p.workers_configured}}},
          {"eta", eta_of(p.eta_s, p.eta_low_s, p.eta_high_s)}};
}

template <class T>
Json list_of(const std::vector<T>& all) {
  Json out = Json::array();
  for (const T& each : all) out.push_back(json_of(each));
  return out;
}

}  // namespace

std::string to_json(const Snapshot& s) {
  const Json document{{"version", 1},
                      {"build", std::string(build_id())},
                      {"at", s.at},
                      {"at_seconds", s.at_s},
                      {"feature_sets", list_of(s.feature_sets)},
                      {"daemons", list_of(s.daemons)},
                      {"workers", list_of(s.workers)},
                      {"failures", list_of(s.failures)},
                      {"slow_partitions", list_of(s.slow_partitions)},
                      {"heat_maps", list_of(s.heat_maps)},
                      {"history", list_of(s.history)}};
  // Messages come from everywhere; what is not UTF-8 in them must not cost the whole document.
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace regfeatd::queue
