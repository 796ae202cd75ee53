#include "regfeatd/queue/validation.hpp"

#include "regfeatd/base/build_info.hpp"

namespace regfeatd::queue {

std::vector<FinishedWork> finished_work(pqxx::transaction_base& tx, FeatureSetId id) {
  std::vector<FinishedWork> out;
  for (const auto& r : tx.exec_params("SELECT partition_id, epoch, series, lower_bound, upper_bound, state = "
                                      "'empty', coalesce(rows_in, 0), coalesce(rows_out, 0), "
                                      "       coalesce(nulls_out, 0), coalesce(checksum, ''), "
                                      "coalesce(input_fingerprint, ''), coalesce(specification_version, 0) "
                                      "  FROM regfeat.partition WHERE feature_set_id = $1 AND state IN "
                                      "('done', 'empty') AND NOT removed "
                                      " ORDER BY series, lower_bound",
                                      id.value)) {
    FinishedWork w;
    w.id.value = r[0].as<std::int64_t>();
    w.epoch = r[1].as<std::int64_t>();
    w.series = r[2].as<std::string>();
    w.range = {r[3].as<OrderValue>(), r[4].as<OrderValue>()};
    w.empty = r[5].as<bool>();
    w.rows_in = r[6].as<std::int64_t>();
    w.rows_out = r[7].as<std::int64_t>();
    w.nulls_out = r[8].as<std::int64_t>();
    w.checksum = r[9].as<std::string>();
    w.input_fingerprint = r[10].as<std::string>();
    w.specification_version = r[11].as<int>();
    out.push_back(std::move(w));
  }
  return out;
}

std::vector<ListedWork> listed_work(pqxx::transaction_base& tx, FeatureSetId id) {
  std::vector<ListedWork> out;
  for (const auto& r : tx.exec_params("SELECT series, state, lower_bound, upper_bound FROM regfeat.partition "
                                      " WHERE feature_set_id = $1 AND NOT removed ORDER BY series, lower_bound",
                                      id.value)) {
    out.push_back({r[0].as<std::string>(), r[1].as<std::string>(), {r[2].as<OrderValue>(), r[3].as<OrderValue>()}});
  }
  return out;
}

bool untouched(pqxx::transaction_base& tx, const FinishedWork& work) {
  return !tx.exec_params(
                "SELECT FROM regfeat.partition WHERE partition_id = $1 AND epoch = $2 AND state IN ('done', "
                "'empty')",
                work.id.value, work.epoch)
              .empty();
}

std::int64_t begin_validation(pg::Session& session, const std::string& feature_set, std::uint64_t seed) {
  return pg::guarded("recording the validation", [&] {
    pqxx::work tx(session.sql());
    const auto run = tx.exec_params1(
                           "INSERT INTO regfeat.validation_run (feature_set, build_id, seed) VALUES ($1, $2, "
                           "$3) RETURNING validation_run_id",
                           feature_set, std::string(build_id()), static_cast<std::int64_t>(seed))[0]
                         .as<std::int64_t>();
    tx.commit();
    return run;
  });
}

void record_findings(pg::Session& session, std::int64_t run, const std::string& feature_set,
                     const std::vector<Finding>& findings) {
  if (findings.empty()) return;
  pg::guarded("recording findings", [&] {
    pqxx::work tx(session.sql());
    for (const Finding& f : findings) {
      tx.exec_params(
          "INSERT INTO regfeat.validation (validation_run_id, feature_set, series, partition_id, \"from\", "
          "\"to\", what, target, column_name, position, message) "
          "VALUES ($1, $2, $3, nullif($4::bigint, 0), nullif($5, ''), nullif($6, ''), $7, nullif($8, ''), "
          "nullif($9, ''), nullif($10, ''), $11)",
          run, feature_set, f.series, f.partition.value, f.from, f.to, f.what, f.target, f.column, f.position,
          f.message);
    }
    tx.commit();
  });
}

void end_validation(pg::Session& session, std::int64_t run, const ValidationCounts& c) {
  pg::guarded("recording the validation", [&] {
    pqxx::work tx(session.sql());
    tx.exec_params(
        "UPDATE regfeat.validation_run SET finished_at = clock_timestamp(), partitions = $2, partitions_of = "
        "$3, rows_checked = $4, values_checked = $5, "
        "       oracle_values = $6, findings = $7 WHERE validation_run_id = $1",
        run, c.partitions, c.partitions_of, c.rows, c.values, c.oracle_values, c.findings);
    tx.commit();
  });
}

}  // namespace regfeatd::queue
