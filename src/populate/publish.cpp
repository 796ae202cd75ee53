// How a loaded partition becomes visible: docs/publishing.md says which locks each way takes.
#include "regfeatd/populate/publish.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "regfeatd/base/fault.hpp"
#include "source_sql.hpp"

namespace regfeatd::populate {
namespace {

using pg::quote_identifier;
using spec::Publish;

// A reload would wait a second for each autoanalyze that it meets, and that of all feature columns costs more
// than the load: `settle` analyses what the specification's `statistics` asks for. COPY FREEZE leaves nothing
// for an insert-triggered vacuum.
constexpr const char* kChildOptions =
    "autovacuum_analyze_threshold = 2147483647, autovacuum_vacuum_insert_threshold = -1";

constexpr const char* kLike =
    "INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION";

bool covers(const OrderRange& outer, const OrderRange& inner) {
  return outer.lower <= inner.lower && inner.upper <= outer.upper;
}

std::string in_range(const ResolvedTarget& target, OrderRange range) {
  const std::string& order = target.order_column;
  return fmt::format("{} >= {} AND {} < {}", order, order_literal(target.order_type, range.lower), order,
                     order_literal(target.order_type, range.upper));
}

/// What of a child would be lost, or take long under an exclusive lock, if another table were put in its
/// place; empty: nothing.
std::string obstacle_to_swap(pqxx::transaction_base& tx, std::uint32_t parent, std::uint32_t child) {
  const pqxx::row row = tx.exec_params1(
      "SELECT CASE "
      "  WHEN NOT pg_has_role(c.relowner, 'USAGE') THEN 'the current role does not own it' "
      "  WHEN NOT has_schema_privilege(c.relnamespace, 'CREATE') THEN 'there is no CREATE privilege on its "
      "schema' "
      "  WHEN c.relpersistence <> 'p' THEN 'it is unlogged' "
      "  WHEN c.reltablespace <> 0 THEN 'it lies in a tablespace of its own' "
      "  WHEN c.relrowsecurity THEN 'it has row security' "
      "  WHEN c.relreplident <> 'd' THEN 'it has a replica identity of its own' "
      "  WHEN EXISTS (SELECT FROM pg_partitioned_table p WHERE p.partrelid = $2::bigint::oid AND p.partdefid "
      "<> 0) "
      "    THEN 'there is a default partition, which every ATTACH reads' "
      "  WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid IN (c.oid, "
      "$2::bigint::oid)) THEN 'foreign keys refer to it' "
      "  WHEN EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = c.oid) THEN 'it has "
      "foreign keys, which every ATTACH checks' "
      "  WHEN EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid WHERE d.classid = "
      "'pg_rewrite'::regclass "
      "                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND r.ev_class <> "
      "c.oid) THEN 'a view reads it by its own name' "
      "  WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND "
      "t.tgparentid = 0) THEN 'it has triggers of its own' "
      "  WHEN EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = c.oid) THEN 'it has extended "
      "statistics' "
      "  WHEN EXISTS (SELECT FROM pg_publication_rel r WHERE r.prrelid = c.oid) THEN 'it is published for "
      "replication by its own name' "
      "  WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) THEN 'it "
      "has privileges on columns' "
      "  ELSE '' END FROM pg_class c WHERE c.oid = $1::bigint::oid",
      child, parent);
  return row[0].as<std::string>();
}

[[noreturn]] void refuse(const ResolvedTarget& target, const std::string& how, const std::string& why) {
  throw Fault(FaultClass::configuration,
              fmt::format("target {}: publish: {} is not possible: {}", target.table.name.text(), how, why));
}

Placement new_child(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                    const ResolvedTarget& resolved, const std::string& series, OrderRange range) {
  if (target.partition.empty()) {
    throw Fault(
        FaultClass::configuration,
        fmt::format("target {}: no partition holds {} and the specification has no `partition:` name to create one",
                    resolved.table.name.text(), format_order(fs.order, range.lower)));
  }
  pg::TableName child = pg::TableName::parse(spec::target_partition(fs, target, series, range));
  child.schema = resolved.table.name.schema;
  if (pg::find_table(tx, child)) {
    throw Fault(FaultClass::configuration,
                fmt::format("table {} exists but is not the partition of {} for {}: attach, rename or drop it",
                            child.text(), resolved.table.name.text(), format_order(fs.order, range.lower)));
  }
  return {Strategy::create, child, 0, false, "it is not there yet"};
}

/// A child that covers exactly the range.
Placement replaced_child(pqxx::transaction_base& tx, const spec::Target& target, const ResolvedTarget& resolved,
                         const pg::ChildInfo& child) {
  const auto placed = [&](Strategy s, const std::string& why) {
    return Placement{s, child.name, child.oid, child.owned, why};
  };
  switch (target.publish) {
    case Publish::create:
      refuse(resolved, "create", "partition " + child.name.text() + " exists; drop it, or choose another way");
    case Publish::truncate:
      return placed(Strategy::truncate, "publish: truncate");
    case Publish::remove:
      return placed(Strategy::remove, "publish: delete");
    case Publish::swap: {
      const std::string obstacle = obstacle_to_swap(tx, resolved.table.oid, child.oid);
      if (!obstacle.empty()) refuse(resolved, "swap", "partition " + child.name.text() + ": " + obstacle);
      return placed(Strategy::swap, "publish: swap");
    }
    case Publish::automatic:
      break;
  }
  // Without ownership it is a finding anyway; it must not hide the others.
  if (!child.owned && !tx.exec_params("SELECT has_table_privilege($1::oid, 'SELECT')", child.oid)[0][0].as<bool>()) {
    return placed(Strategy::remove, "the current role may not read it");
  }
  if (!tx.exec1(fmt::format("SELECT EXISTS (SELECT FROM ONLY {})", child.name.quoted()))[0].as<bool>()) {
    return placed(Strategy::truncate, "it is there and empty");
  }
  const std::string obstacle = obstacle_to_swap(tx, resolved.table.oid, child.oid);
  return obstacle.empty() ? placed(Strategy::swap, "it holds rows")
                          : placed(Strategy::remove, "it holds rows, and cannot be exchanged: " + obstacle);
}

/// The first part of a range that none of the children holds.
std::optional<OrderRange> first_gap(std::vector<pg::ChildInfo> children, OrderRange range) {
  std::sort(children.begin(), children.end(),
            [](const auto& a, const auto& b) { return a.bounds.lower < b.bounds.lower; });
  OrderValue covered = range.lower;
  for (const pg::ChildInfo& c : children) {
    if (c.bounds.lower > covered) return OrderRange{covered, c.bounds.lower};
    covered = std::max(covered, c.bounds.upper);
  }
  if (covered < range.upper) return OrderRange{covered, range.upper};
  return std::nullopt;
}

/// The children that hold rows of a range. Throws Fault (configuration) when they leave a part of it without
/// a home.
std::vector<pg::ChildInfo> homes_of(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                    const ResolvedTarget& resolved, OrderRange range) {
  auto children = pg::children_meeting(tx, resolved.table.oid, range);
  const auto is_default = [](const pg::ChildInfo& c) { return c.is_default; };
  const bool has_default = std::any_of(children.begin(), children.end(), is_default);
  // Beside children that hold all of the range, a default partition holds nothing of it.
  auto others = children;
  std::erase_if(others, is_default);
  if (others.empty()) return children;
  const auto gap = first_gap(others, range);
  if (!gap) return others;
  if (has_default) return children;
  throw Fault(
      FaultClass::configuration,
      fmt::format("target {}: no partition holds {} to {}, but others hold the rest of {} to {}: "
                  "create the one that is missing",
                  resolved.table.name.text(), format_order(fs.order, gap->lower), format_order(fs.order, gap->upper),
                  format_order(fs.order, range.lower), format_order(fs.order, range.upper)));
}

}  // namespace

std::string_view to_string(Strategy s) noexcept {
  switch (s) {
    case Strategy::create:
      return "create";
    case Strategy::truncate:
      return "truncate";
    case Strategy::swap:
      return "swap";
    case Strategy::remove:
      return "delete";
  }
  return "unknown";
}

Placement place(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                const ResolvedTarget& resolved, const std::string& series, OrderRange range) {
  const bool by_delete = target.publish == Publish::automatic || target.publish == Publish::remove;
  const auto needs_child = [&](const std::string& why) {
    if (by_delete) return;
    refuse(resolved,
           target.publish == Publish::swap     ? "swap"
           : target.publish == Publish::create ? "create"
                                               : "truncate",
           why);
  };
  if (!resolved.table.partitioned()) {
    needs_child("it is a plain table, which other partitions share");
    return {Strategy::remove, resolved.table.name, 0, false, "a plain table, which holds other rows"};
  }
  const auto children = homes_of(tx, fs, resolved, range);
  if (children.empty()) return new_child(tx, fs, target, resolved, series, range);
  if (children.size() == 1 && children[0].kind == 'r' && !children[0].is_default) {
    if (children[0].bounds == range) return replaced_child(tx, target, resolved, children[0]);
    needs_child("partition " + children[0].name.text() + " covers another range");
    if (covers(children[0].bounds, range))
      return {Strategy::remove, children[0].name, 0, false, "its table covers a larger range"};
  }
  needs_child("no single child covers the range");
  return {Strategy::remove, resolved.table.name, 0, false, "several children meet the range, or a default partition"};
}

TargetWriter::TargetWriter(const ResolvedTarget& resolved, Placement placement, const queue::Claim& claim,
                           std::size_t number)
    : resolved_(resolved),
      placement_(std::move(placement)),
      range_(claim.range),
      partition_id_(claim.partition.value),
      epoch_(claim.epoch.value),
      staging_{placement_.table.schema, fmt::format("regfeatd_staging_{}_{}_{}", partition_id_, epoch_, number)} {}

pg::TableName TargetWriter::destination() const { return swaps() ? staging_ : placement_.table; }

/// A table by itself, like a child of the target but for its keys, which come after the load.
void TargetWriter::create_child(pqxx::transaction_base& tx, const std::string& like) {
  // The CHECK spares ATTACH a scan; NOT NULL is a part of every partition's bounds.
  tx.exec(fmt::format(
      "CREATE TABLE {} (LIKE {} {}, CONSTRAINT regfeatd_bounds CHECK ({} IS NOT NULL AND {})) WITH ({})",
      destination().quoted(), like, kLike, resolved_.order_column, in_range(resolved_, range_), kChildOptions));
  // The order column is spread evenly: its ends say enough, and every bucket more means a larger sample to
  // read. What somebody has set on the parent, or on the child that is replaced, holds here too: LIKE leaves
  // it out.
  tx.exec(
      fmt::format("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS 1", destination().quoted(), resolved_.order_column));
  const pqxx::row set = tx.exec_params1(
      "SELECT string_agg(format('ALTER COLUMN %I SET STATISTICS %s', attname, attstattarget), ', ') "
      "  FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND "
      "attstattarget >= 0",
      like);
  if (!set[0].is_null()) tx.exec(fmt::format("ALTER TABLE {} {}", destination().quoted(), set[0].as<std::string>()));
}

void TargetWriter::clear(pqxx::transaction_base& tx) {
  switch (placement_.strategy) {
    case Strategy::create:
      return;
    case Strategy::truncate:
      tx.exec("TRUNCATE TABLE ONLY " + placement_.table.quoted());
      return;
    case Strategy::swap:  // only for an empty partition: rows go, nothing comes
    case Strategy::remove:
      tx.exec(fmt::format("DELETE FROM {} WHERE {}", placement_.table.quoted(), in_range(resolved_, range_)));
      return;
  }
}

void TargetWriter::start(pg::Session& session, pqxx::transaction_base& tx) {
  switch (placement_.strategy) {
    case Strategy::create:
      create_child(tx, resolved_.table.name.quoted());
      break;
    case Strategy::swap:
      create_child(tx, placement_.table.quoted());
      tx.exec_params(
          "INSERT INTO regfeat.staging (schema_name, table_name, table_oid, partition_id, epoch) SELECT $1, "
          "$2, $3::text::regclass, $4, $5",
          staging_.schema, staging_.name, staging_.quoted(), partition_id_, epoch_);
      break;
    case Strategy::truncate:
      clear(tx);
      if (placement_.child_owned)
        tx.exec(fmt::format("ALTER TABLE {} SET ({})", placement_.table.quoted(), kChildOptions));
      break;
    case Strategy::remove:
      clear(tx);
      break;
  }
  // Rows of a table made or emptied in this transaction may be written frozen: nobody can have seen it
  // otherwise.
  const char* freeze = placement_.strategy == Strategy::remove ? "" : ", FREEZE";
  copy_ = std::make_unique<pg::CopyIn>(session, fmt::format("COPY {} ({}) FROM STDIN (FORMAT binary{})",
                                                            destination().quoted(), resolved_.copy_columns, freeze));
}

std::int64_t TargetWriter::finish() {
  const std::int64_t rows = copy_->finish();
  copy_.reset();
  return rows;
}

/// The keys and indexes of the child that is replaced, its own ones too, on the staging table.
void TargetWriter::build_keys(pqxx::transaction_base& tx) {
  int number = 0;
  for (const auto& row :
       tx.exec_params("SELECT ic.relname, pg_get_constraintdef(k.oid), i.indisunique, "
                      "       substr(pg_get_indexdef(i.indexrelid), 1 + length(format('CREATE %sINDEX %I ON %I.%I', "
                      "                CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, ic.relname, n.nspname, "
                      "c.relname))) "
                      "  FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class c ON c.oid = "
                      "i.indrelid "
                      "  JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_constraint k ON k.conindid = "
                      "i.indexrelid AND k.contype IN ('p', 'u', 'x') "
                      " WHERE i.indrelid = $1::bigint::oid AND i.indisvalid ORDER BY i.indexrelid",
                      placement_.child)) {
    const std::string name = quote_identifier(fmt::format("{}_{}", staging_.name, ++number));
    if (row[1].is_null()) {
      tx.exec(fmt::format("CREATE {}INDEX {} ON {}{}", row[2].as<bool>() ? "UNIQUE " : "", name, staging_.quoted(),
                          row[3].as<std::string>()));
    } else {
      tx.exec(fmt::format("ALTER TABLE {} ADD CONSTRAINT {} {}", staging_.quoted(), name, row[1].as<std::string>()));
    }
    rename_keys_ += fmt::format("; ALTER INDEX {}.{} RENAME TO {}", quote_identifier(staging_.schema), name,
                                quote_identifier(row[0].as<std::string>()));
  }
}

/// Privileges and storage options of the child that is replaced.
void TargetWriter::copy_grants(pqxx::transaction_base& tx) const {
  const pqxx::row row = tx.exec_params1(
      "SELECT (SELECT string_agg(format('GRANT %s ON %s TO %s%s', a.privilege_type, $2::text, "
      "                                 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE "
      "quote_ident(pg_get_userbyid(a.grantee)) END, "
      "                                 CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '; "
      "') "
      "          FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner), "
      "       array_to_string(c.reloptions, ', ') FROM pg_class c WHERE c.oid = $1::bigint::oid",
      placement_.child, staging_.quoted());
  if (!row[0].is_null()) tx.exec(row[0].as<std::string>());
  if (!row[1].is_null()) tx.exec(fmt::format("ALTER TABLE {} SET ({})", staging_.quoted(), row[1].as<std::string>()));
}

void TargetWriter::analyze(pqxx::transaction_base& tx) const {
  const bool all = resolved_.statistics == spec::Statistics::all;
  if (placement_.strategy != Strategy::remove) {
    tx.exec(fmt::format("ANALYZE {}{}", destination().quoted(), all ? "" : " (" + resolved_.filter_columns + ")"));
  } else if (all && placement_.child_owned) {
    // DELETE promises to wait for nobody; and CREATE INDEX CONCURRENTLY, which holds the lock that ANALYZE
    // takes, waits for us.
    tx.exec(fmt::format("ANALYZE (SKIP_LOCKED) {}", placement_.table.quoted()));
  }
}

void TargetWriter::settle(pqxx::transaction_base& tx) {
  if (swaps()) {
    build_keys(tx);
    copy_grants(tx);
  } else if (placement_.strategy == Strategy::create) {
    const std::string child = placement_.table.quoted();
    tx.exec(
        fmt::format("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({}); ALTER TABLE {} DROP "
                    "CONSTRAINT regfeatd_bounds",
                    resolved_.table.name.quoted(), child, order_literal(resolved_.order_type, range_.lower),
                    order_literal(resolved_.order_type, range_.upper), child));
  }
  analyze(tx);
}

std::vector<std::string> TargetWriter::tables_to_lock() const {
  return {resolved_.table.name.quoted(), placement_.table.quoted()};
}

void TargetWriter::exchange(pqxx::transaction_base& tx) const {
  if (!swaps()) return;
  const std::string staging = staging_.quoted();
  tx.exec(fmt::format(
      "DROP TABLE {}; ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({}); ALTER TABLE {} DROP "
      "CONSTRAINT regfeatd_bounds; "
      "ALTER TABLE {} RENAME TO {}{}; DELETE FROM regfeat.staging WHERE schema_name = {} AND table_name = {}",
      placement_.table.quoted(), resolved_.table.name.quoted(), staging,
      order_literal(resolved_.order_type, range_.lower), order_literal(resolved_.order_type, range_.upper), staging,
      staging, quote_identifier(placement_.table.name), rename_keys_, pg::quote_literal(staging_.schema),
      pg::quote_literal(staging_.name)));
}

std::int64_t drop_leftovers(pqxx::transaction_base& tx) {
  return tx.exec1("SELECT regfeat.drop_leftovers()")[0].as<std::int64_t>();
}

}  // namespace regfeatd::populate
