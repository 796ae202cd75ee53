#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace regfeatd::pg {

/// The inner loops of the encoder for columns without NULLs, one set for each instruction set; all give the same bytes.
struct DenseRows {
  static constexpr std::size_t kRows = 8;  ///< one cache line of a column

  /// Writes `columns[c][0 .. 8)`, counted from `first_row`, as fields of COPY: feature c of row k, its length word in
  /// front, at `to[k] + 12 c` (double precision) or `to[k] + 8 c` (real). Nothing else is written.
  using Encode = void (*)(std::byte* const* to, std::span<const double* const> columns, std::size_t first_row);
  Encode float8;
  Encode float4;
  /// How many of `values` are not below `limit` in magnitude; NaN is not.
  std::int64_t (*count_not_below)(std::span<const double> values, double limit);
};

extern const DenseRows kBaselineRows;
#if defined(__x86_64__)
extern const DenseRows kAvx2Rows;
#endif

/// The fastest that this machine runs.
[[nodiscard]] const DenseRows& dense_rows() noexcept;

}  // namespace regfeatd::pg
