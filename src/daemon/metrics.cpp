#include "metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <optional>
#include <set>

#include "regfeatd/base/build_info.hpp"
#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::daemon {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;

const Histogram::BucketBoundaries& buckets() {
  static const Histogram::BucketBoundaries all{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                               1,     2.5,    5,     10,   30,    60,   300, 1800};
  return all;
}

double now_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// A gauge that exists only while its value is known.
void put(Family<Gauge>& family, const Labels& labels, std::optional<double> value) {
  if (value) {
    family.Add(labels).Set(*value);
  } else if (family.Has(labels)) {
    family.Remove(&family.Add(labels));
  }
}

template <class T>
std::optional<double> number(const std::optional<T>& v) {
  return v ? std::optional<double>(static_cast<double>(*v)) : std::nullopt;
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;

  Family<Gauge>& gauge(const std::string& name, const std::string& help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  Family<Counter>& counter(const std::string& name, const std::string& help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Histogram>& histogram(const std::string& name, const std::string& help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }

  // This daemon.
  Family<Gauge>& build =
      gauge("regfeatd_build_info", "Always 1; the labels name the build and the instruction set of the fits.");
  Gauge& started = gauge("process_start_time_seconds", "When this process started, in seconds since 1970.").Add({});
  Gauge& heartbeat = gauge("regfeatd_heartbeat_timestamp_seconds",
                           "When the database last acknowledged a heartbeat, in seconds since 1970.")
                         .Add({});
  Gauge& lease_held =
      gauge("regfeatd_lease_held", "1 while heartbeats are acknowledged within the lease; at 0 nothing is claimed.")
          .Add({});
  Gauge& draining =
      gauge("regfeatd_draining", "1 while this daemon finishes what it has in hand and claims nothing more.").Add({});
  Gauge& configured = gauge("regfeatd_workers_configured", "Workers that this daemon keeps running.").Add({});
  Gauge& idle = gauge("regfeatd_workers_idle", "Of these, workers whose last claim found nothing.").Add({});
  Family<Counter>& attempts = counter("regfeatd_attempts_total", "Attempts of this daemon that are over, by outcome.");
  Family<Counter>& rows_in =
      counter("regfeatd_source_rows_total", "Source rows of the partitions that this daemon has done.");
  Family<Counter>& rows_out =
      counter("regfeatd_target_rows_total", "Rows per target of the partitions that this daemon has done.");
  Family<Counter>& bytes_out =
      counter("regfeatd_copy_bytes_total", "Bytes that this daemon has sent by COPY in attempts that were committed.");
  Family<Histogram>& phases =
      histogram("regfeatd_phase_seconds", "Time of this daemon's successful attempts in each phase of a partition.");
  Family<Histogram>& partitions_done =
      histogram("regfeatd_attempt_seconds", "Time of this daemon's successful attempts from the claim to the commit.");
  Family<Counter>& responses = counter("regfeatd_http_responses_total", "Answers of this HTTP server, by status code.");

  // The feature sets, whoever computes them.
  Family<Gauge>& partitions = gauge("regfeatd_partitions", "Partitions of a feature set in each state.");
  Family<Gauge>& rows_done = gauge("regfeatd_rows_done", "Source rows of the finished partitions of a feature set.");
  Family<Gauge>& rows_expected =
      gauge("regfeatd_rows_expected", "Source rows of all partitions of a feature set; no sample: unknown.");
  Family<Gauge>& progress =
      gauge("regfeatd_progress_ratio", "Part of a feature set that is done, by rows, from 0 to 1.");
  Family<Gauge>& speed = gauge("regfeatd_rows_per_second",
                               "Source rows per second of all daemons, smoothed; no sample: unknown or nothing runs.");
  Family<Gauge>& eta = gauge("regfeatd_eta_timestamp_seconds",
                             "When a feature set will be done, in seconds since 1970; bound low, median or "
                             "high. No sample: unknown.");
  Family<Gauge>& workers = gauge("regfeatd_workers_active", "Workers of all daemons on a feature set.");
  Family<Gauge>& stalled = gauge(
      "regfeatd_stalled", "1 while a feature set is stalled: nothing has finished for three times the expected time.");
  Family<Gauge>& slow =
      gauge("regfeatd_slow_partitions",
            "Finished partitions that took over twice the median seconds per row of their feature set.");
  Family<Gauge>& paused =
      gauge("regfeatd_paused", "1 while a feature set is paused, by an operator or by its breaker.");
  Gauge& reported = gauge("regfeatd_status_timestamp_seconds",
                          "When the values of the feature sets were read, in seconds since 1970.")
                        .Add({});

  std::set<std::string> known;  ///< feature sets that have gauges; only the reporter comes here

  void put_all(const queue::FeatureSetStatus* s, const std::string& name, double now);
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  impl_->build.Add({{"build", std::string(build_id())}, {"kernel", std::string(fit::kernel_name())}}).Set(1);
  impl_->started.Set(now_s());
  set_heartbeat();  // registering counts as one
}

Metrics::~Metrics() = default;

void Metrics::count(const queue::FinishedAttempt& a) {
  const Labels set{{"feature_set", a.feature_set}};
  impl_->attempts.Add({{"feature_set", a.feature_set}, {"outcome", a.outcome}}).Increment();
  if (a.outcome != "done" && a.outcome != "empty" && a.outcome != "unchanged") return;
  impl_->rows_in.Add(set).Increment(static_cast<double>(a.rows_in));
  impl_->rows_out.Add(set).Increment(static_cast<double>(a.rows_out));
  impl_->bytes_out.Add(set).Increment(static_cast<double>(a.bytes_out));
  impl_->partitions_done.Add(set, buckets()).Observe(a.seconds);
  for (std::size_t i = 0; i < a.phase_seconds.size(); ++i) {
    if (a.phase_seconds[i])
      impl_->phases.Add({{"feature_set", a.feature_set}, {"phase", queue::FinishedAttempt::kPhases[i]}}, buckets())
          .Observe(*a.phase_seconds[i]);
  }
}

/// With `s` null: takes the feature set's gauges away.
void Metrics::Impl::put_all(const queue::FeatureSetStatus* s, const std::string& name, double now) {
  const auto value = [&](auto member) {
    return s != nullptr ? std::optional<double>(static_cast<double>(s->*member)) : std::nullopt;
  };
  const auto maybe = [&](auto member) { return s != nullptr ? number(s->*member) : std::nullopt; };
  const auto flag = [&](auto member) {
    return s != nullptr ? std::optional<double>((s->*member).empty() ? 0 : 1) : std::nullopt;
  };
  const auto at = [&](auto member) {
    const auto left = maybe(member);
    return left ? std::optional<double>(now + *left) : std::nullopt;
  };
  using S = queue::FeatureSetStatus;
  const auto state = [&](const char* label, std::int64_t S::*member) {
    put(partitions, {{"feature_set", name}, {"state", label}}, value(member));
  };
  state("pending", &S::pending);
  state("running", &S::running);
  state("done", &S::done);
  state("empty", &S::empty);
  state("failed", &S::failed);
  state("cancelled", &S::cancelled);
  const Labels set{{"feature_set", name}};
  put(rows_done, set, value(&S::rows_done));
  put(rows_expected, set, maybe(&S::rows_total));
  put(progress, set, s != nullptr ? std::optional<double>(s->percent / 100) : std::nullopt);
  put(speed, set, maybe(&S::rows_per_second));
  put(eta, {{"feature_set", name}, {"bound", "median"}}, at(&S::eta_s));
  put(eta, {{"feature_set", name}, {"bound", "low"}}, at(&S::eta_low_s));
  put(eta, {{"feature_set", name}, {"bound", "high"}}, at(&S::eta_high_s));
  put(workers, set, value(&S::workers));
  put(stalled, set, flag(&S::stalled));
  put(slow, set, value(&S::slow_partitions));
  put(paused, set, flag(&S::paused_reason));
}

void Metrics::set(const std::vector<queue::FeatureSetStatus>& feature_sets) {
  const double now = now_s();
  std::set<std::string> names;
  for (const auto& s : feature_sets) {
    names.insert(s.name);
    impl_->put_all(&s, s.name, now);
  }
  for (const std::string& name : impl_->known) {
    if (!names.contains(name)) impl_->put_all(nullptr, name, now);
  }
  impl_->known = std::move(names);
  impl_->reported.Set(now);
}

void Metrics::set_heartbeat() { impl_->heartbeat.Set(now_s()); }

void Metrics::count_response(int status) { impl_->responses.Add({{"code", std::to_string(status)}}).Increment(); }

std::string Metrics::text(const Shared& shared) const {
  impl_->lease_held.Set(shared.lease_held.load() ? 1 : 0);
  impl_->draining.Set(shared.draining.load() ? 1 : 0);
  impl_->configured.Set(shared.workers_wanted.load());
  impl_->idle.Set(shared.idle_workers.load());
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace regfeatd::daemon
