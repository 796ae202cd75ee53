#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/pg/copy.hpp"
#include "regfeatd/populate/target.hpp"
#include "regfeatd/queue/work.hpp"

namespace regfeatd::populate {

/// How the rows of one partition reach their target, and with which locks (docs/publishing.md).
enum class Strategy {
  create,    ///< the child is not there: load a new table, attach it
  truncate,  ///< the child covers exactly the range: TRUNCATE it, load it; its readers wait for the load
  swap,      ///< load a staging table, then put it in the child's place; readers see the old rows until then
  remove,    ///< anything else: DELETE the range, load through the table
};
[[nodiscard]] std::string_view to_string(Strategy s) noexcept;

struct Placement {
  Strategy strategy = Strategy::remove;
  pg::TableName table;        ///< what COPY writes into; for `swap` the child that is replaced
  std::uint32_t child = 0;    ///< its oid, where it is a child that exists
  bool child_owned = false;   ///< the current role may act as its owner
  std::string why;            ///< for people: what decided it
  bool attach_first = false;  ///< `create`: load into a partition, because replication sees nothing else
};

/// No child of a target holds these parts of a partition's range, and none is to be created.
class MissingChild : public Fault {
 public:
  MissingChild(const std::string& message, std::vector<OrderRange> ranges)
      : Fault(FaultClass::configuration, message), ranges_(std::move(ranges)) {}
  [[nodiscard]] const std::vector<OrderRange>& ranges() const noexcept { return ranges_; }

 private:
  std::vector<OrderRange> ranges_;
};

/// Decides from the catalogue how a partition is published. Throws MissingChild; and Fault (configuration) when the
/// specification's choice is not possible, when the child's name is taken by a table that is not a child, or when a column of
/// the child cannot take the rows.
[[nodiscard]] Placement place(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const spec::Target& target,
                              const ResolvedTarget& resolved, const std::string& series, OrderRange range);

/// One target of one partition on its way into the database. In this order: `start`, any number of
/// `copy().send`, `finish`; once all targets are loaded, `settle`; once all are settled, `attach` where `attaches`; and
/// for `swap`, `exchange` in the transaction that completes the partition, which may be a later one than the load's.
class TargetWriter {
 public:
  /// `number`: of the target in its feature set. `resolved` is borrowed.
  TargetWriter(const ResolvedTarget& resolved, Placement placement, const queue::Claim& claim, std::size_t number);

  [[nodiscard]] bool swaps() const noexcept { return placement_.strategy == Strategy::swap; }

  /// Makes the place empty and starts the COPY.
  void start(pg::Session& session, pqxx::transaction_base& tx);
  [[nodiscard]] pg::CopyIn& copy() { return *copy_; }
  /// Ends the COPY; the rows the server took.
  std::int64_t finish();
  /// Builds keys and statistics, of a table of its own without a lock that anybody meets.
  void settle(pqxx::transaction_base& tx);
  /// Whether `attach` has to make the loaded table a partition: of `create`, unless it was attached before its load.
  [[nodiscard]] bool attaches() const noexcept {
    return placement_.strategy == Strategy::create && !placement_.attach_first;
  }
  enum class AttachWait {
    long_enough,   ///< for the parent's lock: a minute
    as_it_is_set,  ///< by the transaction's lock_timeout
  };
  /// Throws Fault (transient, 55P03) when the parent's lock does not come.
  void attach(pqxx::transaction_base& tx, AttachWait wait) const;
  /// Of a `swap`: the quoted tables that `exchange` takes ACCESS EXCLUSIVE, the parent and the child that goes. On their
  /// own, so that the locks of all targets are taken before anything is changed.
  [[nodiscard]] std::vector<std::string> tables_to_lock() const;
  /// Puts the staging table in the child's place.
  void exchange(pqxx::transaction_base& tx) const;
  /// For an empty partition: removes what the range held before.
  void clear(pqxx::transaction_base& tx);

 private:
  void create_child(pqxx::transaction_base& tx, const std::string& like);
  void number_rows(pqxx::transaction_base& tx);
  void build_keys(pqxx::transaction_base& tx);
  void copy_grants(pqxx::transaction_base& tx) const;
  void analyze(pqxx::transaction_base& tx) const;
  [[nodiscard]] pg::TableName destination() const;

  const ResolvedTarget& resolved_;
  Placement placement_;
  OrderRange range_;
  std::int64_t partition_id_, epoch_;
  pg::TableName staging_;
  std::string after_load_;   ///< SQL that takes back defaults which only the load needs
  std::string rename_keys_;  ///< SQL that gives the staging table's keys the names of those they replace
  std::unique_ptr<pg::CopyIn> copy_;
};

/// Drops staging tables whose attempt is over and that were not put in place: an attempt that was killed
/// between its load and its exchange leaves one. Does nothing where there is none. How many were dropped.
std::int64_t drop_leftovers(pqxx::transaction_base& tx);

}  // namespace regfeatd::populate
