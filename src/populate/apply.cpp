#include "regfeatd/populate/apply.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/populate/compact_view.hpp"
#include "regfeatd/populate/completeness.hpp"
#include "regfeatd/populate/publish.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/populate/target.hpp"
#include "table_use.hpp"

namespace regfeatd::populate {
namespace {

/// What series_query gives, sorted, each once. It is held to one SELECT that changes nothing.
std::vector<std::string> queried_series(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                        std::vector<std::string>& findings) {
  std::set<std::string> names;
  try {
    pqxx::subtransaction trial(static_cast<pqxx::dbtransaction&>(tx), "series");
    trial.exec("SET TRANSACTION READ ONLY");  // until the end of the subtransaction
    // In parentheses no other statement stands, and with parameters the server takes one statement; a line break, as the
    // query may end in a comment.
    const pqxx::result given = trial.exec_params("SELECT * FROM (" + fs.series_query + "\n) q");
    if (given.columns() != 1) {
      findings.push_back(
          fmt::format("series_query: it gives {} columns; expected one, the names of the series", given.columns()));
      return {};
    }
    for (const auto& row : given) {
      if (row[0].is_null()) {
        findings.emplace_back("series_query: it gives a NULL; leave such rows out of it");
      } else {
        names.insert(row[0].as<std::string>());
      }
    }
    trial.commit();
    if (names.empty()) findings.emplace_back("series_query: it gives no series");
  } catch (const pqxx::sql_error&) {
    findings.push_back(fmt::format("series_query: {}; it has to be one SELECT of one column, without a semicolon",
                                   pg::to_fault(std::current_exception()).what()));
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> all_series(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                    std::vector<std::string>& findings) {
  return fs.series_query.empty() ? fs.series : queried_series(tx, fs, findings);
}

std::vector<std::string> wanted_series(const spec::FeatureSet& fs, const Restriction& restriction,
                                       const std::vector<std::string>& all, std::vector<std::string>& findings) {
  if (restriction.series.empty()) return all;
  std::vector<std::string> out;
  for (const std::string& s : all) {
    if (std::find(restriction.series.begin(), restriction.series.end(), s) != restriction.series.end())
      out.push_back(s);
  }
  for (const std::string& s : restriction.series) {
    if (std::find(all.begin(), all.end(), s) == all.end())
      findings.push_back(fmt::format("--series {}: feature set {} has no such series", s, fs.name));
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

/// The feature set that writes a table; empty when it is this one, or none.
std::string other_writer(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::string& table) {
  const pqxx::result r = tx.exec_params(
      "SELECT t.feature_set FROM regfeat.target t WHERE t.target = to_regclass($1) AND t.feature_set <> $2", table,
      fs.name);
  return r.empty() ? std::string() : r[0][0].as<std::string>();
}

std::string describe(Strategy s) {
  switch (s) {
    case Strategy::create:
      return "create: a new table is loaded, then attached; nobody waits";
    case Strategy::truncate:
      return "truncate: the partition's table is emptied and loaded; its readers wait for the load";
    case Strategy::swap:
      return "swap: a staging table is loaded, then takes the place of the partition's table; readers wait for milliseconds";
    case Strategy::remove:
      return "delete: rows of the range are deleted and new ones loaded; nobody waits, the table bloats";
  }
  return {};
}

/// What the planning of all series of a feature set shares.
struct Planning {
  pqxx::transaction_base& tx;
  const spec::FeatureSet& fs;
  const std::vector<OrderRange>& ranges;
  ApplyPlan& plan;
  std::map<std::string, std::int64_t> placements;  ///< how partitions are published, how many
  std::set<std::string> created;                   ///< tables that have their DDL in the plan
  TableUse use;
};

/// `a to b, c to d and 3 more`, where they adjoin as one.
std::string list_ranges(OrderKind order, std::vector<OrderRange> ranges) {
  constexpr std::size_t kShown = 10;
  ranges = merged(std::move(ranges));
  std::string out;
  for (std::size_t i = 0; i < std::min(kShown, ranges.size()); ++i) {
    out += fmt::format("{}{} to {}", i == 0 ? "" : ", ", format_order(order, ranges[i].lower),
                       format_order(order, ranges[i].upper));
  }
  if (ranges.size() > kShown) out += fmt::format(" and {} more ranges", ranges.size() - kShown);
  return out;
}

/// Counts how the partitions of a target that exists are published; what cannot be is a finding.
void plan_placements(Planning& p, const spec::Target& target, const ResolvedTarget& resolved, const std::string& series,
                     std::vector<std::string>& found) {
  constexpr std::size_t kShown = 10;
  std::vector<OrderRange> missing;
  std::vector<std::string> refused;
  for (const OrderRange& range : p.ranges) {
    try {
      const Placement placed = place(p.tx, p.fs, target, resolved, series, range);
      p.placements[describe(placed.strategy) + " (" + placed.why + ')']++;
    } catch (const MissingChild& e) {
      missing.insert(missing.end(), e.ranges().begin(), e.ranges().end());
    } catch (const Fault& e) {
      if (std::find(refused.begin(), refused.end(), e.what()) == refused.end()) refused.emplace_back(e.what());
    }
  }
  const std::string where = resolved.table.name.text();
  if (!missing.empty()) {
    found.push_back(fmt::format(
        "target {}: no partition holds {}: create what is missing{}", where,
        list_ranges(p.fs.order, std::move(missing)),
        target.partition.empty() ? ", or give the target a `partition:` name by which partitions without any get theirs"
                                 : ""));
  }
  found.insert(found.end(), refused.begin(),
               refused.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, refused.size())));
  if (refused.size() > kShown)
    found.push_back(
        fmt::format("target {}: and {} more such findings of its partitions", where, refused.size() - kShown));
}

/// Everything the catalogue has to say about one target of one series. true: it, or a column of it, is not there yet.
bool plan_target(Planning& p, const spec::Target& target, const std::string& series, const ResolvedSource& source,
                 std::vector<std::string>& found) {
  const std::string name = spec::written_table(p.fs, target, series);
  const std::string quoted = pg::TableName::parse(name).quoted();
  p.use.writes(p.tx, name, series, found);
  const std::vector<std::string> additions = missing_column_ddl(p.tx, p.fs, target, series);
  if (!additions.empty() && p.created.insert(name).second)
    p.plan.ddl.insert(p.plan.ddl.end(), additions.begin(), additions.end());
  if (const std::string writer = other_writer(p.tx, p.fs, quoted); !writer.empty()) {
    found.push_back(fmt::format(
        "target {}: feature set {} writes it; a table has one writer, as each replaces whole ranges of rows: take another "
        "table, or `regfeatd remove {}` first (it keeps the table)",
        name, writer, writer));
  }
  const auto resolved = resolve_target(p.tx, p.fs, target, series, found, !additions.empty());
  if (!resolved) {
    if (p.created.insert(name).second) {
      const auto ddl = target_ddl(p.fs, target, series, source.key_types);
      p.plan.ddl.insert(p.plan.ddl.end(), ddl.begin(), ddl.end());
      p.plan.targets.push_back({quoted, true});
    }
    p.placements[target.partition.empty() ? describe(Strategy::remove) : describe(Strategy::create)] +=
        static_cast<std::int64_t>(p.ranges.size());
    return true;
  }
  check_key_types(p.fs, source, *resolved, found);
  p.plan.targets.push_back({quoted, false});
  plan_placements(p, target, *resolved, series, found);
  return !additions.empty();
}

/// Everything the catalogue has to say about one series.
void plan_series(Planning& p, const std::string& series) {
  std::vector<std::string> found;
  const ResolvedSource source = resolve_source(p.tx, p.fs, series, found);
  const bool source_usable = found.empty();
  if (source_usable) p.use.reads(p.tx, p.fs, source);
  bool incomplete = false;  // whatever was done, these partitions are to be written
  for (const spec::Target& target : p.fs.targets)
    incomplete = plan_target(p, target, series, source, found) || incomplete;
  for (const spec::Target& target : p.fs.targets) {  // behind the tables that the views read
    if (!spec::is_compact(spec::storage_of(p.fs, target))) continue;
    const auto ddl = compact_view_ddl(p.tx, p.fs, target, series, found);
    if (ddl.empty()) continue;
    p.plan.ddl.insert(p.plan.ddl.end(), ddl.begin(), ddl.end());
    p.plan.targets.push_back({pg::TableName::parse(spec::target_table(target, series)).quoted(), true});
  }
  for (const OrderRange& range : p.ranges) {
    queue::WantedPartition wanted{series, range, std::nullopt, false, incomplete};
    if (source_usable) wanted.estimated_rows = estimate_rows(p.tx, p.fs, source, range);
    p.plan.partitions.push_back(std::move(wanted));
  }
  p.plan.findings.insert(p.plan.findings.end(), found.begin(), found.end());
}

std::size_t row_bytes(const spec::FeatureSet& fs) {
  std::size_t bytes = 0;
  for (const spec::Target& target : fs.targets) {
    const std::size_t value = spec::is_real(spec::storage_of(fs, target)) ? 8 : 12;
    bytes += 14 + target.inputs.size() * spec::written_plan(fs, target).column_count() * value;
  }
  return bytes;
}

/// Which of the two paths rows take on this server.
std::string describe_wal(pqxx::transaction_base& tx) {
  const pqxx::row row = tx.exec1("SELECT current_setting('wal_level'), to_regproc('aurora_version') IS NOT NULL");
  const auto level = row[0].as<std::string>();
  if (row[1].as<bool>())
    return "logged (Amazon Aurora: its storage is the log; COPY FREEZE into tables of their own is the fastest path there)";
  if (level == "minimal") return "skipped for create, truncate and swap (wal_level is minimal); only delete is logged";
  return "logged (wal_level is " + level + "); minimal would skip it, where neither standbys nor archiving need it";
}

/// Tells new, stale and removed partitions from those that are as the specification wants them.
void compare_partitions(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                        const std::optional<queue::StoredFeatureSet>& stored, ApplyPlan& plan) {
  plan.new_partitions = plan.requeued_partitions = plan.unchanged_partitions = plan.estimated_rows = 0;
  plan.removed.clear();
  std::map<std::pair<std::string, OrderValue>, queue::KnownPartition> known;
  if (stored) {
    for (auto& k : queue::known_partitions(tx, *stored, fs)) known.emplace(std::pair{k.series, k.range.lower}, k);
  }
  for (queue::WantedPartition& w : plan.partitions) {
    w.requeue = false;
    const auto found = known.find({w.series, w.range.lower});
    if (found == known.end()) {
      ++plan.new_partitions;
    } else if ((w.rewrite && !found->second.cancelled) || found->second.removed || !found->second.current ||
               !(found->second.range == w.range)) {
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
  const std::set<std::string> all(plan.all_series.begin(), plan.all_series.end());
  std::map<OrderValue, OrderValue> cells;
  for (const OrderRange& r : spec::enumerate_partitions(fs)) cells.emplace(r.lower, r.upper);
  std::set<std::pair<std::string, OrderValue>> wanted;
  for (const queue::WantedPartition& w : plan.partitions) wanted.emplace(w.series, w.range.lower);
  for (const auto& [place, k] : known) {
    const auto cell = cells.find(place.second);
    // One that begins like a partition of the specification and ends elsewhere gets its end from this apply, or goes: it would
    // overlap its neighbours.
    const bool named =
        all.contains(place.first) && cell != cells.end() && (cell->second == k.range.upper || wanted.contains(place));
    if (!k.removed && !named) plan.removed.push_back(k);
  }
}

/// What would make the partitions of one series of a stored feature set fail.
void preflight_series(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::string& series, TableUse& use,
                      std::vector<std::string>& findings) {
  std::vector<std::string> found;
  const ResolvedSource source = resolve_source(tx, fs, series, found);
  if (found.empty()) use.reads(tx, fs, source);
  for (const spec::Target& target : fs.targets) {
    const std::string name = spec::written_table(fs, target, series);
    use.writes(tx, name, series, found);
    const std::size_t before = found.size();
    if (!resolve_target(tx, fs, target, series, found) && found.size() == before)
      found.push_back(fmt::format("target {}: it does not exist: apply the feature set again", name));
  }
  findings.insert(findings.end(), found.begin(), found.end());
}

}  // namespace

void use_utc(pqxx::transaction_base& tx) {
  tx.exec("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL client_min_messages = 'warning'");
}

ApplyPlan plan_apply(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document,
                     const Restriction& restriction) {
  const spec::FeatureSet& fs = document.feature_set;
  ApplyPlan plan;
  const auto stored = queue::find_feature_set(tx, fs.name);
  plan.new_feature_set = !stored;
  plan.new_version = !stored || stored->document != document.text;
  plan.output_changed = stored && stored->output_identity != spec::output_identity(fs);
  plan.all_series = all_series(tx, fs, plan.findings);
  plan.series = wanted_series(fs, restriction, plan.all_series, plan.findings);
  for (auto& f : queue::check_dependencies(tx, fs)) plan.findings.push_back(std::move(f));
  for (auto& f : check_calendar(tx, fs)) plan.findings.push_back(std::move(f));
  const auto ranges = wanted_ranges(fs, restriction);
  if (ranges.empty()) plan.findings.push_back("--from and --to leave no partition of " + fs.name);
  Planning planning{tx, fs, ranges, plan, {}, {}, {}};
  for (const std::string& series : plan.series) {
    try {
      plan_series(planning, series);
    } catch (const spec::SpecError& e) {
      plan.findings.insert(plan.findings.end(), e.findings().begin(), e.findings().end());
    }
  }
  for (auto& f : planning.use.conflicts(tx)) plan.findings.push_back(std::move(f));
  plan.wal = describe_wal(tx);
  for (const auto& [how, count] : planning.placements) plan.placement.push_back(fmt::format("{} × {}", count, how));
  compare_partitions(tx, fs, stored, plan);
  return plan;
}

void one_apply_at_a_time(pqxx::transaction_base& tx) {
  tx.exec("SELECT pg_advisory_xact_lock(hashtext('regfeatd apply'))");
}

queue::EnqueueCounts apply(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document, ApplyPlan plan) {
  // Tables first, work rows second, as workers do: the other order could deadlock with one.
  for (const std::string& statement : plan.ddl) tx.exec(statement);
  if (const auto before = queue::find_feature_set(tx, document.feature_set.name)) {
    // Nothing is claimed under the old specification from here on, so what is pending now will see the new one.
    queue::lock_partitions(tx, before->id);
    compare_partitions(tx, document.feature_set, before, plan);
  }
  const queue::StoredFeatureSet stored = queue::store_feature_set(tx, document);
  tx.exec("DELETE FROM regfeat.target t WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.target)");
  for (const TargetTable& table : plan.targets) {
    tx.exec_params(
        "INSERT INTO regfeat.target (target, feature_set, created) VALUES ($1::regclass, $2, $3) ON CONFLICT DO NOTHING",
        table.name, document.feature_set.name, table.created);
    // What validate holds the table against: what there is now is what is wanted.
    tx.exec_params(
        "UPDATE regfeat.target t SET indexes = ARRAY(SELECT regfeat.index_text(x.indexrelid) FROM pg_index x "
        "                                             WHERE x.indrelid = t.target AND x.indisvalid AND x.indisready ORDER BY 1) "
        " WHERE t.target = $1::regclass",
        table.name);
  }
  queue::store_dependencies(tx, stored.id, document.feature_set);
  std::vector<PartitionId> gone;
  for (const queue::KnownPartition& k : plan.removed) gone.push_back(k.id);
  queue::remove_partitions(tx, gone);
  const auto counts = queue::enqueue(tx, stored, document.feature_set, plan.partitions);
  tx.exec("NOTIFY regfeat_work");
  return counts;
}

std::vector<std::string> preflight(pqxx::transaction_base& tx) {
  std::vector<std::string> findings;
  const pqxx::result sets = tx.exec(
      "SELECT feature_set_id, specification_version FROM regfeat.feature_set f WHERE paused_at IS NULL AND EXISTS "
      "       (SELECT FROM regfeat.partition p WHERE p.feature_set_id = f.feature_set_id AND p.state IN ('pending', 'running')) "
      " ORDER BY 1");
  for (const auto& set : sets) {
    const FeatureSetId id{set[0].as<std::int64_t>()};
    const spec::FeatureSet fs =
        spec::parse_feature_set(queue::load_specification(tx, id, set[1].as<int>()).document, "specification");
    TableUse use;
    std::vector<std::string> found;
    for (
        const auto& row : tx.exec_params(
            "SELECT DISTINCT series FROM regfeat.partition WHERE feature_set_id = $1 AND state IN ('pending', 'running') "
            " ORDER BY 1",
            id.value)) {
      preflight_series(tx, fs, row[0].as<std::string>(), use, found);
    }
    for (auto& f : use.conflicts(tx)) found.push_back(std::move(f));
    for (const std::string& f : found) findings.push_back(fs.name + ": " + f);
  }
  return findings;
}

}  // namespace regfeatd::populate
