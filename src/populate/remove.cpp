// Taking a feature set out of the database.

#include "regfeatd/populate/remove.hpp"

#include "regfeatd/base/fault.hpp"

namespace regfeatd::populate {

RemovalPlan plan_removal(pqxx::transaction_base& tx, const std::string& name, bool drop_tables) {
  RemovalPlan plan;
  plan.name = name;
  const pqxx::result found = tx.exec_params("SELECT feature_set_id FROM regfeat.feature_set WHERE name = $1", name);
  if (found.empty())
    throw Fault(FaultClass::configuration, "there is no feature set \"" + name + "\": `regfeatd status` lists them");
  plan.id = FeatureSetId{found[0][0].as<std::int64_t>()};
  const pqxx::row counts = tx.exec_params1(
      "SELECT count(*), count(*) FILTER (WHERE state = 'running'), "
      "       (SELECT count(*) FROM regfeat.attempt WHERE feature_set_id = $1) "
      "  FROM regfeat.partition WHERE feature_set_id = $1",
      plan.id.value);
  plan.partitions = counts[0].as<std::int64_t>();
  plan.running = counts[1].as<std::int64_t>();
  plan.attempts = counts[2].as<std::int64_t>();
  for (const auto& row :
       tx.exec_params("SELECT f.name FROM regfeat.dependency d JOIN regfeat.feature_set f USING (feature_set_id) "
                      " WHERE d.requires_id = $1 ORDER BY 1",
                      plan.id.value)) {
    plan.findings.push_back("feature set " + row[0].as<std::string>() + " depends on " + name +
                            ": change its depends_on, or remove it first");
  }
  // In the order of their creation, that of the specification: workers lock them in it too, the other way round could deadlock.
  for (const auto& row : tx.exec_params(
           "SELECT format('%I.%I', n.nspname, c.relname), t.created, pg_has_role(c.relowner, 'USAGE') "
           "  FROM regfeat.target t JOIN pg_class c ON c.oid = t.target JOIN pg_namespace n ON n.oid = c.relnamespace "
           " WHERE t.feature_set = $1 ORDER BY c.oid",
           name)) {
    const auto table = row[0].as<std::string>();
    if (!drop_tables || !row[1].as<bool>()) {
      plan.kept.push_back(table);
      continue;
    }
    plan.dropped.push_back(table);
    if (!row[2].as<bool>())
      plan.findings.push_back("target " + table + ": the current role does not own it, so cannot drop it");
  }
  return plan;
}

void stop_work(pqxx::transaction_base& tx, const RemovalPlan& plan) {
  tx.exec_params(
      "SELECT regfeat.fence(ARRAY(SELECT partition_id FROM regfeat.partition WHERE feature_set_id = $1 AND state IN ('pending', 'running')), "
      "                     'cancelled', regfeat.statement_of('removed', NULL))",
      plan.id.value);
}

void remove(pqxx::transaction_base& tx, const RemovalPlan& plan) {
  // Tables before work rows: a worker takes their locks in the same order.
  // Views, which storage: compact makes, before the tables that they read.
  for (const bool views : {true, false}) {
    for (const std::string& name : plan.dropped) {
      const bool is_view =
          !tx.exec_params("SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'v'", name).empty();
      if (is_view && views) tx.exec("DROP VIEW " + name);
      if (!is_view && !views && tx.exec_params1("SELECT to_regclass($1) IS NOT NULL", name)[0].as<bool>())
        tx.exec("DROP TABLE " + name);
    }
  }
  tx.exec_params("DELETE FROM regfeat.target WHERE feature_set = $1", plan.name);
  tx.exec_params("DELETE FROM regfeat.feature_set WHERE feature_set_id = $1", plan.id.value);
}

}  // namespace regfeatd::populate
