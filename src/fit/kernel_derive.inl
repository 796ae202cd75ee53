// From the fit to the metrics: docs/metrics.md, family by family. Positions in `out` are those of the
// catalogue.

namespace regfeatd::fit {
namespace {

constexpr double kTiny = 1e-10;  // the families' guard against division by zero

template <class V>
struct Fitted {
  V anchor, g0, g1, g2, rss;
  typename V::Mask valid;

  static REGFEATD_INLINE Fitted load(const FitArrays& f, const double* run, double n, std::size_t row) {
    return {V::load(f.anchor + row), V::load(f.g0 + row),  V::load(f.g1 + row),
            V::load(f.g2 + row),     V::load(f.rss + row), V::set(n) <= V::load(run + row)};
  }

  /// NULL, as one NaN with one bit pattern, where the window is not whole or the value is not finite.
  REGFEATD_INLINE void store(double* to, V value) const {
    const auto finite = V::abs(value) <= V::set(__DBL_MAX__);
    V::select(V::both(valid, finite), value, V::set(__builtin_nan(""))).store(to);
  }
  /// As store, NULL also where `keep` does not hold.
  REGFEATD_INLINE void store_where(typename V::Mask keep, double* to, V value) const {
    const auto finite = V::abs(value) <= V::set(__DBL_MAX__);
    V::select(V::both(V::both(valid, keep), finite), value, V::set(__builtin_nan(""))).store(to);
  }

