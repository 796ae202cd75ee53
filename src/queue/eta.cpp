#include "regfeatd/queue/eta.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <queue>
#include <random>
#include <tuple>

namespace regfeatd::queue {
namespace {

constexpr std::size_t kSamples = 400;  // remembered
constexpr double kHalfLife = 50;       // partitions after which a measurement counts half
constexpr int kSimulations = 200;
constexpr std::size_t kTailPartitions = 64;  // at least so many are drawn one by one
constexpr double kSimilarWorkers = 0.12;     // numbers of workers whose logarithms differ by this measure the same
constexpr double kFarPartitions = 1;  // measurements at quite other numbers of workers weigh as so many at this one
constexpr double kUnseenPartitions = 0.1;  // weight in the curve of a number of workers that was not measured
constexpr int kUsualPartitions = 4;        // with kUsualForgotten: see add_usual
constexpr double kUsualForgotten = 15;     // partitions
constexpr double kUsualExponent = 0.3;     // cost of a row ~ workers^this before two numbers of workers were seen
constexpr double kOwnSpeed = 0.06;         // with so much written its own speed counts as much as that of the others
constexpr double kLeastProgress = 0.02;    // of a running partition, to tell anything by it
constexpr double kWrittenUnseen = 0.1;     // partitions: however many were unchanged, the next may have to be written
constexpr double kUnchangedHalfLife = 5;   // partitions; those of one kind come together
constexpr double kPatienceWithoutHistory_s = 600;
// A bootstrap of few measurements claims too much. How much too much was measured on the replays of
// tests/unit/queue.
constexpr double kWiden = 1.15;
constexpr double kUsualSpread = 0.3;  // of the mean cost, as if half a partition had shown it

double recency(std::size_t age) { return std::exp2(-static_cast<double>(age) / kHalfLife); }

/// The same draws every time, so that an estimate does not flicker.
class Draws {
 public:
  double uniform() { return std::max(std::uniform_real_distribution<double>(0, 1)(generator_), 1e-12); }
  double exponential() { return -std::log(uniform()); }
  double normal() { return std::sqrt(2 * exponential()) * std::cos(2 * std::numbers::pi * uniform()); }
  /// A share of which `for_it` and `against` were seen.
  double share(double for_it, double against) {
    const double a = std::gamma_distribution<double>(for_it, 1)(generator_);
    const double b = std::gamma_distribution<double>(against, 1)(generator_);
    return a + b > 0 ? a / (a + b) : 0;
  }

 private:
  std::mt19937_64 generator_{20240701};
};

double quantile(std::vector<double>& v, double q) {
  const auto at = v.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(v.size() - 1) + 0.5);
  std::nth_element(v.begin(), at, v.end());
  return *at;
}

}  // namespace

struct EtaModel::Fit {
  std::vector<double> ratio;      ///< seconds per effective row of each sample, brought to this number of workers
  std::vector<double> weight;     ///< recency times likeness
  std::vector<double> effective;  ///< rows and fixed rows
  double mean = 0;
  double fixed_rows = 0;
  double unchanged_s_per_row = 0;     ///< of partitions that need not be written
  double unchanged = 0, written = 0;  ///< such, and others, among the latest
  double doubt = 0;                   ///< standard deviation of the logarithm of the mean, beyond what the samples show
};

double schedule(std::vector<double> free_at_s, const std::vector<double>& seconds, int workers) {
  const auto n = static_cast<std::size_t>(std::max(workers, 1));
  double end = free_at_s.empty() ? 0 : *std::max_element(free_at_s.begin(), free_at_s.end());
  std::sort(free_at_s.begin(), free_at_s.end());
  if (free_at_s.size() > n) free_at_s.erase(free_at_s.begin(), free_at_s.end() - static_cast<std::ptrdiff_t>(n));
  while (free_at_s.size() < n) free_at_s.insert(free_at_s.begin(), 0.0);
  std::priority_queue<double, std::vector<double>, std::greater<>> free(std::greater<>{}, std::move(free_at_s));
  for (const double s : seconds) {
    const double done = free.top() + s;
    free.pop();
    free.push(done);
    end = std::max(end, done);
  }
  return end;
}

