#include "fit/block_window.hpp"

#include <algorithm>

namespace regfeatd::fit {

BlockSegment::BlockSegment(std::int64_t row_number, std::int64_t window_rows, std::size_t max_rows) noexcept {
  const std::int64_t rest = row_number % window_rows;
  after_boundary = static_cast<std::size_t>(rest < 0 ? rest + window_rows : rest);
  n = static_cast<std::size_t>(window_rows);
  rows = std::min(max_rows, n - after_boundary);
}

void BlockMoments::reserve(std::size_t max_rows) {
  buffer_.reserve(4 * kMomentCount * max_rows);
  double* at = buffer_.data();
  for (MomentArrays* arrays : {&prefix_, &suffix_}) {
    for (std::size_t k = 0; k < kMomentCount; ++k, at += 2 * max_rows) {
      arrays->hi[k] = at;
      arrays->lo[k] = at + max_rows;
    }
  }
}

void BlockMoments::compute(const Kernel& kernel, const double* newest, const BlockSegment& s) {
  const double* boundary = newest - s.after_boundary;
  kernel.prefix_moments(boundary, s.after_boundary + s.rows, s.after_boundary, prefix_);
  const std::size_t longest = s.n - 1 - s.after_boundary;
  kernel.suffix_moments(boundary, longest, longest + 1 - s.rows, suffix_);
}

BlockFit BlockMoments::fit(const PairBasis& basis, const double* newest, const BlockSegment& s, std::size_t begin,
                           std::size_t rows) const noexcept {
  BlockFit f{};
  f.basis = basis;
  f.y = newest + begin - (s.n - 1);
  f.rows = rows;
  f.boundary_value = *(newest - s.after_boundary);
  f.rows_to_boundary = static_cast<double>(s.n - 1 - s.after_boundary - begin);
  for (std::size_t k = 0; k < kMomentCount; ++k) {
    f.prefix.hi[k] = prefix_.hi[k] + begin;
    f.prefix.lo[k] = prefix_.lo[k] + begin;
    f.suffix.hi[k] = suffix_.hi[k] + begin;
    f.suffix.lo[k] = suffix_.lo[k] + begin;
  }
  return f;
}

}  // namespace regfeatd::fit
