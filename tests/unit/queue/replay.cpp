#include "replay.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>

namespace regfeatd::queue::test {
namespace {

/// A job as it runs: workers take partitions in their order. Runs twice: once for the truth, once beside the
/// model.
class Job {
 public:
  explicit Job(const Scenario& scenario) : s_(scenario) {
    for (const TracePartition& p : s_.partitions) rows_total_ += p.rows;
  }

  [[nodiscard]] bool over() const { return next_ == s_.partitions.size() && running_.empty(); }
  [[nodiscard]] double now() const { return now_; }
  /// Of the rows; what is written of running partitions included.
  [[nodiscard]] double share() const {
    double rows = rows_done_;
    for (const Attempt& a : running_) rows += a.rows * progress(a);
    return rows / rows_total_;
  }
  [[nodiscard]] bool in_outage() const { return now_ < outage_until_; }
  [[nodiscard]] double disturbed_share() const { return disturbed_share_; }

  /// To the next instant at which something happens, at most `limit_s`. Calls back for what finished.
  void advance(double limit_s, const std::function<void(const FinishedPartition&)>& finished) {
    claim();
    double next = limit_s;
    for (const Attempt& a : running_) next = std::min(next, a.end_s);
    if (in_outage()) next = std::min(next, outage_until_);
    now_ = next;
    for (std::size_t i = 0; i < running_.size();) {
      if (running_[i].end_s > now_) {
        ++i;
        continue;
      }
      const Attempt a = running_[i];
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      rows_done_ += a.rows;
      finished({a.start_s, a.end_s, a.rows});
    }
    if (!outage_over_ && share() >= s_.outage_after) begin_outage();
  }

  /// How long the rest takes when nothing happens that nobody can know of: the workers stay, no outage comes.
  [[nodiscard]] double undisturbed_rest() const {
    Job rest = *this;
    rest.frozen_workers_ = workers();
    rest.outage_over_ = true;
    while (!rest.over()) rest.advance(std::numeric_limits<double>::infinity(), [](const FinishedPartition&) {});
    return rest.now() - now_;
  }

  [[nodiscard]] int workers() const {
    if (frozen_workers_ > 0) return frozen_workers_;
    int n = 0;
    for (const auto& [after, count] : s_.workers) {
      if (share() >= after) n = count;
    }
    return n;
  }

  [[nodiscard]] RemainingWork remaining() const {
    RemainingWork out;
    for (std::size_t i = next_; i < s_.partitions.size(); ++i) out.pending_rows.push_back(s_.partitions[i].rows);
    for (const Attempt& a : running_) {
      out.running.push_back({a.id, a.start_s, a.rows, std::floor(a.rows * progress(a))});
    }
    out.workers = workers();
    return out;
  }

  void claim() {
    if (in_outage()) return;
    if (last_workers_ != workers()) {
      if (last_workers_ != 0) disturbed_share_ = share();
      last_workers_ = workers();
    }
    while (next_ < s_.partitions.size() && static_cast<int>(running_.size()) < workers()) {
      const TracePartition& p = s_.partitions[next_];
      const double seconds = p.seconds * s_.cost(workers());
      running_.push_back({static_cast<std::int64_t>(next_ + 1), now_, now_ + seconds, seconds, p.rows, 0});
      ++next_;
    }
  }

 private:
  struct Attempt {
    std::int64_t id;
    double start_s, end_s, seconds, rows;
    double broke_s = 0;  ///< when the try started that the outage ended
  };

  [[nodiscard]] double progress(const Attempt& a) const {
    // Nothing moves in an outage; afterwards what hung goes on and what broke starts again.
    const double at = in_outage() ? outage_until_ - s_.outage_s : now_;
    const double began = in_outage() && s_.outage_breaks_attempts ? a.broke_s
                         : in_outage()                            ? a.start_s
                                                                  : a.end_s - a.seconds;
    return std::clamp((at - began) / a.seconds, 0.0, 1.0);
  }

  void begin_outage() {
    outage_over_ = true;
    outage_until_ = now_ + s_.outage_s;
    disturbed_share_ = share();
    for (Attempt& a : running_) {
      if (s_.outage_breaks_attempts) {
        a.broke_s = a.start_s;
        a.start_s = outage_until_;
        a.end_s = outage_until_ + a.seconds;
      } else {
        a.end_s += s_.outage_s;
      }
    }
  }

  const Scenario& s_;
  double now_ = 0, rows_done_ = 0, rows_total_ = 0;
  std::size_t next_ = 0;
  std::vector<Attempt> running_;
  int last_workers_ = 0, frozen_workers_ = 0;
  double outage_until_ = -1;
  bool outage_over_ = false;
  double disturbed_share_ = -1;
};

double length_of(const Scenario& scenario) {
  Job job(scenario);
  while (!job.over()) job.advance(std::numeric_limits<double>::infinity(), [](const FinishedPartition&) {});
  return job.now();
}

}  // namespace

std::vector<TracePartition> read_trace(const std::string& name) {
  std::ifstream in(std::string(SOURCE_DIR) + "/tests/unit/queue/traces/" + name + ".csv");
  if (!in) throw std::runtime_error("no trace " + name);
  std::string line;
  std::getline(in, line);
  std::vector<TracePartition> out;
  while (std::getline(in, line)) {
    TracePartition p;
    if (std::sscanf(line.c_str(), "%lf,%lf", &p.seconds, &p.rows) == 2) out.push_back(p);
  }
  return out;
}

Replay replay(const Scenario& scenario) {
  Replay out;
  out.total_s = length_of(scenario);
  const double look_s = out.total_s / 1000;
  EtaModel model;
  Job job(scenario);
  double next_answer = 0.10;
  double next_look = 0;
  int finished = 0;
  while (!job.over()) {
    job.advance(next_look, [&](const FinishedPartition& p) {
      model.finished(p);
      ++finished;
    });
    if (job.over()) break;
    if (job.now() < next_look) continue;
    next_look += look_s;
    job.claim();
    const RemainingWork work = job.remaining();
    if (!job.in_outage()) model.workers_changed(job.now(), work.workers);
    model.observe(job.now(), work.running);
    if (model.stalled(job.now())) {
      if (job.in_outage()) {
        out.outage_noticed = true;
      } else {
        out.stalls_outside_s.push_back(job.now());
      }
    }
    if (job.share() < next_answer) continue;
    while (next_answer <= job.share()) next_answer += 0.01;
    const auto eta = model.estimate(job.now(), work);
    const bool disturbed = job.disturbed_share() >= 0 && job.share() < job.disturbed_share() + 0.05;
    out.answers.push_back({job.share(), eta.has_value(), eta.value_or(Eta{}), job.undisturbed_rest(),
                           !disturbed && !job.in_outage() && finished > 0});
  }
  return out;
}

double median_error(const std::vector<Answer>& answers) {
  std::vector<double> errors;
  for (const Answer& a : answers) {
    if (a.judged) errors.push_back(a.known ? std::abs(a.eta.median_s - a.truth_s) / a.truth_s : INFINITY);
  }
  if (errors.empty()) throw std::logic_error("no answer to judge");
  std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2), errors.end());
  return errors[errors.size() / 2];
}

double coverage(const std::vector<Answer>& answers) {
  double inside = 0, judged = 0;
  for (const Answer& a : answers) {
    if (!a.judged) continue;
    ++judged;
    if (a.known && a.eta.low_s <= a.truth_s && a.truth_s <= a.eta.high_s) ++inside;
  }
  return inside / judged;
}

}  // namespace regfeatd::queue::test
