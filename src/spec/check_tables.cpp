// The rules for the names that series and partitions make: tables and partitions must differ, and PostgreSQL
// must take the names whole.

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "spec/draft.hpp"
#include "spec/name_template.hpp"
#include "spec/partitions.hpp"
#include "spec/query.hpp"

namespace regfeatd::spec {
namespace {

/// Up to this many names of partitions are made and compared in full; beyond, one series and one partition at
/// a time.
constexpr std::size_t kMaxComparedNames = 200'000;

std::string path_of_target(std::size_t t) { return "targets[" + std::to_string(t) + "]"; }

std::string expand(const std::string& table, const std::string& series) {
  return NameTemplate(table, table_placeholders()).expand([&](const auto&) { return series; });
}

bool uses_series(const std::string& table) { return NameTemplate(table, table_placeholders()).uses("series"); }

/// The series whose names can be looked at: a query's are not known here, a stand-in takes their place.
std::vector<std::string> known_series(const FeatureSet& fs) {
  return fs.series.empty() ? std::vector<std::string>{"s"} : fs.series;
}

bool has_many_series(const FeatureSet& fs) { return fs.series.size() > 1 || !fs.series_query.empty(); }

/// One finding for the first series whose table name is no name, with the number of the others.
void check_table_names(const Draft& draft, const std::string& table, int line, const std::string& path,
                       Findings& findings) {
  const bool has_schema = table.find('.') != std::string::npos && table.find('.') < table.find("{series}");
  std::size_t faulty = 0;
  std::string first;
  for (const std::string& series : known_series(draft.fs)) {
    const std::string name = expand(table, series);
    std::string fault = table_name_fault(name);
    if (fault.empty() && !has_schema && uses_series(table) && series.find('.') != std::string::npos) {
      fault = "takes the dot of series " + quote(series) + " for the one behind the schema; write the schema out";
    }
    if (!fault.empty() && faulty++ == 0) first = "the table name " + quote(name) + " " + fault;
  }
  if (faulty == 0) return;
  findings.add(line, at(path, first + (faulty > 1 ? " (so do " + std::to_string(faulty - 1) + " other series)" : "")));
}

void check_source_series(const Draft& draft, Findings& findings) {
  const FeatureSet& fs = draft.fs;
  if (!draft.source_is_whole || !has_many_series(fs)) return;
  if (!fs.source.query.empty()) {
    const auto pieces = split_query(fs.source.query);
    const bool used =
        std::any_of(pieces.begin(), pieces.end(), [](const auto& p) { return p.is_placeholder && p.text == "series"; });
    if (!used)
      findings.add(fs.source.mark.line, "source.query: there are several series, but the query has no :series");
    return;
  }
  const auto& tables = fs.source.tables;
  if (std::none_of(tables.begin(), tables.end(), [](const auto& t) { return uses_series(t.table); })) {
    findings.add(fs.source.mark.line, "source.tables: there are several series, but no table has {series} in its name");
  }
}

/// Every series has its own target tables, and none of them is a source.
void check_target_tables(const Draft& draft, Findings& findings) {
  const FeatureSet& fs = draft.fs;
  std::map<std::string, std::pair<std::string, std::size_t>> owners;  // table -> series, target
  std::set<std::string> sources;
  const std::vector<std::string> all = known_series(fs);
  for (const std::string& series : all) {
    for (const SourceTable& t : fs.source.tables) {
      if (!t.table.empty()) sources.insert(expand(t.table, series));
    }
  }
  std::vector<bool> reported(fs.targets.size(), false);
  const auto report = [&](std::size_t t, const std::string& message) {
    if (!reported[t]) findings.add(draft.targets[t].table, at(under(path_of_target(t), "table"), message));
    reported[t] = true;
  };
  for (const std::string& series : all) {
    for (std::size_t t = 0; t < fs.targets.size(); ++t) {
      if (fs.targets[t].table.empty()) continue;
      if (!fs.series_query.empty() && !uses_series(fs.targets[t].table)) {
        report(t, "the series are not known yet, so {series} must stand in the name");
      }
      const std::string name = expand(fs.targets[t].table, series);
      if (sources.contains(name))
        report(t, quote(name) + " is a table of the source; rows would be written over what they come from");
      if (const std::string written = expand(written_template(fs, fs.targets[t]), series); written != name) {
        // The table behind a view: nobody else's.
        if (sources.contains(written) || !owners.emplace(written, std::pair{series, t}).second)
          report(t, quote(written) + ", the table that storage: compact writes, is a source or another target too");
      }
      const auto [owner, is_new] = owners.emplace(name, std::pair{series, t});
      if (is_new) continue;
      const auto& [other_series, other] = owner->second;
      if (other_series != series) {
        report(t, quote(name) + " is the table of series " + quote(other_series) + " and of " + quote(series) +
                      "; each series needs its own, with {series} in the name");
      } else if (fs.targets[other].table != fs.targets[t].table) {
        report(t, quote(name) + " is written by " + path_of_target(other) + " too; give both the same template");
      }
    }
  }
}

/// Makes the names of partitions and holds them against each other and against the tables.
class PartitionNameCheck {
 public:
  PartitionNameCheck(const Draft& draft, Findings& findings)
      : draft_(draft),
        fs_(draft.fs),
        findings_(findings),
        ranges_(enumerate(draft.fs.partitioning, kMaxPartitionsPerSeries)),
        series_(known_series(draft.fs)),
        reported_(draft.fs.targets.size(), false) {}

