#pragma once

#include <cstddef>
#include <cstdint>

#include "fit/aligned_buffer.hpp"
#include "fit/kernel.hpp"

namespace regfeatd::fit {

/// Windows by rows of at least this many rows are fitted from block moments, shorter ones directly. Where the
/// one overtakes the other on AVX-512, the instruction set that favours the direct method most: measured,
/// docs/fit.md.
inline constexpr std::int64_t kBlockMethodRows = 128;

/// Consecutive rows whose windows of n rows hold the same block boundary, a row whose number is a multiple of
/// n.
struct BlockSegment {
  std::size_t after_boundary;  ///< rows from the boundary to the segment's first row
  std::size_t rows;            ///< in the segment
  std::size_t n;

  /// The segment that begins with a row number, cut to `max_rows`.
  BlockSegment(std::int64_t row_number, std::int64_t window_rows, std::size_t max_rows) noexcept;
};

/// Scratch for the running sums of one segment.
class BlockMoments {
 public:
  void reserve(std::size_t max_rows);
  /// `newest`: the value of the segment's first row, among its neighbours.
  void compute(const Kernel& kernel, const double* newest, const BlockSegment& segment);
  /// The arguments of Kernel::block for `rows` rows of the segment from `begin` on.
  [[nodiscard]] BlockFit fit(const PairBasis& basis, const double* newest, const BlockSegment& segment,
                             std::size_t begin, std::size_t rows) const noexcept;

 private:
  AlignedBuffer buffer_;
  MomentArrays prefix_{}, suffix_{};
};

}  // namespace regfeatd::fit
