#include "regfeatd/queue/partition_details.hpp"

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace regfeatd::queue {
namespace {

using Json = nlohmann::ordered_json;

// Series and ranges in the order in which /api/status has them in its heat maps.
constexpr const char* kPartitions = R"(
  SELECT f.name, p.series, regfeat.order_text(f.order_kind, p.lower_bound), regfeat.order_text(f.order_kind, p.upper_bound),
         (dense_rank() OVER (PARTITION BY p.feature_set_id ORDER BY p.series) - 1)::int,
         (dense_rank() OVER (PARTITION BY p.feature_set_id ORDER BY p.lower_bound) - 1)::int,
         p.state, p.attempts, coalesce(p.rows_in, p.estimated_rows), p.rows_in IS NULL, p.rows_out, p.nulls_out,
         CASE WHEN a.finished_at IS NOT NULL THEN extract(epoch FROM a.finished_at - a.started_at)::float8 END,
         extract(epoch FROM p.changed_at)::bigint, p.priority, p.message
    FROM regfeat.partition p JOIN regfeat.feature_set f USING (feature_set_id) LEFT JOIN regfeat.attempt a ON a.attempt_id = p.attempt_id
   WHERE NOT p.removed
   ORDER BY f.name, p.series, p.lower_bound)";

Json number(const pqxx::field& f) { return f.is_null() ? Json(nullptr) : Json(f.as<std::int64_t>()); }

template <class List>
void put(List& list, std::size_t index, const pqxx::field& text) {
  if (list.size() <= index) list.resize(index + 1);
  if (list[index].empty()) list[index] = text.as<std::string>();
}

struct FeatureSet {
  std::string name;
  std::vector<std::string> series, from, to;
  Json partitions = Json::array();
};

Json partition_of(const pqxx::row& r) {
  Json seconds = nullptr;
  if (!r[12].is_null()) seconds = std::round(r[12].as<double>() * 1000) / 1000;
  return Json::array({r[4].as<int>(), r[5].as<int>(), r[6].as<std::string>(), r[7].as<int>(), number(r[8]),
                      r[9].as<bool>(), number(r[10]), number(r[11]), seconds, r[13].as<std::int64_t>(), r[14].as<int>(),
                      r[15].is_null() ? Json(nullptr) : Json(r[15].as<std::string>())});
}

}  // namespace

std::string partition_details_json(pg::Session& session) {
  return pg::guarded("reading the partitions", [&] {
    pqxx::work tx(session.sql());
    std::vector<FeatureSet> sets;
    for (const auto& r : tx.exec(kPartitions)) {
      if (sets.empty() || sets.back().name != r[0].as<std::string>()) {
        sets.emplace_back();
        sets.back().name = r[0].as<std::string>();
      }
      FeatureSet& set = sets.back();
      put(set.series, r[4].as<std::size_t>(), r[1]);
      put(set.from, r[5].as<std::size_t>(), r[2]);
      put(set.to, r[5].as<std::size_t>(), r[3]);
      set.partitions.push_back(partition_of(r));
    }
    Json all = Json::array();
    for (FeatureSet& s : sets)
      all.push_back({{"feature_set", s.name},
                     {"series", s.series},
                     {"from", s.from},
                     {"to", s.to},
                     {"partitions", std::move(s.partitions)}});
    const Json document{{"version", 1},
                        {"fields",
                         {"series", "range", "state", "attempts", "rows_in", "rows_in_estimated", "rows_out",
                          "nulls_out", "seconds", "changed_at", "priority", "message"}},
                        {"feature_sets", std::move(all)}};
    return document.dump(-1, ' ', false, Json::error_handler_t::replace);
  });
}

}  // namespace regfeatd::queue
