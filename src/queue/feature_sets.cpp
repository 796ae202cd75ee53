#include "regfeatd/queue/feature_sets.hpp"

#include <algorithm>

#include "regfeatd/base/build_info.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/pg/catalog.hpp"

namespace regfeatd::queue {
namespace {

StoredFeatureSet from_row(const pqxx::row& row) {
  return {FeatureSetId{row[0].as<std::int64_t>()}, row[1].as<int>(), row[2].as<std::string>(), row[3].as<std::string>()};
}

void insert_version(pqxx::transaction_base& tx, const StoredFeatureSet& s) {
  tx.exec_params("INSERT INTO regfeat.specification (feature_set_id, version, document, output_identity, build_id) VALUES ($1, $2, $3, $4, $5)",
                 s.id.value, s.version, s.document, s.output_identity, std::string(build_id()));
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
    throw Fault(FaultClass::configuration,
                "version " + std::to_string(version) + " of feature set " + std::to_string(id.value) + " is not in regfeat.specification: apply it again");
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
    stored->id.value = tx.exec_params("INSERT INTO regfeat.feature_set (name, specification_version, order_kind, claim_order) "
                                      "VALUES ($1, 1, $2, $3) RETURNING feature_set_id",
                                      fs.name, order_kind, claim_order)[0][0].as<std::int64_t>();
  } else if (stored->document == document.text) {
    return *stored;
  } else {
    ++stored->version;
  }
  stored->document = document.text;
  stored->output_identity = identity;
  insert_version(tx, *stored);
  tx.exec_params("UPDATE regfeat.feature_set SET specification_version = $2, order_kind = $3, claim_order = $4, applied_at = now() "
                 "WHERE feature_set_id = $1",
                 stored->id.value, stored->version, order_kind, claim_order);
  const fit::Plan plan = fs.plan();
  const bool looks_back = fs.lookback == spec::Lookback::rows;
  const auto rows = looks_back ? std::max<std::int64_t>(plan.lookback_rows(), plan.lookback_offset()) : 0;
  // Windows of a keyed set count the rows of a key; how many rows of the series lie between them is unknown.
  tx.exec_params("UPDATE regfeat.feature_set SET lookback_rows = nullif($2, -1), lookback_span = $3 WHERE feature_set_id = $1", stored->id.value,
                 !fs.key.empty() && rows > 0 ? -1 : rows, looks_back ? plan.lookback_range() : 0);
  return *stored;
}

EnqueueCounts enqueue(pqxx::transaction_base& tx, const StoredFeatureSet& feature_set, const spec::FeatureSet& specification,
                      const std::vector<WantedPartition>& wanted, bool requeue_existing) {
  std::vector<std::string> series, lower, upper, rows;
  for (const WantedPartition& w : wanted) {
    series.push_back(w.series);
    lower.push_back(std::to_string(w.range.lower));
    upper.push_back(std::to_string(w.range.upper));
    rows.push_back(w.estimated_rows ? std::to_string(*w.estimated_rows) : "-1");
  }
  const int sign = specification.claim_order == spec::ClaimOrder::oldest_first ? 1 : -1;
  EnqueueCounts counts;
  counts.added = static_cast<std::int64_t>(
      tx.exec_params("INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, priority, estimated_rows) "
                     "SELECT $1, w.series, w.lower, w.upper, w.lower * $2, $3, nullif(w.rows, -1) "
                     "  FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) AS w(series, lower, upper, rows) "
                     "    ON CONFLICT (feature_set_id, series, lower_bound) DO NOTHING",
                     feature_set.id.value, sign, specification.priority, pg::array_literal(series), pg::array_literal(lower),
                     pg::array_literal(upper), pg::array_literal(rows))
          .affected_rows());
  const auto existing = static_cast<std::int64_t>(wanted.size()) - counts.added;
  if (requeue_existing && existing > 0) {
    counts.requeued = static_cast<std::int64_t>(
        tx.exec_params("UPDATE regfeat.partition p SET state = 'pending', epoch = epoch + 1, attempts = 0, disturbances = 0, "
                       "       not_before = '-infinity', daemon_id = NULL, worker = NULL, backend_pid = NULL, changed_at = now(), "
                       "       message = 'the specification changed' "
                       "  FROM unnest($2::text[], $3::bigint[]) AS w(series, lower) "
                       " WHERE p.feature_set_id = $1 AND p.series = w.series AND p.lower_bound = w.lower "
                       "   AND (p.state <> 'pending' OR p.attempts > 0)",
                       feature_set.id.value, pg::array_literal(series), pg::array_literal(lower))
            .affected_rows());
  }
  counts.unchanged = existing - counts.requeued;
  return counts;
}

}  // namespace regfeatd::queue
