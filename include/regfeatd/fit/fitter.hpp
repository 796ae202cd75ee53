#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "regfeatd/base/order.hpp"
#include "regfeatd/fit/metric.hpp"
#include "regfeatd/fit/window.hpp"

namespace regfeatd::fit {

/// One input of one series (or of one key of it), look-back rows first, ascending in `order`.
struct Series {
  std::span<const OrderValue> order;  ///< strictly ascending: see `check_order`
  std::span<const double> values;     ///< as long as `order`; NaN stands for NULL, infinities are treated alike
  /// The number of row 0. Blocks of the block method are aligned to row numbers, so results of windows long enough for
  /// that method depend on it; the results of the direct method do not.
  std::int64_t first_row_number = 0;
};

/// The first place where `order` does not ascend strictly: index of the later row.
[[nodiscard]] std::optional<std::size_t> check_order(std::span<const OrderValue> order) noexcept;

/// An output column: one metric of one window.
struct Column {
  std::size_t window;  ///< index into the plan's windows
  Metric metric;
  friend bool operator==(const Column&, const Column&) = default;
};

/// Which columns are computed: windows × metrics, window by window.
struct Plan {
  std::vector<Window> windows;
  std::vector<Metric> metrics;

  [[nodiscard]] std::size_t column_count() const noexcept { return windows.size() * metrics.size(); }
  [[nodiscard]] Column column(std::size_t c) const noexcept {
    return {c / metrics.size(), metrics[c % metrics.size()]};
  }
  /// The offset in force for one column: the window's own, else its family's.
  [[nodiscard]] std::int64_t offset(const Column& c) const noexcept;
  /// Rows that must stand before a row for all its windows by rows to be whole: max(rows - 1 + offset).
  [[nodiscard]] std::int64_t lookback_rows() const noexcept;
  /// The longest range of the windows by range, 0 without any; look-back needs the rows with t > start - range, and
  /// `lookback_offset()` rows more.
  [[nodiscard]] OrderValue lookback_range() const noexcept;
  /// The greatest offset of a window by range.
  [[nodiscard]] std::int64_t lookback_offset() const noexcept;
};

/// Column-major output of one block: column c, row r at data()[c * stride() + r]. NaN stands for NULL; nothing else
/// that is not finite is ever stored. Allocated once; 64-byte aligned columns.
class ColumnBlock {
 public:
  ColumnBlock(std::size_t columns, std::size_t max_rows);

  [[nodiscard]] std::size_t columns() const noexcept { return columns_; }
  [[nodiscard]] std::size_t max_rows() const noexcept { return max_rows_; }
  [[nodiscard]] std::size_t stride() const noexcept { return stride_; }
  [[nodiscard]] double* data() noexcept { return data_.get(); }
  [[nodiscard]] const double* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::span<double> column(std::size_t c) noexcept { return {data_.get() + c * stride_, max_rows_}; }
  [[nodiscard]] std::span<const double> column(std::size_t c) const noexcept {
    return {data_.get() + c * stride_, max_rows_};
  }

 private:
  struct Free {
    void operator()(double* p) const noexcept;
  };
  std::size_t columns_, max_rows_, stride_;
  std::unique_ptr<double[], Free> data_;
};

/// Computes all columns of a plan for consecutive rows of a series.
///
/// The result of a row is a function of the rows of its window alone (direct method) or of these and the row's number
/// (block method, see docs/fit.md): not of the block, the instruction set or the thread. Not thread-safe: one per
/// thread. Scratch memory is allocated at construction and reused.
class Fitter {
 public:
  /// `max_rows`: the most rows one call may ask for. Throws std::invalid_argument for a plan out of bounds.
  Fitter(Plan plan, std::size_t max_rows);
  ~Fitter();
  Fitter(Fitter&&) noexcept;
  Fitter& operator=(Fitter&&) noexcept;

  [[nodiscard]] const Plan& plan() const noexcept;

  /// Fills rows [0, count) of `out`, from its row `out_row` on, with the metrics of rows [first, first + count) of
  /// `series`. count <= max_rows, out_row + count <= out.max_rows(), out.columns() == plan().column_count().
  void fit(const Series& series, std::size_t first, std::size_t count, ColumnBlock& out, std::size_t out_row = 0);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// For each column, how many of rows [first, first + count) must be NULL by row counts and input NULLs alone. The
/// output must have exactly as many where the metric's rule is `never` or `needs_four`, at least as many otherwise.
/// Written independently of the fit: it is what the fit's NULLs are checked against.
[[nodiscard]] std::vector<std::int64_t> predict_nulls(const Plan& plan, const Series& series, std::size_t first,
                                                      std::size_t count);

/// The instruction set in use: "baseline", "avx2" or "avx512"; chosen at first use from what the processor has, or
/// forced by the environment variable REGFEATD_KERNEL. Throws std::invalid_argument when that names one which does not
/// exist or which the processor cannot run.
[[nodiscard]] std::string_view kernel_name();

/// Inputs of larger magnitude are not fitted: the sums of their squares would overflow.
inline constexpr double kMaxInput = 1e150;

/// Bumped whenever the bits of any result change: part of a partition's fingerprint.
inline constexpr int kEngineVersion = 2;

}  // namespace regfeatd::fit
