#pragma once

#include <cstddef>
#include <span>

#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::fit {

/// All columns of a plan for one row of a series, the slow and obvious way: the definitions of
/// docs/metrics.md one by one, on top of a Householder QR in extended precision and Boost.Math's
/// distributions. Shares no arithmetic with the kernels, so that agreement means something; some thousand
/// times slower. `out` has plan.column_count() elements; NaN stands for NULL. The plan must be one that
/// Fitter accepts. Thread-safe.
void oracle_row(const Plan& plan, const Series& series, std::size_t row, std::span<double> out);

}  // namespace regfeatd::fit
