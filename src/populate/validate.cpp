// What the tables hold against what they should hold.
#include "regfeatd/populate/validate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "input_series.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/queue/feature_sets.hpp"
#include "stream_hash.hpp"
#include "validate_indexes.hpp"
#include "validate_rows.hpp"

namespace regfeatd::populate {
namespace {

void begin_reading(pqxx::transaction_base& tx) {
  tx.exec(
      "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'; SET LOCAL "
      "DateStyle = 'ISO, YMD'; "
      "SET LOCAL statement_timeout = 0; SET LOCAL extra_float_digits = 1; SET LOCAL client_min_messages = "
      "'warning'; SET LOCAL jit = off");
}

/// What the catalogue says of one series.
struct Places {
  ResolvedSource source;
  std::vector<ResolvedTarget> targets;
  std::vector<std::string> findings;
};

class Validation {
 public:
  Validation(pg::Session& session, const ValidateOptions& options)
      : session_(session), options_(options), random_(options.seed) {}

  ValidateReport run(const std::string& name, const std::function<void(std::size_t, std::size_t)>& on_partition);

 private:
  void load(const std::string& name);
  [[nodiscard]] bool asked_for(const std::string& series, const OrderRange& range) const;
  void look_at_scope(const std::vector<queue::ListedWork>& listed);
  [[nodiscard]] std::vector<queue::FinishedWork> choose(std::vector<queue::FinishedWork> all);
  void look_at_tables(const std::vector<queue::FinishedWork>& chosen);
  void check(const queue::FinishedWork& work);
  void check_in(pqxx::transaction_base& tx, const queue::FinishedWork& work, std::vector<queue::Finding>& findings,
                queue::ValidationCounts& counts);
  void check_targets(pqxx::transaction_base& tx, const queue::FinishedWork& work, const Places& places,
                     std::vector<queue::Finding>& findings, queue::ValidationCounts& counts);
  void check_truncation(pqxx::transaction_base& tx, const queue::FinishedWork& work, const Places& places,
                        std::vector<queue::Finding>& findings);
  [[nodiscard]] const std::string& identity_of(pqxx::transaction_base& tx, int version);
  [[nodiscard]] queue::Finding finding(const queue::FinishedWork& work, const std::string& what,
                                       const std::string& message) const;
  void keep(std::vector<queue::Finding> findings);