/// Few measurements do not tell how rare an exception is. As if some more had been quite usual.
void EtaModel::add_usual(Fit& f, std::size_t measured) {
  std::vector<double> sorted = f.ratio;
  const double usual = quantile(sorted, 0.5);
  double rows = 0;
  for (const double e : f.effective) rows += e / static_cast<double>(f.effective.size());
  for (int i = 0; i < kUsualPartitions; ++i) {
    f.ratio.push_back(usual);
    f.effective.push_back(rows);
    f.weight.push_back(std::exp(-static_cast<double>(measured) / kUsualForgotten));
  }
}

void EtaModel::workers_changed(double at_s, int workers) {
  if (!workers_.empty() && workers_.back().second == workers) return;
  workers_.emplace_back(at_s, workers);
  if (workers_.size() > 4 * kSamples) workers_.pop_front();
}

double EtaModel::mean_workers(double from_s, double to_s) const {
  double sum = 0, span = 0;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const double begin = i == 0 ? from_s : std::max(from_s, workers_[i].first);
    const double end = i + 1 < workers_.size() ? std::min(to_s, workers_[i + 1].first) : to_s;
    if (end <= begin || workers_[i].second == 0) continue;
    sum += (end - begin) * workers_[i].second;
    span += end - begin;
  }
  return span > 0 ? sum / span : 1;
}

double EtaModel::idle_within(double from_s, double to_s) const {
  double sum = 0;
  for (const auto& [begin, end] : stalls_) sum += std::max(0.0, std::min(to_s, end) - std::max(from_s, begin));
  return sum;
}

double EtaModel::patience_s() const {
  double rows = 0;
  for (const RunningPartition& r : running_) rows = std::max(rows, r.rows);
  const auto known = cost(static_cast<int>(running_.size()));
  if (!known) return kPatienceWithoutHistory_s;
  return std::max(least_patience_s_, 3 * known->seconds_per_row * (rows + known->fixed_rows));
}

/// A silence longer than a stall's was one, whatever ended it: it says nothing about what partitions cost.
void EtaModel::sign_of_life(double at_s) {
  if (last_life_s_ && at_s - *last_life_s_ > patience_s()) {
    stalls_.emplace_back(*last_life_s_, at_s);
    if (stalls_.size() > 100) stalls_.pop_front();
  }
  last_life_s_ = std::max(last_life_s_.value_or(at_s), at_s);
}

void EtaModel::finished(const FinishedPartition& p) {
  sign_of_life(p.finished_s);
  const double took = std::max(p.finished_s - p.started_s, 1e-6);
  if (p.rows <= 0) {
    empty_s_ = (empty_s_ * static_cast<double>(std::min<std::size_t>(empties_, 20)) + took) /
               static_cast<double>(std::min<std::size_t>(empties_, 20) + 1);
    ++empties_;
    return;
  }
  count_unchanged(p, took - idle_within(p.started_s, p.finished_s));
  if (p.unchanged) return;
  const double workers = std::max(1.0, mean_workers(p.started_s, p.finished_s));
  double seconds = took - idle_within(p.started_s, p.finished_s);
  if (seconds < took) {
    // What was left of it cannot be told well; it took as long as others, if not longer.
    const auto usual = cost(static_cast<int>(std::lround(workers)));
    if (usual) seconds = std::max(seconds, std::min(took, usual->seconds_per_row * (p.rows + usual->fixed_rows)));
  }
  samples_.push_back({std::max(seconds, 1e-6), p.rows, workers});
  if (samples_.size() > kSamples) samples_.pop_front();
  if (samples_.size() > 50 && samples_.size() % 8 != 0) return;

  // The fixed cost of a partition as rows: what makes seconds per row spread least. Partitions of one size
  // cannot tell.
  double mean_rows = 0;
  for (const Sample& s : samples_) mean_rows += s.rows / static_cast<double>(samples_.size());
  double least = INFINITY;
  for (const double share : {0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 3.0}) {
    double sum = 0, squares = 0, weights = 0;
    for (std::size_t i = 0; i < samples_.size(); ++i) {
      const double w = recency(samples_.size() - 1 - i);
      const double x = std::log(samples_[i].seconds / (samples_[i].rows + share * mean_rows));
      sum += w * x;
      squares += w * x * x;
      weights += w;
    }
    const double spread = squares / weights - (sum / weights) * (sum / weights);
    if (spread < least - 1e-9) {
      least = spread;
      fixed_rows_ = share * mean_rows;
    }
  }
}

