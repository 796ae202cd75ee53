// Fits from running moments: docs/fit.md, "Blocks". A window of n rows in blocks of n rows holds exactly one
// block boundary; its moments about that boundary are the sum of a suffix of the block before and a prefix of
// the block after. All sums are kept as two doubles, so that the residual sum of squares survives the
// subtraction that it is.

namespace regfeatd::fit {
namespace {

/// Below this RSS/TSS (or squared-step sum over that of the values) the direct residuals are taken instead:
/// there the rounding of y - y_boundary, of which the two doubles know nothing, would show.
constexpr double kDirectBelow = 1e-8;

template <class V>
struct Double2 {
  V hi, lo;
};

template <class V>
REGFEATD_INLINE Double2<V> fast_two_sum(V a, V b) {
  const V s = a + b;
  return {s, b - (s - a)};
}

template <class V>
REGFEATD_INLINE Double2<V> two_sum(V a, V b) {
  const V s = a + b;
  const V t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}

template <class V>
REGFEATD_INLINE Double2<V> add(Double2<V> a, Double2<V> b) {
  const auto s = two_sum(a.hi, b.hi);
  return fast_two_sum(s.hi, s.lo + (a.lo + b.lo));
}

template <class V>
REGFEATD_INLINE Double2<V> negate(Double2<V> a) {
  return {V::set(0.0) - a.hi, V::set(0.0) - a.lo};
}

template <class V>
REGFEATD_INLINE Double2<V> product(V a, V b) {
  const V p = a * b;
  return {p, V::fms(a, b, p)};
}

template <class V>
REGFEATD_INLINE Double2<V> multiply(Double2<V> a, V b) {
  const auto p = product(a.hi, b);
  return fast_two_sum(p.hi, V::fma(a.lo, b, p.lo));
}

template <class V>
REGFEATD_INLINE Double2<V> multiply(Double2<V> a, Double2<V> b) {
  const auto p = product(a.hi, b.hi);
  return fast_two_sum(p.hi, V::fma(a.lo, b.hi, V::fma(a.hi, b.lo, p.lo)));
}

/// 1/x to two doubles.
template <class V>
REGFEATD_INLINE Double2<V> reciprocal(double x) {
  const double hi = 1.0 / x;
  return {V::set(hi), V::set(__builtin_fma(-hi, x, 1.0) / x)};
}

struct RunningSum {
  double hi = 0, lo = 0;

  /// Adds value + error (Ogita, Rump, Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005,
  /// Dot2).
  REGFEATD_INLINE void add(double value, double error) {
    const double s = hi + value;
    const double t = s - hi;
    lo += ((hi - (s - t)) + (value - t)) + error;
    hi = s;
  }
  REGFEATD_INLINE void add_product(double a, double b) {
    const double p = a * b;
    add(p, __builtin_fma(a, b, -p));
  }
};

struct RunningMoments {
  RunningSum sums[kMomentCount];

