#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/catalog.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

/// The source of one series, its names resolved against the catalogue: what SQL is made from.
struct ResolvedSource {
  struct Table {
    pg::TableName name;  ///< with its schema
    std::string order_column;
    pg::ColumnType order_type = pg::ColumnType::timestamptz;
  };
  std::vector<Table> tables;  ///< empty for a query source
  std::string query;          ///< the specification's query with :series filled in
  std::string query_order_column;
  pg::ColumnType query_order_type = pg::ColumnType::timestamptz;
  std::vector<std::size_t> input_table;  ///< input i is a column of tables[input_table[i]]
  std::vector<bool>
      input_numeric;  ///< input i is read as numeric: a cast by the server costs more than the rest of its reading
  std::vector<std::string> key_types;  ///< as SQL knows them, for targets that are created
  bool key_index = false;              ///< every table has an index on keys, then order: look-back can go key by key
};

/// Looks up the source of a series. What is missing or unusable is appended to `findings`, each naming the thing and
/// what to do; the result is then incomplete and not to be used.
[[nodiscard]] ResolvedSource resolve_source(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                            const std::string& series, std::vector<std::string>& findings);

/// `season=2020-21, player_id=7`, of a key as InputRows holds it.
[[nodiscard]] std::string describe_key(const spec::FeatureSet& fs, const ResolvedSource& source,
                                       std::span<const std::byte> key);

/// A run of rows of one key (or of the whole series): look-back rows [begin, output), output rows [output, end).
struct Segment {
  std::size_t begin = 0, output = 0, end = 0;
  std::size_t carried = 0;  ///< rows from `begin` on that an earlier chunk of the partition holds too (input_store.hpp)
  std::int64_t number = 0;  ///< output rows of the same key in earlier chunks
};

/// A key whose rows cannot be used.
struct BadKey {
  std::string key;  ///< `player_id=7`
  std::string reason;
  OrderValue position = 0;
  std::int64_t rows = 0;  ///< its rows inside the partition
};

/// The input rows of one partition, look-back included, ordered by key and position. Buffers keep their capacity from
/// one partition to the next.
class InputRows {
 public:
  void clear(std::size_t inputs);

  std::vector<OrderValue> order;
  std::vector<std::vector<double>> values;  ///< [input][row]; NaN for NULL
  std::vector<std::byte> key_bytes;         ///< key fields as COPY wants them (length words included), row after row
  std::vector<std::size_t> key_ends;        ///< where row r's key ends in key_bytes; empty without keys
  std::vector<Segment> segments;
  std::vector<BadKey> bad_keys;  ///< their rows are in none of the above

  [[nodiscard]] std::size_t rows() const noexcept { return order.size(); }
  [[nodiscard]] std::size_t output_rows() const noexcept;
  [[nodiscard]] std::span<const std::byte> key(std::size_t row) const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept;  ///< what the rows occupy
};

/// Reads the rows of `range` and the look-back rows that the windows need: one COPY TO STDOUT, preceded for unkeyed
/// series by a query that finds where look-back starts. Must run in a transaction whose time zone is UTC.
/// A key with positions given twice, with NULL in it, or with values above fit::kMaxInput is set aside in `bad_keys`, or fails the partition where the
/// specification says `on_bad_key: fail`. Throws Fault: partition, for that, for positions given twice and values above the limit in a series
/// without keys, and when the rows exceed `budget_bytes`.
void read_source(pg::Session& session, pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                 const ResolvedSource& source, OrderRange range, std::size_t budget_bytes, InputRows& rows);

class InputStore;
/// The same within the memory that the store may take: what does not fit is put on disk. Throws Fault (partition) when
/// the look-back of one row alone does not fit, or when the disk is full.
void read_source(pg::Session& session, pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                 const ResolvedSource& source, OrderRange range, InputStore& store);

/// Rows in `range` as the server's statistics estimate them; nothing is read.
[[nodiscard]] std::int64_t estimate_rows(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                         const ResolvedSource& source, OrderRange range);

}  // namespace regfeatd::populate
