// AVX-512 F and DQ: compiled with -mavx512f -mavx512dq -mfma, run only after the processor has been asked
// (kernel.cpp).
#include <immintrin.h>

#include "fit/kernel.hpp"
#include "fit/kernel_scalar.inl"

namespace regfeatd::fit {
namespace {

struct Avx512 {
  using Mask = __mmask8;
  static constexpr std::size_t kLanes = 8;
  __m512d v;

  static REGFEATD_INLINE Avx512 load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static REGFEATD_INLINE Avx512 set(double x) { return {_mm512_set1_pd(x)}; }
  static REGFEATD_INLINE Avx512 iota() { return {_mm512_setr_pd(0, 1, 2, 3, 4, 5, 6, 7)}; }
  REGFEATD_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }

  friend REGFEATD_INLINE Avx512 operator+(Avx512 a, Avx512 b) { return {_mm512_add_pd(a.v, b.v)}; }
  friend REGFEATD_INLINE Avx512 operator-(Avx512 a, Avx512 b) { return {_mm512_sub_pd(a.v, b.v)}; }
  friend REGFEATD_INLINE Avx512 operator*(Avx512 a, Avx512 b) { return {_mm512_mul_pd(a.v, b.v)}; }
  friend REGFEATD_INLINE Avx512 operator/(Avx512 a, Avx512 b) { return {_mm512_div_pd(a.v, b.v)}; }
  // A Mask is a plain integer, so comparisons of vectors cannot be confused with it.
  friend REGFEATD_INLINE Mask operator<(Avx512 a, Avx512 b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ); }
  friend REGFEATD_INLINE Mask operator<=(Avx512 a, Avx512 b) { return _mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ); }
  static REGFEATD_INLINE Avx512 fma(Avx512 a, Avx512 b, Avx512 c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Avx512 fnma(Avx512 a, Avx512 b, Avx512 c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Avx512 fms(Avx512 a, Avx512 b, Avx512 c) { return {_mm512_fmsub_pd(a.v, b.v, c.v)}; }
  static REGFEATD_INLINE Avx512 sqrt(Avx512 a) { return {_mm512_sqrt_pd(a.v)}; }
  static REGFEATD_INLINE Avx512 abs(Avx512 a) { return {_mm512_abs_pd(a.v)}; }
  static REGFEATD_INLINE Avx512 min(Avx512 a, Avx512 b) { return {_mm512_min_pd(a.v, b.v)}; }
  static REGFEATD_INLINE Avx512 max(Avx512 a, Avx512 b) { return {_mm512_max_pd(a.v, b.v)}; }
  static REGFEATD_INLINE Avx512 select(Mask m, Avx512 yes, Avx512 no) { return {_mm512_mask_blend_pd(m, no.v, yes.v)}; }
  static REGFEATD_INLINE bool any(Mask m) { return m != 0; }
  static REGFEATD_INLINE Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
  static REGFEATD_INLINE Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
};

}  // namespace
}  // namespace regfeatd::fit

// clang-format off
#include "fit/kernel_direct.inl"
#include "fit/kernel_derive.inl"
#include "fit/kernel_block.inl"
// clang-format on

namespace regfeatd::fit {

constexpr std::size_t kAvx512Group = 2;  // as for AVX2

const Kernel kKernelAvx512{"avx512",
                           direct<Avx512, kAvx512Group>,
                           kAvx512Group* Avx512::kLanes,
                           {derive_coefficients<Avx512>, derive_terms<Avx512>, derive_legacy_terms<Avx512>,
                            derive_inference<Avx512>, derive_stored<Avx512>},
                           prefix_moments,
                           suffix_moments,
                           block<Avx512>};

}  // namespace regfeatd::fit
