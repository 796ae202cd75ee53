#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fit_table.hpp"
#include "regfeatd/base/order.hpp"
#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::cli {

/// Consecutive rows of one series inside a FitJob's arrays: look-back first, then rows to fit.
struct SeriesPiece {
  std::size_t begin = 0;               ///< of the look-back, in the arrays
  std::size_t lookback = 0;
  std::size_t count = 0;               ///< rows to fit
  std::int64_t first_row_number = 0;   ///< of the row at `begin`, within its series
  std::size_t out_row = 0;             ///< of the first row to fit, in the job's output
};

/// What it takes to fit one block without looking at any other.
struct FitJob {
  static constexpr std::uint32_t kNotWritten = std::numeric_limits<std::uint32_t>::max();

  std::vector<OrderValue> order;
  std::vector<std::vector<double>> values;  ///< by input, as long as `order`
  std::vector<SeriesPiece> pieces;
  std::vector<std::uint32_t> out_row;       ///< for each row of the block, in input order, its row in the output
  std::string error;                        ///< `file:line: ...`: why the input ends here
};

/// Follows every series from block to block: puts look-back rows before the rows of a block, and checks that times ascend
/// and keys are in order. Not thread-safe; sees the blocks in input order.
class SeriesTracker {
 public:
  struct Options {
    /// Keys may alternate from row to row; the look-back rows of all keys are kept. Otherwise the rows of a key stand
    /// together and only the last key's look-back is kept, with some 50 bytes for every key seen.
    bool interleaved = false;
    /// Rows outside [from, to) are not written; the rows before `from` are look-back, unless `cold_start`.
    std::optional<OrderValue> from, to;
    bool cold_start = false;
  };

  SeriesTracker(const TableLayout& layout, const fit::Plan& plan, Options options);

  /// Fills `job` from the rows up to the first that is bad in itself or in its place.
  void place(const TableRows& rows, FitJob& job);

 private:
  /// The newest rows of one series.
  struct Series {
    std::vector<OrderValue> order;
    std::vector<std::vector<double>> values;
    std::int64_t rows_placed = 0;
    std::optional<OrderValue> last;  ///< the newest row's, also when that was not placed
  };
  /// The rows of one key in the block at hand.
  struct Part {
    Series* series = nullptr;
    std::size_t lookback = 0;               ///< rows kept from earlier blocks
    std::size_t before = 0, inside = 0;     ///< rows of this block: before and in the range that is written
    std::size_t begin = 0;                  ///< of the look-back, in the job's arrays
    std::size_t next = 0, next_out = 0;     ///< where the next row goes
  };
  struct Digest {
    std::uint64_t a = 0, b = 0;
    friend bool operator==(const Digest&, const Digest&) = default;
  };
  struct DigestHash {
    std::size_t operator()(const Digest& d) const noexcept { return d.a; }
  };

  [[nodiscard]] std::size_t admit(const TableRows& rows, FitJob& job);
  [[nodiscard]] std::string admit_key(const TableRows& rows, std::size_t row);
  [[nodiscard]] std::string admit_order(const TableRows& rows, std::size_t row);
  [[nodiscard]] bool placed(OrderValue order) const noexcept;
  [[nodiscard]] bool written(OrderValue order) const noexcept;
  void lay_out(FitJob& job);
  void fill(const TableRows& rows, std::size_t row_count, FitJob& job);
  void keep_newest(const FitJob& job);
  void forget_finished(const TableRows& rows, std::size_t row_count);
  [[nodiscard]] std::size_t lookback_rows(const Series& series) const noexcept;
  [[nodiscard]] std::string where(const TableRows& rows, std::size_t row) const;
  [[nodiscard]] std::string key_phrase(const TableRows& rows, std::size_t row) const;

  const TableLayout& layout_;
  const Options options_;
  const std::int64_t plan_rows_, plan_offset_;
  const OrderValue plan_range_;

  std::vector<Part> parts_;  ///< by key index of the block at hand
  /// All keys when interleaved, otherwise those of the block at hand and, between blocks, the last one.
  std::unordered_map<std::string, Series> series_;
  std::unordered_set<Digest, DigestHash> seen_;  ///< not interleaved: every key so far
};

}  // namespace regfeatd::cli