  void run() {
    std::set<std::string> templates;
    for (std::size_t t = 0; t < fs_.targets.size(); ++t) {
      const Target& target = fs_.targets[t];
      if (target.table.empty() || target.partition.empty() || !templates.insert(target.table).second) continue;
      if (has_many_series(fs_) && !uses_series(target.table)) continue;  // reported with the table
      checked_.push_back(t);
      check_template(t);
    }
    for (std::size_t t = 0; t < fs_.targets.size(); ++t) {
      if (fs_.targets[t].table.empty()) continue;
      for (const std::string& series : series_)
        for (const std::string& table : {fs_.targets[t].table, written_template(fs_, fs_.targets[t])})
          names_.emplace(expand(table, series), kTargetTable);
    }
    for (const std::size_t t : checked_) check_lengths(t);
    const bool affordable = checked_.size() * series_.size() * ranges_.size() <= kMaxComparedNames;
    for (const std::size_t t : checked_) compare(t, affordable);
  }

 private:
  void report(std::size_t t, const std::string& message) {
    if (reported_[t]) return;
    reported_[t] = true;
    findings_.add(draft_.targets[t].partition, at(under(path_of_target(t), "partition"), message));
  }

  void check_template(std::size_t t) {
    const NameTemplate partition(fs_.targets[t].partition, partition_placeholders());
    if (!partition.uses("start") && !partition.uses("end")) {
      report(t, "the template gives all partitions one name; it needs {start} or {end}");
    }
  }

  /// What has a name: a partition, by series and range, or a table.
  struct Owner {
    std::size_t series;
    std::size_t range;
  };
  static constexpr Owner kTargetTable{0, static_cast<std::size_t>(-1)};

  [[nodiscard]] std::string describe(Owner owner) const {
    if (owner.range == kTargetTable.range) return "a target table";
    return "the partition from " + format_order(fs_.order, ranges_[owner.range].lower) + " of series " +
           quote(series_[owner.series]);
  }

  /// The longest series makes the longest names.
  void check_lengths(std::size_t t) {
    const auto longest = std::max_element(series_.begin(), series_.end(),
                                          [](const auto& a, const auto& b) { return a.size() < b.size(); });
    const PartitionNamer namer(fs_, fs_.targets[t]);
    const std::string bare = split_table(expand(written_template(fs_, fs_.targets[t]), *longest)).table;
    if (!table_name_fault(expand(fs_.targets[t].table, *longest)).empty()) return;  // reported with the table
    for (const OrderRange& range : ranges_) {
      const std::string name = namer.child(bare, *longest, range);
      const std::string fault = name_fault(name);
      if (fault.empty() && name.find('.') != std::string::npos && bare.find('.') == std::string::npos &&
          longest->find('.') == std::string::npos) {
        report(t, "the partition name " + quote(name) + " holds a dot; partitions stand in the schema of their table");
        return;
      }
      if (fault.empty()) continue;
      report(t, "the partition name " + quote(name) + " " + fault);
      return;
    }
  }

  /// Notes all names of a target's partitions, or those of one series and those of one range; stops at the
  /// first that is taken.
  void compare(std::size_t t, bool all) {
    const PartitionNamer namer(fs_, fs_.targets[t]);
    for (std::size_t s = 0; s < series_.size(); ++s) {
      const TableName table = split_table(expand(written_template(fs_, fs_.targets[t]), series_[s]));
      const std::string schema = table.schema.empty() ? "" : table.schema + ".";
      const std::size_t count = all || s == 0 ? ranges_.size() : std::min<std::size_t>(ranges_.size(), 1);
      for (std::size_t r = 0; r < count; ++r) {
        const std::string name = schema + namer.child(table.table, series_[s], ranges_[r]);
        const auto [other, is_new] = names_.emplace(name, Owner{s, r});
        if (is_new) continue;
        report(t, quote(name) + " is the name of " + describe(other->second) + " and of " + describe({s, r}) +
                      "; the template must tell tables and partitions apart");
        return;
      }
    }
  }

  const Draft& draft_;
  const FeatureSet& fs_;
  Findings& findings_;
  std::vector<OrderRange> ranges_;
  std::vector<std::string> series_;
  std::vector<bool> reported_;
  std::vector<std::size_t> checked_;
  std::unordered_map<std::string, Owner> names_;  ///< by qualified name
};

}  // namespace

void check_tables(const Draft& draft, Findings& findings) {
  const FeatureSet& fs = draft.fs;
  for (std::size_t i = 0; i < fs.source.tables.size(); ++i) {
    const SourceTable& t = fs.source.tables[i];
    if (t.table.empty()) continue;
    check_table_names(draft, t.table, t.mark.line, "source.tables[" + std::to_string(i) + "]", findings);
  }
  for (std::size_t t = 0; t < fs.targets.size(); ++t) {
    if (fs.targets[t].table.empty()) continue;
    check_table_names(draft, written_template(fs, fs.targets[t]), draft.targets[t].table,
                      under(path_of_target(t), "table"), findings);
  }
  check_source_series(draft, findings);
  check_target_tables(draft, findings);
}

void check_partition_names(const Draft& draft, Findings& findings) { PartitionNameCheck(draft, findings).run(); }

}  // namespace regfeatd::spec
