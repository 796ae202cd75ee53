#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/populate/target.hpp"
#include "regfeatd/queue/validation.hpp"

namespace regfeatd::populate {

/// A finding about a target: what, column, position, message.
using Report = std::function<void(const std::string& what, const std::string& column, const std::string& position,
                                  const std::string& message)>;

/// The rows of one target inside one range, as its table holds them.
struct TargetRows {
  std::vector<OrderValue> order;
  std::vector<std::string> keys;  ///< key fields as COPY has them, length words included; empty without keys
  std::vector<double> values;     ///< row after row; NaN for NULL
  std::size_t columns = 0;
  std::vector<std::int64_t> not_finite;  ///< by column: values that are NaN or infinite, which none may be
  /// Row by `row_name`; of rows that are there twice the first.
  std::unordered_map<std::string, std::size_t> index;
  std::vector<std::size_t> doubled;

  [[nodiscard]] const double* row(std::size_t r) const { return values.data() + r * columns; }
};

/// What tells rows apart: position and key.
[[nodiscard]] std::string row_name(OrderValue order, std::span<const std::byte> key);

[[nodiscard]] TargetRows read_target(pg::Session& session, const spec::FeatureSet& fs, const ResolvedTarget& target,
                                     OrderRange range);

/// What one target of one partition should hold, and the checks of what it does hold.
class TargetCheck {
 public:
  TargetCheck(const spec::FeatureSet& fs, const spec::Target& target, const ResolvedTarget& resolved,
              const ResolvedSource& source, const InputRows& input);

  /// Rows that are missing, there twice, or not in the source. Fills `matched`.
  void check_rows(const TargetRows& actual, const Report& report);
  /// Every value against a new computation, bit by bit. Returns how many were compared.
  std::int64_t check_values(const TargetRows& actual, const Report& report) const;
  /// NULLs of each column against their number as row counts and input NULLs give it. Returns the NULLs of
  /// all columns.
  std::int64_t check_nulls(const TargetRows& actual, const Report& report) const;
  /// Random rows against the naive oracle. Returns how many values were compared.
  std::int64_t check_oracle(const TargetRows& actual, std::size_t rows, std::mt19937_64& random,
                            const Report& report) const;
  /// What must hold inside each row: sums of terms, bounds of r2, and the like.
  void check_identities(const TargetRows& actual, const Report& report) const;
  /// Adds the tuples as they were sent to a hash; only when every row is there once.
  void hash_tuples(const TargetRows& actual, const std::function<void(std::span<const std::byte>)>& update) const;
  /// Whether a stored value is the computed one exactly (it is not in numeric columns with a scale).
  [[nodiscard]] bool exact() const noexcept;

 private:
  struct Place {
    std::size_t segment, row;  ///< row: in the input
  };
  /// The input of feature column `c` and its column in the plan.
  [[nodiscard]] std::size_t input_of(std::size_t c) const { return inputs_[c / plan_.column_count()]; }
  [[nodiscard]] std::size_t plan_column(std::size_t c) const { return c % plan_.column_count(); }
  [[nodiscard]] double stored(std::size_t column, double computed) const;
  [[nodiscard]] std::string describe(std::size_t input_row) const;

  const spec::FeatureSet& fs_;
  const ResolvedTarget& target_;
  const ResolvedSource& source_;
  const InputRows& input_;
  fit::Plan plan_;
  std::vector<std::size_t> inputs_;
  std::vector<int> scale_;     ///< by column: decimals of a numeric column that has a scale, else -1
  std::vector<Place> places_;  ///< the rows that should be there, in the order in which they are written
  static constexpr std::size_t kMissing = static_cast<std::size_t>(-1);
  std::vector<std::size_t> matched_;  ///< by place: row of the table
};

}  // namespace regfeatd::populate
