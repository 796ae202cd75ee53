// How a loaded partition becomes visible: docs/publishing.md says which locks each way takes.
#include "regfeatd/populate/publish.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "obstacles.hpp"
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

[[noreturn]] void refuse(const ResolvedTarget& target, const std::string& how, const std::string& why) {
  throw Fault(FaultClass::configuration,
              fmt::format("target {}: publish: {} is not possible: {}", target.table.name.text(), how, why));
}

Placement new_child(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                    const ResolvedTarget& resolved, const std::string& series, OrderRange range) {
  if (target.partition.empty()) {
    throw MissingChild(
        fmt::format("target {}: no partition holds {} and the specification has no `partition:` name to create one",
                    resolved.table.name.text(), format_order(fs.order, range.lower)),
        {range});
  }
  pg::TableName child = pg::TableName::parse(spec::target_partition(fs, target, series, range));
  child.schema = resolved.table.name.schema;
  if (pg::find_table(tx, child)) {
    throw Fault(FaultClass::configuration,
                fmt::format("table {} exists but is not the partition of {} for {}: attach, rename or drop it",
                            child.text(), resolved.table.name.text(), format_order(fs.order, range.lower)));
  }
  if (const std::string obstacle = obstacle_to_attach(resolved); !obstacle.empty())
    throw Fault(FaultClass::configuration, fmt::format("target {}: partition {} is not there: {}",
                                                       resolved.table.name.text(), child.text(), obstacle));
  Placement placement{Strategy::create, child, 0, false, "it is not there yet"};
  const std::string publication = publication_of(tx, resolved.table.oid);
  if (!publication.empty()) {
    placement.attach_first = true;
    placement.why += fmt::format("; attached before its load, as publication \"{}\" covers it", publication);
  }
  return placement;
}

bool is_empty(pqxx::transaction_base& tx, const pg::TableName& table) {
  return !tx.exec1(fmt::format("SELECT EXISTS (SELECT FROM ONLY {})", table.quoted()))[0].as<bool>();
}

/// Why rows have to go through the parent and not into a child itself: what the parent supplies where the child does not.
/// Empty: there is no reason. Throws Fault (configuration) for columns of the child that cannot take the rows either way.
std::string obstacle_to_load(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                             const ResolvedTarget& resolved, const pg::ChildInfo& child) {
  std::string reason, impossible;
  for (const auto& row : tx.exec_params(
           "SELECT c.attname, c.attnotnull, c.atthasdef OR c.attidentity <> '', p.atthasdef OR p.attidentity <> '' "
           "  FROM pg_attribute c JOIN pg_attribute p ON p.attname = c.attname AND p.attrelid = $2::bigint::oid "
           " WHERE c.attrelid = $1::bigint::oid AND c.attnum > 0 AND NOT c.attisdropped "
           "   AND (c.attnotnull OR p.atthasdef OR p.attidentity <> '') ORDER BY c.attnum",
           child.oid, resolved.table.oid)) {
    const auto name = row[0].as<std::string>();
    const bool not_null = row[1].as<bool>(), child_default = row[2].as<bool>(), parent_default = row[3].as<bool>();
    const auto add = [&](const char* what) {
      impossible += fmt::format("{}column \"{}\" is NOT NULL{}", impossible.empty() ? "" : "; ", name, what);
    };
    if (std::find(resolved.features.begin(), resolved.features.end(), name) != resolved.features.end()) {
      if (not_null) add(", but features are NULL where a window is incomplete");
    } else if (name != target.order_column && std::find(fs.key.begin(), fs.key.end(), name) == fs.key.end()) {
      if (not_null && !child_default && !parent_default) add(" without a default, and no feature is written to it");
      if (parent_default && !child_default) reason = "its column \"" + name + "\" lacks the parent's default";
    }
  }
  if (!impossible.empty()) {
    throw Fault(FaultClass::configuration,
                fmt::format("target {}: partition {}: {}", resolved.table.name.text(), child.name.text(), impossible));
  }
  return reason;
}