/// Unchanged partitions cost what reading costs, and tell nothing of those that are written.
void EtaModel::count_unchanged(const FinishedPartition& p, double seconds) {
  const double keep = std::exp2(-1 / kUnchangedHalfLife);
  recent_unchanged_ = keep * recent_unchanged_ + (p.unchanged ? 1 : 0);
  recent_written_ = keep * recent_written_ + (p.unchanged ? 0 : 1);
  if (!p.unchanged) return;
  unchanged_seconds_ = recency(1) * unchanged_seconds_ + std::max(seconds, 1e-6);
  unchanged_rows_ = recency(1) * unchanged_rows_ + p.rows;
}

void EtaModel::observe(double now_s, const std::vector<RunningPartition>& running) {
  bool moved = running_.empty() || running.empty();
  std::map<std::int64_t, double> rows_done;
  for (const RunningPartition& r : running) {
    const auto before = rows_done_.find(r.id);
    moved = moved || before == rows_done_.end() || before->second != r.rows_done;
    rows_done[r.id] = r.rows_done;
  }
  if (moved) {
    if (running_.empty()) last_life_s_.reset();  // nobody worked: that silence is none
    sign_of_life(now_s);
  }
  if (running.empty()) recent_unchanged_ = recent_written_ = 0;  // what comes next is another job
  running_ = running;
  rows_done_ = std::move(rows_done);
}

std::optional<Stall> EtaModel::stalled(double now_s) const {
  if (running_.empty() || !last_life_s_ || now_s - *last_life_s_ <= patience_s()) return std::nullopt;
  return Stall{now_s - *last_life_s_, samples_.empty() ? 0 : patience_s() / 3};
}

/// The cost of a row grows like workers^exponent. Drawn towards the usual until other numbers of workers were
/// seen.
double EtaModel::scaling_exponent() const {
  double weights = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const double w = recency(samples_.size() - 1 - i);
    const double u = std::log(samples_[i].workers),
                 v = std::log(samples_[i].seconds / (samples_[i].rows + fixed_rows_));
    weights += w;
    x += w * u;
    y += w * v;
    xx += w * u * u;
    xy += w * u * v;
  }
  if (weights == 0) return kUsualExponent;
  constexpr double kPrior = 2;
  return std::clamp((kPrior * kUsualExponent + xy - x * y / weights) / (kPrior + xx - x * x / weights), 0.0, 1.0);
}

std::optional<EtaModel::Fit> EtaModel::fit(double workers) const {
  if (samples_.empty() || workers <= 0) return std::nullopt;
  Fit out;
  const double exponent = scaling_exponent();
  std::vector<double> likeness;
  double alike = 0, all = 0, distance = 0, seconds = 0, rows = 0, weights = 0, squares = 0;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const double away = std::log(workers / samples_[i].workers);
    const double recent = recency(samples_.size() - 1 - i);
    likeness.push_back(std::exp(-(away / kSimilarWorkers) * (away / kSimilarWorkers)));
    alike += recent * likeness.back();
    all += recent;
    distance += recent * std::abs(away);
  }
  const double far = std::min(1.0, kFarPartitions / std::max(all - alike, 1e-9));
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const Sample& s = samples_[i];
    const double w = recency(samples_.size() - 1 - i) * (far + (1 - far) * likeness[i]);
    out.effective.push_back(s.rows + fixed_rows_);
    out.ratio.push_back(s.seconds / out.effective.back() * std::pow(workers / s.workers, exponent));
    out.weight.push_back(w);
    seconds += w * out.ratio.back() * out.effective.back();
    rows += w * out.effective.back();
    weights += w;
    squares += w * w;
  }
  out.mean = seconds / rows;
  const double seen = weights * weights / squares;  // as many measurements of equal weight
  out.fixed_rows = fixed_rows_;
  out.unchanged_s_per_row = unchanged_rows_ > 0 ? unchanged_seconds_ / unchanged_rows_ : 0;
  out.unchanged = recent_unchanged_;
  out.written = recent_written_;
  const double scaling = 0.3 * distance / all / (1 + alike);
  out.doubt = std::hypot(scaling, kUsualSpread / std::pow(0.5 + seen, 1.5));
  return out;
}

std::optional<PartitionCost> EtaModel::cost(int workers) const {
  const auto f = fit(std::max(workers, 1));
  if (!f) return std::nullopt;
  double rows = 0;
  for (const Sample& s : samples_) rows += s.rows / static_cast<double>(samples_.size());
  return PartitionCost{f->mean, fixed_rows_, empty_s_, rows};
}

