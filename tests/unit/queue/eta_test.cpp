#include "regfeatd/queue/eta.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "replay.hpp"

namespace regfeatd::queue::test {
namespace {

/// The same partitions in another order: another outcome of the same job.
Scenario shuffled(Scenario s, unsigned seed) {
  std::mt19937 generator(seed);
  std::shuffle(s.partitions.begin(), s.partitions.end(), generator);
  return s;
}

constexpr unsigned kOutcomes = 20;

struct Verdict {
  double error = 0, covered = 0;
  std::size_t false_stalls = 0;
};

Verdict judge(const Scenario& scenario, unsigned outcomes) {
  Verdict v;
  std::vector<Answer> all;
  for (unsigned seed = 1; seed <= outcomes; ++seed) {
    const Replay r = replay(shuffled(scenario, seed));
    all.insert(all.end(), r.answers.begin(), r.answers.end());
    v.false_stalls += r.stalls_outside_s.size();
  }
  v.error = median_error(all);
  v.covered = coverage(all);
  ::testing::Test::RecordProperty("median_error", std::to_string(v.error));
  ::testing::Test::RecordProperty("coverage", std::to_string(v.covered));
  return v;
}

void expect_trustworthy(const Verdict& v) {
  EXPECT_LE(v.error, 0.10);
  EXPECT_GE(v.covered, 0.75);
  EXPECT_LE(v.covered, 0.90);
  EXPECT_EQ(v.false_stalls, 0u);
}

/// Cost of a row with so many workers on the server of the traces (4 cores), against 4.
double saturating(int workers) {
  // rows/s of 1, 2, 3, 4, 6, 8 connections: 191, 330, 462, 580, 691, 645
  const double total = workers <= 1   ? 191
                       : workers == 2 ? 330
                       : workers == 3 ? 462
                       : workers == 4 ? 580
                       : workers <= 6 ? 691
                                      : 645;
  return (workers / total) / (4 / 580.0);
}

std::vector<TracePartition> repeated(const std::vector<TracePartition>& once, int times) {
  std::vector<TracePartition> out;
  for (int i = 0; i < times; ++i) out.insert(out.end(), once.begin(), once.end());
  return out;
}

std::vector<TracePartition> slower(std::vector<TracePartition> all, double factor) {
  for (TracePartition& p : all) p.seconds *= factor;
  return all;
}

TEST(EtaReplay, ASteadyJob) { expect_trustworthy(judge({read_trace("steady"), {{0, 4}}}, kOutcomes)); }

TEST(EtaReplay, JobsAsTheyWereRecorded) {
  for (const char* name : {"steady", "sizes"}) {
    const Replay r = replay({read_trace(name), {{0, 4}}});
    EXPECT_LE(median_error(r.answers), 0.10) << name;
    EXPECT_TRUE(r.stalls_outside_s.empty()) << name;
  }
}

// Neighbours on the same machine took a third of its speed for half of the job: no model foresees that.
TEST(EtaReplay, AMachineSharedWithOthers) {
  expect_trustworthy(judge({read_trace("shared_machine"), {{0, 4}}}, kOutcomes));
}

TEST(EtaReplay, TenMatchDatesOneFourTimesSlower) {
  const Replay r = replay({read_trace("ten_match_dates")});
  EXPECT_LE(median_error(r.answers), 0.10);
  EXPECT_TRUE(r.stalls_outside_s.empty());
}

TEST(EtaReplay, ASeasonOfMatchDatesWithSlowOnesAmongThem) {
  expect_trustworthy(judge({repeated(read_trace("ten_match_dates"), 30), {{0, 4}}}, kOutcomes));
}

TEST(EtaReplay, WorkersComeAndGo) {
  Scenario s{slower(repeated(read_trace("steady"), 2), 10), {{0, 4}, {0.3, 8}, {0.6, 1}}};
  s.cost = saturating;
  expect_trustworthy(judge(s, kOutcomes));
}

TEST(EtaReplay, TheDatabaseIsAwayForHalfAnHour) {
  for (const bool breaks : {true, false}) {
    Scenario s{slower(repeated(read_trace("steady"), 2), 20), {{0, 4}}};
    s.outage_after = 0.4;
    s.outage_s = 1800;
    s.outage_breaks_attempts = breaks;
    expect_trustworthy(judge(s, kOutcomes));
    EXPECT_TRUE(replay(s).outage_noticed);
  }
}

TEST(EtaReplay, PartitionsWhoseSizesVaryTenfold) {
  expect_trustworthy(judge({repeated(read_trace("sizes"), 2), {{0, 4}}}, kOutcomes));
}

TEST(EtaReplay, MoreWorkersThanPartitionsAreLeft) {
  expect_trustworthy(judge({read_trace("steady"), {{0, 32}}}, kOutcomes));
}

TEST(Eta, NothingMeasuredIsUnknown) {
  EtaModel model;
  model.workers_changed(0, 4);
  const RemainingWork work{{100, 100}, {{1, 0, 100, 10}}, 4};
  EXPECT_FALSE(model.estimate(5, work).has_value());
  EXPECT_FALSE(model.rows_per_second(4).has_value());
  model.finished({0, 10, 100});
  EXPECT_TRUE(model.estimate(10, work).has_value());
}

TEST(Eta, NobodyWorksIsUnknown) {
  EtaModel model;
  model.finished({0, 10, 100});
  EXPECT_FALSE(model.estimate(10, {{100, 100}, {}, 0}).has_value());
}

TEST(Eta, NothingLeftIsNow) {
  const auto eta = EtaModel().estimate(10, {{}, {}, 4});
  ASSERT_TRUE(eta.has_value());
  EXPECT_EQ(eta->high_s, 0);
}

TEST(Eta, TheTailIsCounted) {
  // 9 partitions of 10 s on 8 workers take 20 s, not 11.25.
  EtaModel model;
  model.workers_changed(0, 8);
  for (int i = 0; i < 40; ++i) model.finished({i * 1.25, i * 1.25 + 10, 100});
  const auto eta = model.estimate(60, {std::vector<double>(9, 100.0), {}, 8});
  ASSERT_TRUE(eta.has_value());
  EXPECT_NEAR(eta->median_s, 20, 0.5);
}

TEST(Eta, ManyPartitionsCostAsMuchAsDrawnOneByOne) {
  EtaModel model;
  model.workers_changed(0, 4);
  for (int i = 0; i < 100; ++i) model.finished({i * 2.5, i * 2.5 + 8 + i % 5, 100});
  const auto eta = model.estimate(300, {std::vector<double>(10'000, 100.0), {}, 4});
  ASSERT_TRUE(eta.has_value());
  EXPECT_NEAR(eta->median_s, 25'000, 500);
  EXPECT_LT(eta->low_s, eta->median_s);
  EXPECT_GT(eta->high_s, eta->median_s);
}

TEST(Eta, RecentPartitionsWeighMore) {
  EtaModel model;
  model.workers_changed(0, 1);
  double t = 0;
  for (int i = 0; i < 300; ++i, t += 10) model.finished({t, t + 10, 100});
  for (int i = 0; i < 300; ++i, t += 20) model.finished({t, t + 20, 100});
  const auto eta = model.estimate(t, {std::vector<double>(100, 100.0), {}, 1});
  ASSERT_TRUE(eta.has_value());
  EXPECT_NEAR(eta->median_s, 2000, 160);
}

TEST(Eta, AStallHasACauseAndALength) {
  EtaModel model;
  model.workers_changed(0, 1);
  for (int i = 0; i < 10; ++i) model.finished({i * 60.0, i * 60.0 + 60, 100});
  model.observe(600, {{11, 600, 100, 0}});
  model.observe(660, {{11, 600, 100, 50}});
  EXPECT_FALSE(model.stalled(660 + 179).has_value());
  model.observe(850, {{11, 600, 100, 50}});
  const auto stall = model.stalled(850);
  ASSERT_TRUE(stall.has_value());
  EXPECT_NEAR(stall->silent_s, 190, 1e-9);
  EXPECT_NEAR(stall->expected_s, 60, 1);
  model.observe(851, {{11, 600, 100, 51}});  // a row was written
  EXPECT_FALSE(model.stalled(851).has_value());
}

TEST(Eta, AStallIsNoShorterThanTheLeastPatience) {
  EtaModel model;
  model.workers_changed(0, 1);
  for (int i = 0; i < 10; ++i) model.finished({i * 1.0, i + 1.0, 100});
  model.observe(10, {{11, 10, 100, 0}});
  EXPECT_FALSE(model.stalled(39).has_value()) << "three times a second, but at least 30";
  EXPECT_TRUE(model.stalled(41).has_value());
  model.set_least_patience(5);
  EXPECT_FALSE(model.stalled(14).has_value());
  EXPECT_TRUE(model.stalled(16).has_value());
  model.set_least_patience(1);
  EXPECT_FALSE(model.stalled(12).has_value()) << "a partition may still take three times as long as usual";
  EXPECT_TRUE(model.stalled(14).has_value());
}

TEST(Eta, AQueueThatWaitsIsNotStalled) {
  EtaModel model;
  for (int i = 0; i < 10; ++i) model.finished({i * 1.0, i + 1.0, 100});
  model.observe(10, {});
  model.observe(10'000, {});
  EXPECT_FALSE(model.stalled(10'000).has_value());
  model.observe(10'001, {{11, 10'000, 100, 0}});
  EXPECT_FALSE(model.stalled(10'002).has_value());
}

TEST(Eta, TheCurveIsWhatWasMeasured) {
  EtaModel model;
  double t = 0;
  for (const int n : {2, 6}) {
    model.workers_changed(t, n);
    for (int i = 0; i < 30; ++i, t += 10) model.finished({t, t + 10 * n, 100});
    t += 1000;
    model.workers_changed(t - 500, n);
  }
  const auto curve = model.curve();
  ASSERT_EQ(curve.size(), 6u);
  EXPECT_NEAR(curve[1].seconds_per_row, 0.2, 0.02);
  EXPECT_NEAR(curve[5].seconds_per_row, 0.6, 0.06);
  EXPECT_EQ(curve[2].partitions, 0) << "carried over";
}

void expect_monotone(const EtaModel& model) {
  const auto curve = model.curve();
  for (std::size_t i = 1; i < curve.size(); ++i) {
    EXPECT_LE(curve[i].seconds_per_row / curve[i].workers,
              (1 + 1e-9) * curve[i - 1].seconds_per_row / curve[i - 1].workers)
        << curve[i].workers;
  }
}

TEST(Eta, SlowPartitionsAtTheEndOfAJobDoNotMakeFewerWorkersSlower) {
  // Six workers; the last three partitions are slow, so that their last part runs with three, two, one.
  EtaModel model;
  model.workers_changed(0, 6);
  double t = 0;
  for (int i = 0; i < 60; ++i, t += 1) model.finished({t, t + 6, 1000});
  for (const int n : {3, 2, 1}) {
    model.workers_changed(t + 6, n);
    model.finished({t, t + 20 + 20 * (3 - n), 1000});
    t += 20;
  }
  expect_monotone(model);
  const auto curve = model.curve();
  ASSERT_EQ(curve.size(), 6u);
  EXPECT_NEAR(6 / curve[5].seconds_per_row, 1000, 200) << "what was measured stays";
}

TEST(Eta, AFasterSourceIsNotTakenForFewerWorkersBeingSlower) {
  EtaModel model;
  double t = 0;
  for (const auto& [workers, seconds] : {std::pair{3, 30.0}, {1, 2.0}, {6, 3.0}, {1, 2.0}}) {
    model.workers_changed(t, workers);
    const int partitions = workers == 3 ? 8 : 60;
    for (int i = 0; i < partitions; ++i, t += seconds / workers) model.finished({t, t + seconds, 1000});
    t += seconds;
  }
  EXPECT_LE(model.scaling_exponent(), 1);
  expect_monotone(model);
  EXPECT_GT(3 / model.curve()[2].seconds_per_row, 400) << "of the slow time hardly anything is left: one does 500";
}

/// 40 partitions of 10 s each, then so many unchanged ones of 1 s.
EtaModel after_unchanged(int unchanged) {
  EtaModel model;
  model.workers_changed(0, 1);
  double t = 0;
  for (int i = 0; i < 40; ++i, t += 10) model.finished({t, t + 10, 1000});
  for (int i = 0; i < unchanged; ++i, t += 1) model.finished({t, t + 1, 1000, true});
  return model;
}

TEST(Eta, UnchangedPartitionsTellNothingOfThoseThatAreWritten) {
  EtaModel model = after_unchanged(200);
  EXPECT_NEAR(model.cost(1)->seconds_per_row * (1000 + model.cost(1)->fixed_rows), 10, 1e-6);
  EXPECT_NEAR(*model.rows_per_second(1), 100, 1e-6);
  ASSERT_EQ(model.curve().size(), 1u);
  model.observe(1000, {});  // the job is over, and another begins
  const auto eta = model.estimate(1000, {std::vector<double>(48, 1000.0), {}, 1});
  ASSERT_TRUE(eta.has_value());
  EXPECT_NEAR(eta->median_s, 480, 10);
}

TEST(Eta, AJobThatFindsItsPartitionsUnchangedIsSoonOver) {
  for (const std::size_t left : {48u, 5000u}) {
    const auto eta = after_unchanged(30).estimate(430, {std::vector<double>(left, 1000.0), {}, 1});
    ASSERT_TRUE(eta.has_value());
    EXPECT_NEAR(eta->median_s / static_cast<double>(left), 1, 0.2);
    EXPECT_GT(eta->high_s, 1.1 * eta->median_s) << "the next may have to be written";
  }
}

TEST(Eta, WhenTheChangedPartitionsComeTheEtaFollowsWithinADozen) {
  EtaModel model = after_unchanged(30);
  for (int i = 0; i < 12; ++i) model.finished({430 + i * 10.0, 440 + i * 10.0, 1000});
  const auto eta = model.estimate(550, {std::vector<double>(48, 1000.0), {}, 1});
  ASSERT_TRUE(eta.has_value());
  EXPECT_NEAR(eta->median_s, 480, 100);
  EXPECT_NEAR(eta->high_s, 480, 20);
}

TEST(Schedule, TakesTheNextAsSoonAsAWorkerIsFree) {
  EXPECT_DOUBLE_EQ(schedule({}, {}, 4), 0);
  EXPECT_DOUBLE_EQ(schedule({}, {10, 10, 10}, 2), 20);
  EXPECT_DOUBLE_EQ(schedule({5, 3}, {10}, 2), 13);
  EXPECT_DOUBLE_EQ(schedule({5, 3, 40}, {10}, 1), 50) << "surplus workers end what they have and take nothing";
}

}  // namespace
}  // namespace regfeatd::queue::test
