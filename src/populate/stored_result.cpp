#include "regfeatd/populate/stored_result.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "regfeatd/pg/copy.hpp"
#include "regfeatd/pg/names.hpp"
#include "regfeatd/populate/target.hpp"
#include "regfeatd/queue/feature_sets.hpp"
#include "regfeatd/spec/feature_set.hpp"
#include "source_sql.hpp"
#include "stream_hash.hpp"

namespace regfeatd::populate {
namespace {

template <class T>
void append_big_endian(std::vector<std::byte>& out, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8)
    out.push_back(static_cast<std::byte>(value >> shift));
}

/// The tuples of one target in the order in which they were written (key, then position), as COPY has them.
void hash_target(pg::Session& session, const spec::FeatureSet& fs, const ResolvedTarget& target, OrderRange range,
                 StreamHash& hash) {
  const auto fields = static_cast<int>(1 + fs.key.size() + target.features.size());
  std::string order;
  for (const std::string& key : fs.key) order += pg::quote_identifier(key) + ", ";
  const std::string select =
      fmt::format("SELECT {} FROM {} WHERE {} >= {} AND {} < {} ORDER BY {}{}", target.copy_columns,
                  target.table.name.quoted(), target.order_column, order_literal(target.order_type, range.lower),
                  target.order_column, order_literal(target.order_type, range.upper), order, target.order_column);
  pg::CopyOut rows(session, select, fields);
  std::vector<std::byte> tuple;
  while (rows.next()) {
    tuple.clear();
    append_big_endian(tuple, static_cast<std::uint16_t>(fields));
    for (int i = 0; i < fields; ++i) {
      const auto field = rows.field(i);
      append_big_endian(tuple, field ? static_cast<std::uint32_t>(field->size()) : 0xffff'ffffu);
      if (field) tuple.insert(tuple.end(), field->begin(), field->end());
    }
    hash.update(tuple);
  }
}

/// A numeric column may have rounded what was sent; then only the count can be compared.
bool stored_as_sent(const ResolvedTarget& target) {
  return std::find(target.layout.features.begin(), target.layout.features.end(), pg::FeatureType::numeric) ==
         target.layout.features.end();
}

}  // namespace

std::optional<std::string> difference(pg::Session& session, const queue::StoredResult& result) {
  return pg::guarded("verifying a stored result", [&]() -> std::optional<std::string> {
    pqxx::work tx(session.sql());
    tx.exec(
        "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0");
    const auto stored = queue::load_specification(tx, result.claim.feature_set, result.claim.specification_version);
    const spec::FeatureSet fs = spec::parse_feature_set(stored.document, "specification");
    StreamHash hash;
    bool comparable = true;
    for (const spec::Target& wanted : fs.targets) {
      std::vector<std::string> findings;
      const auto target = resolve_target(tx, fs, wanted, result.claim.series, findings);
      if (!target) return fmt::format("target {} is not there", spec::target_table(wanted, result.claim.series));
      const std::int64_t rows = count_rows(tx, *target, result.claim.range);
      if (rows != result.rows_out)
        return fmt::format("target {} has {} rows of it, {} were written", target->table.name.text(), rows,
                           result.rows_out);
      comparable = comparable && stored_as_sent(*target);
      if (comparable) hash_target(session, fs, *target, result.claim.range, hash);
    }
    if (comparable && hash.hex() != result.checksum)
      return fmt::format("its rows have the checksum {}, {} was written", hash.hex(), result.checksum);
    return std::nullopt;
  });
}

}  // namespace regfeatd::populate
