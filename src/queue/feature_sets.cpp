#include "regfeatd/queue/feature_sets.hpp"

#include <algorithm>

#include "regfeatd/base/build_info.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/pg/catalog.hpp"

namespace regfeatd::queue {
namespace {

StoredFeatureSet from_row(const pqxx::row& row) {
  return {FeatureSetId{row[0].as<std::int64_t>()}, row[1].as<int>(), row[2].as<std::string>(),
          row[3].as<std::string>()};
}

int sign_of(spec::ClaimOrder order) { return order == spec::ClaimOrder::oldest_first ? 1 : -1; }

void insert_version(pqxx::transaction_base& tx, const StoredFeatureSet& s, const std::string& calendar) {
  tx.exec_params(
      "INSERT INTO regfeat.specification (feature_set_id, version, document, output_identity, calendar, build_id) VALUES ($1, $2, $3, $4, $5, $6)",
      s.id.value, s.version, s.document, s.output_identity, calendar, std::string(build_id()));
}

/// Partitions that are there follow a changed claim_order, and a changed priority unless an operator gave them another.
/// `before`: with the document that is replaced.
void follow_claim_options(pqxx::transaction_base& tx, const StoredFeatureSet& before, const spec::FeatureSet& fs) {
  spec::FeatureSet old;
  try {
    old = spec::parse_feature_set(before.document, "specification");
  } catch (const spec::SpecError&) {
    return;  // written for another version of the program
  }
  if (old.priority != fs.priority) {
    tx.exec_params("UPDATE regfeat.partition SET priority = $3 WHERE feature_set_id = $1 AND priority = $2",
                   before.id.value, old.priority, fs.priority);
  }
  if (old.claim_order != fs.claim_order) {
    tx.exec_params("UPDATE regfeat.partition SET claim_rank = lower_bound * $2 WHERE feature_set_id = $1",
                   before.id.value, sign_of(fs.claim_order));
  }
}

}  // namespace

std::optional<StoredFeatureSet> find_feature_set(pqxx::transaction_base& tx, const std::string& name) {
  const pqxx::result r = tx.exec_params(
      "SELECT f.feature_set_id, f.specification_version, s.document, s.output_identity FROM regfeat.feature_set f "
      "JOIN regfeat.specification s ON s.feature_set_id = f.feature_set_id AND s.version = f.specification_version WHERE f.name = $1",
      name);
  if (r.empty()) return std::nullopt;
  return from_row(r[0]);
}

StoredFeatureSet load_specification(pqxx::transaction_base& tx, FeatureSetId id, int version) {
  const pqxx::result r = tx.exec_params(
      "SELECT feature_set_id, version, document, output_identity FROM regfeat.specification WHERE feature_set_id = $1 AND version = $2",
      id.value, version);
  if (r.empty()) {
    throw Fault(FaultClass::configuration, "version " + std::to_string(version) + " of feature set " +
                                               std::to_string(id.value) +
                                               " is not in regfeat.specification: apply it again");
  }
  return from_row(r[0]);
}

StoredFeatureSet store_feature_set(pqxx::transaction_base& tx, const spec::FeatureSetDocument& document) {
  const spec::FeatureSet& fs = document.feature_set;
  const std::string identity = spec::output_identity(fs);
  const std::string order_kind = fs.order == OrderKind::time ? "time" : "sequence";
  const std::string claim_order = fs.claim_order == spec::ClaimOrder::oldest_first ? "oldest_first" : "newest_first";
  auto stored = find_feature_set(tx, fs.name);
  if (!stored) {
    stored.emplace();
    stored->version = 1;
    stored->id.value = tx.exec_params(
                             "INSERT INTO regfeat.feature_set (name, specification_version, order_kind, claim_order) "
                             "VALUES ($1, 1, $2, $3) RETURNING feature_set_id",
                             fs.name, order_kind, claim_order)[0][0]
                           .as<std::int64_t>();
  } else if (stored->document == document.text) {
    return *stored;
  } else {
    ++stored->version;
  }
  if (stored->version > 1) follow_claim_options(tx, *stored, fs);
  stored->document = document.text;
  stored->output_identity = identity;
  insert_version(tx, *stored, spec::calendar_identity(fs));
  tx.exec_params(
      "UPDATE regfeat.feature_set SET specification_version = $2, order_kind = $3, claim_order = $4, applied_at = now() "
      "WHERE feature_set_id = $1",
      stored->id.value, stored->version, order_kind, claim_order);
  const fit::Plan plan = fs.plan();
  const bool looks_back = fs.lookback == spec::Lookback::rows;
  const auto rows = looks_back ? std::max<std::int64_t>(plan.lookback_rows(), plan.lookback_offset()) : 0;
  // Windows of a keyed set count the rows of a key; how many rows of the series lie between them is unknown. Nor does either
  // number bound a range that is counted from some rows back.
  const bool unbounded = rows > 0 && (!fs.key.empty() || (plan.lookback_range() > 0 && plan.lookback_offset() > 0));
  tx.exec_params(
      "UPDATE regfeat.feature_set SET lookback_rows = nullif($2, -1), lookback_span = $3 WHERE feature_set_id = $1",
      stored->id.value, unbounded ? -1 : rows, looks_back ? plan.lookback_range() : 0);
  return *stored;
}

std::vector<KnownPartition> known_partitions(pqxx::transaction_base& tx, const StoredFeatureSet& feature_set,
                                             const spec::FeatureSet& specification) {
  std::vector<KnownPartition> known;
  for (
      const auto& row : tx.exec_params(
          "SELECT p.partition_id, p.series, p.lower_bound, p.upper_bound, p.removed, p.state = 'cancelled' AND NOT p.removed, "
          "       p.state IN ('pending', 'cancelled') OR (s.output_identity IS NOT DISTINCT FROM $2 AND s.calendar IS NOT DISTINCT FROM $3) "
          "  FROM regfeat.partition p LEFT JOIN regfeat.attempt a USING (attempt_id) "
          "  LEFT JOIN regfeat.specification s ON s.feature_set_id = p.feature_set_id "
          "   AND s.version = CASE WHEN p.state IN ('done', 'empty') THEN p.specification_version ELSE a.specification_version END "
          " WHERE p.feature_set_id = $1",
          feature_set.id.value, spec::output_identity(specification), spec::calendar_identity(specification))) {
    known.push_back({PartitionId{row[0].as<std::int64_t>()},
                     row[1].as<std::string>(),
                     {row[2].as<OrderValue>(), row[3].as<OrderValue>()},
                     row[4].as<bool>(),
                     row[5].as<bool>(),
                     row[6].as<bool>()});
  }
  return known;
}

void lock_partitions(pqxx::transaction_base& tx, FeatureSetId id) {
  tx.exec_params("SELECT FROM regfeat.partition WHERE feature_set_id = $1 ORDER BY partition_id FOR UPDATE", id.value);
}

void remove_partitions(pqxx::transaction_base& tx, const std::vector<PartitionId>& ids) {
  std::vector<std::string> texts;
  for (const PartitionId id : ids) texts.push_back(std::to_string(id.value));
  tx.exec_params(
      "UPDATE regfeat.partition SET state = 'cancelled', removed = true, epoch = epoch + 1, daemon_id = NULL, worker = NULL, "
      "       backend_pid = NULL, changed_at = now(), message = 'the specification names it no longer' "
      " WHERE partition_id = ANY ($1::bigint[])",
      pg::array_literal(texts));
}

void store_dependencies(pqxx::transaction_base& tx, FeatureSetId id, const spec::FeatureSet& fs) {
  const fit::Plan plan = fs.plan();
  const bool reads_back = fs.lookback == spec::Lookback::rows;
  const bool by_rows = reads_back && (plan.lookback_rows() > 0 || plan.lookback_offset() > 0);
  const std::string lookback = by_rows ? "" : std::to_string(reads_back ? plan.lookback_range() : 0);
  tx.exec_params("DELETE FROM regfeat.dependency WHERE feature_set_id = $1", id.value);
  for (const std::string& name : fs.depends_on) {
    tx.exec_params(
        "INSERT INTO regfeat.dependency (feature_set_id, requires_id, lookback) "
        "SELECT $1, feature_set_id, nullif($2, '')::bigint FROM regfeat.feature_set WHERE name = $3",
        id.value, lookback, name);
  }
}

std::vector<std::string> check_dependencies(pqxx::transaction_base& tx, const spec::FeatureSet& fs) {
  std::vector<std::string> findings;
  for (const std::string& name : fs.depends_on) {
    const pqxx::result r = tx.exec_params(
        "WITH RECURSIVE needs AS (SELECT feature_set_id FROM regfeat.feature_set WHERE name = $1 "
        "                         UNION SELECT d.requires_id FROM regfeat.dependency d JOIN needs USING (feature_set_id)) "
        "SELECT f.order_kind, EXISTS (SELECT FROM needs JOIN regfeat.feature_set g USING (feature_set_id) WHERE g.name = $2) "
        "  FROM regfeat.feature_set f WHERE f.name = $1",
        name, fs.name);
    if (r.empty()) {
      findings.push_back("depends_on: there is no feature set \"" + name + "\" yet: apply it first");
    } else if ((r[0][0].as<std::string>() == "time") != (fs.order == OrderKind::time)) {
      findings.push_back("depends_on: feature set \"" + name + "\" is ordered by " + r[0][0].as<std::string>() +
                         ", this one is not");
    } else if (r[0][1].as<bool>()) {
      findings.push_back("depends_on: feature set \"" + name + "\" depends on this one itself");
    }
  }
  return findings;
}

EnqueueCounts enqueue(pqxx::transaction_base& tx, const StoredFeatureSet& feature_set,
                      const spec::FeatureSet& specification, const std::vector<WantedPartition>& wanted) {
  std::vector<std::string> series, lower, upper, rows, requeue, rewrite;
  for (const WantedPartition& w : wanted) {
    series.push_back(w.series);
    lower.push_back(std::to_string(w.range.lower));
    upper.push_back(std::to_string(w.range.upper));
    rows.push_back(w.estimated_rows ? std::to_string(*w.estimated_rows) : "-1");
    requeue.push_back(w.requeue ? "t" : "f");
    rewrite.push_back(w.rewrite ? "t" : "f");
  }
  const int sign = sign_of(specification.claim_order);
  EnqueueCounts counts;
  counts.added = static_cast<std::int64_t>(
      tx.exec_params(
            "INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, priority, estimated_rows) "
            "SELECT $1, w.series, w.lower, w.upper, w.lower * $2, $3, nullif(w.rows, -1) "
            "  FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) AS w(series, lower, upper, rows) "
            "    ON CONFLICT (feature_set_id, series, lower_bound) DO NOTHING",
            feature_set.id.value, sign, specification.priority, pg::array_literal(series), pg::array_literal(lower),
            pg::array_literal(upper), pg::array_literal(rows))
          .affected_rows());
  const auto existing = static_cast<std::int64_t>(wanted.size()) - counts.added;
  if (existing > 0) {
    tx.exec_params(
        "UPDATE regfeat.partition p SET input_fingerprint = NULL "
        "  FROM unnest($2::text[], $3::bigint[], $4::boolean[]) AS w(series, lower, rewrite) "
        " WHERE p.feature_set_id = $1 AND p.series = w.series AND p.lower_bound = w.lower AND w.rewrite",
        feature_set.id.value, pg::array_literal(series), pg::array_literal(lower), pg::array_literal(rewrite));
    counts.requeued = static_cast<std::int64_t>(
        tx.exec_params(
              "UPDATE regfeat.partition p SET state = 'pending', epoch = epoch + 1, attempts = 0, disturbances = 0, "
              "       not_before = '-infinity', daemon_id = NULL, worker = NULL, backend_pid = NULL, changed_at = now(), "
              "       removed = false, upper_bound = w.upper, message = 'the specification changed' "
              "  FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::boolean[]) AS w(series, lower, upper, requeue) "
              " WHERE p.feature_set_id = $1 AND p.series = w.series AND p.lower_bound = w.lower AND w.requeue",
              feature_set.id.value, pg::array_literal(series), pg::array_literal(lower), pg::array_literal(upper),
              pg::array_literal(requeue))
            .affected_rows());
  }
  counts.unchanged = existing - counts.requeued;
  return counts;
}

}  // namespace regfeatd::queue