  /// g0 + g1 P1 + g2 P2: the fitted value less the anchor.
  REGFEATD_INLINE V at(double p1, double p2) const {
    return V::fma(V::set(p2), g2, V::fma(V::set(p1), g1, g0));
  }
  REGFEATD_INLINE V slope(const Geometry& g, double slope2) const {
    return V::fma(V::set(slope2), g2, V::set(g.lead1) * g1);
  }
  REGFEATD_INLINE V ssr(const Geometry& g) const {
    return V::fma(V::set(g.n1) * g1, g1, (V::set(g.n2) * g2) * g2);
  }
  REGFEATD_INLINE V r2(const Geometry& g) const {
    return V::set(1.0) - rss / ((rss + ssr(g)) + V::set(kTiny));
  }
};

template <class V>
REGFEATD_INLINE void coefficients_of(const Geometry& g, const FitArrays& f, const double* run,
                                     std::size_t row, double* const* out) {
  const auto fit = Fitted<V>::load(f, run, g.n, row);
  const V a2 = V::set(g.lead2 * g.s_squared) * fit.g2;
  const V a1 = V::set(g.s) * fit.slope(g, g.slope2_mean);
  const V b = fit.anchor + V::fma(V::set(g.p2_mean), fit.g2, fit.g0);
  const V prediction = fit.anchor + fit.at(g.p1_end, g.p2_end);
  if (out[0]) fit.store(out[0] + row, a2);
  if (out[1]) fit.store(out[1] + row, a1);
  if (out[2]) fit.store(out[2] + row, b);
  if (out[3] || out[13]) {
    const V r2 = fit.r2(g);
    if (out[3]) fit.store(out[3] + row, r2);
    if (out[13]) fit.store(out[13] + row, V::max(V::set(0.0), V::min(V::set(1.0), r2)));
  }
  if (out[4]) fit.store(out[4] + row, V::sqrt(fit.rss * V::set(g.inv_n)));
  if (out[5] || out[6] || out[8] || out[9] || out[14]) {
    const V mean = V::load(f.sum_e + row) * V::set(g.inv_n);
    const V variance = V::fnma(mean, mean, fit.rss * V::set(g.inv_n));
    const V std = V::sqrt(V::max(V::set(0.0), variance));
    if (out[5]) fit.store(out[5] + row, mean);
    if (out[6]) fit.store(out[6] + row, std);
    if (out[8]) fit.store(out[8] + row, V::fnma(V::set(1.96), std, prediction));
    if (out[9]) fit.store(out[9] + row, V::fma(V::set(1.96), std, prediction));
    if (out[14]) fit.store(out[14] + row, std / (V::abs(prediction) + V::set(kTiny)));
  }
  if (out[7]) fit.store(out[7] + row, prediction);
  if (out[10] || out[11]) {
    const V x = (V::set(0.0) - a1) / ((a2 + a2) + V::set(kTiny));
    if (out[10]) fit.store(out[10] + row, x);
    if (out[11]) fit.store(out[11] + row, V::fma(V::fma(a2, x, a1), x, b));
  }
  if (out[12]) fit.store(out[12] + row, V::abs(a2));
}

template <class V>
REGFEATD_INLINE void terms_of(const Geometry& g, const FitArrays& f, const double* run, std::size_t row,
                              double* const* out) {
  const auto fit = Fitted<V>::load(f, run, g.n, row);
  const V zero = V::set(0.0);
  const V end = fit.at(g.p1_end, g.p2_end);
  // Adding 0 turns a -0 (x: time has x_end = 0) into a 0.
  if (out[0]) fit.store(out[0] + row, V::set(g.lead2 * g.x_end_squared) * fit.g2 + zero);
  if (out[1]) fit.store(out[1] + row, fit.slope(g, g.slope2_zero) * V::set(g.x_end) + zero);
  if (out[2]) fit.store(out[2] + row, fit.anchor + fit.at(g.p1_zero, g.p2_zero));
  if (out[3]) fit.store(out[3] + row, fit.anchor + end);
  // y_{n-1} - yhat before the anchor is added back: keeps the digits that a large level would take.
  if (out[4]) fit.store(out[4] + row, zero - end);
  if (out[5]) fit.store(out[5] + row, fit.r2(g));
  if (out[6]) fit.store(out[6] + row, V::sqrt(fit.rss * V::set(g.inv_n)));
}

template <class V>
REGFEATD_INLINE void legacy_terms_of(const Geometry& g, const FitArrays& f, const double* run,
                                     std::size_t row, double* const* out) {
  const auto fit = Fitted<V>::load(f, run, g.n, row);
  const V zero = V::set(0.0);
  const V end = fit.at(g.p1_end, g.p2_end);
  const V c1 = fit.slope(g, g.slope2_zero);
  if (out[0]) fit.store(out[0] + row, V::set(g.lead2) * fit.g2);
  if (out[1]) fit.store(out[1] + row, c1);
  if (out[2]) fit.store(out[2] + row, fit.anchor + fit.at(g.p1_zero, g.p2_zero));
  if (out[3]) fit.store(out[3] + row, V::set(g.lead2 * g.x_end_squared) * fit.g2 + zero);
  if (out[4]) fit.store(out[4] + row, c1 * V::set(g.x_end) + zero);
  if (out[5]) {
    const V tss = fit.rss + fit.ssr(g);
    fit.store(out[5] + row, V::select(tss <= zero, zero, V::set(1.0) - fit.rss / tss));
  }
  if (out[6]) fit.store(out[6] + row, V::sqrt(fit.rss * V::set(g.inv_n)));
  if (out[7]) fit.store(out[7] + row, fit.anchor + end);
  if (out[8]) fit.store(out[8] + row, zero - end);
}

template <class V>
REGFEATD_INLINE void inference_of(const Geometry& g, const FitArrays& f, const double* run, std::size_t row,
                                  double* const* out) {
  const auto fit = Fitted<V>::load(f, run, g.n, row);
  const V zero = V::set(0.0);
  const auto four = V::set(4.0) <= V::set(g.n);
  const auto has_rss = V::both(four, zero < fit.rss);
  const V c2 = V::set(g.lead2) * fit.g2;
  const V c1 = fit.slope(g, g.slope2_zero);
  const V sigma = V::sqrt(fit.rss * V::set(g.inv_df));
  if (out[0]) fit.store(out[0] + row, c2);
  if (out[1]) fit.store(out[1] + row, c1);
  if (out[2]) fit.store(out[2] + row, fit.anchor + fit.at(g.p1_zero, g.p2_zero));
  if (out[3]) fit.store_where(four, out[3] + row, sigma * V::set(g.se2));
  if (out[4]) fit.store_where(four, out[4] + row, sigma * V::set(g.se1));
  if (out[5]) fit.store_where(four, out[5] + row, sigma * V::set(g.se0));
  if (out[6] || out[8]) {
    const V t = c2 / (sigma * V::set(g.se2));
    if (out[6]) fit.store_where(has_rss, out[6] + row, t);
    if (out[8]) fit.store_where(has_rss, out[8] + row, t);
  }
  if (out[7] || out[9]) {
    const V t = c1 / (sigma * V::set(g.se1));
    if (out[7]) fit.store_where(has_rss, out[7] + row, t);
    if (out[9]) fit.store_where(has_rss, out[9] + row, t);
  }
  if (out[10]) fit.store_where(four, out[10] + row, sigma);
  if (out[11]) {
    const V tss = fit.rss + fit.ssr(g);
    const V ratio = (fit.rss * V::set(g.inv_df)) * V::set(g.n_minus_1) / tss;
    fit.store_where(V::both(four, zero < tss), out[11] + row, V::set(1.0) - ratio);
  }
  // TSS - RSS is the sum of squares of the fitted part, known without a subtraction.
  if (out[12])
    fit.store_where(has_rss, out[12] + row, (V::set(0.5) * fit.ssr(g)) / (fit.rss * V::set(g.inv_df)));
  if (out[13]) fit.store(out[13] + row, fit.slope(g, g.slope2_end));
  if (out[14] || out[15] || out[19]) {
    const V end = fit.at(g.p1_end, g.p2_end);
    const V prediction = fit.anchor + end;
    if (out[14]) fit.store_where(four, out[14] + row, V::fnma(V::set(g.end_halfwidth), sigma, prediction));
    if (out[15]) fit.store_where(four, out[15] + row, V::fma(V::set(g.end_halfwidth), sigma, prediction));
    if (out[19]) fit.store_where(four, out[19] + row, (zero - end) * V::set(g.inv_press));
  }
  if (out[16] || out[17] || out[18]) {
    const V forecast = fit.anchor + fit.at(g.p1_next, g.p2_next);
    if (out[16]) fit.store(out[16] + row, forecast);
    if (out[17]) fit.store_where(four, out[17] + row, V::fnma(V::set(g.next_halfwidth), sigma, forecast));
    if (out[18]) fit.store_where(four, out[18] + row, V::fma(V::set(g.next_halfwidth), sigma, forecast));
  }
  if (out[20]) fit.store_where(zero < fit.rss, out[20] + row, V::load(f.sum_de2 + row) / fit.rss);
  if (out[21]) fit.store(out[21] + row, V::set(g.n));
}

// What `storage: compact` keeps. PostgreSQL's arithmetic, which derives the rest, ends a query on overflow and on
// underflow: numbers out of the range in which it cannot happen are NULL (too large) or 0 (too small to matter).
constexpr double kLargestStored = 1e60;
constexpr double kLargestStoredSquare = 1e120;

template <class V>
REGFEATD_INLINE void stored_of(const Geometry& g, const FitArrays& f, const double* run, std::size_t row,
                               double* const* out) {
  const auto fit = Fitted<V>::load(f, run, g.n, row);
  const V zero = V::set(0.0);
  const auto four = V::set(4.0) <= V::set(g.n);
  const auto has_rss = V::both(four, zero < fit.rss);
  const auto keep = [&](double* to, V value, double largest) {
    const V size = V::abs(value);
    const V kept = V::select(V::set(1 / largest) <= size, value, zero);
    fit.store_where(size <= V::set(largest), to, kept);
  };
  if (out[0]) keep(out[0] + row, V::set(g.lead2 * g.s_squared) * fit.g2, kLargestStored);
  if (out[1]) keep(out[1] + row, V::set(g.s) * fit.slope(g, g.slope2_mean), kLargestStored);
  if (out[2]) keep(out[2] + row, fit.anchor + V::fma(V::set(g.p2_mean), fit.g2, fit.g0), kLargestStored);
  if (out[3]) keep(out[3] + row, fit.rss, kLargestStoredSquare);
  if (out[4]) keep(out[4] + row, fit.rss + fit.ssr(g), kLargestStoredSquare);
  if (out[5]) keep(out[5] + row, zero - fit.at(g.p1_end, g.p2_end), kLargestStored);
  if (out[6]) keep(out[6] + row, V::load(f.sum_de2 + row), kLargestStoredSquare);
  if (out[7] || out[8]) {
    const V sigma = V::sqrt(fit.rss * V::set(g.inv_df));
    if (out[7]) fit.store_where(has_rss, out[7] + row, (V::set(g.lead2) * fit.g2) / (sigma * V::set(g.se2)));
    if (out[8]) fit.store_where(has_rss, out[8] + row, fit.slope(g, g.slope2_zero) / (sigma * V::set(g.se1)));
  }
  if (out[9]) fit.store(out[9] + row, V::set(g.n));
  if (out[10]) fit.store_where(four, out[10] + row, V::set(g.t_quantile));
}

// The copies are the compiler's proof that no store to a column changes a constant or a pointer.
#define REGFEATD_DERIVE(family)                                                              \
  template <class V>                                                                         \
  void derive_##family(const Geometry& geometry, const FitArrays& arrays, const double* run, \
                       std::size_t rows, double* const* out) {                               \
    const Geometry g = geometry;                                                             \
    const FitArrays f = arrays;                                                              \
    std::size_t row = 0;                                                                     \
    for (; row + V::kLanes <= rows; row += V::kLanes) family##_of<V>(g, f, run, row, out);   \
    for (; row < rows; ++row) family##_of<Scalar>(g, f, run, row, out);                      \
  }
REGFEATD_DERIVE(coefficients)
REGFEATD_DERIVE(terms)
REGFEATD_DERIVE(legacy_terms)
REGFEATD_DERIVE(inference)
REGFEATD_DERIVE(stored)
#undef REGFEATD_DERIVE

}  // namespace
}  // namespace regfeatd::fit
