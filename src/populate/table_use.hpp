#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/populate/source.hpp"

namespace regfeatd::populate {

/// What the series of one feature set read and write, by table and not by spelling: `w.self`, `self` found through the
/// search path, and a view over it are the same rows. A table that is read and written would lose its values, one that is
/// written twice the rows of the first writing. Not seen: what a function reads.
class TableUse {
 public:
  /// `source`: resolved without findings.
  void reads(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const ResolvedSource& source);
  /// `name`: the written table as the specification spells it; it need not exist. Appends to `findings` when it is
  /// another series' table, or one of this series under another name.
  void writes(pqxx::transaction_base& tx, const std::string& name, const std::string& series,
              std::vector<std::string>& findings);
  /// A finding for each source that shares rows with a target.
  [[nodiscard]] std::vector<std::string> conflicts(pqxx::transaction_base& tx) const;

 private:
  struct Written {
    std::string series, spelling;
  };
  std::map<std::string, Written> written_;          ///< by schema and name
  std::map<std::uint32_t, std::string> targets_;    ///< that exist: oid, spelling
  std::map<std::uint32_t, std::string> relations_;  ///< that are read: oid, how findings name them
};

}  // namespace regfeatd::populate