/// DELETE and COPY by the child's name, or else by the parent's, whose privileges hold for all of its children. `unfit`: why rows
/// have to go through the parent, if they have to.
Placement removed_rows(pqxx::transaction_base& tx, const spec::Target& target, const ResolvedTarget& resolved,
                       const pg::ChildInfo& child, const std::string& unfit, const std::string& why) {
  const std::string obstacle = unfit.empty() ? obstacle_to_delete(tx, child.oid, target.order_column) : unfit;
  if (obstacle.empty()) return {Strategy::remove, child.name, child.oid, child.owned, why};
  const std::string other = obstacle_to_delete(tx, resolved.table.oid, target.order_column);
  const bool by_parent = !unfit.empty() || obstacle.find("privilege") != std::string::npos;
  if (by_parent && other.empty()) {
    return {Strategy::remove, resolved.table.name, 0, false, why + "; through the parent: " + obstacle};
  }
  throw Fault(FaultClass::configuration,
              fmt::format("target {}: partition {} cannot be written: {}{}", resolved.table.name.text(),
                          child.name.text(), obstacle, by_parent ? "; and of the parent: " + other : ""));
}

/// A child that covers exactly the range.
Placement replaced_child(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                         const ResolvedTarget& resolved, const pg::ChildInfo& child) {
  const auto placed = [&](Strategy s, const std::string& why) {
    return Placement{s, child.name, child.oid, child.owned, why};
  };
  const std::string unfit = obstacle_to_load(tx, fs, target, resolved, child);
  const auto needs = [&](const char* how, const std::string& obstacle) {
    if (!obstacle.empty()) refuse(resolved, how, "partition " + child.name.text() + ": " + obstacle);
  };
  const bool readable =
      tx.exec_params1("SELECT has_table_privilege($1::bigint::oid, 'SELECT')", child.oid)[0].as<bool>();
  switch (target.publish) {
    case Publish::create:
      refuse(resolved, "create", "partition " + child.name.text() + " exists; drop it, or choose another way");
    case Publish::truncate:
      needs("truncate", unfit);
      needs("truncate", obstacle_to_truncate(tx, child.oid, readable && is_empty(tx, child.name)));
      return placed(Strategy::truncate, "publish: truncate");
    case Publish::remove:
      return removed_rows(tx, target, resolved, child, unfit, "publish: delete");
    case Publish::swap:
      needs("swap", unfit);
      needs("swap", obstacle_to_swap(tx, resolved, child.oid));
      return placed(Strategy::swap, "publish: swap");
    case Publish::automatic:
      break;
  }
  const auto removed = [&](const std::string& why) { return removed_rows(tx, target, resolved, child, unfit, why); };
  if (!unfit.empty()) return removed("it cannot take the rows by itself");
  if (!readable) return removed("the current role may not read it");
  if (is_empty(tx, child.name)) {
    const std::string obstacle = obstacle_to_truncate(tx, child.oid, true);
    return obstacle.empty() ? placed(Strategy::truncate, "it is there and empty")
                            : removed("it is empty, and cannot be truncated: " + obstacle);
  }
  const std::string obstacle = obstacle_to_swap(tx, resolved, child.oid);
  return obstacle.empty() ? placed(Strategy::swap, "it holds rows")
                          : removed("it holds rows, and cannot be exchanged: " + obstacle);
}

