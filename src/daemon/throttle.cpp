#include "throttle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "regfeatd/base/quantity.hpp"

namespace regfeatd::daemon {
namespace {

constexpr auto kBurst = std::chrono::milliseconds{250};
constexpr int kCalmSamples = 3;  // before a worker is given back
// throttle.automatic, where the specification gives no limit of its own
constexpr double kGrowth = 5;          // commits that take so many times what they took
constexpr double kLeastLimitMs = 200;  // below which no growth matters
constexpr std::uint64_t kLagBytes = 64u << 20;
constexpr int kSamplesToLearn = 3;

}  // namespace

RateLimiter::Clock::time_point RateLimiter::book(std::int64_t rows, std::int64_t rows_per_second,
                                                 Clock::time_point now) {
  const MutexLock lock(mutex_);
  paid_until_ = std::max(paid_until_, now - kBurst);
  paid_until_ += std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(static_cast<double>(rows) / static_cast<double>(rows_per_second)));
  held_up_ |= paid_until_ > now;
  return paid_until_;
}

bool RateLimiter::held_up() {
  const MutexLock lock(mutex_);
  return std::exchange(held_up_, false);
}

void CommitTimes::add(const queue::CommitTime& time) {
  const MutexLock lock(mutex_);
  if (times_.size() < kMost) times_.push_back(time);
}

std::vector<queue::CommitTime> CommitTimes::take() {
  const MutexLock lock(mutex_);
  return std::exchange(times_, {});
}

std::optional<double> median_ms(std::vector<queue::CommitTime> times) {
  if (times.empty()) return std::nullopt;
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end(), [](const auto& a, const auto& b) { return a.ms < b.ms; });
  return middle->ms;
}

std::optional<double> Throttle::commit_limit_ms(const spec::Settings::Throttle& limits) const {
  if (limits.commit_latency) return std::chrono::duration<double, std::milli>(*limits.commit_latency).count();
  if (!limits.automatic) return std::nullopt;
  if (learnt_ < kSamplesToLearn) return 10 * kLeastLimitMs;  // nothing to compare with yet
  return std::max(kLeastLimitMs, kGrowth * *baseline_ms_);
}

/// The least of the medians, forgotten slowly: a database that has become slower for good is the new normal.
void Throttle::learn(const Sample& sample) {
  if (!sample.commit_ms) return;
  baseline_ms_ = std::min(*sample.commit_ms, baseline_ms_.value_or(*sample.commit_ms) * 1.01);
  learnt_ = std::min(learnt_ + 1, kSamplesToLearn);
}

Throttle::Decision Throttle::decide(const spec::Settings::Throttle& limits, int wanted_workers, const Sample& sample) {
  const auto commit_limit = commit_limit_ms(limits);
  constexpr std::uint64_t kNone = 0;
  const std::uint64_t lag_limit = limits.replication_lag_bytes.value_or(limits.automatic ? kLagBytes : kNone);
  learn(sample);
  // Who was not held back is not held back by more workers being wanted.
  if (allowed_ == wanted_ || allowed_ > wanted_workers || (!commit_limit && lag_limit == kNone))
    allowed_ = wanted_workers;
  wanted_ = wanted_workers;
  const double commit_ms = std::max(sample.commit_ms.value_or(0), sample.waiting_ms.value_or(0));
  const bool slow = commit_limit && commit_ms > *commit_limit;
  const bool behind =
      lag_limit != kNone && sample.lag_bytes && *sample.lag_bytes > static_cast<std::int64_t>(lag_limit);
  if (slow || behind) {
    allowed_ = std::min(wanted_workers, std::max(1, allowed_ / 2));
    calm_samples_ = 0;
    slow_commits_ |= slow;
    cause_ =
        slow ? fmt::format("a commit takes {:.0f} ms, more than {:.0f} ms", commit_ms, *commit_limit)
             : fmt::format("a replica is {} behind, more than {}", format_bytes(static_cast<double>(*sample.lag_bytes)),
                           format_bytes(static_cast<double>(lag_limit)));
  } else if (allowed_ < wanted_workers && (!slow_commits_ || sample.commit_ms || !sample.busy) &&
             ++calm_samples_ >= kCalmSamples) {
    ++allowed_;
    calm_samples_ = 0;
  }
  if (allowed_ == wanted_workers && !slow) slow_commits_ = false;
  Decision decision{allowed_, ""};
  if (allowed_ < wanted_workers || slow || behind)
    decision.reason = fmt::format("{} of {} workers: {}", allowed_, wanted_workers, cause_);
  if (sample.held_to_rate && limits.rows_per_second) {
    decision.reason += fmt::format("{}held to {} rows/s", decision.reason.empty() ? "" : "; ", *limits.rows_per_second);
  }
  return decision;
}

}  // namespace regfeatd::daemon
