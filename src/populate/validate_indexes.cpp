#include "validate_indexes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

namespace regfeatd::populate {
namespace {

/// A table with its indexes, each as `unique (a, b)`.
struct Table {
  std::string name;
  std::set<std::string> indexes, invalid;
};

// The table itself first, then its partitions at any depth.
constexpr const char* kIndexes = R"(
  WITH RECURSIVE tree AS (
    SELECT $1::oid AS oid, 0 AS depth UNION ALL SELECT i.inhrelid, t.depth + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid)
  SELECT t.depth, t.oid::regclass::text, x.indexrelid IS NOT NULL, coalesce(x.indisvalid AND x.indisready, true),
         regfeat.index_text(x.indexrelid)
    FROM tree t LEFT JOIN pg_index x ON x.indrelid = t.oid
   ORDER BY t.depth, 2, 5)";

std::vector<Table> read_tables(pqxx::transaction_base& tx, const ResolvedTarget& target) {
  std::vector<Table> out;
  for (const auto& r : tx.exec_params(kIndexes, target.table.oid)) {
    const auto name = r[1].as<std::string>();
    if (out.empty() || out.back().name != name) out.push_back({name, {}, {}});
    if (!r[2].as<bool>()) continue;
    (r[3].as<bool>() ? out.back().indexes : out.back().invalid).insert(r[4].as<std::string>());
  }
  return out;
}

/// Those that the table had when its feature set was applied last.
std::set<std::string> applied_indexes(pqxx::transaction_base& tx, const ResolvedTarget& target) {
  std::set<std::string> out;
  for (const auto& r :
       tx.exec_params("SELECT unnest(indexes) FROM regfeat.target WHERE target = $1::oid::regclass", target.table.oid))
    out.insert(r[0].as<std::string>());
  return out;
}

/// What more than half of three and more tables have and another lacks.
void compare(const std::vector<const Table*>& tables, const std::string& kind,
             const std::function<void(const Table&, const std::string& index, const std::string&)>& report) {
  if (tables.size() < 3) return;
  std::map<std::string, std::size_t> count;
  for (const Table* t : tables) {
    for (const std::string& i : t->indexes) ++count[i];
  }
  for (const auto& [index, n] : count) {
    if (2 * n <= tables.size()) continue;
    for (const Table* t : tables) {
      if (!t->indexes.contains(index))
        report(*t, index, fmt::format("it has no index {}; {} of {} {} have one", index, n, tables.size(), kind));
    }
  }
}

bool made_by_apply(pqxx::transaction_base& tx, const ResolvedTarget& target) {
  return !tx.exec_params("SELECT FROM regfeat.target WHERE target = $1::oid::regclass AND created", target.table.oid)
              .empty();
}

/// Whether a unique key holds rows apart by position and key, whatever the order of its columns.
bool has_row_key(const spec::FeatureSet& fs, const spec::Target& target, const ResolvedTarget& resolved) {
  std::set<std::string> wanted(fs.key.begin(), fs.key.end());
  wanted.insert(target.order_column);
  return std::any_of(resolved.table.unique_keys.begin(), resolved.table.unique_keys.end(), [&](const pg::UniqueKey& k) {
    return std::set<std::string>(k.columns.begin(), k.columns.end()) == wanted;
  });
}

}  // namespace

std::vector<queue::Finding> audit_indexes(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                          const std::vector<AuditedTarget>& targets) {
  std::vector<queue::Finding> findings;
  std::map<std::size_t, std::vector<Table>> parents;       // by target of the specification
  std::map<std::size_t, std::vector<std::string>> series;  // of `parents`
  std::set<std::pair<std::string, std::string>> told;      // table and index
  const auto report = [&](const std::string& of, const char* what, const std::string& table,
                          const std::string& message) {
    queue::Finding f;
    f.series = of;
    f.what = what;
    f.target = table;
    f.message = message;
    findings.push_back(std::move(f));
  };
  for (const AuditedTarget& t : targets) {
    const std::vector<Table> tables = read_tables(tx, t.resolved);
    for (const Table& table : tables) {
      for (const std::string& index : table.invalid)
        report(t.series, "index_invalid", table.name, fmt::format("its index {} is not valid: REINDEX it", index));
    }
    std::set<std::string> gone = applied_indexes(tx, t.resolved);
    for (const auto* there : {&tables.front().indexes, &tables.front().invalid}) {
      for (const std::string& index : *there) gone.erase(index);
    }
    if (made_by_apply(tx, t.resolved) && !has_row_key(fs, fs.targets[t.target], t.resolved)) {
      report(t.series, "index_missing", t.resolved.table.name.text(),
             "it was made with a primary key on its order and key columns, which is gone: rows could be "
             "doubled");
      std::erase_if(gone, [](const std::string& index) { return index.starts_with("unique "); });
    }
    for (const std::string& index : gone) {
      told.emplace(tables.front().name, index);
      report(t.series, "index_missing", tables.front().name,
             fmt::format("its index {} is gone, which it had when its feature set was applied: create it again, or "
                         "apply again when it is not wanted any more",
                         index));
    }
    std::vector<const Table*> children;
    for (std::size_t i = 1; i < tables.size(); ++i) children.push_back(&tables[i]);
    compare(children, "partitions of this table", [&](const Table& c, const std::string&, const std::string& m) {
      report(t.series, "index_missing", c.name, m);
    });
    parents[t.target].push_back(tables.front());
    series[t.target].push_back(t.series);
  }
  for (const auto& entry : parents) {
    const auto& tables = entry.second;
    const auto& names = series[entry.first];
    std::vector<const Table*> all;
    for (const Table& t : tables) all.push_back(&t);
    compare(all, "tables of this target", [&](const Table& t, const std::string& index, const std::string& m) {
      if (told.contains({t.name, index})) return;
      report(names[static_cast<std::size_t>(&t - tables.data())], "index_missing", t.name, m);
    });
  }
  return findings;
}

}  // namespace regfeatd::populate