std::optional<double> EtaModel::rows_per_second(int workers) const {
  const auto c = cost(workers);
  if (!c || workers <= 0) return std::nullopt;
  return workers * c->usual_rows / (c->seconds_per_row * (c->usual_rows + c->fixed_rows));
}

std::vector<CurvePoint> EtaModel::curve() const {
  std::vector<CurvePoint> out;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const auto workers = static_cast<std::size_t>(std::max(1L, std::lround(samples_[i].workers)));
    if (out.size() < workers) out.resize(workers);
    out[workers - 1].partitions += recency(samples_.size() - 1 - i);
  }
  // More workers are never slower together: where measurements say so, they were taken at different times, of different
  // partitions. Such neighbours are taken as equally fast, by their weights.
  struct Pool {
    double log_speed, weight;
    int first;
  };
  std::vector<Pool> pools;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int workers = static_cast<int>(i) + 1;
    out[i].workers = workers;
    pools.push_back({std::log(workers / fit(workers)->mean), out[i].partitions + kUnseenPartitions, workers});
    while (pools.size() > 1 && pools[pools.size() - 2].log_speed > pools.back().log_speed) {
      const Pool last = pools.back();
      pools.pop_back();
      Pool& before = pools.back();
      before.log_speed =
          (before.weight * before.log_speed + last.weight * last.log_speed) / (before.weight + last.weight);
      before.weight += last.weight;
    }
  }
  for (std::size_t i = 0, pool = 0; i < out.size(); ++i) {
    if (pool + 1 < pools.size() && pools[pool + 1].first <= out[i].workers) ++pool;
    out[i].seconds_per_row = out[i].workers / std::exp(pools[pool].log_speed);
  }
  return out;
}

/// One possible world: what a row costs, and how partitions scatter around it.
class EtaModel::World {
 public:
  World(const Fit& fit, Draws& draws) : fit_(fit), draws_(draws) {
    const auto& [ratio, weight, effective] = std::tie(fit.ratio, fit.weight, fit.effective);
    // A Bayesian bootstrap. Neighbours in time share their fate: so a drift of the server widens the
    // interval.
    const std::size_t block = std::max<std::size_t>(1, ratio.size() / 20);
    double g = 1, total = 0, mean = 0, square = 0;
    cumulated_.reserve(ratio.size());
    double seconds = 0, rows = 0;
    for (std::size_t i = 0; i < ratio.size(); ++i) {
      if (i % block == 0) g = draws.exponential();
      const double w = weight[i] * g;
      total += w;
      cumulated_.push_back(total);
      mean += w * ratio[i];
      square += w * ratio[i] * ratio[i];
      seconds += w * ratio[i] * effective[i];
      rows += w * effective[i];
    }
    // Ratios are drawn whatever their partition's size; their mean is that of the rows.
    shift_ = std::exp(fit.doubt * draws.normal()) * (seconds / rows) / (mean / total);
    mean_ = mean / total * shift_;
    if (fit.unchanged > 0) unchanged_ = draws.share(fit.unchanged, fit.written + kWrittenUnseen);
    deviation_ = std::sqrt(std::max(0.0, square / total - (mean / total) * (mean / total))) * shift_;
  }

  /// Seconds that a partition takes.
  double partition(double rows) {
    if (unchanged_ > 0 && draws_.uniform() < unchanged_) return fit_.unchanged_s_per_row * rows;
    const double at = draws_.uniform() * cumulated_.back();
    const auto drawn = std::upper_bound(cumulated_.begin(), cumulated_.end() - 1, at) - cumulated_.begin();
    return shift_ * fit_.ratio[static_cast<std::size_t>(drawn)] * (rows + fit_.fixed_rows);
  }
  /// Seconds of many, by the sums of their rows and of their effective rows and the squares of these.
  double many(double rows, double effective, double squares) {
    const double written = std::max(0.0, mean_ * effective + deviation_ * std::sqrt(squares) * draws_.normal());
    return (1 - unchanged_) * written + unchanged_ * fit_.unchanged_s_per_row * rows;
  }

 private:
  const Fit& fit_;
  Draws& draws_;
  std::vector<double> cumulated_;
  double shift_ = 1, mean_ = 0, deviation_ = 0, unchanged_ = 0;
};

