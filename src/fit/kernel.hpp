#pragma once

// Between the Fitter and the code of the instruction sets. Plain data and function pointers only: the kernel
// files are compiled with flags of their own, and an inline function shared with the rest of the program
// could be emitted from one of them and then run on a processor that lacks its instructions.

#include <cstddef>
#include <cstdint>

namespace regfeatd::fit {

/// Everything about a fit's abscissae that the metrics need: constants of a window by rows, made anew for
/// each row of other windows. P1 and P2 are the orthogonal polynomials of docs/metrics.md, "end" the newest
/// row of the window, "next" one unit of x after it, "zero" x = 0 and "mean" the mean of x.
struct Geometry {
  double n, inv_n;
  double n1, n2;  ///< sums of squares of P1 and P2
  double inv_n1, inv_n2;
  double lead1, lead2;                   ///< leading coefficients of P1 and P2
  double p1_zero, p2_zero, slope2_zero;  ///< slope2: the derivative of P2
  double p2_mean, slope2_mean;           ///< P1 is 0 at the mean
  double p1_end, p2_end, slope2_end;
  double p1_next, p2_next;
  double x_end, x_end_squared;
  double s, s_squared;   ///< population standard deviation of x plus 1e-10, and its square
  double se0, se1, se2;  ///< square roots of the diagonal of (X'X)^-1 on raw x
  double inv_df;         ///< 1/(n-3), infinite for n = 3
  double n_minus_1;
  double end_halfwidth;   ///< t(0.975, n-3) sqrt(1 + h_end), NaN for n = 3
  double next_halfwidth;  ///< t(0.975, n-3) sqrt(1 + h_next), NaN for n = 3
  double inv_press;       ///< 1/(1 - h_end), NaN for n = 3
  double t_quantile;      ///< t(0.975, n-3), NaN for n = 3
};

/// The integer polynomials of a window of n rows, for the pairs (j, n-1-j), j < n/2, outermost first.
struct PairBasis {
  std::size_t n;
  const double* p1;  ///< P1 at n-1-j: n-1-2j > 0
  const double* p2;  ///< P2 at both
};

/// What is kept of each fit, row by row: yhat = anchor + g0 + g1 P1 + g2 P2, anchor = the window's newest
/// value.
struct FitArrays {
  double* anchor;
  double* g0;
  double* g1;
  double* g2;
  double* rss;
  double* sum_e;    ///< only where asked for
  double* sum_de2;  ///< sum of (e_j - e_{j-1})^2; only where asked for
};

/// Which of the costlier sums a plan needs.
struct FitWants {
  bool sum_e;
  bool sum_de2;
};

/// Running sums about a block boundary, each as an unevaluated sum of two doubles: of d, u d, u^2 d, d^2 and
/// of the squared steps (d_u - d_{u-1})^2, where u counts rows from the boundary and d is the value less the
/// boundary's.
inline constexpr std::size_t kMomentCount = 5;
struct MomentArrays {
  double* hi[kMomentCount];
  double* lo[kMomentCount];
};

struct BlockFit {
  PairBasis basis;
  const double* y;  ///< the window of row r is y[r] ... y[r + n - 1]
  std::size_t rows;
  double boundary_value;
  double rows_to_boundary;  ///< boundary minus the first row of row 0's window; one less for each further row
  MomentArrays prefix, suffix;
};

/// One instruction set's code. All give the same bits for the same arguments.
struct Kernel {
  const char* name;

  /// Direct two-pass fits of `rows` windows, the window of row r being y[r] ... y[r + n - 1]. `scratch` holds
  /// 2 * (n / 2) * scratch_lanes doubles, 64-byte aligned. Reads nothing beyond y[rows + n - 2].
  void (*direct)(const PairBasis&, const Geometry&, const double* y, std::size_t rows, FitWants, double* scratch,
                 const FitArrays&);
  std::size_t scratch_lanes;

  /// The columns of one family (in catalogue order; null: not wanted) from the fits of `rows` rows. `run`
  /// counts the good rows up to and including each window's newest: fewer than n make the row NULL. p values
  /// come out as their t statistics; the caller turns them into probabilities.
  using Derive = void (*)(const Geometry&, const FitArrays&, const double* run, std::size_t rows, double* const* out);
  Derive derive[5];  ///< by Family

  /// Sums over y[0 ... u] for u = skip ... rows-1, stored from index 0 on.
  void (*prefix_moments)(const double* boundary, std::size_t rows, std::size_t skip, const MomentArrays&);
  /// Sums over the `length` rows before the boundary, for length = longest, longest-1, ..., shortest, stored
  /// in that order from index 0 on.
  void (*suffix_moments)(const double* boundary, std::size_t longest, std::size_t shortest, const MomentArrays&);
  /// Fits from moments; see kernel_block.inl.
  void (*block)(const BlockFit&, const Geometry&, FitWants, const FitArrays&);
};

extern const Kernel kKernelBaseline;
#if defined(__x86_64__)
extern const Kernel kKernelAvx2;
extern const Kernel kKernelAvx512;
#endif

/// The kernel in use: what REGFEATD_KERNEL names, else the best that the processor runs. Chosen once.
[[nodiscard]] const Kernel& active_kernel();
/// By name; null where there is none of that name or the processor cannot run it.
[[nodiscard]] const Kernel* find_kernel(const char* name) noexcept;
/// For tests and benchmarks: makes every Fitter constructed from now on use this kernel; null undoes it. Not
/// thread-safe.
void force_kernel(const Kernel* kernel) noexcept;

}  // namespace regfeatd::fit
