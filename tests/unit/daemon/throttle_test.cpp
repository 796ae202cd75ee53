// How many workers may claim, by what commits and replicas do; the rate; the median of commits.
#include "daemon/throttle.hpp"

#include <gtest/gtest.h>

namespace regfeatd::daemon {
namespace {

using std::chrono::milliseconds;
using Limits = spec::Settings::Throttle;
using Clock = RateLimiter::Clock;

Throttle::Sample commits(double ms) {
  Throttle::Sample s;
  s.commit_ms = ms;
  return s;
}
Throttle::Sample lag(std::int64_t bytes) {
  Throttle::Sample s;
  s.lag_bytes = bytes;
  return s;
}

TEST(Throttle, WithoutLimitsNothingHoldsTheDaemonBack) {
  Throttle throttle;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(throttle.decide({}, 8, commits(1e6)), (Throttle::Decision{8, ""}));
}

TEST(Throttle, HalvesAtOnceAndGivesBackOneAtATime) {
  Limits limits;
  limits.commit_latency = milliseconds{100};
  Throttle throttle;
  EXPECT_EQ(throttle.decide(limits, 8, commits(100)).workers, 8);
  EXPECT_EQ(throttle.decide(limits, 8, commits(450)),
            (Throttle::Decision{4, "4 of 8 workers: a commit takes 450 ms, more than 100 ms"}));
  EXPECT_EQ(throttle.decide(limits, 8, commits(450)).workers, 2);
  EXPECT_EQ(throttle.decide(limits, 8, commits(450)).workers, 1);
  EXPECT_EQ(throttle.decide(limits, 8, commits(450)).workers, 1)
      << "never none: somebody has to notice that it is over";
  for (int given_back = 1; given_back < 8; ++given_back) {
    EXPECT_EQ(throttle.decide(limits, 8, commits(20)).workers, given_back);
    EXPECT_EQ(throttle.decide(limits, 8, commits(100)).workers, given_back);
    EXPECT_EQ(throttle.decide(limits, 8, commits(99)).workers, given_back + 1);
  }
  EXPECT_EQ(throttle.decide(limits, 8, commits(20)), (Throttle::Decision{8, ""}));
}

/// A report while partitions are in hand and none was committed.
Throttle::Sample no_commits() {
  Throttle::Sample s;
  s.busy = true;
  return s;
}

TEST(Throttle, OnlyCommitsShowThatCommitsAreFastAgain) {
  Limits limits;
  limits.commit_latency = milliseconds{100};
  Throttle throttle;
  EXPECT_EQ(throttle.decide(limits, 4, commits(300)).workers, 2);
  Throttle::Sample begun = no_commits();
  begun.waiting_ms = 50;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(throttle.decide(limits, 4, no_commits()).workers, 2);
    EXPECT_EQ(throttle.decide(limits, 4, begun).workers, 2) << "it may take long yet";
  }
  begun.waiting_ms = 101;
  EXPECT_EQ(throttle.decide(limits, 4, begun).reason, "1 of 4 workers: a commit takes 101 ms, more than 100 ms");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(throttle.decide(limits, 4, no_commits()).workers, 1);
    EXPECT_EQ(throttle.decide(limits, 4, commits(20)).workers, i < 2 ? 1 : 2);
  }
}

TEST(Throttle, WorkersComeBackWhenNothingRuns) {
  Limits limits;
  limits.commit_latency = milliseconds{100};
  Throttle throttle;
  EXPECT_EQ(throttle.decide(limits, 2, commits(300)).workers, 1);
  EXPECT_EQ(throttle.decide(limits, 2, {}).workers, 1);
  EXPECT_EQ(throttle.decide(limits, 2, {}).workers, 1);
  EXPECT_EQ(throttle.decide(limits, 2, {}), (Throttle::Decision{2, ""}));
}

TEST(Throttle, AReplicaThatCaughtUpNeedsNoCommits) {
  Limits limits;
  limits.commit_latency = milliseconds{100};
  limits.replication_lag_bytes = 1000;
  Throttle throttle;
  EXPECT_EQ(throttle.decide(limits, 2, lag(1001)).workers, 1);
  Throttle::Sample caught_up = lag(0);
  caught_up.busy = true;
  EXPECT_EQ(throttle.decide(limits, 2, caught_up).workers, 1);
  EXPECT_EQ(throttle.decide(limits, 2, caught_up).workers, 1);
  EXPECT_EQ(throttle.decide(limits, 2, caught_up).workers, 2);
}

