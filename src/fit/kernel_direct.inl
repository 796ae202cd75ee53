// The direct fit: docs/fit.md, "Direct fits". Each lane is one window; a group is kGroup vectors of consecutive
// windows that share the loads of the basis.
//
// Rows j and n-1-j of a window are taken together. P1 is odd and P2 even about the window's middle, so that
// the sums need
//     u = d_j + d_{n-1-j}    for P0 and P2,        b = y_{n-1-j} - y_j    for P1,
// half the multiplications; u and b are kept for the second pass, where e_{n-1-j} + e_j = u - 2(g0 + g2 P2)
// and e_{n-1-j} - e_j = b - 2 g1 P1, and the sum of the squares of these two is twice that of the residuals.

namespace regfeatd::fit {
namespace {

/// Below this RSS/TSS the residuals are small differences of large numbers: they are then computed with the
/// rounding errors of each step carried along.
constexpr double kCompensateBelow = 1e-4;

template <class V>
struct Residuals {
  V rss, sum_e, sum_de2;
};

template <class V>
struct ErrorFree {
  V value, error;
};

/// Knuth's two-sum for a difference: value + error == a - b exactly.
template <class V>
REGFEATD_INLINE ErrorFree<V> two_diff(V a, V b) {
  const V s = a - b;
  const V t = s - a;
  return {s, (a - (s - t)) - (b + t)};
}

/// y - anchor - g0 - g1 p1 - g2 p2 as if in twice the precision, rounded once.
template <class V>
REGFEATD_INLINE V exact_residual(V y, V anchor, V g0, V g1, V g2, V p1, V p2) {
  const auto d = two_diff(y, anchor);
  const auto t = two_diff(d.value, g0);
  const V h1 = g1 * p1;
  const V l1 = V::fms(g1, p1, h1);
  const auto u = two_diff(t.value, h1);
  const V h2 = g2 * p2;
  const V l2 = V::fms(g2, p2, h2);
  const auto v = two_diff(u.value, h2);
  return v.value + (((d.error + t.error) + (u.error + v.error)) - (l1 + l2));
}

/// The residual sums of one vector of windows with compensated residuals, from the outermost pair inwards.
template <class V>
__attribute__((noinline)) Residuals<V> exact_residuals(const PairBasis& basis, const double* y, V anchor,
                                                       V g0, V g1, V g2) {
  const std::size_t n = basis.n, half = n / 2;
  const V zero = V::set(0.0);
  V rss = zero, sum_e = zero, sum_de2 = zero, left = zero, right = zero;
  for (std::size_t j = 0; j < half; ++j) {
    const V p1 = V::set(basis.p1[j]), p2 = V::set(basis.p2[j]);
    const V ej = exact_residual(V::load(y + j), anchor, g0, g1, g2, zero - p1, p2);
    const V ek = exact_residual(V::load(y + (n - 1 - j)), anchor, g0, g1, g2, p1, p2);
    rss = V::fma(ek, ek, V::fma(ej, ej, rss));
    sum_e = sum_e + (ej + ek);
    if (j > 0) {
      const V dj = ej - left, dk = right - ek;
      sum_de2 = V::fma(dk, dk, V::fma(dj, dj, sum_de2));
    }
    left = ej;
    right = ek;
  }
  if (n % 2 == 1) {
    const V p2 = V::set(1.0 - static_cast<double>(n) * static_cast<double>(n));
    const V em = exact_residual(V::load(y + half), anchor, g0, g1, g2, zero, p2);
    rss = V::fma(em, em, rss);
    sum_e = sum_e + em;
    const V dj = em - left, dk = right - em;
    sum_de2 = V::fma(dk, dk, V::fma(dj, dj, sum_de2));
  } else {
    const V d = right - left;
    sum_de2 = V::fma(d, d, sum_de2);
  }
  return {rss, sum_e, sum_de2};
}

template <class V>
REGFEATD_INLINE void store_fit(V anchor, V g0, V g1, V g2, Residuals<V> r, FitWants wants,
                               const FitArrays& out, std::size_t row) {
  anchor.store(out.anchor + row);
  g0.store(out.g0 + row);
  g1.store(out.g1 + row);
  g2.store(out.g2 + row);
  r.rss.store(out.rss + row);
  if (wants.sum_e) r.sum_e.store(out.sum_e + row);
  if (wants.sum_de2) r.sum_de2.store(out.sum_de2 + row);
}

/// Stores one vector's fit; redoes its residual sums where they need more precision.
template <class V>
REGFEATD_INLINE void finish_fit(const PairBasis& basis, const Geometry& g, const double* y, V anchor, V g0,
                                V g1, V g2, Residuals<V> r, FitWants wants, const FitArrays& out,
                                std::size_t row) {
  const V ssr = V::fma(V::set(g.n1) * g1, g1, (V::set(g.n2) * g2) * g2);
  const auto small = r.rss < V::set(kCompensateBelow) * (r.rss + ssr);
  if (V::any(small)) [[unlikely]] {
    const auto exact = exact_residuals(basis, y, anchor, g0, g1, g2);
    r.rss = V::select(small, exact.rss, r.rss);
    r.sum_e = V::select(small, exact.sum_e, r.sum_e);
    r.sum_de2 = V::select(small, exact.sum_de2, r.sum_de2);
  }
  store_fit(anchor, g0, g1, g2, r, wants, out, row);
}

template <class V, std::size_t R>
struct Group {
  V anchor[R], g0[R], g1[R], g2[R];
};

/// First pass: the sums that give g0, g1, g2. Leaves u and b of all pairs in `scratch`.
template <class V, std::size_t R>
REGFEATD_INLINE Group<V, R> first_pass(const PairBasis& basis, const Geometry& g, const double* y,
                                       double* scratch) {
  constexpr std::size_t kLanes = V::kLanes;
  const std::size_t n = basis.n, half = n / 2;
  Group<V, R> f;
  V s0[R], s1[R], s2[R];
  for (std::size_t r = 0; r < R; ++r) {
    f.anchor[r] = V::load(y + r * kLanes + (n - 1));
    s0[r] = s1[r] = s2[r] = V::set(0.0);
  }
  const double* near = y;
  const double* far = y + (n - 1);
  const double *p1s = basis.p1, *p2s = basis.p2;
  for (std::size_t j = 0; j < half; ++j, ++near, --far, scratch += 2 * R * kLanes) {
    const V p1 = V::set(p1s[j]), p2 = V::set(p2s[j]);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r) {
      const V yj = V::load(near + r * kLanes), yk = V::load(far + r * kLanes);
      const V u = (yj - f.anchor[r]) + (yk - f.anchor[r]);
      const V b = yk - yj;
      s0[r] = s0[r] + u;
      s1[r] = V::fma(p1, b, s1[r]);
      s2[r] = V::fma(p2, u, s2[r]);
      u.store(scratch + 2 * r * kLanes);
      b.store(scratch + (2 * r + 1) * kLanes);
    }
  }
  for (std::size_t r = 0; r < R; ++r) {
    if (n % 2 == 1) {
      const V d = V::load(y + r * kLanes + half) - f.anchor[r];
      s0[r] = s0[r] + d;
      s2[r] = V::fma(V::set(1.0 - g.n * g.n), d, s2[r]);
    }
    f.g0[r] = s0[r] * V::set(g.inv_n);
    f.g1[r] = s1[r] * V::set(g.inv_n1);
    f.g2[r] = s2[r] * V::set(g.inv_n2);
  }
  return f;
}

/// Second pass: the residuals of all pairs, and the middle row's where n is odd.
template <class V, std::size_t R, bool kSumE, bool kSumDe2>
REGFEATD_INLINE void second_pass(const PairBasis& basis, const Geometry& g, const double* y,
                                 const double* scratch, const Group<V, R>& f, Residuals<V> (&result)[R]) {
  constexpr std::size_t kLanes = V::kLanes;
  const std::size_t n = basis.n, half = n / 2;
  const V zero = V::set(0.0), one_half = V::set(0.5);
  V twice0[R], twice1[R], twice2[R], su[R], sb[R], se[R], sd[R], last_u[R], last_b[R];
  for (std::size_t r = 0; r < R; ++r) {
    twice0[r] = f.g0[r] + f.g0[r];
    twice1[r] = f.g1[r] + f.g1[r];
    twice2[r] = f.g2[r] + f.g2[r];
    su[r] = sb[r] = se[r] = sd[r] = last_u[r] = last_b[r] = zero;
  }
  const double *p1s = basis.p1, *p2s = basis.p2;
  for (std::size_t j = 0; j < half; ++j, scratch += 2 * R * kLanes) {
    const V p1 = V::set(p1s[j]), p2 = V::set(p2s[j]);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < R; ++r) {
      const V eu = V::fnma(twice2[r], p2, V::load(scratch + 2 * r * kLanes) - twice0[r]);
      const V eb = V::fnma(twice1[r], p1, V::load(scratch + (2 * r + 1) * kLanes));
      su[r] = V::fma(eu, eu, su[r]);
      sb[r] = V::fma(eb, eb, sb[r]);
      if constexpr (kSumE) se[r] = se[r] + eu;
      if constexpr (kSumDe2) {
        if (j > 0) {
          const V du = eu - last_u[r], db = eb - last_b[r];
          sd[r] = V::fma(db, db, V::fma(du, du, sd[r]));
        }
        last_u[r] = eu;
        last_b[r] = eb;
      }
    }
  }
  for (std::size_t r = 0; r < R; ++r) {
    V rss = one_half * (su[r] + sb[r]);
    V de2 = one_half * sd[r];
    if (n % 2 == 1) {
      const V d = V::load(y + r * kLanes + half) - f.anchor[r];
      const V em = V::fnma(f.g2[r], V::set(1.0 - g.n * g.n), d - f.g0[r]);
      rss = V::fma(em, em, rss);
      if constexpr (kSumE) se[r] = se[r] + em;
      // (em - left)^2 + (right - em)^2 with left, right = (last_u -+ last_b) / 2
      const V du = em - one_half * last_u[r], db = one_half * last_b[r];
      de2 = de2 + (V::fma(du, du, db * db) + V::fma(du, du, db * db));
    } else {
      de2 = V::fma(last_b[r], last_b[r], de2);
    }
    result[r] = {rss, se[r], de2};
  }
}