std::optional<Eta> EtaModel::estimate(double now_s, const RemainingWork& work) const {
  if (work.running.empty() && work.pending_rows.empty() && work.earlier.partitions + work.earlier.empty <= 0)
    return Eta{};
  const int workers = std::max(work.workers, 0);
  auto f = fit(workers);
  if (!f) return std::nullopt;

  // Of many pending partitions only the last are drawn one by one: the tail is theirs; the others' sum is
  // normal.
  const std::size_t tail =
      std::min(work.pending_rows.size(), std::max(kTailPartitions, 4 * static_cast<std::size_t>(workers)));
  const std::size_t bulk = work.pending_rows.size() - tail;
  const PendingSum& earlier = work.earlier;
  const double bulk_count = static_cast<double>(bulk) + earlier.partitions;
  double bulk_rows = earlier.rows, bulk_effective = earlier.rows + earlier.partitions * fixed_rows_;
  double bulk_squares = earlier.squared_rows + fixed_rows_ * (2 * earlier.rows + earlier.partitions * fixed_rows_);
  double bulk_empty_s = earlier.empty * empty_s_;
  for (std::size_t i = 0; i < bulk; ++i) {
    const double rows = work.pending_rows[i];
    const double effective = rows > 0 ? rows + fixed_rows_ : 0;
    bulk_rows += rows;
    bulk_effective += effective;
    bulk_squares += effective * effective;
    if (rows <= 0) bulk_empty_s += empty_s_;
  }

  // Partitions on their way are measurements that count by what is seen of them. Left out, the slow would be
  // missed: those are longest on their way.
  for (const RunningPartition& r : work.running) {
    const double progress = r.rows > 0 ? std::clamp(r.rows_done / r.rows, 0.0, 1.0) : 0;
    const double elapsed = now_s - r.started_s - idle_within(r.started_s, now_s);
    if (progress <= kLeastProgress || elapsed <= 0) continue;
    f->effective.push_back(r.rows + fixed_rows_);
    f->ratio.push_back(elapsed / (progress * f->effective.back()));
    f->weight.push_back(progress);
  }
  add_usual(*f, samples_.size());

  Draws draws;
  std::vector<double> ends;
  std::vector<double> free, seconds;
  for (int s = 0; s < kSimulations; ++s) {
    World world(*f, draws);
    free.clear();
    for (const RunningPartition& r : work.running) {
      const double elapsed = std::max(0.0, now_s - r.started_s - idle_within(r.started_s, now_s));
      const double progress = r.rows > 0 ? std::clamp(r.rows_done / r.rows, 0.0, 0.95) : 0;
      double total = world.partition(r.rows);
      if (progress > kLeastProgress) {
        // Its own speed counts the more the more of it is written.
        const double own = progress / (progress + kOwnSpeed);
        free.push_back((1 - progress) * ((1 - own) * total + own * elapsed / progress));
        continue;
      }
      for (int i = 0; i < 10 && total <= elapsed; ++i) total = world.partition(r.rows);
      free.push_back(total > elapsed ? total - elapsed : 0.5 * elapsed * draws.exponential());
    }
    if (bulk_count > 0 || bulk_empty_s > 0) {
      const auto n = static_cast<std::size_t>(workers);
      std::sort(free.begin(), free.end());
      if (free.size() > n) free.erase(free.begin(), free.end() - workers);
      free.resize(n, 0.0);
      double sum = bulk_empty_s + world.many(bulk_rows, bulk_effective, bulk_squares);
      for (const double t : free) sum += t;
      const double one = bulk_effective / std::max(bulk_count, 1.0) * f->mean;
      for (std::size_t i = 0; i < n; ++i)
        free[i] = std::max(0.0, sum / workers + one * ((static_cast<double>(i) + 0.5) / static_cast<double>(n) - 0.5));
    }
    seconds.clear();
    for (std::size_t i = bulk; i < work.pending_rows.size(); ++i) {
      const double rows = work.pending_rows[i];
      seconds.push_back(rows > 0 ? world.partition(rows) : empty_s_);
    }
    ends.push_back(schedule(free, seconds, workers));
  }
  const double median = quantile(ends, 0.5);
  if (median <= 0) return Eta{};
  return Eta{median, median * std::pow(quantile(ends, 0.1) / median, kWiden),
             median * std::pow(quantile(ends, 0.9) / median, kWiden)};
}

}  // namespace regfeatd::queue