  REGFEATD_INLINE void add(double u, double d) {
    sums[0].add(d, 0.0);
    sums[1].add_product(u, d);
    sums[2].add_product(u * u, d);
    sums[3].add_product(d, d);
  }
  REGFEATD_INLINE void add_step(double step) { sums[4].add_product(step, step); }
  REGFEATD_INLINE void store(const MomentArrays& to, std::size_t i) const {
    for (std::size_t k = 0; k < kMomentCount; ++k) {
      to.hi[k][i] = sums[k].hi;
      to.lo[k][i] = sums[k].lo;
    }
  }
};

void prefix_moments(const double* boundary, std::size_t rows, std::size_t skip, const MomentArrays& to) {
  RunningMoments m;
  for (std::size_t u = 0; u < rows; ++u) {
    m.add(static_cast<double>(u), boundary[u] - boundary[0]);
    if (u > 0) m.add_step(boundary[u] - boundary[u - 1]);
    if (u >= skip) m.store(to, u - skip);
  }
}

void suffix_moments(const double* boundary, std::size_t longest, std::size_t shortest,
                    const MomentArrays& to) {
  RunningMoments m;
  if (shortest == 0) m.store(to, longest);
  const double* y = boundary;
  for (std::size_t length = 1; length <= longest; ++length) {
    const double step = y[0] - y[-1];  // the step between this row and the one after belongs to the suffix
    --y;
    m.add(-static_cast<double>(length), *y - *boundary);
    m.add_step(step);
    if (length >= shortest) m.store(to, longest - length);
  }
}

template <class V>
REGFEATD_INLINE Double2<V> moment(const BlockFit& b, std::size_t k, std::size_t row) {
  return add<V>({V::load(b.prefix.hi[k] + row), V::load(b.prefix.lo[k] + row)},
                {V::load(b.suffix.hi[k] + row), V::load(b.suffix.lo[k] + row)});
}

/// sum (e_j - e_{j-1})^2 from the squared steps of d, less what the parabola's own steps take of them. With v
/// = P1, steps of 2: yhat_v - yhat_{v-2} = 2 g1 + 12 g2 (v - 1), and summing by parts sum (v - 1)(d_v -
/// d_{v-2}) = n (d_first + d_last) - 2 sum d.
template <class V>
REGFEATD_INLINE Double2<V> residual_steps(const BlockFit& b, const Geometry& g, std::size_t row,
                                          Double2<V> sum_d, V first, V last, V g1, V g2) {
  const V n = V::set(g.n);
  const auto rise = two_sum(last, V::set(0.0) - first);
  const auto ends = multiply(two_sum(last, first), n);
  const auto by_parts = add(ends, multiply(sum_d, V::set(-2.0)));
  const auto cross = add(multiply(rise, V::set(2.0) * g1), multiply(by_parts, V::set(12.0) * g2));
  const double steps = g.n - 1;
  const auto line = multiply(product(g1, g1), V::set(4.0 * steps));
  const auto bend = multiply(product(g2, g2), V::set(48.0 * g.n * steps * (g.n - 2)));
  return add(add(moment<V>(b, 4, row), multiply(cross, V::set(-2.0))), add(line, bend));
}

template <class V>
REGFEATD_INLINE void block_fit(const BlockFit& b, const Geometry& g, FitWants wants, const FitArrays& out,
                               std::size_t row) {
  const auto m0 = moment<V>(b, 0, row), m1 = moment<V>(b, 1, row), m2 = moment<V>(b, 2, row),
             q = moment<V>(b, 3, row);
  // P1 = 2u + w and P2 = 3 (2u + w)^2 - (n^2 - 1), with u counted from the boundary and w an exact integer.
  const V w =
      (V::set(2.0 * (b.rows_to_boundary - static_cast<double>(row)) - (g.n - 1)) - (V::iota() + V::iota()));
  const auto s1 = add(multiply(m1, V::set(2.0)), multiply(m0, w));
  const V k = V::fma(V::set(3.0) * w, w, V::set(1.0 - g.n * g.n));
  const auto s2 = add(add(multiply(m2, V::set(12.0)), multiply(m1, V::set(12.0) * w)), multiply(m0, k));
  const auto inv_n = reciprocal<V>(g.n), inv_n1 = reciprocal<V>(g.n1), inv_n2 = reciprocal<V>(g.n2);
  const auto fitted0 = multiply(multiply(m0, m0), inv_n);
  const auto fitted1 = multiply(multiply(s1, s1), inv_n1);
  const auto fitted2 = multiply(multiply(s2, s2), inv_n2);
  const auto left = add(q, negate(add(fitted0, add(fitted1, fitted2))));

  const V boundary = V::set(b.boundary_value);
  const V anchor = V::load(b.y + row + (b.basis.n - 1));
  const V last = anchor - boundary;
  const V first = V::load(b.y + row) - boundary;
  const V g0 = multiply(m0, inv_n).hi - last;  // about the window's newest value, as in the direct fit
  const V g1 = multiply(s1, inv_n1).hi;
  const V g2 = multiply(s2, inv_n2).hi;

  Residuals<V> r{left.hi + left.lo, V::set(0.0), V::set(0.0)};
  const V ssr = fitted1.hi + fitted2.hi;
  auto direct = r.rss < V::set(kDirectBelow) * (r.rss + ssr);
  if (wants.sum_de2) {
    const auto de2 = residual_steps(b, g, row, m0, first, last, g1, g2);
    r.sum_de2 = de2.hi + de2.lo;
    direct = V::either(direct, r.sum_de2 < V::set(kDirectBelow) * moment<V>(b, 4, row).hi);
  }
  if (V::any(direct)) [[unlikely]] {
    const auto exact = exact_residuals(b.basis, b.y + row, anchor, g0, g1, g2);
    r.rss = V::select(direct, exact.rss, r.rss);
    r.sum_e = V::select(direct, exact.sum_e, r.sum_e);
    r.sum_de2 = V::select(direct, exact.sum_de2, r.sum_de2);
  }
  store_fit(anchor, g0, g1, g2, r, wants, out, row);
}

template <class V>
void block(const BlockFit& b, const Geometry& g, FitWants wants, const FitArrays& out) {
  std::size_t row = 0;
  for (; row + V::kLanes <= b.rows; row += V::kLanes) block_fit<V>(b, g, wants, out, row);
  for (; row < b.rows; ++row) block_fit<Scalar>(b, g, wants, out, row);
}

}  // namespace
}  // namespace regfeatd::fit
