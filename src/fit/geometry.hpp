#pragma once

#include <cstdint>
#include <span>

#include "fit/kernel.hpp"
#include "fit/student.hpp"
#include "regfeatd/base/order.hpp"

namespace regfeatd::fit {

/// What the values of the orthogonal polynomials say about the metrics: fills the fields of `g` that follow
/// from n, n1, n2, lead1, lead2, p1_*, p2_*, slope2_*, x_end and s. `student` may be null (n = 3, or no
/// metric asks for intervals).
void complete_geometry(Geometry& g, const StudentT* student);

/// x = 0 ... n-1.
[[nodiscard]] Geometry row_geometry(std::int64_t rows, const StudentT* student);

/// P1 and P2 of a window of n rows, for its n/2 pairs: `p1` and `p2` have n/2 elements.
void fill_pair_basis(std::int64_t rows, std::span<double> p1, std::span<double> p2);

}  // namespace regfeatd::fit
