#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/pg/catalog.hpp"
#include "regfeatd/pg/copy.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/pg/tuple_encoder.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

/// A target table of one series as the catalogue describes it.
struct ResolvedTarget {
  pg::TableInfo table;
  pg::ColumnType order_type = pg::ColumnType::timestamptz;
  std::string order_column;           ///< quoted
  std::vector<std::string> features;  ///< names of the feature columns, in the order of their computation
  pg::TupleLayout layout;
  std::string copy_columns;           ///< quoted list for COPY: order, keys, features
};

/// What the target table of a series should be, where it does not exist yet: the statements that create it.
[[nodiscard]] std::vector<std::string> target_ddl(const spec::FeatureSet& fs, const spec::Target& target, const std::string& series,
                                                  const std::vector<std::string>& key_types);

/// The statements that add the feature columns which a target made by `apply` (regfeat.target) lacks; none for others.
[[nodiscard]] std::vector<std::string> missing_column_ddl(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                                                          const std::string& series);

/// Looks up an existing target. Missing columns, wrong types, missing privileges, keys that the rows would violate are
/// appended to `findings`; missing feature columns are none where `columns_will_come`. nullopt: there is no such table; whether it could be created is checked then.
[[nodiscard]] std::optional<ResolvedTarget> resolve_target(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                                                           const std::string& series, std::vector<std::string>& findings,
                                                           bool columns_will_come = false);

/// The key columns of a target must have the source's types.
void check_key_types(const spec::FeatureSet& fs, const ResolvedSource& source, const ResolvedTarget& target, std::vector<std::string>& findings);

/// How the rows of one partition reach their target, and with which locks (docs/design-notes.md).
enum class Strategy {
  create,    ///< the child is not there: load a new table, attach it
  truncate,  ///< the child covers exactly the range: TRUNCATE it, load it
  remove,    ///< anything else: DELETE the range, load through the table
};
[[nodiscard]] std::string_view to_string(Strategy s) noexcept;

struct Placement {
  Strategy strategy = Strategy::remove;
  pg::TableName table;  ///< what COPY writes into
};

/// Decides from the catalogue how a partition is published. Throws Fault (configuration) when the specification's
/// choice is not possible, or when the child's name is taken by a table that is not a child.
[[nodiscard]] Placement place(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target, const ResolvedTarget& resolved,
                              const std::string& series, OrderRange range);

/// Rows of a target inside a range.
[[nodiscard]] std::int64_t count_rows(pqxx::transaction_base& tx, const ResolvedTarget& target, OrderRange range);

/// One target of one partition, written inside the worker's transaction: `prepare`, any number of `copy().send`,
/// `finish`, and `publish` once all targets are loaded.
class TargetWriter {
 public:
  TargetWriter(pg::Session& session, pqxx::transaction_base& tx, const ResolvedTarget& resolved, Placement placement,
               OrderRange range);

  /// Makes the place empty and starts the COPY.
  void start();
  [[nodiscard]] pg::CopyIn& copy() { return *copy_; }
  /// Ends the COPY; the rows the server took.
  std::int64_t finish();
  /// Makes the rows part of the target: visible with the commit of the transaction.
  void publish();
  /// For an empty partition: removes what the range held before.
  void clear();

 private:
  void create_child();

  pg::Session& session_;
  pqxx::transaction_base& tx_;
  const ResolvedTarget& resolved_;
  Placement placement_;
  OrderRange range_;
  std::unique_ptr<pg::CopyIn> copy_;
};

}  // namespace regfeatd::populate