/// The parts of a range that none of the children holds.
std::vector<OrderRange> gaps_between(std::vector<pg::ChildInfo> children, OrderRange range) {
  std::sort(children.begin(), children.end(),
            [](const auto& a, const auto& b) { return a.bounds.lower < b.bounds.lower; });
  std::vector<OrderRange> gaps;
  OrderValue covered = range.lower;
  for (const pg::ChildInfo& c : children) {
    if (c.bounds.lower > covered) gaps.push_back({covered, c.bounds.lower});
    covered = std::max(covered, c.bounds.upper);
  }
  if (covered < range.upper) gaps.push_back({covered, range.upper});
  return gaps;
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
  const auto gaps = gaps_between(others, range);
  if (gaps.empty()) return others;
  if (has_default) return children;
  throw MissingChild(fmt::format("target {}: no partition holds {} to {}, but others hold the rest of {} to {}: "
                                 "create the one that is missing",
                                 resolved.table.name.text(), format_order(fs.order, gaps[0].lower),
                                 format_order(fs.order, gaps[0].upper), format_order(fs.order, range.lower),
                                 format_order(fs.order, range.upper)),
                     gaps);
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
    if (children[0].bounds == range) return replaced_child(tx, fs, target, resolved, children[0]);
    needs_child("partition " + children[0].name.text() + " covers another range");
    if (covers(children[0].bounds, range)) {
      Placement placement =
          removed_rows(tx, target, resolved, children[0], obstacle_to_load(tx, fs, target, resolved, children[0]),
                       "its table covers a larger range");
      placement.child = 0;  // not the partition's alone: it is not analysed for it
      placement.child_owned = false;
      return placement;
    }
  }
  needs_child("no single child covers the range");
  if (const std::string obstacle = obstacle_to_delete(tx, resolved.table.oid, target.order_column); !obstacle.empty()) {
    throw Fault(
        FaultClass::configuration,
        fmt::format("target {}: several children meet the range, or a default partition, so it is written by its "
                    "own name: {}",
                    resolved.table.name.text(), obstacle));
  }
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

/// An identity column is the parent's alone, but its rows are loaded into the child: they are numbered by the same sequence.
void TargetWriter::number_rows(pqxx::transaction_base& tx) {
  const pqxx::row row = tx.exec_params1(
      "SELECT string_agg(format('ALTER COLUMN %I SET DEFAULT nextval(%L)', attname, pg_get_serial_sequence($1, attname)), ', '), "
      "       string_agg(format('ALTER COLUMN %I DROP DEFAULT', attname), ', ') "
      "  FROM pg_attribute WHERE attrelid = $1::regclass AND attidentity <> '' AND NOT attisdropped",
      resolved_.table.name.quoted());
  if (row[0].is_null()) return;
  tx.exec(fmt::format("ALTER TABLE {} {}", destination().quoted(), row[0].as<std::string>()));
  // From PostgreSQL 17 on, ATTACH makes the column the parent's identity, beside which there is no default.
  if (tx.conn().server_version() >= 170000)
    after_load_ = fmt::format("ALTER TABLE {} {}", destination().quoted(), row[1].as<std::string>());
}

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
  number_rows(tx);
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
      if (placement_.attach_first) attach(tx, AttachWait::long_enough);
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

namespace {

/// A key or an index, as it can be built on another table.
struct KeyDefinition {
  std::string name;
  std::string constraint;  ///< PRIMARY KEY (...), for one that is a constraint; otherwise "", and:
  bool unique = false;
  std::string index;  ///< USING ... to the end

  [[nodiscard]] std::string build_on(const pg::TableName& table, const std::string& new_name = "") const {
    const std::string called = new_name.empty() ? "" : quote_identifier(new_name) + ' ';
    if (constraint.empty())
      return fmt::format("CREATE {}INDEX {}ON {}{}; ", unique ? "UNIQUE " : "", called, table.quoted(), index);
    return fmt::format("ALTER TABLE {} ADD {}{}; ", table.quoted(), called.empty() ? "" : "CONSTRAINT " + called,
                       constraint);
  }
};

/// The keys and indexes of a table, in the order of their making. Of a partitioned one without those that only ATTACH builds as
/// they are: in a tablespace of their own, or constraints with storage options.
std::vector<KeyDefinition> keys_of(pqxx::transaction_base& tx, std::uint32_t table) {
  std::vector<KeyDefinition> keys;
  for (const auto& row : tx.exec_params(R"(
SELECT ic.relname, coalesce(pg_get_constraintdef(k.oid), ''), i.indisunique,
       substr(pg_get_indexdef(i.indexrelid),
              1 + length(format('CREATE %sINDEX %I ON %s%I.%I', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, ic.relname,
                                CASE c.relkind WHEN 'p' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname)))
  FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')
 WHERE i.indrelid = $1::bigint::oid
   AND CASE c.relkind WHEN 'p' THEN ic.reltablespace = 0 AND (k.oid IS NULL OR ic.reloptions IS NULL) ELSE i.indisvalid END
 ORDER BY i.indexrelid)",
                                        table)) {
    keys.push_back({row[0].as<std::string>(), row[1].as<std::string>(), row[2].as<bool>(), row[3].as<std::string>()});
  }
  return keys;
}

}  // namespace

