#include "obstacles.hpp"

#include <fmt/format.h>

namespace regfeatd::populate {
namespace {

constexpr const char* kInserts = "p.pubinsert";

/// SQL: the name of a publication that covers the relation $1, or one that it is a partition of, and of which `also` holds.
std::string publication_sql(pqxx::transaction_base& tx, const std::string& also) {
  const std::string chain =
      "(SELECT $1::bigint::oid UNION SELECT relid FROM pg_partition_ancestors($1::bigint::oid::regclass))";
  // FOR TABLES IN SCHEMA came with 15; pg_publication_tables, which knows it all, lists no partitioned table without children.
  const std::string by_schema =
      tx.conn().server_version() < 150000
          ? ""
          : " OR EXISTS (SELECT FROM pg_publication_namespace n JOIN pg_class t ON t.relnamespace = n.pnnspid "
            "             WHERE n.pnpubid = p.oid AND t.oid IN " +
                chain + ")";
  return "(SELECT p.pubname FROM pg_publication p WHERE (" + also +
         ") AND (p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid IN " +
         chain + ")" + by_schema + ") ORDER BY p.pubname LIMIT 1)";
}

}  // namespace

std::string publication_of(pqxx::transaction_base& tx, std::uint32_t table) {
  return tx.exec_params1("SELECT coalesce(" + publication_sql(tx, kInserts) + ", '')", table)[0].as<std::string>();
}

std::string obstacle_to_attach(const ResolvedTarget& target) {
  return target.table.owned ? "" : "the current role does not own the parent, which attaching partitions needs";
}

std::string obstacle_to_swap(pqxx::transaction_base& tx, const ResolvedTarget& target, std::uint32_t child) {
  if (std::string obstacle = obstacle_to_attach(target); !obstacle.empty()) return obstacle;
  const std::string sql =
      R"(
SELECT CASE
  WHEN c.relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
    THEN format('it belongs to role "%s", and another table would belong to the current one', pg_get_userbyid(c.relowner))
  WHEN NOT has_schema_privilege(c.relnamespace, 'CREATE') THEN 'there is no CREATE privilege on its schema'
  WHEN c.relpersistence <> 'p' THEN 'it is unlogged'
  WHEN c.reltablespace <> 0 THEN 'it lies in a tablespace of its own'
  WHEN c.relrowsecurity THEN 'it has row security'
  WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attidentity <> '' AND NOT EXISTS
                 (SELECT FROM pg_attribute p WHERE p.attrelid = $2::bigint::oid AND p.attname = a.attname AND p.attidentity <> ''))
    THEN 'it has an identity column of its own'
  WHEN c.relreplident <> 'd' THEN 'it has a replica identity of its own'
  WHEN EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = $2::bigint::oid AND p.partdefid <> 0)
    THEN 'there is a default partition, which every ATTACH reads'
  WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid IN (c.oid, $2::bigint::oid))
    THEN 'foreign keys refer to it'
  WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = c.oid)
    THEN 'it has foreign keys, which every ATTACH checks'
  WHEN EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                  AND d.refobjid = c.oid AND r.ev_class <> c.oid)
    THEN 'a view reads it by its own name'
  WHEN EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid) THEN 'it has rules of its own'
  WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0)
    THEN 'it has triggers of its own'
  WHEN EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = c.oid) THEN 'it has extended statistics'
  WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL)
    THEN 'it has privileges on columns'
  ELSE coalesce('publication "' || )" +
      publication_sql(tx, kInserts) +
      R"( || '" covers it, and replication misses what is written before a table is a partition', '')
  END FROM pg_class c WHERE c.oid = $1::bigint::oid)";
  return tx.exec_params1(sql, child, target.table.oid)[0].as<std::string>();
}

std::string obstacle_to_truncate(pqxx::transaction_base& tx, std::uint32_t child, bool empty) {
  const std::string sql = R"(
SELECT CASE
  WHEN NOT has_table_privilege(c.oid, 'TRUNCATE') THEN 'there is no TRUNCATE privilege on it'
  WHEN NOT has_any_column_privilege(c.oid, 'INSERT') THEN 'there is no INSERT privilege on it'
  WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conrelid <> c.oid)
    THEN 'foreign keys refer to it'
  WHEN $2::boolean THEN ''
  ELSE coalesce('publication "' || )" +
                          publication_sql(tx, "p.pubviaroot OR NOT p.pubtruncate") +
                          R"( || '" does not pass on a TRUNCATE of a partition', '')
  END FROM pg_class c WHERE c.oid = $1::bigint::oid)";
  return tx.exec_params1(sql, child, empty)[0].as<std::string>();
}

std::string obstacle_to_delete(pqxx::transaction_base& tx, std::uint32_t table, const std::string& order_column) {
  const std::string sql = R"(
SELECT CASE
  WHEN NOT has_table_privilege(c.oid, 'DELETE') THEN 'there is no DELETE privilege on it'
  WHEN NOT has_any_column_privilege(c.oid, 'INSERT') THEN 'there is no INSERT privilege on it'
  WHEN NOT has_column_privilege(c.oid, (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2), 'SELECT')
    THEN 'there is no SELECT privilege on its order column, by which rows are found'
  WHEN c.relkind = 'r' AND (c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS
         (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate))
    THEN coalesce('it has neither primary key nor replica identity, by which publication "' || )" +
                          publication_sql(tx, "p.pubdelete") +
                          R"( || '" could pass on a DELETE', '')
  ELSE '' END FROM pg_class c WHERE c.oid = $1::bigint::oid)";
  return tx.exec_params1(sql, table, order_column)[0].as<std::string>();
}

}  // namespace regfeatd::populate