  pg::Session& session_;
  const ValidateOptions& options_;
  std::mt19937_64 random_;
  FeatureSetId id_;
  spec::FeatureSet fs_;
  std::string identity_;
  std::map<int, std::string> identities_;  ///< by version
  std::map<std::string, Places> places_;   ///< by series
  InputStore input_;
  InputRows truncated_;
  ValidateReport report_;
};

void Validation::load(const std::string& name) {
  pqxx::work tx(session_.sql());
  const auto stored = queue::find_feature_set(tx, name);
  if (!stored)
    throw Fault(
        FaultClass::configuration,
        fmt::format("there is no feature set {}; SELECT name FROM regfeat.feature_set shows those that are", name));
  id_ = stored->id;
  identity_ = stored->output_identity;
  try {
    fs_ = spec::parse_feature_set(stored->document, "specification");
  } catch (const spec::SpecError& e) {
    throw Fault(FaultClass::configuration, e.what());
  }
}

bool Validation::asked_for(const std::string& series, const OrderRange& range) const {
  const Restriction& only = options_.restriction;
  if (!only.series.empty() && std::find(only.series.begin(), only.series.end(), series) == only.series.end())
    return false;
  return !(only.from && range.upper <= *only.from) && !(only.to && range.lower >= *only.to);
}

/// Silence must not be taken for success: unknown series are an error, and what there is nothing to say about is said.
void Validation::look_at_scope(const std::vector<queue::ListedWork>& listed) {
  std::set<std::string> known;
  std::map<std::string, std::int64_t> states;  // of those that were asked for
  std::int64_t asked = 0;
  for (const queue::ListedWork& w : listed) {
    known.insert(w.series);
    if (!asked_for(w.series, w.range)) continue;
    ++asked;
    if (w.state != "done" && w.state != "empty") ++states[w.state];
  }
  std::string unknown;
  for (const std::string& s : options_.restriction.series) {
    if (!known.contains(s)) unknown += (unknown.empty() ? "" : ", ") + s;
  }
  if (!unknown.empty())
    throw Fault(FaultClass::configuration,
                fmt::format("--series {}: feature set {} has no such series", unknown, fs_.name));
  for (const auto& [state, n] : states) report_.unfinished += n;
  if (listed.empty()) {
    report_.nothing_looked_at = "the feature set has no partitions";
  } else if (asked == 0) {
    report_.nothing_looked_at =
        fmt::format("none of its {} partitions is between --from and --to", format_count(std::ssize(listed)));
  } else if (asked == report_.unfinished) {
    std::string how;
    for (const auto& [state, n] : states)
      how += fmt::format("{}{} {}", how.empty() ? "" : ", ", format_count(n), state);
    report_.nothing_looked_at = fmt::format("no partition that was asked for is finished: {}", how);
  }
}

std::vector<queue::FinishedWork> Validation::choose(std::vector<queue::FinishedWork> all) {
  std::erase_if(all, [&](const queue::FinishedWork& w) { return !asked_for(w.series, w.range); });
  report_.counts.partitions_of = static_cast<std::int64_t>(all.size());
  if (options_.sample == 0 || options_.sample >= all.size()) return all;
  std::vector<queue::FinishedWork> chosen;
  // std::sample keeps the order.
  std::sample(all.begin(), all.end(), std::back_inserter(chosen), options_.sample, random_);
  return chosen;
}

void Validation::keep(std::vector<queue::Finding> findings) {
  queue::record_findings(session_, report_.run, fs_.name, findings);
  report_.counts.findings += static_cast<std::int64_t>(findings.size());
  std::move(findings.begin(), findings.end(), std::back_inserter(report_.findings));
}

queue::Finding Validation::finding(const queue::FinishedWork& work, const std::string& what,
                                   const std::string& message) const {
  queue::Finding f;
  f.series = work.series;
  f.partition = work.id;
  f.from = format_order(fs_.order, work.range.lower);
  f.to = format_order(fs_.order, work.range.upper);
  f.what = what;
  f.message = message;
  return f;
}

/// Resolves every series once, and looks at the keys and indexes of its targets.
void Validation::look_at_tables(const std::vector<queue::FinishedWork>& chosen) {
  std::vector<queue::Finding> findings;
  {
    pqxx::work tx(session_.sql());
    begin_reading(tx);
    std::vector<AuditedTarget> audited;
    for (const queue::FinishedWork& w : chosen) {
      if (places_.contains(w.series)) continue;
      Places& p = places_[w.series];
      p.source = resolve_source(tx, fs_, w.series, p.findings);
      for (std::size_t t = 0; t < fs_.targets.size(); ++t) {
        auto resolved = resolve_target(tx, fs_, fs_.targets[t], w.series, p.findings);
        if (!resolved && p.findings.empty())
          p.findings.push_back(
              fmt::format("target {}: it does not exist", spec::target_table(fs_.targets[t], w.series)));
        if (!resolved || !p.findings.empty()) continue;
        p.targets.push_back(*resolved);
        audited.push_back({w.series, t, std::move(*resolved)});
      }
      for (const std::string& what : p.findings) {
        queue::Finding f;
        f.series = w.series;
        f.what = "table";
        f.message = what;
        findings.push_back(std::move(f));
      }
    }
    auto audit = audit_indexes(tx, fs_, audited);
    std::move(audit.begin(), audit.end(), std::back_inserter(findings));
  }
  keep(std::move(findings));
}

const std::string& Validation::identity_of(pqxx::transaction_base& tx, int version) {
  const auto known = identities_.find(version);
  if (known != identities_.end()) return known->second;
  return identities_.emplace(version, queue::load_specification(tx, id_, version).output_identity).first->second;
}

void Validation::check(const queue::FinishedWork& work) {
  std::vector<queue::Finding> findings;
  queue::ValidationCounts counts;
  {
    pqxx::work tx(session_.sql());
    begin_reading(tx);
    check_in(tx, work, findings, counts);
  }
  // Rows are replaced by TRUNCATE and by exchanging tables, which older snapshots do not see as they should.
  pqxx::work tx(session_.sql());
  if (!queue::untouched(tx, work)) {
    ++report_.changed_meanwhile;
    return;
  }
  tx.abort();
  report_.counts.partitions += 1;
  report_.counts.rows += counts.rows;
  report_.counts.values += counts.values;
  report_.counts.oracle_values += counts.oracle_values;
  keep(std::move(findings));
}

void Validation::check_in(pqxx::transaction_base& tx, const queue::FinishedWork& work,
                          std::vector<queue::Finding>& findings, queue::ValidationCounts& counts) {
  const Places& places = places_.at(work.series);
  if (!places.findings.empty()) return;  // reported with the tables
  if (work.specification_version == 0 || identity_of(tx, work.specification_version) != identity_) {
    findings.push_back(
        finding(work, "specification",
                fmt::format("it was computed by version {} of the specification, whose output is another: requeue it",
                            work.specification_version)));
    return;
  }
  input_.clear(fs_.inputs.size(), options_.input_budget_bytes);
  read_source(session_, tx, fs_, places.source, work.range, input_);
  if (input_.chunks() > 1) {
    findings.push_back(finding(work, "too_large",
                               fmt::format("its input takes more than {} of memory: it is not looked at",
                                           format_bytes(static_cast<double>(options_.input_budget_bytes)))));
    return;
  }
  const InputRows& rows = input_.rows();
  const auto usable = static_cast<std::int64_t>(rows.output_rows());
  if (!work.input_fingerprint.empty() && !work.empty &&
      input_fingerprint(fs_, work.range, input_) != work.input_fingerprint) {
    findings.push_back(finding(work, "source_changed",
                               "its inputs, look-back included, are not those that it was computed from: requeue it"));
  }
  if (work.empty && usable > 0)
    findings.push_back(finding(work, "source_changed",
                               fmt::format("it was empty, and now its source has {} rows: requeue it", usable)));
  if (!work.empty && work.rows_out != usable) {
    findings.push_back(
        finding(work, "row_count", fmt::format("{} rows were written, the source gives {}", work.rows_out, usable)));
  }
  check_targets(tx, work, places, findings, counts);
  if (usable > 0) check_truncation(tx, work, places, findings);
}

void Validation::check_targets(pqxx::transaction_base&, const queue::FinishedWork& work, const Places& places,
                               std::vector<queue::Finding>& findings, queue::ValidationCounts& counts) {
  const InputRows& rows = input_.rows();
  StreamHash hash;
  bool hashable = !work.empty;
  std::int64_t nulls = 0;
  std::vector<std::set<std::string>> names;
  for (std::size_t t = 0; t < places.targets.size(); ++t) {
    const ResolvedTarget& target = places.targets[t];
    const Report report = [&](const std::string& what, const std::string& column, const std::string& position,
                              const std::string& message) {
      queue::Finding f = finding(work, what, message);
      f.target = target.table.name.text();
      f.column = column;
      f.position = position;
      findings.push_back(std::move(f));
    };
    const TargetRows actual = read_target(session_, fs_, target, work.range);
    counts.rows += static_cast<std::int64_t>(actual.order.size());
    TargetCheck check(fs_, fs_.targets[t], target, places.source, rows);
    const std::size_t before = findings.size();
    check.check_rows(actual, report);
    hashable = hashable && findings.size() == before && check.exact();
    counts.values += check.check_values(actual, report);
    nulls += check.check_nulls(actual, report);
    counts.oracle_values += check.check_oracle(actual, options_.oracle_rows, random_, report);
    check.check_identities(actual, report);
    if (hashable) check.hash_tuples(actual, [&](std::span<const std::byte> tuples) { hash.update(tuples); });
    auto& set = names.emplace_back();
    for (const auto& [name, row] : actual.index) set.insert(name);
    if (t > 0 && set != names.front()) {
      report("positions_differ", "", "",
             fmt::format("its {} positions are not the {} of {}", set.size(), names.front().size(),
                         places.targets.front().table.name.text()));
    }
  }
  if (!work.empty && nulls != work.nulls_out) {
    findings.push_back(
        finding(work, "null_count", fmt::format("the targets hold {} NULLs, {} were written", nulls, work.nulls_out)));
  }
  if (hashable && hash.hex() != work.checksum) {
    findings.push_back(finding(
        work, "checksum",
        fmt::format("the rows of today have checksum {}, those that were written {}", hash.hex(), work.checksum)));
  }
}

/// Nothing behind t may decide what stands at t: the source is read again up to a random row only, and what
/// comes out for the last rows must be what came out with everything there.
void Validation::check_truncation(pqxx::transaction_base& tx, const queue::FinishedWork& work, const Places& places,
                                  std::vector<queue::Finding>& findings) {
  const InputRows& rows = input_.rows();
  std::vector<std::size_t> output;
  for (const Segment& s : rows.segments) {
    if (s.output < s.end) output.push_back(s.output + random_() % (s.end - s.output));
  }
  const OrderValue cut = rows.order[output[random_() % output.size()]];
  read_source(session_, tx, fs_, places.source, {work.range.lower, cut + 1}, options_.input_budget_bytes, truncated_);
  fit::Fitter fitter(fs_.plan(), 1);
  fit::ColumnBlock with(fs_.plan().column_count(), 1), without(fs_.plan().column_count(), 1);
  std::map<std::string, const Segment*> whole;  // by key
  for (const Segment& s : rows.segments) {
    if (s.output < s.end) whole.emplace(row_name(0, rows.key(s.output)), &s);
  }
  std::set<std::string> bad;
  for (const BadKey& key : input_.bad_keys()) bad.insert(key.key);
  constexpr int kSegments = 100;
  int looked_at = 0;
  for (const Segment& s : truncated_.segments) {
    if (s.output >= s.end) continue;
    if (++looked_at > kSegments) return;
    const std::size_t last = s.end - 1;
    // A key is set aside as a whole, also for what stands behind the cut, without which it can be used.
    if (bad.contains(describe_key(fs_, places.source, truncated_.key(last)))) continue;
    const auto w = whole.find(row_name(0, truncated_.key(last)));
    const std::string at = format_order(fs_.order, truncated_.order[last]);
    const auto other = w == whole.end() ? 0 : w->second->output + (last - s.output);
    if (w == whole.end() || other >= w->second->end || rows.order[other] != truncated_.order[last]) {
      findings.push_back(finding(
          work, "leak",
          fmt::format("without the rows behind {} the source has other rows before it", format_order(fs_.order, cut))));
      return;
    }
    for (std::size_t i = 0; i < fs_.inputs.size(); ++i) {
      fitter.fit(series_of(truncated_, s, i), last - s.begin, 1, without);
      fitter.fit(series_of(rows, *w->second, i), other - w->second->begin, 1, with);
      for (std::size_t c = 0; c < with.columns(); ++c) {
        const double a = with.column(c)[0], b = without.column(c)[0];
        if ((std::isnan(a) && std::isnan(b)) || a == b) continue;
        queue::Finding f = finding(work, "leak",
                                   fmt::format("input {}: without the rows behind it a value becomes {} instead of {}",
                                               fs_.inputs[i].name, b, a));
        f.position = at;
        findings.push_back(std::move(f));
        return;
      }
    }
  }
}

ValidateReport Validation::run(const std::string& name,
                               const std::function<void(std::size_t, std::size_t)>& on_partition) {
  load(name);
  std::vector<queue::FinishedWork> chosen;
  {
    pqxx::work tx(session_.sql());
    begin_reading(tx);
    look_at_scope(queue::listed_work(tx, id_));
    chosen = choose(queue::finished_work(tx, id_));
  }
  report_.run = queue::begin_validation(session_, fs_.name, options_.seed);
  look_at_tables(chosen);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    check(chosen[i]);
    on_partition(i + 1, chosen.size());
  }
  if (report_.nothing_looked_at.empty() && report_.counts.partitions == 0 && report_.findings.empty())
    report_.nothing_looked_at = "every partition changed while it was looked at";
  queue::end_validation(session_, report_.run, report_.counts);
  return std::move(report_);
}

}  // namespace

ValidateReport validate(pg::Session& session, const std::string& feature_set, const ValidateOptions& options,
                        const std::function<void(std::size_t, std::size_t)>& on_partition) {
  return pg::guarded("validate", [&] { return Validation(session, options).run(feature_set, on_partition); });
}

}  // namespace regfeatd::populate