template <class V, std::size_t R, bool kSumE, bool kSumDe2>
REGFEATD_INLINE void direct_group(const PairBasis& basis, const Geometry& g, const double* y, double* scratch,
                                  const FitArrays& out, std::size_t row) {
  const Group<V, R> f = first_pass<V, R>(basis, g, y, scratch);
  constexpr FitWants kWants{kSumE, kSumDe2};
  if (basis.n == 3) {  // three points lie on their parabola: no residual
    const V zero = V::set(0.0);
    for (std::size_t r = 0; r < R; ++r)
      store_fit(f.anchor[r], f.g0[r], f.g1[r], f.g2[r], {zero, zero, zero}, kWants, out, row + r * V::kLanes);
    return;
  }
  Residuals<V> residuals[R];
  second_pass<V, R, kSumE, kSumDe2>(basis, g, y, scratch, f, residuals);
  for (std::size_t r = 0; r < R; ++r) {
    const std::size_t at = r * V::kLanes;
    finish_fit(basis, g, y + at, f.anchor[r], f.g0[r], f.g1[r], f.g2[r], residuals[r], kWants, out, row + at);
  }
}

template <class V, std::size_t R, bool kSumE, bool kSumDe2>
void direct_rows(const PairBasis& basis, const Geometry& g, const double* y, std::size_t rows,
                 double* scratch, const FitArrays& out) {
  std::size_t row = 0;
  for (; row + R * V::kLanes <= rows; row += R * V::kLanes)
    direct_group<V, R, kSumE, kSumDe2>(basis, g, y + row, scratch, out, row);
  for (; row + V::kLanes <= rows; row += V::kLanes)
    direct_group<V, 1, kSumE, kSumDe2>(basis, g, y + row, scratch, out, row);
  for (; row < rows; ++row) direct_group<Scalar, 1, kSumE, kSumDe2>(basis, g, y + row, scratch, out, row);
}

template <class V, std::size_t R>
void direct(const PairBasis& basis, const Geometry& g, const double* y, std::size_t rows, FitWants wants,
            double* scratch, const FitArrays& out) {
  if (wants.sum_de2) {
    direct_rows<V, R, true, true>(basis, g, y, rows, scratch, out);
  } else if (wants.sum_e) {
    direct_rows<V, R, true, false>(basis, g, y, rows, scratch, out);
  } else {
    direct_rows<V, R, false, false>(basis, g, y, rows, scratch, out);
  }
}

}  // namespace
}  // namespace regfeatd::fit