/// For `swap` the keys and indexes of the child that is replaced, its own ones too; for `create` the parent's, which ATTACH then
/// finds and takes over. Left to ATTACH, they would be built under its lock on the parent.
void TargetWriter::build_keys(pqxx::transaction_base& tx) {
  std::string sql;
  int number = 0;
  for (const KeyDefinition& key : keys_of(tx, swaps() ? placement_.child : resolved_.table.oid)) {
    if (!swaps()) {
      sql += key.build_on(placement_.table);  // the server gives the name that ATTACH would have given
      continue;
    }
    const std::string name = fmt::format("{}_{}", staging_.name, ++number);
    sql += key.build_on(staging_, name);
    rename_keys_ += fmt::format("; ALTER INDEX {}.{} RENAME TO {}", quote_identifier(staging_.schema),
                                quote_identifier(name), quote_identifier(key.name));
  }
  if (!sql.empty()) tx.exec(sql);
}

/// Privileges and storage options of the child that is replaced, and no others: not those that ALTER DEFAULT PRIVILEGES gave the
/// staging table.
void TargetWriter::copy_grants(pqxx::transaction_base& tx) const {
  const pqxx::row row = tx.exec_params1(
      R"(
WITH child AS (SELECT relowner, relacl, reloptions FROM pg_class WHERE oid = $1::bigint::oid),
     given AS (SELECT a.grantee FROM pg_class s, aclexplode(s.relacl) a WHERE s.oid = $2::text::regclass AND a.grantee <> s.relowner
               UNION SELECT relowner FROM child WHERE relacl IS NOT NULL)
SELECT (SELECT string_agg(format('REVOKE ALL ON %s FROM %s; ', $2::text,
                                 CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END), '')
          FROM given),
       (SELECT string_agg(format('GRANT %s ON %s TO %s%s; ', a.privilege_type, $2::text,
                                 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                                 CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '')
          FROM child, aclexplode(child.relacl) a),
       (SELECT format('ALTER TABLE %s SET (%s)', $2::text, array_to_string(reloptions, ', ')) FROM child
         WHERE reloptions IS NOT NULL))",
      placement_.child, staging_.quoted());
  std::string sql;
  for (const auto& part : row) sql += part.is_null() ? "" : part.as<std::string>();
  if (!sql.empty()) tx.exec(sql);
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
  if (!after_load_.empty()) tx.exec(after_load_);
  if (swaps()) {
    build_keys(tx);
    copy_grants(tx);
  } else if (attaches()) {
    build_keys(tx);
  }
  analyze(tx);
}

void TargetWriter::attach(pqxx::transaction_base& tx, AttachWait wait) const {
  const std::string parent = resolved_.table.name.quoted(), child = placement_.table.quoted();
  // Only others who want to attach, or maintain the parent, wait behind us: it may take longer than other locks.
  const char* lock_timeout = wait == AttachWait::long_enough ? "SET LOCAL lock_timeout = '1min'; " : "";
  try {
    tx.exec(
        fmt::format("{}ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({}); ALTER TABLE {} DROP "
                    "CONSTRAINT regfeatd_bounds",
                    lock_timeout, parent, child, order_literal(resolved_.order_type, range_.lower),
                    order_literal(resolved_.order_type, range_.upper), child));
  } catch (const pqxx::sql_error& e) {
    if (e.sqlstate() != "55P03") throw;
    throw Fault(
        FaultClass::transient,
        fmt::format("target {}: the lock to attach partition {} did not come (pg_locks shows who holds the parent in "
                    "SHARE UPDATE EXCLUSIVE mode or a stronger one: ANALYZE, CREATE INDEX, ALTER TABLE); it is tried "
                    "again later",
                    resolved_.table.name.text(), placement_.table.text()),
        "55P03");
  }
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
