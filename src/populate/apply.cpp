#include "regfeatd/populate/apply.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/populate/publish.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/populate/target.hpp"

namespace regfeatd::populate {
namespace {

std::vector<std::string> all_series(pqxx::transaction_base& tx, const spec::FeatureSet& fs) {
  std::vector<std::string> all = fs.series;
  if (!fs.series_query.empty()) {
    for (const auto& row : tx.exec(fs.series_query)) all.push_back(row[0].as<std::string>());
  }
  return all;
}

std::vector<std::string> wanted_series(const spec::FeatureSet& fs, const Restriction& restriction,
                                       const std::vector<std::string>& all, std::vector<std::string>& findings) {
  if (restriction.series.empty()) return all;
  std::vector<std::string> out;
  for (const std::string& s : all) {
    if (std::find(restriction.series.begin(), restriction.series.end(), s) != restriction.series.end()) out.push_back(s);
  }
  for (const std::string& s : restriction.series) {
    if (std::find(all.begin(), all.end(), s) == all.end()) findings.push_back(fmt::format("--series {}: feature set {} has no such series", s, fs.name));
  }
  return out;
}

std::vector<OrderRange> wanted_ranges(const spec::FeatureSet& fs, const Restriction& restriction) {
  std::vector<OrderRange> out;
  for (const OrderRange& r : spec::enumerate_partitions(fs)) {
    if (restriction.from && r.upper <= *restriction.from) continue;
    if (restriction.to && r.lower >= *restriction.to) continue;
    out.push_back(r);
  }
  return out;
}

std::string describe(Strategy s) {
  switch (s) {
    case Strategy::create: return "create: a new table is loaded, then attached; nobody waits";
    case Strategy::truncate: return "truncate: the partition's table is emptied and loaded; its readers wait for the load";
    case Strategy::swap: return "swap: a staging table is loaded, then takes the place of the partition's table; readers wait for milliseconds";
    case Strategy::remove: return "delete: rows of the range are deleted and new ones loaded; nobody waits, the table bloats";
  }
  return {};
}

/// Everything the catalogue has to say about one series.
void plan_series(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::string& series, const std::vector<OrderRange>& ranges, ApplyPlan& plan,
                 std::map<std::string, std::int64_t>& placements, std::set<std::string>& created, std::map<std::string, std::string>& table_owner) {
  std::vector<std::string> found;
  const ResolvedSource source = resolve_source(tx, fs, series, found);
  const bool source_usable = found.empty();
  for (const spec::Target& target : fs.targets) {
    const std::string name = spec::target_table(target, series);
    const auto [owner, first] = table_owner.emplace(name, series);
    if (!first && owner->second != series) {
      found.push_back(fmt::format("target {}: series {} and {} would replace each other's rows in it; put {{series}} into its name", name, owner->second, series));
    }
    std::vector<std::string> additions = missing_column_ddl(tx, fs, target, series);
    if (!additions.empty() && created.insert(name).second) plan.ddl.insert(plan.ddl.end(), additions.begin(), additions.end());
    const auto resolved = resolve_target(tx, fs, target, series, found, !additions.empty());
    if (!resolved) {
      if (created.insert(name).second) {
        const auto ddl = target_ddl(fs, target, series, source.key_types);
        plan.ddl.insert(plan.ddl.end(), ddl.begin(), ddl.end());
        plan.created.push_back(pg::TableName::parse(name).quoted());
      }
      placements[target.partition.empty() ? describe(Strategy::remove) : describe(Strategy::create)] += static_cast<std::int64_t>(ranges.size());
      continue;
    }
    for (const OrderRange& range : ranges) {
      try {
        const Placement p = place(tx, fs, target, *resolved, series, range);
        placements[describe(p.strategy) + " (" + p.why + ')']++;
      } catch (const Fault& e) {
        found.emplace_back(e.what());
        break;
      }
    }
  }
  for (const OrderRange& range : ranges) {
    queue::WantedPartition wanted{series, range, std::nullopt};
    if (source_usable) wanted.estimated_rows = estimate_rows(tx, fs, source, range);
    plan.partitions.push_back(std::move(wanted));
  }
  plan.findings.insert(plan.findings.end(), found.begin(), found.end());
}

std::size_t row_bytes(const spec::FeatureSet& fs) {
  std::size_t bytes = 0;
  for (const spec::Target& target : fs.targets) {
    const std::size_t value = target.storage.value_or(fs.storage) == spec::Storage::real ? 8 : 12;
    bytes += 14 + target.inputs.size() * fs.plan().column_count() * value;
  }
  return bytes;
}

/// Which of the two paths rows take on this server.
std::string describe_wal(pqxx::transaction_base& tx) {
  const pqxx::row row = tx.exec1("SELECT current_setting('wal_level'), to_regproc('aurora_version') IS NOT NULL");
  const auto level = row[0].as<std::string>();
  if (row[1].as<bool>()) return "logged (Amazon Aurora: its storage is the log; COPY FREEZE into tables of their own is the fastest path there)";
  if (level == "minimal") return "skipped for create, truncate and swap (wal_level is minimal); only delete is logged";
  return "logged (wal_level is " + level + "); minimal would skip it, where neither standbys nor archiving need it";
}

/// Tells new, stale and removed partitions from those that are as the specification wants them.
void compare_partitions(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::optional<queue::StoredFeatureSet>& stored,
                        const std::vector<std::string>& series, ApplyPlan& plan) {
  std::map<std::pair<std::string, OrderValue>, queue::KnownPartition> known;
  if (stored) {
    for (auto& k : queue::known_partitions(tx, *stored, spec::output_identity(fs))) known.emplace(std::pair{k.series, k.range.lower}, k);
  }
  for (queue::WantedPartition& w : plan.partitions) {
    const auto found = known.find({w.series, w.range.lower});
    if (found == known.end()) {
      ++plan.new_partitions;
    } else if (found->second.removed || !found->second.current || !(found->second.range == w.range)) {
      w.requeue = true;
      ++plan.requeued_partitions;
    } else {
      ++plan.unchanged_partitions;
      continue;
    }
    plan.estimated_rows += w.estimated_rows.value_or(0);
  }
  plan.estimated_bytes = static_cast<double>(plan.estimated_rows) * static_cast<double>(row_bytes(fs));
  // By the whole specification, whatever part of it is applied: it is in force for all of them.
  const std::set<std::string> all(series.begin(), series.end());
  std::set<OrderValue> starts;
  for (const OrderRange& r : spec::enumerate_partitions(fs)) starts.insert(r.lower);
  for (const auto& [place, k] : known) {
    if (!k.removed && !(all.contains(place.first) && starts.contains(place.second))) plan.removed.push_back(k.id);
  }
}

}  // namespace

void use_utc(pqxx::transaction_base& tx) { tx.exec("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL client_min_messages = 'warning'"); }

ApplyPlan plan_apply(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document, const Restriction& restriction) {
  const spec::FeatureSet& fs = document.feature_set;
  ApplyPlan plan;
  const auto stored = queue::find_feature_set(tx, fs.name);
  plan.new_feature_set = !stored;
  plan.new_version = !stored || stored->document != document.text;
  plan.output_changed = stored && stored->output_identity != spec::output_identity(fs);
  const auto every_series = all_series(tx, fs);
  plan.series = wanted_series(fs, restriction, every_series, plan.findings);
  for (auto& f : queue::check_dependencies(tx, fs)) plan.findings.push_back(std::move(f));
  const auto ranges = wanted_ranges(fs, restriction);
  if (ranges.empty()) plan.findings.push_back("--from and --to leave no partition of " + fs.name);
  std::map<std::string, std::int64_t> placements;
  std::set<std::string> created;
  std::map<std::string, std::string> table_owner;
  for (const std::string& series : plan.series) {
    try {
      plan_series(tx, fs, series, ranges, plan, placements, created, table_owner);
    } catch (const spec::SpecError& e) {
      plan.findings.insert(plan.findings.end(), e.findings().begin(), e.findings().end());
    }
  }
  plan.wal = describe_wal(tx);
  for (const auto& [how, count] : placements) plan.placement.push_back(fmt::format("{} × {}", count, how));
  compare_partitions(tx, fs, stored, every_series, plan);
  return plan;
}

queue::EnqueueCounts apply(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document, const ApplyPlan& plan) {
  for (const std::string& statement : plan.ddl) tx.exec(statement);
  const queue::StoredFeatureSet stored = queue::store_feature_set(tx, document);
  for (const std::string& table : plan.created) {
    tx.exec_params("INSERT INTO regfeat.target (target, feature_set) VALUES ($1::regclass, $2)", table, document.feature_set.name);
  }
  queue::store_dependencies(tx, stored.id, document.feature_set);
  queue::remove_partitions(tx, plan.removed);
  const auto counts = queue::enqueue(tx, stored, document.feature_set, plan.partitions);
  tx.exec("NOTIFY regfeat_work");
  return counts;
}

std::vector<std::string> preflight(pqxx::transaction_base& tx) {
  std::vector<std::string> findings;
  spec::FeatureSet fs;
  std::int64_t current = 0;
  for (const auto& row : tx.exec("SELECT DISTINCT f.feature_set_id, f.specification_version, p.series "
                                 "  FROM regfeat.feature_set f JOIN regfeat.partition p USING (feature_set_id) "
                                 " WHERE p.state IN ('pending', 'running') AND f.paused_at IS NULL ORDER BY 1, 3")) {
    const FeatureSetId id{row[0].as<std::int64_t>()};
    if (id.value != current) {
      fs = spec::parse_feature_set(queue::load_specification(tx, id, row[1].as<int>()).document, "specification");
      current = id.value;
    }
    const auto series = row[2].as<std::string>();
    std::vector<std::string> found;
    (void)resolve_source(tx, fs, series, found);
    for (const spec::Target& target : fs.targets) {
      const std::size_t before = found.size();
      if (!resolve_target(tx, fs, target, series, found) && found.size() == before) {
        found.push_back(fmt::format("target {}: it does not exist: apply the feature set again", spec::target_table(target, series)));
      }
    }
    for (const std::string& f : found) findings.push_back(fs.name + ": " + f);
  }
  return findings;
}

}  // namespace regfeatd::populate