TEST(Throttle, FollowsTheNumberOfWorkersAndTheSettings) {
  Limits limits;
  limits.replication_lag_bytes = 1000;
  Throttle throttle;
  EXPECT_EQ(throttle.decide(limits, 8, lag(1001)).workers, 4);
  EXPECT_EQ(throttle.decide(limits, 2, lag(0)).workers, 2);
  EXPECT_EQ(throttle.decide(limits, 2, lag(5000)).reason,
            "1 of 2 workers: a replica is 5.0 kB behind, more than 1.0 kB");
  EXPECT_EQ(throttle.decide({}, 2, lag(5000)), (Throttle::Decision{2, ""})) << "a reload that takes the limit away";
  EXPECT_EQ(throttle.decide(limits, 0, lag(5000)).workers, 0);
}

TEST(Throttle, MoreWorkersWantedWorkAtOnceUnlessSomeRest) {
  Limits limits;
  limits.commit_latency = milliseconds{100};
  Throttle throttle;
  EXPECT_EQ(throttle.decide(limits, 1, commits(20)), (Throttle::Decision{1, ""}));
  EXPECT_EQ(throttle.decide(limits, 4, commits(20)), (Throttle::Decision{4, ""}));
  EXPECT_EQ(throttle.decide(limits, 4, commits(200)).workers, 2);
  EXPECT_EQ(throttle.decide(limits, 8, commits(20)),
            (Throttle::Decision{2, "2 of 8 workers: a commit takes 200 ms, more than 100 ms"}));
}

TEST(Throttle, AutomaticMeasuresGrowthAgainstWhatWasUsual) {
  Limits limits;
  limits.automatic = true;
  Throttle throttle;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(throttle.decide(limits, 8, commits(100)).workers, 8);
  EXPECT_EQ(throttle.decide(limits, 8, commits(490)).workers, 8);
  EXPECT_EQ(throttle.decide(limits, 8, commits(520)).workers, 4) << "five times the usual";
  Throttle fast;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(fast.decide(limits, 8, commits(2)).workers, 8);
  EXPECT_EQ(fast.decide(limits, 8, commits(150)).workers, 8) << "grown, but nothing that anybody would notice";
  EXPECT_EQ(fast.decide(limits, 8, lag(65 << 20)).workers, 4);
  Throttle unfinished;
  Throttle::Sample begun = commits(300);
  begun.waiting_ms = 1;
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(unfinished.decide(limits, 8, begun).workers, 8) << "what has not come back is not usual";
}

TEST(Throttle, SaysThatRowsAreHeldToTheRate) {
  Limits limits;
  limits.rows_per_second = 500;
  Throttle::Sample sample;
  sample.held_to_rate = true;
  Throttle throttle;
  EXPECT_EQ(throttle.decide(limits, 4, sample), (Throttle::Decision{4, "held to 500 rows/s"}));
  limits.commit_latency = milliseconds{10};
  sample.commit_ms = 30;
  EXPECT_EQ(throttle.decide(limits, 4, sample).reason,
            "2 of 4 workers: a commit takes 30 ms, more than 10 ms; held to 500 rows/s");
}

TEST(RateLimiter, LetsNoMoreThroughThanTheRateAndABurst) {
  RateLimiter limiter;
  const auto start = Clock::now();
  auto now = start;
  std::int64_t rows = 0;
  while (now < start + std::chrono::seconds{10}) {  // of a clock of our own
    now = std::max(now, limiter.book(100, 1000, now));
    rows += 100;
  }
  EXPECT_LE(rows, 10'000 + 250 + 100);
  EXPECT_GE(rows, 9'900);
  EXPECT_TRUE(limiter.held_up());
  EXPECT_FALSE(limiter.held_up());
}

TEST(RateLimiter, RestIsNotSavedUp) {
  RateLimiter limiter;
  const auto start = Clock::now();
  (void)limiter.book(1, 1000, start);
  const auto later = start + std::chrono::hours{1};
  EXPECT_LE(limiter.book(250, 1000, later), later);
  EXPECT_GT(limiter.book(1, 1000, later), later);
}

TEST(CommitTimes, GivesThoseSinceTheLastLookAndTheirMedian) {
  CommitTimes times;
  EXPECT_FALSE(median_ms(times.take()));
  std::int64_t attempt = 0;
  for (const double ms : {5.0, 1.0, 900.0}) times.add({AttemptId{++attempt}, ms});
  const auto taken = times.take();
  ASSERT_EQ(taken.size(), 3u);
  EXPECT_EQ(taken[2].attempt.value, 3);
  EXPECT_EQ(taken[2].ms, 900.0);
  EXPECT_EQ(median_ms(taken), 5.0);
  EXPECT_TRUE(times.take().empty());
}

TEST(CommitTimes, AreBounded) {
  CommitTimes times;
  for (std::size_t i = 0; i < CommitTimes::kMost + 1; ++i) times.add({AttemptId{1}, 1});
  EXPECT_EQ(times.take().size(), CommitTimes::kMost);
}

}  // namespace
}  // namespace regfeatd::daemon
