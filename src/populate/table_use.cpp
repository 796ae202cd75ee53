#include "table_use.hpp"

#include <fmt/format.h>

#include "regfeatd/pg/catalog.hpp"
#include "source_sql.hpp"

namespace regfeatd::populate {
namespace {

template <typename Map>
std::string oids_of(const Map& relations) {
  std::vector<std::string> oids;
  for (const auto& [oid, name] : relations) oids.push_back(std::to_string(oid));
  return pg::array_literal(oids);
}

}  // namespace

void TableUse::reads(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const ResolvedSource& source) {
  for (const auto& table : source.tables) {
    for (const auto& row : tx.exec_params("SELECT to_regclass($1)::oid::bigint", table.name.quoted()))
      relations_.emplace(row[0].as<std::uint32_t>(), "source " + table.name.text());
  }
  if (!source.tables.empty()) return;
  // The planner says which tables a query comes down to, views and partitions resolved.
  const auto plan = tx.exec1("EXPLAIN (VERBOSE, FORMAT JSON) " + select_source(fs, source, {}))[0].as<std::string>();
  for (const auto& row :
       tx.exec_params("SELECT DISTINCT c.oid::bigint, format('%s.%s', n.nspname, c.relname) "
                      "  FROM jsonb_path_query($1::jsonb, '$.** ? (exists(@.\"Relation Name\"))') q(node) "
                      "  JOIN pg_namespace n ON n.nspname = node->>'Schema' "
                      "  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = node->>'Relation Name'",
                      plan)) {
    relations_.emplace(row[0].as<std::uint32_t>(), "source query: table " + row[1].as<std::string>());
  }
}

void TableUse::writes(pqxx::transaction_base& tx, const std::string& name, const std::string& series,
                      std::vector<std::string>& findings) {
  const pg::TableName spelled = pg::TableName::parse(name);
  const pqxx::row row = tx.exec_params1(
      "SELECT c.oid::bigint, coalesce(n.nspname, nullif($2, ''), current_schema(), ''), coalesce(c.relname, $3) "
      "  FROM (SELECT to_regclass($1)) t(oid) LEFT JOIN pg_class c USING (oid) LEFT JOIN pg_namespace n ON n.oid = c.relnamespace",
      spelled.quoted(), spelled.schema, spelled.name);
  if (!row[0].is_null()) targets_.emplace(row[0].as<std::uint32_t>(), name);
  const std::string table = pg::TableName{row[1].as<std::string>(), row[2].as<std::string>()}.quoted();
  const auto [first, is_new] = written_.emplace(table, Written{series, name});
  if (is_new) return;
  if (first->second.series != series) {
    findings.push_back(
        fmt::format("target {}: series {} and {} would replace each other's rows in it; put {{series}} into its name",
                    name, first->second.series, series));
  } else if (first->second.spelling != name) {
    findings.push_back(fmt::format(
        "target {}: it is the table of target {}, in another spelling, and each would replace the other's rows; give both "
        "the same `table`, and they are written together",
        name, first->second.spelling));
  }
}

std::vector<std::string> TableUse::conflicts(pqxx::transaction_base& tx) const {
  std::vector<std::string> findings;
  // A view has the rows of what it reads, a partitioned table those of its partitions. A materialised view has its own.
  for (
      const auto& row : tx.exec_params(
          "WITH RECURSIVE parts(root, oid) AS ("
          "  SELECT r, r FROM unnest($1::oid[] || $2::oid[]) r "
          "  UNION "
          "  SELECT p.root, next.oid FROM parts p CROSS JOIN LATERAL ("
          "    SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = p.oid "
          "    UNION ALL "
          "    SELECT d.refobjid FROM pg_class v JOIN pg_rewrite w ON w.ev_class = v.oid "
          "      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass "
          "     WHERE v.oid = p.oid AND v.relkind = 'v' AND d.refobjid <> v.oid) next) "
          "SELECT DISTINCT s.root::bigint, t.root::bigint FROM parts s JOIN parts t USING (oid) "
          " WHERE s.root = ANY ($1::oid[]) AND t.root = ANY ($2::oid[]) ORDER BY 1, 2",
          oids_of(relations_), oids_of(targets_))) {
    const auto source = row[0].as<std::uint32_t>(), target = row[1].as<std::uint32_t>();
    findings.push_back(fmt::format(
        "{} {} target {}: what is computed would be written over what it comes from; write into another table",
        relations_.at(source), source == target ? "is" : "shares rows, through views or partitions, with",
        targets_.at(target)));
  }
  return findings;
}

}  // namespace regfeatd::populate
